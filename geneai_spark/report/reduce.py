"""Tables of any size to what a figure can hold: bins, bounded samples, order statistics.

All of it by Spark aggregation or by a hash of the row's key: nothing depends on partitions, and no
more than a bounded number of rows reaches the driver.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from scipy import stats

Vector = npt.NDArray[np.float64]

_HASH_RANGE = 1_000_000
_PER_UNIT = 200  # bins of -log10 p per unit


class Bins(NamedTuple):
    """A histogram.

    Attributes:
        edges: ascending, shape (bins + 1,); what lies outside is in the first or last bin.
        counts: shape (bins,).
        missing: values that are null or not a number.
    """

    edges: Vector
    counts: Vector
    missing: int

    @property
    def total(self) -> int:
        """Values counted."""
        return int(self.counts.sum())


def histograms(df: DataFrame, values: Mapping[str, tuple[Column, Vector]]) -> dict[str, Bins]:
    """Count several columns into bins, in one pass.

    Args:
        df: any rows.
        values: name -> (what to count: a number, or an array of numbers; ascending edges of
            equal width).
    """
    names, each = list(values), []
    for i, (column, edges) in enumerate(values.values()):
        if not dict(df.select(column.alias("v")).dtypes)["v"].startswith("array"):
            column = F.array(column)
        each.append(F.transform(F.coalesce(column, F.array()), _place(i, edges)))
    counted = (
        df.select(F.explode(F.concat(*each)).alias("at"))
        .groupBy("at.which", "at.bin")
        .count()
        .collect()
    )
    counts = [np.zeros(len(edges) - 1) for _, edges in values.values()]
    missing = [0] * len(names)
    for which, place, count in counted:
        if place is None:
            missing[which] = count
        else:
            counts[which][place] = count
    return {name: Bins(values[name][1], counts[i], missing[i]) for i, name in enumerate(names)}


def _place(which: int, edges: Vector):  # type: ignore[no-untyped-def]
    """Give the function from a value to its place: (which histogram, bin or null)."""
    low, width, last = float(edges[0]), float(edges[1] - edges[0]), len(edges) - 2

    def place(value: Column) -> Column:
        at = F.floor((value.cast("double") - low) / width)
        at = F.least(F.greatest(at, F.lit(0)), F.lit(last)).cast("int")
        known = value.isNotNull() & ~F.isnan(value.cast("double"))
        return F.struct(F.lit(which).alias("which"), F.when(known, at).alias("bin"))

    return place


def sample(df: DataFrame, key: Sequence[str], limit: int) -> pd.DataFrame:
    """About ``limit`` rows, or all, chosen by the hash of their key and in its order."""
    share = min(1.0, limit / max(df.count(), 1))
    if share < 1:
        place = F.pmod(F.xxhash64(*key), F.lit(_HASH_RANGE))
        df = df.where(place < int(share * _HASH_RANGE))
    return df.orderBy(*key).toPandas()


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
        F.greatest("pValue", F.lit(1e-300)).alias("p")
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
    order = ["pValue", "contigName", "start", "referenceAllele", "alternateAllele"]
    strength = F.abs("statistic").desc()
    rest = strong.orderBy(order[0], strength, *order[1:]).limit(limit).toPandas()
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
