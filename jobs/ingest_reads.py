"""Take FASTQ files in: tables ``reads``, ``rejects``, ledger ``ingests``."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import SparkSession

from geneai_spark import job
from geneai_spark.config import JobConfig, option
from geneai_spark.ingest import ReadOptions
from geneai_spark.ingest.reads import ingest_reads


@dataclass(frozen=True)
class Config(JobConfig, ReadOptions):
    """Take FASTQ files (plain, gzip, BGZF) into the tables; unchanged files are left alone."""

    inputs: tuple[str, ...] = option("FASTQ files, folders, globs", example="data/a_R*.fastq.gz")


def run(spark: SparkSession, config: Config) -> dict[str, int | float | str]:
    """Store what is new or changed; returns counts of files and records."""
    return ingest_reads(spark, config.warehouse, config.inputs, **config.part(ReadOptions))


if __name__ == "__main__":
    job.main(run, Config)
