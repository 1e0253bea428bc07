"""Make the HTML report of a cohort: its tables -> one file."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import SparkSession

from geneai_spark import filesystems, job, progress
from geneai_spark.config import JobConfig, option
from geneai_spark.report import page
from geneai_spark.report.study import Options


@dataclass(frozen=True)
class Config(JobConfig):
    """Write one HTML file with inputs, quality, structure, associations and runs of a cohort."""

    cohort: str = option("the cohort to report", "default")
    traits: list[str] | None = option("traits to report; null: all that were tested", None)
    title: str | None = option("heading; null: the cohort's name", None)
    output: str = option("the file to write: a path or a URI", "report.html")
    colour_by: str | None = option("trait that colours the principal components", None)
    sample_ids: bool = option("show ids of flagged and related samples", False)
    top: int = option("strongest tests to list for each trait", 20)
    threshold: float = option("p-value below which a test is genome-wide significant", 5e-8)

    def __post_init__(self) -> None:
        """Refuse numbers outside their range."""
        if not 0 < self.threshold < 1:
            raise ValueError("threshold must lie between 0 and 1")
        if not 1 <= self.top <= 1000:
            raise ValueError("top must lie between 1 and 1000")


def run(spark: SparkSession, config: Config) -> dict[str, int | float | str]:
    """Write the report; returns its size and how many figures and traits it shows."""
    with progress.stage("make report", spark) as stage:
        made = page.build(spark, config.warehouse, Options(**config.part(Options)))
        size = filesystems.write(config.output, made.html.encode())
        stage.result = f"{config.output}, {made.figures} figures, {size / 1e6:.1f} MB"
    return {"bytes": size, "figures": made.figures, "traits": len(made.traits)}


if __name__ == "__main__":
    job.main(run, Config)
