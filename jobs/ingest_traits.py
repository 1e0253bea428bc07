"""Take tables of traits in: table ``traits``, ``rejects``, ledger ``ingests``."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import SparkSession

from geneai_spark import job
from geneai_spark.config import JobConfig, option
from geneai_spark.ingest import TraitOptions, ingest_traits


@dataclass(frozen=True)
class Config(JobConfig, TraitOptions):
    """Take phenotypes and covariates (CSV, TSV) into the table traits, a sample a line."""

    inputs: tuple[str, ...] = option("CSV or TSV files, folders, globs", example="data/traits.csv")


def run(spark: SparkSession, config: Config) -> dict[str, int | float | str]:
    """Store what is new or changed; returns counts of files, samples and values."""
    return ingest_traits(spark, config.warehouse, config.inputs, **config.part(TraitOptions))


if __name__ == "__main__":
    job.main(run, Config)
