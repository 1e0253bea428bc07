"""Variants in blocks that Spark holds: where a forest's tasks look for splits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import BinaryType, IntegerType, StructField, StructType

from geneai_spark import tasks
from geneai_spark.features import doses as packing
from geneai_spark.features.doses import Hold, Planes
from geneai_spark.models import forest, forest_search
from geneai_spark.models.forest_search import BLOCK, Best, Block, Ints, Level, Local
from geneai_spark.tasks import Batches

#: In this order variants are numbered.
ORDER = ("contigName", "start", "referenceAllele", "alternateAllele", "sourceId")
SCHEMA = StructType([StructField("block", IntegerType()), StructField("planes", BinaryType())])
TASK_BYTES = 64 << 20  # of planes that a task goes through, at most


def number(doses: DataFrame, hold: Hold) -> DataFrame:
    """Variants in their order, numbered from 0: column ``variant``.

    Args:
        doses: from `features.doses.pack`.
        hold: keeps what is sorted: it is gone through twice.
    """
    named = doses.withColumn("alternateAllele", F.element_at("alternateAlleles", 1))
    ordered = hold(named.sort(*ORDER).withColumn("part", F.spark_partition_id()))
    counted = {row[0]: row[1] for row in ordered.groupBy("part").count().collect()}
    parts = max(counted, default=0) + 1
    before = np.concatenate([[0], np.cumsum([counted.get(i, 0) for i in range(parts)])])
    offset = F.element_at(F.array(*(F.lit(int(n)) for n in before[:parts])), F.col("part") + 1)
    place = F.monotonically_increasing_id().bitwiseAND(F.lit((1 << 33) - 1))
    # Numbered before anything moves a row: the identifier counts a partition's rows.
    return ordered.withColumn("variant", (offset + place).cast("long")).drop("part")


def blocks(numbered: DataFrame, training: Ints, hold: Hold) -> DataFrame:
    """A row for each block of variants: its number, and planes with nothing missing.

    Args:
        numbered: from :func:`number`.
        training: positions of the samples that tell what a missing genotype is taken for.
        hold: keeps them: each level of a forest goes through all.
    """
    step = BLOCK

    def assembled(batches: Batches) -> Iterator[pa.RecordBatch]:
        if not (found := list(batches)):
            return
        rows = pa.Table.from_batches(found).sort_by("variant")
        variants = rows.column("variant").to_numpy()
        for block in np.unique(variants // step):
            here = np.flatnonzero(variants // step == block)
            part = rows.column("doses").slice(here[0], len(here))
            planes = forest.filled(packing.planes(part), training)
            values = [pa.array([int(block)], pa.int32()), pa.array([planes.tobytes()], pa.binary())]
            yield pa.RecordBatch.from_arrays(values, SCHEMA.names)

    wanted = numbered.select("variant", "doses")
    size = wanted.agg(F.sum(F.octet_length("doses")), F.max("variant")).first()
    assert size is not None
    n_blocks = (size[1] or 0) // step + 1
    cores = numbered.sparkSession.sparkContext.defaultParallelism
    parts = min(n_blocks, max(cores, -(-(size[0] or 0) // TASK_BYTES)))
    task = F.floor(F.col("variant") / step) * parts / n_blocks
    spread = wanted.repartitionById(parts, F.floor(task).cast("int"))
    return hold(spread.mapInArrow(assembled, SCHEMA))


class Spread:
    """Variants in the tasks' hands.

    Args:
        held: from :func:`blocks`.
        n_variants: in all of them.
        words: of a plane.
    """

    def __init__(self, held: DataFrame, n_variants: int, words: int) -> None:
        self.n_variants, self._held, self._words = n_variants, held, words
        self._tasks = held.rdd.getNumPartitions()

    def best(self, level: Level) -> Best:
        """The best split of each node among all variants."""
        words = self._words

        def work(batches: Batches) -> Best | None:
            blocks = sorted(_read(batches, words), key=lambda block: block.number)
            found = forest_search.search(blocks, level)
            variants = np.unique(found.which[found.which >= 0])
            parts = [
                planes[own - number * BLOCK]
                for number, planes in blocks
                if len(own := variants[variants // BLOCK == number])
            ]
            empty = np.empty((0, 2, words), np.uint64)
            row = np.where(found.which >= 0, np.searchsorted(variants, found.which), -1)
            return forest_search.parted(found, np.concatenate([empty, *parts]), row, level)

        def merge(one: Best, other: Best) -> Best:
            return forest_search.best_of(one, other, level)

        told = tasks.fold(self._held, work, merge, tasks=self._tasks)
        assert told is not None
        return told

    def take(self, variants: Ints) -> Planes:
        """Planes of some variants."""
        words = self._words
        wanted = sorted({int(v) // BLOCK for v in variants})

        def work(batches: Batches) -> list[tuple[Ints, Planes]]:
            made = []
            for number, planes in _read(batches, words):
                first = number * BLOCK
                here = variants[(variants >= first) & (variants < first + len(planes))]
                if len(here):
                    made.append((here, planes[here - first]))
            return made

        some = self._held.where(F.col("block").isin(wanted)) if len(wanted) < 50 else self._held
        told = tasks.fold(some, work, _joined, tasks=self._tasks) or []
        numbers = np.concatenate([n for n, _ in told]) if told else np.empty(0, np.int64)
        planes = (
            np.concatenate([p for _, p in told]) if told else np.empty((0, 2, words), np.uint64)
        )
        return planes[np.argsort(numbers)]


def local(held: DataFrame, words: int, threads: int) -> Local:
    """All blocks in this process."""
    found = held.toArrow().sort_by("block")
    planes = [block.planes for block in _read(found.to_batches(), words)]
    return Local(np.concatenate(planes), threads)


def keys(numbered: DataFrame) -> pa.Table:
    """What variants are called, in their order."""
    return numbered.select("variant", *ORDER).toArrow().sort_by("variant").drop_columns("variant")


def _read(batches: Batches, words: int) -> Iterator[Block]:
    for batch in batches:
        for number, planes in zip(*(batch.column(name) for name in SCHEMA.names), strict=True):
            flat = np.frombuffer(planes.as_buffer(), "<u8")
            yield Block(number.as_py(), np.require(flat, requirements="A").reshape(-1, 2, words))


def _joined(one: list[Any], other: list[Any]) -> list[Any]:
    return one + other
