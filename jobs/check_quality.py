"""Measure and flag variants and samples: ``variants`` -> ``variant_quality``, ``sample_quality``."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import SparkSession

from geneai_spark import job, progress, quality, store, tables
from geneai_spark.config import JobConfig
from geneai_spark.quality import QualityOptions, quality_tables


@dataclass(frozen=True)
class Config(JobConfig, QualityOptions):
    """Measure every variant and sample, and flag those that fail a check; nothing is dropped."""
