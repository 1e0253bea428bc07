"""Measure and flag every variant: table ``variants`` -> ``variant_quality``."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import SparkSession

from geneai_spark import cohorts, job, progress, quality, store, tables
from geneai_spark.config import JobConfig, option
from geneai_spark.quality import variants


@dataclass(frozen=True)
class Config(JobConfig):
    """Measure call rate and allele frequencies of every variant, and flag those that fail."""

    min_call_rate: float = option("flag low_call_rate below this share of samples, 0..1", 0.95)
    min_minor_allele_frequency: float = option("flag rare below this frequency, 0..0.5", 0.01)

    def __post_init__(self) -> None:
        """Refuse thresholds outside their range."""
        if not 0 <= self.min_call_rate <= 1:
            raise ValueError("min_call_rate must lie between 0 and 1")
        if not 0 <= self.min_minor_allele_frequency <= 0.5:
            raise ValueError("min_minor_allele_frequency must lie between 0 and 0.5")


def run(spark: SparkSession, config: Config) -> dict[str, int | float | str]:
    """Replace ``variant_quality``; returns how many variants failed which check."""
    stored = store.read(spark, tables.VARIANTS, config.warehouse)
    samples = store.read(spark, tables.SAMPLES, config.warehouse)
    checks = variants.checks(
        min_call_rate=config.min_call_rate,
        min_minor_allele_frequency=config.min_minor_allele_frequency,
    )
    with progress.stage("check quality", spark) as stage:
        metrics = variants.variant_metrics(stored, cohorts.sizes(samples))
        flagged = quality.flag(metrics, checks)
        version = store.replace(flagged, tables.VARIANT_QUALITY, config.warehouse)
        written = store.read(spark, tables.VARIANT_QUALITY, config.warehouse, version)
        told = quality.tally(written, checks)
        stage.result = f"{told['rows']:,} variants measured, {told['passed']:,} passed all checks"
    return {**told}


if __name__ == "__main__":
    job.main(run, Config)
