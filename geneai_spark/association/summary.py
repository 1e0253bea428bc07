"""What a scan says: its strongest hits and loci, its inflation, and the points worth drawing.

Only what is given back comes to the driver, however many tests there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F
from scipy import stats

from geneai_spark.ingest.checks import quoted

ORDER = ("pValue", "contigName", "start", "referenceAllele", "alternateAllele")
SMALLEST = 1e-300  # stands for a p-value of 0 where its logarithm is asked for


@dataclass(frozen=True)
class Locus:
    """A stretch of one contig whose hits belong together.

    Attributes:
        index: the row of its strongest test.
        start: first base of its first hit, 0-based.
        end: position after the last base of its hits.
        hits: how many tests are below the threshold.
    """

    index: Row
    start: int
    end: int
    hits: int


def top_hits(associations: DataFrame, n: int = 10) -> list[Row]:
    """Give the ``n`` rows of least p-value, ties by position; null p-values never count.

    p-values that underflow to 0 are ordered by the size of their statistic.
    """
    tested = associations.where(F.col("pValue").isNotNull())
    return tested.orderBy(*_by_strength()).limit(n).collect()


def loci(
    associations: DataFrame, trait: str, window: int = 250_000, threshold: float = 5e-8
) -> list[Locus]:
    """Clump a trait's hits by distance; the strongest locus first.

    The strongest hit takes in the others within ``window`` bases on its contig, then the strongest
    of those left does, and so on; ties as in :func:`top_hits`.

    Args:
        associations: the table, one cohort and test.
        trait: whose hits.
        window: bases between the starts of the index variant and of a hit that belongs to it.
        threshold: greatest p-value of a hit.
    """
    own = associations.where((F.col("trait") == trait) & (F.col("pValue") <= threshold))
    hits = own.orderBy(*_by_strength()).collect()
    starts = np.array([hit.start for hit in hits], np.int64)
    contigs = np.array([hit.contigName for hit in hits], object)
    free = np.ones(len(hits), np.bool_)
    found = []
    for rank, hit in enumerate(hits):
        if free[rank]:
            near = free & (contigs == hit.contigName) & (np.abs(starts - hit.start) <= window)
            free &= ~near
            members = [hits[i] for i in np.flatnonzero(near)]
            first, end = min(m.start for m in members), max(m.end for m in members)
            found.append(Locus(hit, first, end, len(members)))
    return found


def genomic_control(associations: DataFrame) -> dict[str, float]:
    """Give each trait's genomic-control lambda (Devlin and Roeder 1999), 1 without inflation.

    The median p-value's chi-squared (1 degree of freedom) over the expected median, 0.4549. The
    median is exact: the bin that holds it is found first, then the values inside.
    """
    value, tested = F.col("pValue"), F.col("pValue").isNotNull()
    binned = associations.where(tested).withColumn("bin", F.floor(value * 1000))
    ranks: dict[tuple[str, int], list[int]] = {}  # of the two middle values in (trait, bin)
    for trait, bins in _counts(binned, "bin").items():
        n = sum(bins.values())
        for middle in ((n - 1) // 2, n // 2):
            number, before = _holder(bins, middle)
            ranks.setdefault((trait, int(number)), []).append(middle - before)
    wanted = F.lit(False)
    for trait, number in ranks:
        wanted |= (F.col("trait") == trait) & (F.col("bin") == number)
    middles: dict[str, list[float]] = {}
    for (trait, number), values in _counts(binned.where(wanted), "pValue", "bin").items():
        middles.setdefault(trait, []).extend(_holder(values, r)[0] for r in ranks[trait, number])
    expected = stats.chi2.ppf(0.5, 1)
    return {t: float(stats.chi2.isf(np.mean(pair), 1) / expected) for t, pair in middles.items()}


def qq(associations: DataFrame, trait: str, limit: int = 2000) -> pd.DataFrame:
    """Give the points of a trait's quantile-quantile picture, about ``limit`` at most.

    The strongest half of them are the strongest tests, each. The other tests are counted in narrow
    bins of -log10 p: the greatest p-value of a bin has the rank that the counts up to there add up
    to, so every point is exact.

    Returns:
        Ordered from the strongest, -log10 each: ``expected``, (rank - 0.5) / n; ``observed``, p;
        ``lower`` and ``upper``: within them lies the observed value of this rank in 95 % of scans
        without any association, if tests are independent (the rank-th of n uniform values follows
        Beta(rank, n - rank + 1): Casella and Berger, Statistical Inference, section 5.4).
    """
    own = associations.where((F.col("trait") == trait) & F.col("pValue").isNotNull())
    half = max(1, limit // 2)
    p = own.select("pValue").orderBy("pValue").limit(half).toPandas()["pValue"].to_numpy(np.float64)
    rank, n = np.arange(1, len(p) + 1), len(p)
    if n == half:  # there may be more
        width = max(-np.log10(max(p[-1], SMALLEST)), 1e-3) / half
        minus_log = -F.log10(F.greatest("pValue", F.lit(SMALLEST)))
        binned = own.groupBy(F.floor(minus_log / width).alias("bin"))
        counted = binned.agg(F.count("*").alias("n"), F.max("pValue").alias("p")).toPandas()
        bins = counted.sort_values("bin", ascending=False)
        ranks = bins["n"].cumsum().to_numpy()
        n, more = int(ranks[-1]), ranks > half
        rank, p = np.append(rank, ranks[more]), np.append(p, bins["p"].to_numpy(np.float64)[more])
    quantiles = {
        "expected": (rank - 0.5) / n,
        "observed": np.maximum(p, SMALLEST),
        "lower": stats.beta.ppf(0.975, rank, n - rank + 1),
        "upper": stats.beta.ppf(0.025, rank, n - rank + 1),
    }
    return pd.DataFrame({name: -np.log10(values) for name, values in quantiles.items()})


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


def numbers(associations: DataFrame) -> dict[str, int | float | str]:
    """Give a scan in a few numbers: tests, nulls, and per trait lambda and the strongest test."""
    place = F.format_string(
        "%s:%d:%s:%s", "contigName", F.col("start") + 1, "referenceAllele", "alternateAllele"
    )
    strength = F.struct(F.col("pValue"), -F.abs("statistic"), "contigName", "start", place)
    best = F.min(F.when(F.col("pValue").isNotNull(), strength))
    per_trait = (
        associations.groupBy("trait")
        .agg(F.count("*").alias("n"), F.count("pValue").alias("tested"), best.alias("best"))
        .orderBy("trait")
        .collect()
    )
    inflation = genomic_control(associations)
    found: dict[str, int | float | str] = {
        "tests": sum(row.tested for row in per_trait),
        "untestable": sum(row.n - row.tested for row in per_trait),
    }
    for row in per_trait:
        if row.tested:
            found[f"lambda_{row.trait}"] = round(inflation[row.trait], 4)
            found[f"min_p_{row.trait}"] = row.best["pValue"]
            found[f"top_hit_{row.trait}"] = row.best[-1]
    return found


def rows_of(cohort: str, traits: Sequence[str], test: str) -> str:
    """Give the SQL predicate that selects these traits' rows of ``associations``."""
    listed = ", ".join(map(quoted, traits))
    return f"cohort = {quoted(cohort)} AND test = {quoted(test)} AND trait IN ({listed})"


def _by_strength() -> list[Column | str]:
    """The order of hits: total within a cohort and test."""
    return [ORDER[0], F.abs("statistic").desc(), *ORDER[1:], "trait"]


def _counts(df: DataFrame, of: str, *within: str) -> dict[Any, dict[float, int]]:
    """Count the values of ``of`` in each trait, or each (trait, *within), ascending."""
    found: dict[Any, dict[float, int]] = {}
    for *group, value, n in sorted(map(tuple, df.groupBy("trait", *within, of).count().collect())):
        found.setdefault(tuple(group) if within else group[0], {})[value] = n
    return found


def _holder(counts: dict[float, int], rank: int) -> tuple[float, int]:
    """The value that the rank (from 0) falls on, and how many are below it."""
    below = 0
    for value, n in counts.items():
        if below + n > rank:
            return value, below
        below += n
    raise AssertionError("the rank lies beyond all values")
