"""Score samples by a stored model: ``variants`` and a model directory -> ``predictions``."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import SparkSession

from geneai_spark import job, progress, registry, selection, store, tables
from geneai_spark import models as model_families
from geneai_spark.config import JobConfig, option
from geneai_spark.errors import InputError
from geneai_spark.features import doses
from geneai_spark.models import results, scoring, studies
from geneai_spark.selection import SelectionOptions
from geneai_spark.table import Where


@dataclass(frozen=True)
class Config(JobConfig, SelectionOptions):
    """Apply a version of a model to the chosen samples."""

    model: str = option(
        "name (latest version), name/3 or name@champion", example="disease_association_label"
    )
    models: str = option("URI of the folder of model directories", "models")
    max_missing: float = option(
        "refuse where the cohort lacks more than this share of the model's variants, 0..1", 0.1
    )

    def __post_init__(self) -> None:
        """Refuse a share outside its range."""
        if not 0 <= self.max_missing <= 1:
            raise ValueError("max_missing must lie between 0 and 1")


def run(spark: SparkSession, config: Config) -> dict[str, int | float | str]:
    """Replace these samples' rows of ``predictions``; returns counts and the version."""
    version = registry.find(config.models, config.model)
    held = registry.load(version)
    family = model_families.family(str(held.config.get("family")))
    chosen = selection.select(spark, config.warehouse, **config.part(SelectionOptions))
    n = len(chosen.rows)
    wanted = family.wanted(held)
    ids = [chosen.sample_ids[row] for row in chosen.rows]
    given = studies.covariates_of(spark, config.warehouse, config.cohort, ids, wanted.covariates)
    with progress.stage("score", spark) as stage:
        packed = doses.pack(chosen.scanned, len(chosen.sample_ids), chosen.rows)
        found = scoring.gather(packed, wanted, n)
        lacking = int((~found.known).sum())
        if lacking > config.max_missing * len(found.known):
            raise InputError(
                f"model {version.name}/{version.number}: cohort {config.cohort!r} lacks "
                f"{lacking:,} of its {len(found.known):,} variants, more than max_missing="
                f"{config.max_missing}: another genome build, contig names or panel?"
            )
        scores = family.score(held, found.planes, given.values)
        stage.result = f"{n:,} samples by {version.name}/{version.number}"
    decided = results.decided(scores, binary=bool(held.config.get("binary")))
    schema = tables.PREDICTIONS.arrow([]).schema
    told = {
        "cohort": [config.cohort] * n,
        "sampleId": ids,
        "trait": [held.config.get("trait")] * n,
        "model": [version.name] * n,
        "version": [version.number] * n,
        "split": [None] * n,
        "score": scores,
        "predicted": decided,
        "missingVariants": found.missing,
    }
    rows = pa.table({f.name: pa.array(told[f.name], f.type) for f in schema}, schema=schema)
    own = Where.of(cohort=config.cohort, model=version.name)
    store.put(spark, rows, tables.PREDICTIONS, config.warehouse, own)
    return {
        **chosen.counts,
        "model": version.name,
        "version": version.number,
        "model_variants": len(found.known),
        "model_variants_lacking": lacking,
        "predicted_cases": int(pc.sum(decided).as_py() or 0),
    }


if __name__ == "__main__":
    job.main(run, Config)
