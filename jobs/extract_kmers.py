"""Count the k-mers of each sample's reads, and sketch them: ``reads`` -> k-mers, sketches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from geneai_spark import job, progress, store, tables
from geneai_spark.config import JobConfig, option
from geneai_spark.features import kmers
from geneai_spark.features.kmer_kernels import LONGEST
from geneai_spark.stored import as_computed, stored_rows
from geneai_spark.table import Table, Where

FEATURES = ("counts", "sketches")


@dataclass(frozen=True)
class Config(JobConfig):
    """Count canonical k-mers of each sample, and sketch them as sourmash does (FracMinHash)."""

    cohort: str = option("the cohort to work on", "default")
    features: tuple[str, ...] = option("what to extract: counts, sketches", FEATURES)
    k: int = option("counts: bases of a k-mer, 1 to 31; a row for each that occurs", 11)
    sketch_k: int = option("sketches: bases of a k-mer, 1 to 31", 31)
    scaled: int = option("sketches: keep one k-mer of so many", 1000)

    def __post_init__(self) -> None:
        """Refuse settings outside their range."""
        if not self.features or {*self.features} - {*FEATURES}:
            raise ValueError(f"features must be some of {', '.join(FEATURES)}")
        if not (1 <= self.k <= LONGEST and 1 <= self.sketch_k <= LONGEST):
            raise ValueError(f"k and sketch_k must lie between 1 and {LONGEST}")
        if self.scaled < 2:
            raise ValueError("scaled must be 2 or more")


def run(spark: SparkSession, config: Config) -> dict[str, int | float | str]:
    """Replace the cohort's rows of the tables; returns how many rows they have."""
    home, own = config.warehouse, Where.of(cohort=config.cohort)
    rows: Any = stored_rows(spark, tables.READS, home, cohort=config.cohort)
    rows = rows or store.read(spark, tables.READS, home).where(own.sql)
    told: dict[str, int | float | str] = {}

    def put(name: str, df: DataFrame, table: Table) -> None:
        with progress.stage(name, spark) as stage:
            commit = as_computed(table.conform(df)).write(table, home, own).commit
            if (held := commit.rows) is None:
                held = store.read(spark, table, home, commit.version).where(own.sql).count()
            told[name] = held
            stage.result = f"{told[name]:,} rows"

    if "counts" in config.features:
        put("counts", kmers.counts(rows, config.k), tables.KMERS)
    if "sketches" in config.features:
        made = kmers.sketches(rows, config.sketch_k, config.scaled)
        put("sketches", made, tables.KMER_SKETCHES)
    return told


if __name__ == "__main__":
    job.main(run, Config)
