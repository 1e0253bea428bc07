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
_PER_UNIT = 200  # bins of -log10 p per unit


def top_hits(associations: DataFrame, n: int = 10) -> list[Row]:
    """Give the ``n`` rows of least p-value, ties by position; null p-values never count.

    p-values that underflow to 0 are ordered by the size of their statistic.
    """
    tested = associations.where(F.col("pValue").isNotNull())
    return tested.orderBy(*_by_strength()).limit(n).collect()


def genomic_control(associations: Rows) -> dict[str, float]:
    """Give each trait's genomic-control lambda (Devlin and Roeder 1999), 1 without inflation.

    The median p-value's chi-squared (1 degree of freedom) over the expected median, 0.4549. The
    median is exact: the bin that holds it is found first, then the values inside.
    """
    return _inflation(associations, _tallies(associations))


def qq(associations: DataFrame, *, tail: int = 1_000) -> pd.DataFrame:
    """Order statistics of a scan's p-values against those expected without any association.

    The i-th smallest of n uniform p-values is a Beta(i, n - i + 1) variable; expected is
    -log10((i - 0.5) / n), the band its central 95 %. The ``tail`` smallest p-values are all
    given; of the others, the greatest of each bin, whose rank is the number of p-values up to it:
    every point is exact.

    Args:
        associations: tests of one trait; null p-values do not count.
        tail: how many of the smallest to give one by one.

    Returns:
        Columns expected, observed, low, high, ascending by expected.
    """
    p = associations.where(F.col("pValue").isNotNull()).select(
        F.greatest("pValue", F.lit(SMALLEST)).alias("p")
    )
    ends = (
        p.groupBy(F.floor(-F.log10("p") * _PER_UNIT).alias("bin"))
        .agg(F.count("*").alias("count"), F.max("p").alias("p"))
        .orderBy(F.desc("bin"))
        .toPandas()
    )
    smallest = np.array([row.p for row in p.orderBy("p").limit(tail).collect()], np.float64)
    ranks = ends["count"].to_numpy(np.int64).cumsum()
    n = int(ranks[-1]) if len(ranks) else 0
    later = ranks > len(smallest)
    rank = np.concatenate([np.arange(1, len(smallest) + 1), ranks[later]]).astype(np.float64)
    observed = np.concatenate([smallest, ends["p"].to_numpy(np.float64)[later]])
    told = pd.DataFrame(
        {
            "expected": -np.log10((rank - 0.5) / max(n, 1)),
            "observed": -np.log10(observed),
            "low": -np.log10(stats.beta.ppf(0.975, rank, n - rank + 1)),
            "high": -np.log10(stats.beta.ppf(0.025, rank, n - rank + 1)),
        }
    )
    return told.sort_values("expected", ignore_index=True)


def loci(
    associations: DataFrame, *, threshold: float, window: int = 500_000, limit: int = 100_000
) -> pd.DataFrame:
    """Regions of the genome with significant tests, strongest first.

    The strongest test leads a locus and takes all significant ones within ``window`` bases to
    either side with it; of the rest the strongest leads the next one, and so on. Neighbours may
    be in linkage disequilibrium all the same: a locus is a place, not an independent signal.

    Args:
        associations: tests of one trait.
        threshold: what is significant.
        window: bases to either side.
        limit: at most so many significant tests are looked at, the strongest ones.

    Returns:
        The leading tests' rows, with ``first`` and ``last`` (0-based starts of the locus's outer
        significant tests) and ``tests`` (how many).
    """
    strong = associations.where(F.col("pValue") < threshold)
    rest = strong.orderBy(*_by_strength()).limit(limit).toPandas()
    found = []
    while len(rest):
        lead = rest.iloc[0]
        near = (rest["contigName"] == lead["contigName"]) & (
            (rest["start"] - lead["start"]).abs() <= window
        )
        own = rest.loc[near, "start"]
        found.append({**lead, "first": own.min(), "last": own.max(), "tests": int(near.sum())})
        rest = rest[~near]
    return pd.DataFrame(found, columns=[*strong.columns, "first", "last", "tests"])


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
