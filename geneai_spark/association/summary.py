"""What a scan says: its strongest hits and loci, its inflation, and the points worth drawing.

Only what is given back comes to the driver, however many tests there are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F
from scipy import stats

from geneai_spark.stored import Rows, fold_rows
from geneai_spark.tasks import Batches

ORDER = ("pValue", "contigName", "start", "referenceAllele", "alternateAllele")
BINS = 1000  # of p-values, in the search for their median
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


def genomic_control(associations: Rows) -> dict[str, float]:
    """Give each trait's genomic-control lambda (Devlin and Roeder 1999), 1 without inflation.

    The median p-value's chi-squared (1 degree of freedom) over the expected median, 0.4549. The
    median is exact: the bin that holds it is found first, then the values inside.
    """
    return _inflation(associations, _tallies(associations))


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


def numbers(associations: Rows, traits: Sequence[str]) -> dict[str, int | float | str]:
    """Give a scan in a few numbers: tests, nulls, and per trait lambda and the strongest test.

    Args:
        associations: the table, one cohort and test.
        traits: those that count.
    """
    tallies = dict(sorted(_tallies(associations, traits).items()))
    inflation = _inflation(associations, tallies)
    found: dict[str, int | float | str] = {
        "tests": sum(one.tested for one in tallies.values()),
        "untestable": sum(one.rows - one.tested for one in tallies.values()),
    }
    for trait, one in tallies.items():
        if one.best is not None:
            found[f"lambda_{trait}"] = round(inflation[trait], 4)
            found[f"min_p_{trait}"] = one.best[0]
            found[f"top_hit_{trait}"] = one.best[-1]
    return found


def _by_strength() -> list[Column | str]:
    """The order of hits: total within a cohort and test."""
    return [ORDER[0], F.abs("statistic").desc(), *ORDER[1:], "trait"]


@dataclass
class _Tally:
    """What is kept of a trait's tests.

    Attributes:
        rows: tests, those without a result too.
        bins: tested ones by p-value, int64, shape (BINS + 1,).
        best: (p, -|statistic|, contig, start, place) of the strongest test.
    """

    rows: int
    bins: npt.NDArray[np.int64]
    best: tuple[float, float, str, int, str] | None = None

    @property
    def tested(self) -> int:
        return int(self.bins.sum())

    def merge(self, other: _Tally) -> _Tally:
        found = [best for best in (self.best, other.best) if best is not None]
        return _Tally(self.rows + other.rows, self.bins + other.bins, min(found, default=None))


def _tallies(associations: Rows, traits: Sequence[str] | None = None) -> dict[str, _Tally]:
    """Go through the tests once; traits None: all."""
    place = ["contigName", "start", "referenceAllele", "alternateAllele"]

    def tallied(batches: Batches) -> dict[str, _Tally]:
        found: dict[str, _Tally] = {}
        for batch in batches:
            if traits is not None:
                batch = batch.filter(pc.is_in(batch.column("trait"), pa.array(traits, pa.string())))
            names, of, p = _by_trait(batch)
            tested = ~np.isnan(p)
            rows = np.bincount(of, minlength=len(names))
            cells = of[tested] * (BINS + 1) + _bin(p[tested])
            bins = np.bincount(cells, minlength=len(names) * (BINS + 1)).reshape(-1, BINS + 1)
            least = np.full(len(names), np.inf)
            np.minimum.at(least, of[tested], p[tested])
            best: dict[int, tuple[float, float, str, int, str]] = {}
            strongest = np.flatnonzero(p == least[of])
            some = batch.select([*place, "statistic"]).take(pa.array(strongest)).to_pylist()
            for row, i in zip(some, strongest, strict=True):
                contig, start, ref, alt = (row[name] for name in place)
                spelt = f"{contig}:{start + 1}:{ref}:{alt}"
                one = (float(p[i]), -abs(row["statistic"]), contig, start, spelt)
                best[of[i]] = min(one, best.get(of[i], one))
            for t, name in enumerate(names):
                own = _Tally(int(rows[t]), bins[t], best.get(t))
                found[name] = found[name].merge(own) if name in found else own
        return found

    return fold_rows(associations, ["trait", "pValue", "statistic", *place], tallied, _merged) or {}


def _merged(one: dict[str, _Tally], other: dict[str, _Tally]) -> dict[str, _Tally]:
    for name, tally in other.items():
        one[name] = one[name].merge(tally) if name in one else tally
    return one


def _inflation(associations: Rows, tallies: Mapping[str, _Tally]) -> dict[str, float]:
    """Find each trait's median p-value among the values of the bins that hold it."""
    wanted: dict[str, tuple[int, int, list[int]]] = {}  # first and last bin, ranks within them
    for trait, one in tallies.items():
        if n := one.tested:
            middles = [(n - 1) // 2, n // 2]
            upto = np.cumsum(one.bins)
            first, last = np.searchsorted(upto, middles, side="right")
            before = int(upto[first - 1]) if first else 0
            wanted[trait] = int(first), int(last), [rank - before for rank in middles]

    def chosen(batches: Batches) -> dict[str, list[npt.NDArray[np.float64]]]:
        found: dict[str, list[npt.NDArray[np.float64]]] = {}
        for batch in batches:
            names, of, p = _by_trait(batch)
            edges = [wanted.get(name, (0, -1, []))[:2] for name in names]
            first, last = np.array(edges, np.int64).T
            number = _bin(np.nan_to_num(p, nan=2.0))
            inside = (number >= first[of]) & (number <= last[of])
            for t in np.unique(of[inside]):
                found.setdefault(names[t], []).append(p[inside & (of == t)])
        return found

    def joined(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
        for name, values in other.items():
            one.setdefault(name, []).extend(values)
        return one

    values = fold_rows(associations, ["trait", "pValue"], chosen, joined) or {}
    expected = stats.chi2.ppf(0.5, 1)
    found = {}
    for trait, (_, _, ranks) in wanted.items():
        middle = np.sort(np.concatenate(values[trait]))[ranks].mean()
        found[trait] = float(stats.chi2.isf(middle, 1) / expected)
    return found


def _by_trait(
    batch: pa.RecordBatch,
) -> tuple[list[str], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Names of traits, which one each row is of, and p-values, NaN where null."""
    traits = batch.column("trait").dictionary_encode()
    p = batch.column("pValue").to_numpy(zero_copy_only=False)
    return traits.dictionary.to_pylist(), traits.indices.to_numpy().astype(np.int64), p


def _bin(p: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    return (p * BINS).astype(np.int64)
