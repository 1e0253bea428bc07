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

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql.pandas.types import to_arrow_schema

from geneai_spark import tables
from geneai_spark.quality import Check, Columns, at_least
from geneai_spark.quality import sample_kernels as kernels
from geneai_spark.quality.measures import EXPECTED_UNIT, VALUES, Sums, measure
from geneai_spark.stored import Rows

Array = npt.NDArray[Any]


def sample_metrics(
    variants: Rows,
    sample_ids: Mapping[str, Sequence[str]],
    *,
    builds: Mapping[str, str] | None = None,
    max_female_x: float = 0.2,
    min_male_x: float = 0.8,
    min_male_y: float | None = None,
) -> pa.Table:
    """Measure each sample: rows of ``sample_quality`` but for ``flags``.

    Args:
        variants: the ``variants`` table, with genotypes.
        sample_ids: each cohort's samples in the order of the packed genotypes.
        builds: each cohort's genome build; without it X, Y and sex stay null.
        max_female_x: below this F of X a sample is female.
        min_male_x: above this F of X a sample is male.
        min_male_y: males have at least this call rate on Y, females less; None: Y plays no part.

    Raises:
        TableError: ``variants`` has no genotypes.
    """
    sizes = {cohort: len(ids) for cohort, ids in sample_ids.items()}
    told = measure(variants, sizes, builds=builds).told()
    return from_sums(
        told.sums if told else {},
        sample_ids,
        max_female_x=max_female_x,
        min_male_x=min_male_x,
        min_male_y=min_male_y,
    )


def from_sums(
    sums: Mapping[str, Sums],
    sample_ids: Mapping[str, Sequence[str]],
    *,
    max_female_x: float = 0.2,
    min_male_x: float = 0.8,
    min_male_y: float | None = None,
) -> pa.Table:
    """Metrics of each sample from the sums over the variants of its cohort."""
    fields = [f for f in to_arrow_schema(tables.SAMPLE_QUALITY.schema) if f.name != "flags"]
    found = []
    for cohort, ids in sorted(sample_ids.items()):
        own = sums.get(cohort) or Sums.nothing(len(ids))
        columns = _columns(own) | {
            "cohort": pa.array([cohort] * len(ids), pa.string()),
            "sampleIndex": pa.array(np.arange(len(ids), dtype=np.int32)),
            "sampleId": pa.array(list(ids), pa.string()),
        }
        x, y = (columns[name] for name in ("xInbreedingCoefficient", "yCallRate"))
        columns["inferredSex"] = _sex(x, y, max_female_x, min_male_x, min_male_y)
        arrays = [columns[field.name].cast(field.type) for field in fields]
        found.append(pa.Table.from_arrays(arrays, schema=pa.schema(fields)))
    return pa.concat_tables(found) if found else pa.schema(fields).empty_table()


def _columns(sums: Sums) -> dict[str, pa.Array]:
    """What sums tell of each sample, by name of the column."""
    k, counts = kernels, sums.counts
    called = counts[k.REF] + counts[k.HETS] + counts[k.ALT]
    expected = counts[k.AUTO_EXPECTED] * EXPECTED_UNIT
    plain = {
        "variants": counts[k.VARIANTS],
        "variantsCalled": called,
        "homozygousReferences": counts[k.REF],
        "heterozygotes": counts[k.HETS],
        "homozygousAlternates": counts[k.ALT],
        "autosomalVariants": counts[k.AUTO],
        "homozygotes": counts[k.AUTO_HOM],
        "expectedHomozygotes": expected,
        "transitions": counts[k.TS],
        "transversions": counts[k.TV],
        "indels": counts[k.INDELS],
        "singletons": counts[k.SINGLETONS],
        "xVariants": counts[k.X],
    }
    x_expected = counts[k.X_EXPECTED] * EXPECTED_UNIT
    return {
        **{name: pa.array(values) for name, values in plain.items()},
        "callRate": _ratio(called, counts[k.VARIANTS]),
        "hetHomRatio": _ratio(counts[k.HETS], counts[k.ALT]),
        # F = (O - E) / (N - E)
        "inbreedingCoefficient": _ratio(counts[k.AUTO_HOM] - expected, counts[k.AUTO] - expected),
        "tiTvRatio": _ratio(counts[k.TS], counts[k.TV]),
        "xInbreedingCoefficient": _ratio(counts[k.X_HOM] - x_expected, counts[k.X] - x_expected),
        "yCallRate": _ratio(counts[k.Y_CALLED], counts[k.Y]),
        **{n: c for prefix in VALUES.values() for n, c in _summary(prefix, sums).items()},
    }


