"""Per-sample metrics from packed genotypes, and their checks.

Conventions of bcftools stats (PSC lines) where it has one: transitions, transversions and indels
count genotypes that carry one, haploid and incomplete genotypes left aside; a genotype with two
ALT alleles counts as the substitution of the lower; a singleton is a variant at which no other
sample carries an ALT allele (a homozygous carrier too). Unlike there, genotype classes count all
variants, haploid genotypes as homozygous; of a substitution spelt with further bases the differing
base tells the kind.

``inbreedingCoefficient`` is plink2's ``--het small-sample`` over bi-allelic autosomal variants that
vary; frequencies are the cohort's own. ``inferredSex`` is plink's ``--check-sex``: F over such
variants of X outside the pseudo-autosomal regions, where a haploid genotype is homozygous.
"""

from __future__ import annotations

from collections.abc import Mapping

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from geneai_spark import tables
from geneai_spark.quality import Check, sample_kernels, value_kernels
from geneai_spark.quality.measures import (
    EXPECTED_UNIT,
    SAMPLE_SUMS,
    VALUE_SUMS,
    scan,
)
from geneai_spark.stored import Rows


def sample_metrics(
    variants: Rows,
    samples: DataFrame,
    n_samples: Mapping[str, int],
    *,
    builds: Mapping[str, str] | None = None,
    max_female_x: float = 0.2,
    min_male_x: float = 0.8,
    min_male_y: float | None = None,
) -> DataFrame:
    """Measure each sample: the columns of ``sample_quality`` but for ``flags``.

    Args:
        variants: the ``variants`` table, with genotypes.
        samples: the ``samples`` table.
        n_samples: samples of each cohort by name.
        builds: each cohort's genome build; without it X, Y and sex stay null.
        max_female_x: below this F of X a sample is female.
        min_male_x: above this F of X a sample is male.
        min_male_y: males have at least this call rate on Y, females less; None: Y plays no part.

    Raises:
        TableError: ``variants`` has no genotypes.
    """
    sums = scan(variants, n_samples, of_variants=False, of_samples=True, builds=builds)
    return from_sums(
        sums, samples, max_female_x=max_female_x, min_male_x=min_male_x, min_male_y=min_male_y
    )


def from_sums(
    sums: DataFrame,
    samples: DataFrame,
    *,
    max_female_x: float = 0.2,
    min_male_x: float = 0.8,
    min_male_y: float | None = None,
) -> DataFrame:
    """Metrics of each sample from what the tasks of ``measures.scan`` summed up."""
    least, greatest = value_kernels.LEAST, value_kernels.GREATEST
    adding = [F.sum(name).alias(name) for name in SAMPLE_SUMS]
    for names in VALUE_SUMS.values():
        for i, name in enumerate(names):
            how = F.min if i == least else F.max if i == greatest else F.sum
            adding.append(how(name).alias(name))
    each = samples.select("cohort", "sampleIndex", "sampleId").join(
        sums.groupBy("cohort", "sampleIndex").agg(*adding),
        ["cohort", "sampleIndex"],
        how="left",
    )
    each = each.na.fill(0, SAMPLE_SUMS)  # a sample of a cohort without variants
    k = sample_kernels
    called = _sum(k.REF) + _sum(k.HETS) + _sum(k.ALT)
    x_f = _inbreeding(k.X, k.X_HOM, k.X_EXPECTED)
    y_rate = _ratio(_sum(k.Y_CALLED), _sum(k.Y))
    columns = {
        "variants": _sum(k.VARIANTS),
        "variantsCalled": called,
        "callRate": _ratio(called, _sum(k.VARIANTS)),
        "homozygousReferences": _sum(k.REF),
        "heterozygotes": _sum(k.HETS),
        "homozygousAlternates": _sum(k.ALT),
        "hetHomRatio": _ratio(_sum(k.HETS), _sum(k.ALT)),
        "autosomalVariants": _sum(k.AUTO),
        "homozygotes": _sum(k.AUTO_HOM),
        "expectedHomozygotes": _sum(k.AUTO_EXPECTED) * EXPECTED_UNIT,
        "inbreedingCoefficient": _inbreeding(k.AUTO, k.AUTO_HOM, k.AUTO_EXPECTED),
        "transitions": _sum(k.TS),
        "transversions": _sum(k.TV),
        "tiTvRatio": _ratio(_sum(k.TS), _sum(k.TV)),
        "indels": _sum(k.INDELS),
        "singletons": _sum(k.SINGLETONS),
        **{n: c for prefix in VALUE_SUMS for n, c in _summary(prefix).items()},
        "xVariants": _sum(k.X),
        "xInbreedingCoefficient": x_f,
        "yCallRate": y_rate,
        "inferredSex": _sex(x_f, y_rate, max_female_x, min_male_x, min_male_y),
    }
    names = [name for name in tables.SAMPLE_QUALITY.schema.names if name != "flags"]
    return each.select(*(columns[n].alias(n) if n in columns else F.col(n) for n in names))


