"""Measure and flag variants and samples: tables ``variant_quality`` and ``sample_quality``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pyspark.sql import SparkSession

from geneai_spark import cohorts, genome, job, progress, quality, store, tables
from geneai_spark.config import JobConfig, option
from geneai_spark.quality import groups, known, measures, samples, variants
from geneai_spark.stored import StoredRows, collect, stored_rows
from geneai_spark.table import ALL, NONE


@dataclass(frozen=True)
class Config(JobConfig):
    """Measure every variant and every sample, and flag those that fail a check. Drops nothing.

    Of files that came since the last run with the same settings only their variants are measured.
    """

    min_call_rate: float = option("flag variants called in fewer samples than this share", 0.95)
    min_minor_allele_frequency: float = option("flag variants rarer than this, 0..0.5", 0.01)
    min_hwe_p_value: float | None = option("flag variants below this Hardy-Weinberg p", None)
    min_depth: float | None = option("flag variants with a lower mean DP", None)
    min_genotype_quality: float | None = option("flag variants with a lower mean GQ", None)
    case_control: str | None = option("trait of 0 and 1, or 1 and 2: missingness by case", None)
    min_missingness_p_value: float | None = option("flag variants below this p of it", None)
    min_sample_call_rate: float = option("flag samples called at fewer variants, 0..1", 0.95)
    max_inbreeding: float | None = option("flag samples whose F is beyond +- this", None)
    max_heterozygosity_deviations: float | None = option(
        "flag samples more standard deviations from the mean heterozygosity", None
    )
    min_sample_depth: float | None = option("flag samples with a lower mean DP", None)
    min_sample_genotype_quality: float | None = option("flag samples of a lower mean GQ", None)
    sex: str | None = option("trait (1 male, 2 female): flag samples of another sex", None)
    genome_build: str | None = option("where X has its shared ends; null: as ingested", None)
    max_female_x: float = option("F of X below which a sample is female", 0.2)
    min_male_x: float = option("F of X above which a sample is male", 0.8)
    min_male_y: float | None = option("least call rate on Y of males; null: Y plays no part", None)
    everything: bool = option("measure anew what was measured before, too", False)

    def __post_init__(self) -> None:
        """Refuse thresholds outside their range."""
        shares = ("min_call_rate", "min_sample_call_rate", "min_hwe_p_value", "min_male_y",
                  "min_missingness_p_value")  # fmt: skip
        for name in shares:
            if (value := getattr(self, name)) is not None and not 0 <= value <= 1:
                raise ValueError(f"{name} must lie between 0 and 1")
        if not 0 <= self.min_minor_allele_frequency <= 0.5:
            raise ValueError("min_minor_allele_frequency must lie between 0 and 0.5")
        if self.max_female_x > self.min_male_x:
            raise ValueError("max_female_x must not be above min_male_x")
        if self.min_missingness_p_value is not None and self.case_control is None:
            raise ValueError("min_missingness_p_value needs case_control, the name of a trait")
        if self.genome_build is not None:
            genome.contig_aliases(self.genome_build)

    def variant_checks(self) -> list[quality.Check]:
        """The checks of variants."""
        return variants.checks(
            min_call_rate=self.min_call_rate,
            min_minor_allele_frequency=self.min_minor_allele_frequency,
            min_hwe_p_value=self.min_hwe_p_value,
            min_depth=self.min_depth,
            min_genotype_quality=self.min_genotype_quality,
            min_missingness_p_value=self.min_missingness_p_value,
        )

    def sample_checks(self) -> list[quality.Check]:
        """The checks of samples."""
        return samples.checks(
            min_call_rate=self.min_sample_call_rate,
            max_inbreeding=self.max_inbreeding,
            max_heterozygosity_deviations=self.max_heterozygosity_deviations,
            min_depth=self.min_sample_depth,
            min_genotype_quality=self.min_sample_genotype_quality,
            reported_sex=self.sex is not None,
        )


def run(spark: SparkSession, config: Config) -> dict[str, int | float | str]:
    """Replace both tables; returns how many variants and samples failed which check."""
    home = config.warehouse
    ids = cohorts.sample_ids(collect(spark, tables.SAMPLES, home, cohorts.COLUMNS))
    if config.genome_build is not None:
        builds = dict.fromkeys(ids, config.genome_build)
    else:
        names = ["cohort", "genomeBuild"]
        builds = cohorts.builds(collect(spark, tables.INGESTS, home, names, absent_is_empty=True))

    def values(trait: str) -> pa.Table:
        names = tables.TRAITS.schema.names
        return collect(spark, tables.TRAITS, home, names, absent_is_empty=True, trait=trait)

    asked, checks = config.case_control, config.variant_checks()
    sizes = {cohort: len(names) for cohort, names in ids.items()}
    described = _settings(spark, config, builds)
    before = None if config.everything else known.find(spark, home, described, sizes)
    genotypes = (
        before.new
        if before
        else stored_rows(spark, tables.VARIANTS, home) or store.read(spark, tables.VARIANTS, home)
    )
    measured = measures.measure(
        genotypes,
        sizes,
        checks=checks,
        groups=None if asked is None else groups.case_control(values(asked), ids, asked),
        builds=builds,
    )
    with progress.stage("check quality", spark) as stage:
        where, at = (NONE, before.at) if before else (ALL, None)
        commit, told = measured.write(tables.VARIANT_QUALITY, home, where, at=at)
        told = told or measures.Told({}, {})
        fresh = told.tally.get("rows", 0)
        if before:
            told = before.told.merge(told)
        found = dict.fromkeys(["rows", "passed", *(c.name for c in checks)], 0) | told.tally
        each = samples.from_sums(
            told.sums, ids, max_female_x=config.max_female_x,
            min_male_x=config.min_male_x, min_male_y=config.min_male_y,
        )  # fmt: skip
        if config.sex is not None:
            each = groups.add_sex(each, values(config.sex), config.sex)
        checks = config.sample_checks()
        each = quality.flag(each, checks).select(tables.SAMPLE_QUALITY.schema.names)
        store.put(spark, each, tables.SAMPLE_QUALITY, home, where=ALL)
        people = quality.tally(each, checks)
        if isinstance(genotypes, StoredRows):
            known.save(
                spark, home, described, told, variants=genotypes.version, quality=commit.version
            )
        stage.result = (
            f"{found['rows']:,} variants ({fresh:,} of them new), "
            f"{found['passed']:,} passed all checks; "
            f"{people['rows']:,} samples, {people['passed']:,} passed"
        )
    of_samples = {f"samples_{name}": count for name, count in people.items()}
    return {**found, "measured": fresh, **of_samples}


def _settings(spark: SparkSession, config: Config, builds: dict[str, str]) -> str:
    """What figures of variants and sums of samples depend on, beside the variants."""
    names = ("min_call_rate", "min_minor_allele_frequency", "min_hwe_p_value", "min_depth",
             "min_genotype_quality", "case_control", "min_missingness_p_value")  # fmt: skip
    given: dict[str, Any] = {name: getattr(config, name) for name in names}
    if config.case_control is not None:
        given["traits_version"] = store.data_version(spark, tables.TRAITS, config.warehouse)
    return known.describe(builds=builds, **given)


if __name__ == "__main__":
    job.main(run, Config)
