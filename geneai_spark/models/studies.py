"""The study that a model is trained on or measured by, out of the tables of a warehouse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pyspark.sql import SparkSession

from geneai_spark import stored, tables
from geneai_spark.association import phenotypes
from geneai_spark.config import option
from geneai_spark.features import doses
from geneai_spark.features.doses import Hold
from geneai_spark.models import cases, covariates, results
from geneai_spark.models.covariates import Covariates
from geneai_spark.models.examples import split
from geneai_spark.models.family import Study
from geneai_spark.selection import Selected

#: Tables that a study is made of.
READ = (tables.VARIANTS, tables.SAMPLES, tables.TRAITS, tables.KINSHIP)


@dataclass(frozen=True)
class StudyOptions:
    """What is predicted, by which variants, and which samples are kept apart."""

    trait: str = option("name in the table traits", example="label")
    case_above: float | None = option(
        "cases are above it; null: a trait of two values has cases, another is a number", None
    )
    covariates: list[str] = option("traits that predict beside the genotypes, numbers", [])
    group: str | None = option(
        "trait whose values are groups that are measured apart, population say; null: none", None
    )
    min_frequency: float = option("use variants of at least this minor allele frequency", 0.0)
    validation: float = option("share of samples kept for validation, by hash", 0.0)
    test: float = option("share of samples kept for the test, by hash", 0.2)

    def __post_init__(self) -> None:
        """Refuse shares outside their range, or that leave nothing."""
        if not 0 <= self.min_frequency <= 0.5:
            raise ValueError("min_frequency must lie between 0 and 0.5")
        if min(self.validation, self.test) < 0 or self.validation + self.test >= 1:
            raise ValueError("validation and test must be 0 or more, and leave some to train on")
        if len(set(self.covariates)) < len(self.covariates):
            raise ValueError("covariates: each once")
        if self.trait in self.covariates:
            raise ValueError(f"covariates: {self.trait!r} is what is predicted")


def build(
    spark: SparkSession,
    warehouse: str,
    cohort: str,
    chosen: Selected,
    options: StudyOptions,
    *,
    seed: int,
    hold: Hold,
    model: str = "",
) -> Study:
    """Give the chosen samples with their trait, split, and their doses.

    Args:
        spark: the session.
        warehouse: URI of the tables.
        cohort: whose samples they are.
        chosen: samples and variants.
        options: see there.
        seed: of the split and of everything random.
        hold: keeps the doses; see `features.doses.holding`.
        model: its name, if one is to be stored.

    Raises:
        InputError: no sample has the trait, or all have the same.
        TableError: the table ``traits`` has not been written.
    """
    names = options.covariates
    frame, _ = phenotypes.read(spark, warehouse, cohort, traits=[options.trait], covariates=names)
    ids = [chosen.sample_ids[row] for row in chosen.rows]
    values, binary = cases.label(ids, frame[options.trait], options.trait, options.case_above)
    pairs = relatives(spark, warehouse, cohort, chosen.rows)
    whole = split(ids, relatives=pairs, seed=seed, validation=options.validation, test=options.test)
    parts = results.among(whole, np.flatnonzero(np.isfinite(values)))
    packed = doses.pack(
        chosen.scanned, len(chosen.sample_ids), chosen.rows, min_frequency=options.min_frequency
    )
    groups = None
    if options.group is not None:
        traits = stored.collect(
            spark, tables.TRAITS, warehouse, ["sampleId", "value", "text"],
            cohort=cohort, trait=options.group,
        )  # fmt: skip
        groups = cases.groups(ids, traits, options.group)
    return Study(
        cohort, options.trait, ids, values, binary, parts, hold(packed), hold, seed, warehouse,
        model, tuple(pairs), covariates.of(ids, frame, names), groups,
    )  # fmt: skip


def relatives(
    spark: SparkSession, warehouse: str, cohort: str, rows: npt.NDArray[np.int64]
) -> list[tuple[int, int]]:
    """Pairs of relatives among the chosen samples, by their positions there; none where kinship
    was not looked for.
    """
    pairs = stored.collect(
        spark, tables.KINSHIP, warehouse, ["sampleIndex1", "sampleIndex2"],
        absent_is_empty=True, cohort=cohort,
    )  # fmt: skip
    place = {int(row): i for i, row in enumerate(rows)}
    both = zip(*(pairs.column(i).to_pylist() for i in range(2)), strict=True)
    return [(place[a], place[b]) for a, b in both if a in place and b in place]


def covariates_of(
    spark: SparkSession,
    warehouse: str,
    cohort: str,
    sample_ids: Sequence[str],
    names: Sequence[str],
) -> Covariates:
    """Covariates of samples that are to be scored; without names nothing is read.

    Raises:
        InputError: one that no sample of the cohort has.
    """
    if not names:
        return covariates.none(len(sample_ids))
    frame, _ = phenotypes.read(spark, warehouse, cohort, traits=names)
    return covariates.of(sample_ids, frame, names)
