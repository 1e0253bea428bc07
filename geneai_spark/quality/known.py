"""What earlier runs have measured, so that the next measures new variants only.

Sums of samples add up, and a variant's own figures depend on no other variant. So after files were
added to ``variants`` only their rows are read. Anything else (rows replaced or deleted, other
settings, samples, software) has everything measured anew: least and greatest depth, for one,
cannot be taken back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from pyspark.sql import SparkSession

import geneai_spark
from geneai_spark import store, tables
from geneai_spark.quality.measures import VALUES, Sums, Told
from geneai_spark.quality.sample_kernels import ROWS
from geneai_spark.stored import StoredRows, added_rows, collect
from geneai_spark.table import ALL


class Known(NamedTuple):
    """What was measured, and what has come since.

    Attributes:
        told: of the variants measured before.
        new: the variants since.
        at: the version of ``variant_quality`` that holds what was measured before.
    """

    told: Told
    new: StoredRows
    at: int


def describe(**settings: Any) -> str:
    """What figures depend on, as text: equal texts, equal figures."""
    return json.dumps({"software": geneai_spark.__version__, **settings}, sort_keys=True)


def find(
    spark: SparkSession, warehouse: str, settings: str, n_samples: Mapping[str, int]
) -> Known | None:
    """What is known of these cohorts' variants with these settings; None: measure them all."""
    if not store.exists(spark, tables.QUALITY_SUMS, warehouse):
        return None
    names = tables.QUALITY_SUMS.schema.names
    rows = collect(spark, tables.QUALITY_SUMS, warehouse, names).to_pylist()
    versions = {(row["settings"], row["variantsVersion"], row["qualityVersion"]) for row in rows}
    if len(versions) != 1 or any(row["samples"] != n_samples.get(row["cohort"]) for row in rows):
        return None
    ((described, measured, written),) = versions
    if described != settings:
        return None
    at = store.version(spark, tables.VARIANT_QUALITY, warehouse)
    if at is None or store.data_version(spark, tables.VARIANT_QUALITY, warehouse) > written:
        return None  # somebody else's figures, or those of a run that did not come to its end
    new = added_rows(spark, tables.VARIANTS, warehouse, measured)
    if new is None:
        return None
    told = Told({row["cohort"]: dict(row["tally"]) for row in rows}, {})
    for row in rows:
        n = row["samples"]
        values = {name: _array(data, np.float64, n) for name, data in row["values"]}
        counts = _array(row["counts"], np.int64, n)
        if len(counts) != ROWS or set(values) != set(VALUES.values()):
            return None
        told.sums[row["cohort"]] = Sums(counts, values)
    return Known(told, new, at)


def save(
    spark: SparkSession, warehouse: str, settings: str, told: Told, *, variants: int, quality: int
) -> None:
    """Keep what was measured.

    Args:
        told: of all variants.
        variants: the version of ``variants`` that was read.
        quality: the version of ``variant_quality`` that holds it.
    """
    rows = [
        {
            "cohort": cohort,
            "settings": settings,
            "variantsVersion": variants,
            "qualityVersion": quality,
            "tally": told.tallies.get(cohort, {}),
            "samples": sums.counts.shape[1],
            "counts": sums.counts.astype("<i8").tobytes(),
            "values": {name: one.astype("<f8").tobytes() for name, one in sums.values.items()},
        }
        for cohort, sums in sorted(told.sums.items())
    ]
    store.put(spark, rows, tables.QUALITY_SUMS, warehouse, where=ALL)


def _array(data: bytes, dtype: Any, n_samples: int) -> Any:
    """Rows of so many numbers; a copy, to be added to."""
    return np.frombuffer(data, np.dtype(dtype).newbyteorder("<")).reshape(-1, n_samples).copy()
