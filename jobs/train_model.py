"""Train a model on genotypes: ``variants`` and ``traits`` -> a model directory, tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pyspark.sql import SparkSession

from geneai_spark import job, progress, registry, selection, store, tables, tracking
from geneai_spark import models as model_families
from geneai_spark.config import JobConfig, option
from geneai_spark.errors import ModelError
from geneai_spark.features import doses
from geneai_spark.models import disease, pictures, prediction, results, studies
from geneai_spark.models.directory import Contents
from geneai_spark.models.studies import StudyOptions
from geneai_spark.selection import SelectionOptions
from geneai_spark.table import Where


@dataclass(frozen=True)
class Config(
    JobConfig, SelectionOptions, StudyOptions, disease.DiseaseOptions, prediction.PredictionOptions
):
    """Train a model on genotypes, measure it on samples kept apart, keep a version of it."""

    family: str = option(
        "disease_association (a forest, of cases and controls), genomic_prediction (GBLUP, "
        "polygenic score, nets)",
        "disease_association",
    )
    model: str | None = option("the model's name; null: family and trait", None)
    settings: dict[str, str] = option("of a family of another package, by name", {})
    models: str = option("URI of the folder of model directories", "models")
    mlflow: str = option(
        "MLflow's tracking URI; auto: a SQLite file in the models' folder, if MLflow is installed; "
        "none",
        "auto",
    )

    def __post_init__(self) -> None:
        """Refuse unknown families and shares that leave nothing."""
        StudyOptions.__post_init__(self)
        disease.DiseaseOptions.__post_init__(self)
        prediction.PredictionOptions.__post_init__(self)
        if self.family not in model_families.names():
            raise ValueError(f"family must be one of {', '.join(model_families.names())}")
        self.own()
        try:
            registry.check_name(self.name)
        except ModelError as error:
            raise ValueError(f"{error}; give model=NAME") from None

    def own(self) -> Any:
        """The family's own settings."""
        return model_families.options(self.family, vars(self), self.settings)

    @property
    def name(self) -> str:
        """The model's name."""
        return self.model or f"{self.family}_{self.trait}"


def run(spark: SparkSession, config: Config) -> dict[str, int | float | str]:
    """Add a version of the model; returns its number, its metrics and the best locus."""
    chosen = selection.select(spark, config.warehouse, **config.part(SelectionOptions))
    name = config.name
    told_to = tracking.uri_of(config.mlflow, config.models)
    versions = {table.name: store.version(spark, table, config.warehouse) for table in studies.READ}
    with doses.holding() as hold:
        asked = StudyOptions(**config.part(StudyOptions))
        study = studies.build(
            spark, config.warehouse, config.cohort, chosen, asked, seed=config.seed, hold=hold,
            model=name,
        )  # fmt: skip
        with progress.stage(f"train {config.family}", spark) as stage:
            trained = model_families.family(config.family).train(study, config.own())
            study.check_covariates(trained.config)
            measured = results.measure(study, trained)
            stage.result = results.sentence(measured)
    made = registry.add(
        config.models,
        name,
        Contents(
            trained.model,
            trained.suffix,
            {**results.config(study, trained, measured), "tables": versions},
            results.text(study, trained, measured),
            {**trained.documents, "model_card.md": results.card(name, study, trained, measured)},
        ),
    )
    version = made.number
    own = Where.of(cohort=config.cohort, trait=config.trait, model=name)
    if trained.importances is not None:
        rows = results.importances(study, trained, name, version)
        store.put(spark, rows, tables.IMPORTANCES, config.warehouse, own)
    predicted = results.predictions(study, trained, name, version)
    store.put(
        spark,
        predicted,
        tables.PREDICTIONS,
        config.warehouse,
        Where.of(cohort=config.cohort, model=name),
    )
    if told_to is not None:
        with progress.stage("mlflow") as stage:
            logged = tracking.log(
                told_to,
                made,
                parameters={"job": "train_model", **config.redact()},
                tags={f"table.{table}": str(number) for table, number in versions.items()},
                metrics=results.numbers(measured),
                history=trained.config.get("history", ()),
                pictures=pictures.draw(study, trained),
            )
            stage.result = f"run {logged.run_id}"
    return {
        **chosen.counts,
        "model": name,
        "version": version,
        **trained.numbers,
        **results.numbers(measured),
    }


if __name__ == "__main__":
    job.main(run, Config)
