"""What a scan says: its strongest hits, its inflation, and the points worth drawing."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F
from scipy import stats

from geneai_spark.ingest.checks import quoted

ORDER = ("pValue", "contigName", "start", "referenceAllele", "alternateAllele")


def top_hits(associations: DataFrame, n: int = 10) -> list[Row]:
    """Give the ``n`` rows of least p-value, ties by position; null p-values never count.

    p-values that underflow to 0 are ordered by the size of their statistic.
    """
    strength = F.abs("statistic").desc()
    tested = associations.where(F.col("pValue").isNotNull())
    return tested.orderBy(ORDER[0], strength, *ORDER[1:], "trait").limit(n).collect()


def genomic_control(associations: DataFrame) -> dict[str, float]:
    """Give each trait's genomic-control lambda (Devlin and Roeder 1999), 1 without inflation.

    The median p-value's chi-squared (1 degree of freedom) over the expected median, 0.4549.
    """
    medians = (
        associations.where(F.col("pValue").isNotNull())
        .groupBy("trait")
        .agg(F.percentile("pValue", F.lit(0.5)).alias("median"))
        .collect()
    )
    expected = stats.chi2.ppf(0.5, 1)
    return {row.trait: float(stats.chi2.isf(row.median, 1) / expected) for row in medians}


def points(
    associations: DataFrame, trait: str, *, limit: int = 200_000, always_below: float = 1e-3
) -> DataFrame:
    """Thin a trait's tests to about ``limit`` rows for drawing, the small p-values all kept.

    Rows are chosen by a hash of their position, so the same ones each time.
    """
    own = associations.where((F.col("trait") == trait) & F.col("pValue").isNotNull())
    weak = own.where(F.col("pValue") >= always_below).count()
    share = min(1.0, limit / max(weak, 1))
    place = F.xxhash64("contigName", "start", "referenceAllele", "alternateAllele")
    chosen = F.pmod(place, F.lit(1_000_000)) < int(share * 1_000_000)
    return own.where((F.col("pValue") < always_below) | chosen)


def numbers(associations: DataFrame) -> dict[str, int | float]:
    """Give a scan in a few numbers: tests, nulls, and per trait lambda and the least p-value."""
    per_trait = (
        associations.groupBy("trait")
        .agg(F.count("*").alias("n"), F.count("pValue").alias("tested"), F.min("pValue").alias("p"))
        .orderBy("trait")
        .collect()
    )
    inflation = genomic_control(associations)
    found: dict[str, int | float] = {
        "tests": sum(row.tested for row in per_trait),
        "untestable": sum(row.n - row.tested for row in per_trait),
    }
    for row in per_trait:
        if row.tested:
            found[f"lambda_{row.trait}"] = round(inflation[row.trait], 4)
            found[f"min_p_{row.trait}"] = row.p
    return found


def rows_of(cohort: str, traits: Sequence[str], test: str) -> str:
    """Give the SQL predicate that selects these traits' rows of ``associations``."""
    listed = ", ".join(map(quoted, traits))
    return f"cohort = {quoted(cohort)} AND test = {quoted(test)} AND trait IN ({listed})"