def _sum(row: int) -> Column:
    return F.col(SAMPLE_SUMS[row])


def _ratio(one: Column, other: Column) -> Column:
    """A quotient, null where nothing is to be divided by."""
    return F.when(other != 0, one / other)


def _inbreeding(variants: int, homozygotes: int, expected: int) -> Column:
    """F = (O - E) / (N - E)."""
    e = _sum(expected) * EXPECTED_UNIT
    return _ratio(_sum(homozygotes) - e, _sum(variants) - e)


def _summary(prefix: str) -> dict[str, Column]:
    n, total, squares, least, greatest = map(F.col, VALUE_SUMS[prefix])
    spread = F.sqrt(F.greatest(squares - total * total / n, F.lit(0.0)) / n)
    columns = {"Mean": total / n, "Stdev": spread, "Min": least, "Max": greatest}
    return {f"{prefix}{what}": F.when(n > 0, column) for what, column in columns.items()}


def _sex(x: Column, y: Column, max_female: float, min_male: float, y_rate: float | None) -> Column:
    male, female = x > min_male, x < max_female
    if y_rate is not None:
        male, female = male & (y >= y_rate), female & (y < y_rate)
    return F.when(male, F.lit("male")).when(female, F.lit("female"))


def checks(
    *,
    min_call_rate: float = 0.95,
    max_inbreeding: float | None = None,
    max_heterozygosity_deviations: float | None = None,
    min_depth: float | None = None,
    min_genotype_quality: float | None = None,
    reported_sex: bool = False,
) -> list[Check]:
    """The checks of a sample, for ``quality.flag``; those without a threshold are left out.

    Args:
        min_call_rate: ``low_call_rate``: least fraction of variants called, 0..1.
        max_inbreeding: ``inbreeding``: F lies within plus and minus this.
        max_heterozygosity_deviations: ``heterozygosity``: the share of heterozygotes among
            ``autosomalVariants`` lies within this many standard deviations of the cohort's mean.
        min_depth: ``low_depth``: least mean DP. A sample without DP fails.
        min_genotype_quality: ``low_genotype_quality``: least mean GQ.
        reported_sex: ``sex_mismatch``: the column ``reportedSex`` (see ``groups.add_sex``), where
            it is known, is ``inferredSex``; a sex that could not be inferred fails.
    """
    found = [Check("low_call_rate", F.col("callRate") >= min_call_rate)]
    if max_inbreeding is not None:
        within = F.abs("inbreedingCoefficient") <= max_inbreeding
        found.append(Check("inbreeding", within))
    if max_heterozygosity_deviations is not None:
        share = 1 - F.col("homozygotes") / F.col("autosomalVariants")
        cohort = Window.partitionBy("cohort")
        away = F.abs(share - F.avg(share).over(cohort))
        limit = max_heterozygosity_deviations * F.stddev_samp(share).over(cohort)
        found.append(Check("heterozygosity", away <= limit))
    if min_depth is not None:
        found.append(Check("low_depth", F.col("depthMean") >= min_depth))
    if min_genotype_quality is not None:
        enough = F.col("genotypeQualityMean") >= min_genotype_quality
        found.append(Check("low_genotype_quality", enough))
    if reported_sex:
        same = F.col("reportedSex").isNull() | (F.col("reportedSex") == F.col("inferredSex"))
        found.append(Check("sex_mismatch", same))
    return found
