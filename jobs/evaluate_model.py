"""Measure families of models on a trait, and compare them: ``variants``, ``traits`` -> a table."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import SparkSession

from geneai_spark import job, progress, selection, store, tables, tracking
from geneai_spark import models as model_families
from geneai_spark.config import JobConfig, option
from geneai_spark.features import doses
from geneai_spark.models import (
    FAMILIES,
    disease,
    evaluation,
    inputs,
    measurements,
    prediction,
    studies,
)
from geneai_spark.models.evaluation import EvaluationOptions
from geneai_spark.models.family import Fit
from geneai_spark.models.studies import StudyOptions
from geneai_spark.selection import SelectionOptions
from geneai_spark.table import Where


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
        "what is measured, on the same samples: families, see train_model; polygenic, torch, "
        "keras: of genomic_prediction; scikit, mllib, logistic, xgboost: see classifier",
        tuple(FAMILIES),
    )
    settings: dict[str, str] = option("of a family of another package, by name", {})
    mlflow: str = option(
        "MLflow's tracking URI; auto: a SQLite file in the models' folder, if MLflow is installed; "
        "none", "auto"
    )  # fmt: skip
    models: str = option("URI of the folder of model directories, for mlflow=auto", "models")
    null_forests: int = option("forests of permuted labels for p-values of variants: not used", 0)

    def __post_init__(self) -> None:
        """Refuse unknown families, and numbers outside their range."""
        families = (disease.DiseaseOptions, prediction.PredictionOptions)
        for part in (StudyOptions, EvaluationOptions, *families):
            part.__post_init__(self)
        if not self.families or len(set(self.families)) < len(self.families):
            raise ValueError("families must name one or several, each once")
        known = (*model_families.names(), *model_families.VARIANTS)
        if unknown := [name for name in self.families if name not in known]:
            raise ValueError(
                f"families: expected some of {', '.join(known)}, found {', '.join(unknown)}"
            )
        if self.settings and not set(self.families) - {*FAMILIES, *model_families.VARIANTS}:
            raise ValueError("settings are for families of other packages: families names none")
        self.fits()
        if not self.test:
            raise ValueError("test must be above 0: families are compared on test samples")
        if self.group and not self.folds:
            raise ValueError("group needs folds: groups are measured by cross-validation")

    def fits(self) -> dict[str, Fit]:
        """How each of the families is trained."""
        return {name: model_families.fit(name, vars(self), self.settings) for name in self.families}


def run(spark: SparkSession, config: Config) -> dict[str, int | float | str]:
    """Replace the trait's rows of ``evaluations``; returns the main numbers of each family."""
    chosen = selection.select(spark, config.warehouse, **config.part(SelectionOptions))
    told_to = tracking.uri_of(config.mlflow, config.models)
    versions = {table.name: store.version(spark, table, config.warehouse) for table in studies.READ}
    with doses.holding() as hold:
        asked = StudyOptions(**config.part(StudyOptions))
        study = studies.build(
            spark, config.warehouse, config.cohort, chosen, asked, seed=config.seed, hold=hold,
            model=f"evaluate_{config.trait}",
        )  # fmt: skip
        how = EvaluationOptions(**config.part(EvaluationOptions))
        rows = evaluation.evaluate(study, config.fits(), how)
        inputs.forget(study)  # of the last of many trainings
    store.put(
        spark,
        measurements.table(study, rows),
        tables.EVALUATIONS,
        config.warehouse,
        Where.of(cohort=config.cohort, trait=config.trait),
    )
    numbers = measurements.numbers(study, rows)
    if told_to is not None:
        with progress.stage("mlflow") as stage:
            run_id = tracking.log_evaluation(
                told_to,
                f"evaluate_{config.trait}",
                parameters={"job": "evaluate_model", **config.redact()},
                tags={
                    **{f"table.{name}": str(number) for name, number in versions.items()},
                    **{name: told for name, told in numbers.items() if isinstance(told, str)},
                },
                metrics={k: v for k, v in numbers.items() if not isinstance(v, str)},
                rows=measurements.text(rows),
            )
            stage.result = f"run {run_id}"
    return {**chosen.counts, **numbers}


if __name__ == "__main__":
    job.main(run, Config)
