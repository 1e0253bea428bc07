"""Tables reduced for figures: bins and samples against NumPy."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import functions as F

from geneai_spark.report import reduce

PARTS = pytest.mark.parametrize("parts", [1, 7])


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
