"""Per-variant metrics from packed genotypes, and their checks.

Conventions, as bcftools has them where it has one: ``alleleNumber`` counts every called allele,
those of half calls (``0/.``) too; a sample is called when no allele of its genotype is missing;
a genotype is homozygous when all alleles it has are equal (so a haploid one is), otherwise
heterozygous (``1/2`` too). Allele lists start with REF; lists of tests have an entry an ALT.
Hardy-Weinberg tests take complete diploid genotypes only. Depth and genotype quality count
wherever there is a value, whether or not the genotype is called (bcftools stats, Hail).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt
import pyarrow.compute as pc
from pyspark.sql import DataFrame

from geneai_spark.quality import Check, at_least, greatest_of, least_of
from geneai_spark.quality.measures import measure
from geneai_spark.stored import Rows


def variant_metrics(
    variants: Rows,
    n_samples: Mapping[str, int] | int,
    *,
    checks: Sequence[Check] = (),
    groups: Mapping[str, npt.NDArray[Any]] | None = None,
) -> DataFrame:
    """Measure and flag each variant: rows of ``variant_quality``.

    Args:
        variants: the ``variants`` table, with genotypes.
        n_samples: samples of each cohort by name, or one number for all.
        checks: see :func:`checks`.
        groups: of a cohort's samples: 1 control, 2 case, 0 neither; int8, shape (samples,). See
            ``groups.case_control``.

    Raises:
        TableError: ``variants`` has no genotypes (they were left out at ingestion).
    """
    return measure(variants, n_samples, checks=checks, groups=groups, of_samples=False).frame()


def checks(
    *,
    min_call_rate: float = 0.95,
    min_minor_allele_frequency: float = 0.0,
    min_hwe_p_value: float | None = None,
    min_depth: float | None = None,
    min_genotype_quality: float | None = None,
    min_missingness_p_value: float | None = None,
) -> list[Check]:
    """The checks of a variant; those without a threshold are left out.

    Args:
        min_call_rate: ``low_call_rate``: least fraction of samples called, 0..1.
        min_minor_allele_frequency: ``rare``: least total frequency of all alleles but the most
            common. ``monomorphic`` is always checked.
        min_hwe_p_value: ``hardy_weinberg``: least p-value of every ALT allele.
        min_depth: ``low_depth``: least mean DP. A variant without DP fails.
        min_genotype_quality: ``low_genotype_quality``: least mean GQ. A variant without GQ fails.
        min_missingness_p_value: ``differential_missingness``: least p-value of the test of cases
            against controls. Fails where no groups were given.
    """
    common = "alleleFrequencies"
    found = [
        Check("low_call_rate", at_least("callRate", min_call_rate)),
        Check("monomorphic", lambda rows: pc.less(greatest_of(rows, common), 1)),
        Check(
            "rare",
            lambda rows: pc.greater_equal(
                pc.subtract(1, greatest_of(rows, common)), min_minor_allele_frequency
            ),
        ),
    ]
    if min_hwe_p_value is not None:
        least = min_hwe_p_value
        passes = lambda rows: pc.greater_equal(least_of(rows, "hwePValues"), least)  # noqa: E731
        found.append(Check("hardy_weinberg", passes))
    optional = [
        ("low_depth", "depthMean", min_depth),
        ("low_genotype_quality", "genotypeQualityMean", min_genotype_quality),
        ("differential_missingness", "missingnessPValue", min_missingness_p_value),
    ]
    found += [
        Check(name, at_least(column, least))
        for name, column, least in optional
        if least is not None
    ]
    return found
