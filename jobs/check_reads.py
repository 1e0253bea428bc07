"""Measure and flag the reads of each file: table ``read_quality``, as FastQC does."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import SparkSession

from geneai_spark import job, progress, quality, store, tables
from geneai_spark.config import JobConfig, option
from geneai_spark.errors import InputError
from geneai_spark.quality import reads
from geneai_spark.stored import stored_rows
from geneai_spark.table import ALL


@dataclass(frozen=True)
class Config(JobConfig):
    """Measure the reads of each file and mate, and flag what FastQC fails. Drops nothing."""

    limits: dict[str, str] = option(
        "other limits than FastQC's, by name of the check: limits.adapters=0.02,0.05 (warn, fail)",
        {},
    )

    def __post_init__(self) -> None:
        """Refuse checks that there are not, and limits that are no numbers."""
        try:
            reads.rules(self.limits)
        except InputError as error:
            raise ValueError(str(error)) from None


def run(spark: SparkSession, config: Config) -> dict[str, int | float | str]:
    """Replace the table; returns how many files and mates failed which check."""
    home = config.warehouse
    rows = stored_rows(spark, tables.READS, home) or store.read(spark, tables.READS, home)
    rules = reads.rules(config.limits)
    with progress.stage("check reads", spark) as stage:
        measured = reads.flagged(reads.read_metrics(rows), rules)
        measured = measured.select(tables.READ_QUALITY.schema.names)
        store.put(spark, measured, tables.READ_QUALITY, home, where=ALL)
        told = quality.tally(measured, reads.checks(rules, "fail"))
        total = sum(measured["reads"].to_pylist())
        stage.result = f"{total:,} reads; {told['rows']:,} files and mates, {told['passed']:,} good"
    return {"reads": total, **told}


if __name__ == "__main__":
    job.main(run, Config)
