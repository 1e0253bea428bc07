"""Write a cohort as one VCF file: tables ``variants``, ``samples``, ``vcf_headers`` -> a file."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import SparkSession

from geneai_spark import job
from geneai_spark.config import JobConfig
from geneai_spark.export import ExportOptions, export_variants


@dataclass(frozen=True)
class Config(JobConfig, ExportOptions):
    """Write one VCF file of a cohort: sorted, BGZF-compressed and indexed, or plain text."""


def run(spark: SparkSession, config: Config) -> dict[str, int | float | str]:
    """Write the file; returns counts of records, samples and bytes."""
    return export_variants(spark, config.warehouse, config)


if __name__ == "__main__":
    job.main(run, Config)
