"""Scores of samples by a stored model: the doses it wants, from the variants of a cohort."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from geneai_spark.features import dose_kernels
from geneai_spark.features.doses import Planes
from geneai_spark.models.family import KEYS, Wanted
from geneai_spark.tasks import Batches, fold


class Found(NamedTuple):
    """Doses at the variants that a model wants, in its order, missing where the cohort has none.

    Attributes:
        planes: (variants, 2, words).
        known: whether the cohort has the variant at all, (variants,).
        missing: share of the variants that a sample has no genotype of, (n,).
    """

    planes: Planes
    known: npt.NDArray[np.bool_]
    missing: npt.NDArray[np.float64]


def gather(doses: DataFrame, wanted: Wanted, n: int) -> Found:
    """Look the wanted variants up among packed doses.

    A variant is the same where contig, start, REF and ALT are. Of a variant that stands in several
    rows (files that overlap) the one of the first file counts, by its source id.

    Args:
        doses: from `features.doses.pack`, of n samples.
        wanted: by the model.
        n: samples.
    """
    keys = list(zip(*(wanted.keys.column(name).to_pylist() for name in KEYS), strict=True))
    place: dict[tuple[str, ...], list[int]] = {}
    for i, key in enumerate(keys):  # one that stood in two files when the model was fitted is two
        place.setdefault(key, []).append(i)
    words = -(-n // 64)

    def work(batches: Batches) -> dict[int, tuple[str, bytes]]:
        mine: dict[int, tuple[str, bytes]] = {}
        for batch in batches:
            for i, source, dose in _matched(batch, place):
                if i not in mine or source < mine[i][0]:
                    mine[i] = source, dose
        return mine

    def merge(
        one: dict[int, tuple[str, bytes]], other: dict[int, tuple[str, bytes]]
    ) -> dict[int, tuple[str, bytes]]:
        for i, told in other.items():
            if i not in one or told[0] < one[i][0]:
                one[i] = told
        return one

    named = doses.withColumn("alternateAllele", F.element_at("alternateAlleles", 1))
    told = fold(named.select(*KEYS, "sourceId", "doses"), work, merge) or {}
    planes = np.full((len(keys), 2, words), np.uint64(0xFFFFFFFFFFFFFFFF))
    for i, (_, dose) in told.items():
        planes[i] = np.frombuffer(dose, "<u8").reshape(2, words)
    known = np.isin(np.arange(len(keys)), list(told))
    flags = np.empty((len(keys), n))
    dose_kernels.look_up(planes, np.tile([0.0, 0.0, 0.0, 1.0], (len(keys), 1)), flags)
    missing = flags.mean(axis=0) if len(keys) else np.zeros(n)
    return Found(planes, known, missing)


def _matched(
    batch: pa.RecordBatch, place: dict[tuple[str, ...], list[int]]
) -> Iterator[tuple[int, str, bytes]]:
    columns = (batch.column(name).to_pylist() for name in (*KEYS, "sourceId"))
    for row, (*key, source) in enumerate(zip(*columns, strict=True)):
        for i in place.get(tuple(key), ()):
            yield i, source, batch.column("doses")[row].as_py()
