"""Train a model on genotypes: ``variants`` and ``traits`` -> a model directory, tables."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pyspark.sql import SparkSession

from geneai_spark import job, progress, registry, selection, store, stored, tables, tracking
from geneai_spark.association import phenotypes
from geneai_spark.config import JobConfig, option
from geneai_spark.errors import ModelError
from geneai_spark.features import doses
from geneai_spark.models import FAMILIES, cases, disease, prediction, results
from geneai_spark.models.directory import Contents
from geneai_spark.models.examples import split
from geneai_spark.models.family import Study
from geneai_spark.selection import SelectionOptions
from geneai_spark.table import Where


@dataclass(frozen=True)
class Config(JobConfig, SelectionOptions, disease.DiseaseOptions, prediction.PredictionOptions):
    """Train a model on genotypes, measure it on samples kept apart, keep a version of it."""

    trait: str = option("name in the table traits", example="label")
    family: str = option(
        "disease_association (a forest, of cases and controls), genomic_prediction (GBLUP, nets)",
        "disease_association",
    )
    case_above: float | None = option(
        "cases are above it; null: a trait of two values has cases, another is a number", None
    )
    model: str | None = option("the model's name; null: family and trait", None)
    models: str = option("URI of the folder of model directories", "models")
    mlflow: str = option(
        "MLflow's tracking URI; auto: a SQLite file in the models' folder, if MLflow is installed; "
        "none",
        "auto",
    )
    min_frequency: float = option("use variants of at least this minor allele frequency", 0.0)
    validation: float = option("share of samples kept for validation, by hash", 0.0)
    test: float = option("share of samples kept for the test, by hash", 0.2)

    def __post_init__(self) -> None:
        """Refuse unknown families and shares that leave nothing."""
        disease.DiseaseOptions.__post_init__(self)
        prediction.PredictionOptions.__post_init__(self)
        if self.family not in FAMILIES:
            raise ValueError(f"family must be one of {', '.join(FAMILIES)}")
        if not 0 <= self.min_frequency <= 0.5:
            raise ValueError("min_frequency must lie between 0 and 0.5")
        if min(self.validation, self.test) < 0 or self.validation + self.test >= 1:
            raise ValueError("validation and test must be 0 or more, and leave some to train on")
        try:
            registry.check_name(self.name)
        except ModelError as error:
            raise ValueError(f"{error}; give model=NAME") from None

    @property
    def name(self) -> str:
        """The model's name."""
        return self.model or f"{self.family}_{self.trait}"


def run(spark: SparkSession, config: Config) -> dict[str, int | float | str]:
    """Add a version of the model; returns its number, its metrics and the best locus."""
    chosen = selection.select(spark, config.warehouse, **config.part(SelectionOptions))
    frame, _ = phenotypes.read(spark, config.warehouse, config.cohort, traits=[config.trait])
    ids = [chosen.sample_ids[row] for row in chosen.rows]
    values, binary = cases.label(ids, frame[config.trait], config.trait, config.case_above)
    relatives = _relatives(spark, config, chosen.rows)
    whole = split(
        ids, relatives=relatives, seed=config.seed, validation=config.validation, test=config.test
    )
    parts = results.among(whole, np.flatnonzero(np.isfinite(values)))
    name = config.name
    told_to = tracking.uri_of(config.mlflow, config.models)
    versions = {
        table.name: store.version(spark, table, config.warehouse)
        for table in (tables.VARIANTS, tables.SAMPLES, tables.TRAITS, tables.KINSHIP)
    }
    with doses.holding() as hold:
        packed = doses.pack(
            chosen.scanned, len(chosen.sample_ids), chosen.rows, min_frequency=config.min_frequency
        )
        study = Study(
            config.cohort, config.trait, ids, values, binary, parts, hold(packed), hold,
            config.seed, config.warehouse, name,
        )  # fmt: skip
        with progress.stage(f"train {config.family}", spark) as stage:
            family = FAMILIES[config.family]
            trained = family.train(study, family.Options(**config.part(family.Options)))
            measured = results.measure(study, trained)
            stage.result = results.sentence(measured)
    made = registry.add(
        config.models,
        name,
        Contents(
            trained.model,
            trained.suffix,
            {**results.config(study, trained, measured), "tables": versions},
            results.text(measured),
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
            )
            stage.result = f"run {logged.run_id}"
    return {
        **chosen.counts,
        "model": name,
        "version": version,
        **trained.numbers,
        **results.numbers(measured),
    }


def _relatives(
    spark: SparkSession, config: Config, rows: npt.NDArray[np.int64]
) -> list[tuple[int, int]]:
    """Pairs of relatives among the chosen samples, by their positions there; none where kinship
    was not looked for.
    """
    pairs = stored.collect(
        spark, tables.KINSHIP, config.warehouse, ["sampleIndex1", "sampleIndex2"],
        absent_is_empty=True, cohort=config.cohort,
    )  # fmt: skip
    place = {int(row): i for i, row in enumerate(rows)}
    both = zip(*(pairs.column(i).to_pylist() for i in range(2)), strict=True)
    return [(place[a], place[b]) for a, b in both if a in place and b in place]


if __name__ == "__main__":
    job.main(run, Config)
