"""Take VCF, PLINK and BGEN files in: ``variants``, ``samples``, ``rejects``, ``ingests``."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import SparkSession

from geneai_spark import job
from geneai_spark.config import JobConfig, option
from geneai_spark.ingest import VariantOptions, ingest_variants


@dataclass(frozen=True)
class Config(JobConfig, VariantOptions):
    """Take VCF (plain, gzip, BGZF), PLINK 1 (.bed, with .bim and .fam beside it) and BGEN (.bgen)
    files into the tables; unchanged files are left alone.
    """

    inputs: tuple[str, ...] = option(
        "files, folders, globs: .bed is PLINK, .bgen is BGEN, all else VCF",
        example="data/chr22.vcf.bgz",
    )


def run(spark: SparkSession, config: Config) -> dict[str, int | float | str]:
    """Store what is new or changed; returns counts of files and records."""
    return ingest_variants(spark, config.warehouse, config.inputs, **config.part(VariantOptions))


if __name__ == "__main__":
    job.main(run, Config)
