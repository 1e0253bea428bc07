"""Measure families of models on a trait, and compare them: ``variants``, ``traits`` -> a table."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from pyspark.sql import SparkSession

from geneai_spark import job, selection, store, stored, tables
from geneai_spark.config import JobConfig, option
from geneai_spark.features import doses
from geneai_spark.models import (
    FAMILIES,
    cases,
    disease,
    evaluation,
    measurements,
    prediction,
    studies,
)
from geneai_spark.models.evaluation import EvaluationOptions, Fit
from geneai_spark.models.studies import StudyOptions
from geneai_spark.selection import SelectionOptions
from geneai_spark.table import Where

NETWORK = "network"  # genomic_prediction by predictor=torch


@dataclass(frozen=True)
class Config(
    JobConfig,
    SelectionOptions,
    StudyOptions,
    EvaluationOptions,
    disease.DiseaseOptions,
    prediction.PredictionOptions,
):
    """Cross-validate families of models, learn from fewer samples and from permuted labels, and
    compare them on the same test samples. No model is kept: see train_model.
    """

    families: tuple[str, ...] = option(
        "families to measure, on the same samples: see train_model; network is "
        "genomic_prediction by predictor=torch",
        tuple(FAMILIES),
    )
    group: str | None = option(
        "trait whose values are groups that are measured apart, population say; null: none", None
    )
    null_forests: int = option("forests of permuted labels for p-values of variants: not used", 0)

    def __post_init__(self) -> None:
        """Refuse unknown families, and numbers outside their range."""
        families = (disease.DiseaseOptions, prediction.PredictionOptions)
        for part in (StudyOptions, EvaluationOptions, *families):
            part.__post_init__(self)
        if not self.families or len(set(self.families)) < len(self.families):
            raise ValueError("families must name one or several, each once")
        known = (*FAMILIES, NETWORK)
        if unknown := [name for name in self.families if name not in known]:
            raise ValueError(
                f"families: expected some of {', '.join(known)}, found {', '.join(unknown)}"
            )
        if not self.test:
            raise ValueError("test must be above 0: families are compared on test samples")
        if self.group and not self.folds:
            raise ValueError("group needs folds: groups are measured by cross-validation")


def run(spark: SparkSession, config: Config) -> dict[str, int | float | str]:
    """Replace the trait's rows of ``evaluations``; returns the main numbers of each family."""
    chosen = selection.select(spark, config.warehouse, **config.part(SelectionOptions))
    with doses.holding() as hold:
        asked = StudyOptions(**config.part(StudyOptions))
        study = studies.build(
            spark, config.warehouse, config.cohort, chosen, asked, seed=config.seed, hold=hold,
            model=f"evaluate_{config.trait}",
        )  # fmt: skip
        groups = None
        if config.group is not None:
            traits = stored.collect(
                spark, tables.TRAITS, config.warehouse, ["sampleId", "value", "text"],
                cohort=config.cohort, trait=config.group,
            )  # fmt: skip
            groups = cases.groups(study.sample_ids, traits, config.group)
        models = {name: _fit(config, name) for name in config.families}
        how = EvaluationOptions(**config.part(EvaluationOptions))
        rows = evaluation.evaluate(study, models, how, groups)
    store.put(
        spark,
        measurements.table(study, rows),
        tables.EVALUATIONS,
        config.warehouse,
        Where.of(cohort=config.cohort, trait=config.trait),
    )
    return {**chosen.counts, **measurements.numbers(study, rows)}


def _fit(config: Config, name: str) -> Fit:
    """How a family is trained; a network without GBLUP beside it, which is a family of its own."""
    if name == NETWORK:
        own = prediction.PredictionOptions(**config.part(prediction.PredictionOptions))
        return partial(prediction.train_network, options=replace(own, predictor="torch"))
    family = FAMILIES[name]
    return partial(family.train, options=family.Options(**config.part(family.Options)))


if __name__ == "__main__":
    job.main(run, Config)
