"""Kinship of samples: the KING-robust coefficient of every pair, without allele frequencies.

Manichaikul and others 2010 (doi:10.1093/bioinformatics/btq559), the estimator between families,
as ``plink2 --make-king`` has it: over the variants that both samples are called at,
1/2 - (4 opposite homozygotes + variants where one alone is het) / (4 hets of the sample with
fewer). Do not prune before: its authors advise against it.

Counts are bits counted in tiles: samples are cut into blocks, each pair of blocks is one task's
work, variant after variant, so that no worker holds more than the counts of one tile. The work
grows with samples squared times variants: about 10 core minutes for 25,000 samples and 50,000
variants.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import BinaryType, IntegerType, LongType, StructField, StructType

from geneai_spark import tables
from geneai_spark.errors import InputError
from geneai_spark.features import dose_kernels as kernels
from geneai_spark.features import doses as packing
from geneai_spark.tasks import partition

#: KING's cut-offs: the relationship of a coefficient above each.
DEGREES = {"duplicate": 0.354, "first": 0.177, "second": 0.0884, "third": 0.0442}
LEAST_TILE, LARGEST_TILE = 256, 2048  # samples; counts of the largest tile are 84 MB
MAX_SAMPLES = 50_000
CHUNK = 4096  # variants that are turned into samples' bits at a time, at most

_CHUNKS = StructType(
    [
        StructField("block", IntegerType()),
        StructField("chunk", LongType()),
        StructField("bits", BinaryType()),
    ]
)
_ARROW = to_arrow_schema(_CHUNKS)


def king(
    doses: DataFrame,
    sample_ids: Sequence[str],
    rows: packing.Rows,
    *,
    cohort: str,
    min_kinship: float = DEGREES["third"],
    max_samples: int = MAX_SAMPLES,
) -> DataFrame:
    """Find pairs of samples with a KING-robust coefficient above ``min_kinship``.

    Args:
        doses: from ``doses.pack`` for ``rows``.
        sample_ids: all samples of the cohort, in the order of its packed genotypes.
        rows: positions of the samples that ``doses`` has, (n,).
        cohort: its name.
        min_kinship: pairs at or below it are left out; so are pairs in which no variant is
            het in the one or the other, which have no coefficient.
        max_samples: refuse more, because the work grows with their square.

    Returns:
        Rows of the ``features_kinship`` table; ``relationship`` is null below the third degree.

    Raises:
        InputError: more samples than ``max_samples``.
    """
    n = len(rows)
    if n > max_samples:
        raise InputError(
            f"kinship of {n:,} samples is {n * (n - 1) // 2:,} pairs: choose samples, or raise "
            f"max_kinship_samples ({max_samples:,}) where the cluster has hours for it"
        )
    tile = tile_size(n)
    blocks = -(-n // tile)
    step = max(64, min(CHUNK, packing.BLOCK_BYTES // (16 * ((n + 63) // 64)) // 64 * 64))
    arrow = to_arrow_schema(tables.KINSHIP.schema)
    ids = pa.array(sample_ids, pa.string())

    def transposed(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        task = partition() << 32  # makes the chunks' numbers unique
        for number, block in enumerate(packing.slices(batches, step)):
            bits = kernels.transpose(packing.planes(block.column("doses")), n)
            for b in range(blocks):
                own = bits[b * tile : (b + 1) * tile]
                row = {"block": b, "chunk": task + number, "bits": own.tobytes()}
                yield pa.RecordBatch.from_pylist([row], _ARROW)

    def related(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for i, j, tallied in tallies(batches, n, tile):
            found = pairs(tallied, min_kinship, same=i == j)
            one, other = rows[found.one + i * tile], rows[found.other + j * tile]
            made = {
                "cohort": pa.array([cohort] * len(one), pa.string()),
                "sampleIndex1": pa.array(one, pa.int32()),
                "sampleIndex2": pa.array(other, pa.int32()),
                "sampleId1": ids.take(pa.array(one)),
                "sampleId2": ids.take(pa.array(other)),
                "variants": pa.array(found.variants, pa.int64()),
                "ibs0": pa.array(found.ibs0, pa.float64()),
                "kinship": pa.array(found.kinship, pa.float64()),
                "relationship": pa.array([degree(k) for k in found.kinship], pa.string()),
            }
            yield pa.RecordBatch.from_pydict(made).select(arrow.names).cast(arrow)

    chunks = doses.select("doses").mapInArrow(transposed, _CHUNKS)
    other = F.explode(F.sequence(F.lit(0), F.lit(blocks - 1)))
    tiles = chunks.withColumn("other", other).select(
        F.least("block", "other").alias("i"),
        F.greatest("block", "other").alias("j"),
        "chunk",
        (F.col("block") > F.col("other")).alias("second"),
        "bits",
    )
    number = (F.col("j") * (F.col("j") + 1) / 2 + F.col("i")).cast("int")
    tiles = tiles.repartitionById(blocks * (blocks + 1) // 2, number)
    tiles = tiles.sortWithinPartitions("i", "j", "chunk", "second")
    return tiles.mapInArrow(related, tables.KINSHIP.schema)


def tile_size(n: int) -> int:
    """Samples of a block: some twenty tiles of them, so that all cores have work."""
    return min(LARGEST_TILE, max(LEAST_TILE, -(-n // 6)))


def degree(kinship: float) -> str | None:
    """Name the relationship of a coefficient; None below the third degree."""
    return next((name for name, cut in DEGREES.items() if kinship > cut), None)


# ---------------------------------------------------------------- inside a worker


class Pairs(NamedTuple):
    """Related pairs of one tile, each (pairs,); positions are inside the two blocks."""

    one: npt.NDArray[np.int64]
    other: npt.NDArray[np.int64]
    variants: npt.NDArray[np.int64]
    ibs0: npt.NDArray[np.float64]
    kinship: npt.NDArray[np.float64]


def tallies(
    batches: Iterable[pa.RecordBatch], n: int, tile: int
) -> Iterator[tuple[int, int, npt.NDArray[np.int32]]]:
    """Sum the counts of each tile over its chunks of variants, which come sorted.

    Yields:
        The tile's two blocks, and (samples, second samples, 5): see ``kernels.pair_counts``.
    """
    at: tuple[int, int] | None = None
    tallied = np.empty((0, 0, 5), np.int32)
    first = np.empty((0, 2, 0), np.uint64)
    for row in (row for batch in packing.slices(batches, 1) for row in batch.to_pylist()):
        if (tile_of := (row["i"], row["j"])) != at:
            if at is not None:
                yield *at, tallied
            at = tile_of
            sizes = [min(tile, n - block * tile) for block in at]
            tallied = np.zeros((*sizes, 5), np.int32)
        bits = np.frombuffer(row["bits"], "<u8").reshape(tallied.shape[int(row["second"])], 2, -1)
        if not row["second"]:
            first = bits
        if row["second"] or at[0] == at[1]:
            kernels.pair_counts(first, bits, tallied)
    if at is not None:
        yield *at, tallied


def pairs(tallied: npt.NDArray[np.int32], min_kinship: float, *, same: bool) -> Pairs:
    """Choose the related pairs of a tile.

    Args:
        tallied: (samples, second samples, 5): see ``kernels.pair_counts``.
        min_kinship: only coefficients above it.
        same: both blocks are one: each pair counts once.
    """
    parts: list[Pairs] = []
    for i in range(len(tallied)):  # row by row, so that no matrix of doubles is made
        both, left, right, homs, opposite = tallied[i].T.astype(np.int64)  # (second samples,)
        fewer = both + np.minimum(left, right)
        with np.errstate(divide="ignore", invalid="ignore"):
            coefficient = 0.5 - (4 * opposite + left + right) / (4 * fewer)
        chosen = np.flatnonzero((fewer > 0) & (coefficient > min_kinship))
        chosen = chosen[chosen > i] if same else chosen
        called = (both + left + right + homs)[chosen]
        parts.append(
            Pairs(
                np.full(len(chosen), i),
                chosen,
                called,
                opposite[chosen] / called,
                coefficient[chosen],
            )
        )
    return Pairs(*(np.concatenate(column) for column in zip(*parts, strict=True)))
