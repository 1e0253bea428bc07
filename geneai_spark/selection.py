"""Which samples and variants a job works on: SQL conditions on what was measured about them.

``keep_variants="callRate >= 0.98 AND size(flags) = 0"`` is a condition on ``variant_quality``,
``keep_samples="inbreedingCoefficient < 0.1 AND NOT related"`` one on ``sample_quality``, the
numeric traits by their names, and ``related`` (see :func:`related`). The conditions are settings
of a job, so that its row in ``runs`` records them; :attr:`Selected.counts` says what they kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pyspark.errors import AnalysisException, ParseException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from geneai_spark import cohorts, store, tables
from geneai_spark.config import option
from geneai_spark.errors import InputError, TableError
from geneai_spark.stored import (
    Rows,
    StoredRows,
    collect,
    latest,
    latest_or_empty,
    stored_rows,
)

#: What makes a variant of ``variants`` and of ``variant_quality`` the same.
VARIANT_KEY = ("cohort", "sourceId", "contigName", "start", "referenceAllele", "alternateAlleles")
#: Keys up to this many go to every task; beyond, Spark sorts and merges.
BROADCAST_KEYS = 2_000_000


@dataclass(frozen=True)
class SelectionOptions:
    """What a job works on: part of the settings of every job after quality control."""

    cohort: str = option("the cohort to work on", "default")
    keep_variants: str | None = option(
        "condition on columns of variant_quality, e.g. size(flags) = 0; null: all variants", None
    )
    keep_samples: str | None = option(
        "condition on columns of sample_quality, numeric traits and `related`; null: all", None
    )


@dataclass(frozen=True)
class Selected:
    """What was chosen.

    Attributes:
        variants: the chosen variants of the cohort, all columns.
        sample_ids: all samples of the cohort, in the order of the packed genotypes.
        rows: positions of the chosen samples among them, ascending, shape (chosen,).
        counts: ``samples`` and ``samples_kept``; ``variants_kept`` where there is a condition.
        stored: the same variants, to be read by the tasks themselves, where all are chosen and
            that can be done.
    """

    variants: DataFrame
    sample_ids: tuple[str, ...]
    rows: npt.NDArray[np.int64]
    counts: dict[str, int]
    stored: StoredRows | None = None

    @property
    def scanned(self) -> Rows:
        """The chosen variants, by the cheapest way to go through all of them once."""
        return self.variants if self.stored is None else self.stored


def select(
    spark: SparkSession,
    warehouse: str,
    *,
    cohort: str = "default",
    keep_variants: str | None = None,
    keep_samples: str | None = None,
) -> Selected:
    """Choose variants and samples of a cohort; see :class:`SelectionOptions`.

    Raises:
        TableError: no such cohort, or a table that a condition needs has not been written.
        InputError: a condition is not SQL, names an unknown column, or keeps nothing.
    """
    people = collect(spark, tables.SAMPLES, warehouse, cohorts.COLUMNS, cohort=cohort)
    ids = cohorts.sample_ids(people).get(cohort)
    if ids is None:
        raise TableError(f"no cohort {cohort!r} in the table samples")
    variants = store.read(spark, tables.VARIANTS, warehouse).where(F.col("cohort") == cohort)
    counts = {"samples": len(ids), "samples_kept": len(ids)}
    rows = np.arange(len(ids))
    if keep_samples is not None:
        told = _sample_facts(spark, warehouse, cohort, keep_samples)
        kept = _where(told, keep_samples, "keep_samples").select("sampleIndex").collect()
        rows = np.array(sorted(row[0] for row in kept), np.int64)
        counts["samples_kept"] = len(rows)
        if not len(rows):
            raise InputError(f"keep_samples: {keep_samples}: none of {len(ids)} samples is kept")
    if keep_variants is not None:
        measured, _ = latest(spark, tables.VARIANT_QUALITY, warehouse)
        measured = measured.where(F.col("cohort") == cohort)
        keys = _where(measured, keep_variants, "keep_variants").select(*VARIANT_KEY)
        counts["variants_kept"] = keys.count()
        if not counts["variants_kept"]:
            raise InputError(f"keep_variants: {keep_variants}: no variant is kept")
        if counts["variants_kept"] <= BROADCAST_KEYS:
            keys = F.broadcast(keys)
        variants = variants.join(keys, list(VARIANT_KEY), how="left_semi")
    stored = None
    if keep_variants is None:
        stored = stored_rows(spark, tables.VARIANTS, warehouse, cohort=cohort)
    return Selected(variants, tuple(ids), rows, counts, stored)


def related(pairs: Iterable[tuple[int, int]]) -> set[int]:
    """Samples whose leaving breaks every pair of relatives: the one with most relatives first,
    the higher position among equals, so that the same ones leave each time.

    Args:
        pairs: positions of two related samples.
    """
    relatives: dict[int, set[int]] = {}
    for one, other in pairs:
        relatives.setdefault(one, set()).add(other)
        relatives.setdefault(other, set()).add(one)
    gone: set[int] = set()
    while relatives:
        worst = max(relatives, key=lambda sample: (len(relatives[sample]), sample))
        gone.add(worst)
        for other in relatives.pop(worst):
            relatives[other].discard(worst)
            if not relatives[other]:
                del relatives[other]
    return gone


def _sample_facts(spark: SparkSession, warehouse: str, cohort: str, condition: str) -> DataFrame:
    """What a condition on samples may name, a row a sample."""
    here = F.col("cohort") == cohort
    if store.exists(spark, tables.SAMPLE_QUALITY, warehouse):
        facts = latest(spark, tables.SAMPLE_QUALITY, warehouse)[0].where(here)
    else:  # a condition on traits alone does not need it
        facts = latest(spark, tables.SAMPLES, warehouse)[0].where(here).drop("sourceId")
    traits = latest_or_empty(spark, tables.TRAITS, warehouse).where(here)
    names = [row[0] for row in traits.select("trait").distinct().collect()]
    taken = {name.lower() for name in facts.columns} | {"related"}
    named = sorted(name for name in names if name in condition and name.lower() not in taken)
    if named:
        wide = traits.groupBy("sampleId").pivot("trait", named)
        facts = facts.join(wide.agg(F.first("value")), "sampleId", how="left")
    if "related" in condition.lower():
        pairs = latest(spark, tables.KINSHIP, warehouse)[0].where(here)
        found = pairs.select("sampleIndex1", "sampleIndex2").collect()
        gone = related((pair[0], pair[1]) for pair in found)
        facts = facts.withColumn("related", F.col("sampleIndex").isin(sorted(gone)))
    return facts


def _where(df: DataFrame, condition: str, setting: str) -> DataFrame:
    try:
        kept = df.where(condition)
        _ = kept.schema
    except (AnalysisException, ParseException) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{setting}: {condition}: {reason}") from error
    return kept
