"""Test every variant against traits: ``variants`` and ``traits`` -> ``associations``."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import SparkSession

from geneai_spark import job, progress, selection, store, tables
from geneai_spark.association import linear, phenotypes, summary
from geneai_spark.association.design import binary, design
from geneai_spark.config import JobConfig, option
from geneai_spark.errors import InputError
from geneai_spark.report import manhattan
from geneai_spark.selection import SelectionOptions
from geneai_spark.stored import stored_rows
from geneai_spark.table import Where


@dataclass(frozen=True)
class Config(JobConfig, SelectionOptions):
    """Linear association of every ALT allele with quantitative traits, covariates adjusted for."""

    traits: list[str] = option("names in the table traits to test", example="simulated_trait")
    covariates: list[str] = option("names in the table traits to adjust for", [])
    components: int = option("principal components to adjust for, of extract_features", 0)
    missing_genotypes: str = option(
        "drop: complete cases of each variant; mean: put its mean", "drop"
    )
    engine: str = option("what computes the tests: numpy, glow (to compare) or auto", "auto")
    picture: str | None = option("folder for Manhattan pictures, one a trait", None)

    def __post_init__(self) -> None:
        """Refuse options that are unknown or do not go together."""
        if self.components < 0:
            raise ValueError("components must be 0 or more")
        try:
            linear.check(self.missing_genotypes, self.engine)
        except InputError as error:
            raise ValueError(str(error)) from None


def run(spark: SparkSession, config: Config) -> dict[str, int | float | str]:
    """Replace these traits' rows of ``associations``; returns counts, lambda and the best hit."""
    chosen = selection.select(spark, config.warehouse, **config.part(SelectionOptions))
    frame, adjusted = phenotypes.read(
        spark,
        config.warehouse,
        config.cohort,
        traits=config.traits,
        covariates=config.covariates,
        n_components=config.components,
    )
    designs = design(chosen.sample_ids, frame, config.traits, adjusted, chosen.rows)
    tested = linear.computed(
        chosen.scanned,
        len(chosen.sample_ids),
        designs,
        missing_genotypes=config.missing_genotypes,
        engine=config.engine,
    )
    own = Where.of(cohort=config.cohort, test="linear", trait=config.traits)
    with progress.stage("run gwas", spark) as stage:
        tested.write(tables.ASSOCIATIONS, config.warehouse, own)
        stored = store.read(spark, tables.ASSOCIATIONS, config.warehouse).where(own.sql)
        read = stored_rows(
            spark, tables.ASSOCIATIONS, config.warehouse, cohort=config.cohort, test="linear"
        )
        told = summary.numbers(read or stored, config.traits)
        stage.result = f"{told['tests']:,} tests, {told['untestable']:,} untestable"
        if named := binary(designs):
            told["binary_traits"] = ", ".join(named)
            stage.result += f"; two values only, a linear test approximates: {', '.join(named)}"
    if config.picture is not None:
        for trait in config.traits:
            path = f"{config.picture}/{manhattan.filename(trait)}"
            title = f"{trait}, cohort {config.cohort}: linear association"
            manhattan.draw(summary.points(stored, trait).toPandas(), path, title=title)
    return {**chosen.counts, **told}


if __name__ == "__main__":
    job.main(run, Config)