def _ratio(one: Array, other: Array) -> pa.DoubleArray:
    """A quotient, null where nothing is to be divided by."""
    none = other == 0
    return pa.array(one / np.where(none, 1, other), pa.float64(), mask=none)


def _summary(prefix: str, sums: Sums) -> dict[str, pa.DoubleArray]:
    n, total, squares, least, greatest = sums.values[prefix]
    none, some = n == 0, np.maximum(n, 1)
    spread = np.sqrt(np.maximum(squares - total * total / some, 0) / some)
    columns = {"Mean": total / some, "Stdev": spread, "Min": least, "Max": greatest}
    return {f"{prefix}{what}": pa.array(values, mask=none) for what, values in columns.items()}


def _sex(
    x: pa.DoubleArray, y: pa.DoubleArray, max_female: float, min_male: float, y_rate: float | None
) -> pa.StringArray:
    male, female = pc.greater(x, min_male), pc.less(x, max_female)
    if y_rate is not None:
        male = pc.and_kleene(male, pc.greater_equal(y, y_rate))
        female = pc.and_kleene(female, pc.less(y, y_rate))
    if_female = pc.if_else(pc.fill_null(female, False), "female", pa.scalar(None, pa.string()))
    return pc.if_else(pc.fill_null(male, False), "male", if_female)


def checks(
    *,
    min_call_rate: float = 0.95,
    max_inbreeding: float | None = None,
    max_heterozygosity_deviations: float | None = None,
    min_depth: float | None = None,
    min_genotype_quality: float | None = None,
    reported_sex: bool = False,
) -> list[Check]:
    """The checks of a sample, of all samples at once; those without a threshold are left out.

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
    found = [Check("low_call_rate", at_least("callRate", min_call_rate))]
    if max_inbreeding is not None:
        most = max_inbreeding
        f = "inbreedingCoefficient"
        passes = lambda rows: pc.less_equal(pc.abs(rows.column(f)), most)  # noqa: E731
        found.append(Check("inbreeding", passes))
    if max_heterozygosity_deviations is not None:
        limit = max_heterozygosity_deviations
        found.append(Check("heterozygosity", lambda rows: _near_the_mean(rows, limit)))
    if min_depth is not None:
        found.append(Check("low_depth", at_least("depthMean", min_depth)))
    if min_genotype_quality is not None:
        found.append(
            Check("low_genotype_quality", at_least("genotypeQualityMean", min_genotype_quality))
        )
    if reported_sex:
        found.append(Check("sex_mismatch", _sex_agrees))
    return found


def _near_the_mean(rows: Columns, deviations: float) -> npt.NDArray[np.bool_]:
    """Whether the share of heterozygotes lies so near the mean of its cohort."""
    homozygotes, variants = (
        rows.column(name).to_numpy().astype(np.float64)
        for name in ("homozygotes", "autosomalVariants")
    )
    share = np.where(variants > 0, 1 - homozygotes / np.maximum(variants, 1), np.nan)
    cohorts = np.asarray(rows.column("cohort").to_pylist(), object)
    passes = np.zeros(len(share), np.bool_)
    for cohort in set(cohorts):
        own = (cohorts == cohort) & ~np.isnan(share)
        if own.sum() > 1:
            away = np.abs(share[own] - share[own].mean())
            passes[own] = away <= deviations * share[own].std(ddof=1)
    return passes


def _sex_agrees(rows: Columns) -> Any:
    reported, inferred = rows.column("reportedSex"), rows.column("inferredSex")
    return pc.or_kleene(pc.is_null(reported), pc.equal(reported, inferred))
