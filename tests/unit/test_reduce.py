"""Tables reduced for figures: bins, samples, QQ and loci against NumPy, SciPy and by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import functions as F
from scipy import stats

from geneai_spark.report import reduce

PARTS = pytest.mark.parametrize("parts", [1, 7])


def scan(spark, p, places=None, parts=1):
    """A scan with these p-values; places are (contig, start)."""
    places = places or [("1", i) for i in range(len(p))]
    rows = [(c, s, "A", "C", v, 1.0) for (c, s), v in zip(places, p, strict=True)]
    columns = "contigName string, start long, referenceAllele string, alternateAllele string, "
    df = spark.createDataFrame(rows, columns + "pValue double, statistic double")
    return df.repartition(parts)


@PARTS
def test_histograms__as_numpy_counts(spark, parts):
    rng = np.random.default_rng(3)
    x, lists = rng.normal(size=500), [rng.uniform(size=i % 4).tolist() for i in range(500)]
    rows = [(None if i == 7 else float("nan") if i == 9 else float(v), lists[i] if i != 5 else None)
            for i, v in enumerate(x)]  # fmt: skip
    df = spark.createDataFrame(rows, "x double, many array<double>").repartition(parts)
    edges = {"x": np.linspace(-1, 1, 9), "many": np.linspace(0, 1, 5)}
    found = reduce.histograms(df, {name: (F.col(name), e) for name, e in edges.items()})
    kept = np.clip(np.delete(x, [7, 9]), -0.999, 0.999)
    assert found["x"].counts.tolist() == np.histogram(kept, edges["x"])[0].tolist()
    assert (found["x"].missing, found["x"].total) == (2, 498)
    flat = np.concatenate([v for i, v in enumerate(lists) if i != 5])
    assert found["many"].counts.tolist() == np.histogram(flat, edges["many"])[0].tolist()
    assert found["many"].missing == 0


def test_sample__bounded_and_the_same_rows_each_time(spark):
    df = spark.range(20_000).withColumnRenamed("id", "i")
    one, seven = (reduce.sample(df.repartition(n), ["i"], 2_000) for n in (1, 7))
    pd.testing.assert_frame_equal(one, seven)
    assert 1_700 < len(one) < 2_300 and one["i"].is_monotonic_increasing
    assert reduce.sample(df, ["i"], 20_000)["i"].tolist() == list(range(20_000))


@PARTS
def test_qq__every_point_is_an_exact_order_statistic(spark, parts):
    n, tail = 20_000, 50
    p = np.random.default_rng(8).uniform(size=n)
    p[:3] = [0.0, 1e-30, 1e-12]
    found = reduce.qq(scan(spark, [*p.tolist(), None], parts=parts), tail=tail)
    ordered = np.sort(np.maximum(p, 1e-300))
    rank = np.rint(10 ** -found["expected"].to_numpy() * n + 0.5).astype(int)
    assert found["observed"].to_numpy() == pytest.approx(-np.log10(ordered[rank - 1]), rel=1e-12)
    assert set(range(1, tail + 1)) <= set(rank) and rank.max() == n
    assert tail < len(found) < 2_000 and len(set(rank)) == len(rank)
    i = rank[len(rank) // 2]
    low, high = found.loc[len(rank) // 2, ["low", "high"]]
    assert stats.beta.cdf(10**-low, i, n - i + 1) == pytest.approx(0.975, rel=1e-9)
    assert stats.beta.cdf(10**-high, i, n - i + 1) == pytest.approx(0.025, rel=1e-9)


def test_qq__nothing_tested(spark):
    assert len(reduce.qq(scan(spark, [None]))) == 0


@PARTS
def test_loci__strongest_takes_its_neighbours(spark, parts):
    places = [("1", 1_000_000), ("1", 1_400_000), ("1", 1_600_000), ("1", 2_100_000), ("2", 1_000)]
    df = scan(spark, [1e-9, 1e-20, 1e-10, 1e-11, 1e-8], places, parts)
    found = reduce.loci(df, threshold=5e-8, window=500_000)
    told = found[["contigName", "start", "first", "last", "tests"]].to_numpy().tolist()
    assert told == [
        ["1", 1_400_000, 1_000_000, 1_600_000, 3],
        ["1", 2_100_000, 2_100_000, 2_100_000, 1],
        ["2", 1_000, 1_000, 1_000, 1],
    ]
    assert len(reduce.loci(df, threshold=1e-30)) == 0
