"""Tables of any size to what a figure can hold: bins and bounded samples.

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

Vector = npt.NDArray[np.float64]

_HASH_RANGE = 1_000_000


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
