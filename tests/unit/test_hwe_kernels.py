"""Exact tests against sums over all tables by logarithms of factorials, and scipy."""

from __future__ import annotations

from math import exp, lgamma, log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from geneai_spark.quality import hwe_kernels as kernels


def slow_hwe(hets: int, hom1: int, hom2: int) -> tuple[float, float]:
    """(p, mid-p) by the formula, every table."""
    n, rare = hets + hom1 + hom2, 2 * hom1 + hets
    weights = {
        h: h * log(2) - sum(lgamma(k + 1) for k in (h, (rare - h) // 2, (2 * n - rare - h) // 2))
        for h in range(rare % 2, min(rare, 2 * n - rare) + 1, 2)
    }
    most = max(weights.values())
    p = {h: exp(w - most) for h, w in weights.items()}
    total, observed = sum(p.values()), p[hets]
    below = sum(x for x in p.values() if x <= observed * (1 + 1e-7))
    ties = sum(x for x in p.values() if abs(x / observed - 1) <= 1e-7) if observed else 0.0
    return below / total, (below - ties / 2) / total


counts = st.integers(0, 60)


@settings(deadline=None)  # the first call compiles
@given(counts, counts, counts)
def test_hwe__is_the_sum_over_all_tables(hets, hom1, hom2):
    found = kernels.hwe(hets, hom1, hom2)
    if hets + hom1 + hom2 == 0:
        assert np.isnan(found).all()
    else:
        assert found == pytest.approx(slow_hwe(hets, hom1, hom2), rel=1e-10, abs=1e-300)


@pytest.mark.parametrize(
    ("table", "p"),
    [((57, 14, 50), 0.842279756570793), ((0, 10, 490_000), 8.012288e-52)],
    ids=["Wigginton's example", "half a million samples"],
)
def test_hwe__known_values(table, p):
    assert kernels.hwe(*table)[0] == pytest.approx(p, rel=1e-6)


def test_hwe__of_half_a_million_samples_as_the_sum_over_all_tables():
    for table in ((249_500, 125_250, 125_250), (2000, 4, 497_996), (40, 5, 499_955)):
        assert kernels.hwe(*table) == pytest.approx(slow_hwe(*table), rel=1e-6)


def test_hwe__is_nothing_beyond_the_range_of_floats():
    assert kernels.hwe(1000, 200_000, 299_000) == (0.0, 0.0)


def test_hwe_tests__each_alt_against_all_else():
    # 0/0 x 3, 0/1, 1/2 x 2, 2/2: allele 1 is in 3 hets, allele 2 in 2 hets and a homozygote
    offsets = np.array([0, 3, 4], np.int64)
    diploids, copies = np.array([7, 0], np.int32), np.array([7, 3, 4, 0], np.int32)
    p, mid = kernels.hwe_tests(offsets, diploids, copies, np.array([3, 0, 1, 0], np.int32))
    assert (p[0], mid[0]) == pytest.approx(slow_hwe(3, 0, 4))
    assert (p[1], mid[1]) == pytest.approx(slow_hwe(2, 1, 4))
    assert len(p) == 2


@settings(deadline=None)  # the first call compiles
@given(counts, counts, counts, counts)
def test_fisher__as_scipy(a, b, c, d):
    assert kernels.fisher(a, b, c, d) == pytest.approx(
        stats.fisher_exact([[a, b], [c, d]]).pvalue, rel=1e-9
    )


def test_fisher_tests__a_record_a_value():
    missing = np.array([[1, 9], [1, 9], [0, 0]], np.int32)
    expected = stats.fisher_exact([[1, 49], [9, 31]]).pvalue
    found = kernels.fisher_tests(missing, np.array([50, 40]))
    assert found == pytest.approx([expected, expected, 1.0], rel=1e-9)
