"""Measure and flag variants and samples: tables ``variant_quality`` and ``sample_quality``."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import DataFrame, SparkSession

from geneai_spark import cohorts, genome, job, progress, quality, store, tables
from geneai_spark.config import JobConfig, option
from geneai_spark.quality import groups, measures, samples, variants
from geneai_spark.stored import stored_rows
from geneai_spark.table import Table


@dataclass(frozen=True)
class Config(JobConfig):
    """Measure every variant and every sample, and flag those that fail a check. Drops nothing."""

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
    read = stored_rows(spark, tables.VARIANTS, config.warehouse)
    genotypes = read or store.read(spark, tables.VARIANTS, config.warehouse)
    people = store.read(spark, tables.SAMPLES, config.warehouse)
    ids = cohorts.sample_ids(people)
    if config.genome_build is not None:
        builds = dict.fromkeys(ids, config.genome_build)
    else:
        builds = cohorts.builds(store.read_or_empty(spark, tables.INGESTS, config.warehouse))
    traits = store.read_or_empty(spark, tables.TRAITS, config.warehouse)
    asked = config.case_control
    grouped = None if asked is None else groups.case_control(traits, ids, asked)
    sizes = {cohort: len(names) for cohort, names in ids.items()}
    told: dict[str, int | float | str] = {}
    with (
        progress.stage("check quality", spark) as stage,
        measures.scan_once(genotypes, sizes, groups=grouped, builds=builds) as (measured, sums),
    ):
        checks = config.variant_checks()
        flagged = quality.flag(measured, checks)
        told |= _write(config, flagged, tables.VARIANT_QUALITY, checks)
        each = samples.from_sums(
            sums, people, max_female_x=config.max_female_x, min_male_x=config.min_male_x,
            min_male_y=config.min_male_y,
        )  # fmt: skip
        if config.sex is not None:
            each = groups.add_sex(each, traits, config.sex)
        checks = config.sample_checks()
        flagged = quality.flag(each, checks).drop("reportedSex")
        found = _write(config, flagged, tables.SAMPLE_QUALITY, checks)
        told |= {f"samples_{name}": count for name, count in found.items()}
        stage.result = (
            f"{told['rows']:,} variants, {told['passed']:,} passed all checks; "
            f"{found['rows']:,} samples, {found['passed']:,} passed"
        )
    return told


def _write(
    config: Config, flagged: DataFrame, table: Table, checks: list[quality.Check]
) -> dict[str, int]:
    """Replace a table and count its flags as they are stored."""
    version = store.replace(flagged, table, config.warehouse)
    stored = store.read(flagged.sparkSession, table, config.warehouse, version)
    return quality.tally(stored, checks)


if __name__ == "__main__":
    job.main(run, Config)
