"""Take SAM and BAM files in: tables ``alignments``, ``rejects``, ledger ``ingests``."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import SparkSession

from geneai_spark import job
from geneai_spark.config import JobConfig, option
from geneai_spark.ingest import AlignmentOptions
from geneai_spark.ingest.alignments import ingest_alignments


@dataclass(frozen=True)
class Config(JobConfig, AlignmentOptions):
    """Take SAM and BAM files into the tables; unchanged files are left alone."""

    inputs: tuple[str, ...] = option("SAM and BAM files, folders, globs", example="data/*.bam")


def run(spark: SparkSession, config: Config) -> dict[str, int | float | str]:
    """Store what is new or changed; returns counts of files and records."""
    return ingest_alignments(
        spark, config.warehouse, config.inputs, **config.part(AlignmentOptions)
    )


if __name__ == "__main__":
    job.main(run, Config)
