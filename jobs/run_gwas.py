"""Test every variant against traits: ``variants`` and ``traits`` -> ``associations``."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import SparkSession

from geneai_spark import cohorts, job, progress, store, tables
from geneai_spark.association import linear, summary
from geneai_spark.config import JobConfig, option
from geneai_spark.errors import TableError
from geneai_spark.report import manhattan


@dataclass(frozen=True)
class Config(JobConfig):
    """Linear association of every ALT allele with quantitative traits, covariates adjusted for."""

    traits: list[str] = option("names in the table traits to test", example="simulated_trait")
    covariates: list[str] = option("names in the table traits to adjust for", [])
    cohort: str = option("the cohort to test", "default")
    engine: str = option("what computes the tests: glow, numpy or auto", "auto")
    picture: str | None = option("folder for Manhattan pictures, one a trait", None)


def run(spark: SparkSession, config: Config) -> dict[str, int | float | str]:
    """Replace these traits' rows of ``associations``; returns counts, lambda and best p."""
    samples = store.read(spark, tables.SAMPLES, config.warehouse)
    ids = cohorts.sample_ids(samples).get(config.cohort)
    if ids is None:
        raise TableError(f"no cohort {config.cohort!r} in the table samples")
    traits = store.read(spark, tables.TRAITS, config.warehouse)
    phenotypes = linear.pivot(traits, config.cohort, [*config.traits, *config.covariates])
    variants = store.read(spark, tables.VARIANTS, config.warehouse)
    tested = linear.linear(
        variants.where(variants["cohort"] == config.cohort),
        ids,
        phenotypes,
        traits=config.traits,
        covariates=config.covariates,
        engine=config.engine,
    )
    own = summary.rows_of(config.cohort, config.traits, "linear")
    with progress.stage("run gwas", spark) as stage:
        version = store.replace(tested, tables.ASSOCIATIONS, config.warehouse, where=own)
        stored = store.read(spark, tables.ASSOCIATIONS, config.warehouse, version).where(own)
        told = summary.numbers(stored)
        stage.result = f"{told['tests']:,} tests, {told['untestable']:,} alleles do not vary"
    if config.picture is not None:
        for trait in config.traits:
            path = f"{config.picture}/{manhattan.filename(trait)}"
            title = f"{trait}, cohort {config.cohort}: linear association"
            manhattan.draw(summary.points(stored, trait).toPandas(), path, title=title)
    return {**told}


if __name__ == "__main__":
    job.main(run, Config)
