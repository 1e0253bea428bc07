"""Differences and permutations against loops written out, scikit-learn and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import r2_score, roc_auc_score

from geneai_spark.models.comparison import chance, difference, verdict
from geneai_spark.models.estimates import Estimate

RNG = np.random.default_rng(3)
TRUTH = (RNG.random(90) < 0.4).astype(float)
GOOD = np.round(TRUTH * 0.8 + RNG.normal(0, 0.7, 90), 1)  # rounded: with ties
POOR = np.round(TRUTH * 0.2 + RNG.normal(0, 0.7, 90), 1)


def test_difference__of_aucs_is_a_loop_over_scikit_learns():
    found = difference(TRUTH, GOOD, POOR, binary=True, seed=5, resamples=60)
    rng, drawn = np.random.default_rng(5), []
    cases, controls = np.flatnonzero(TRUTH == 1), np.flatnonzero(TRUTH == 0)
    for _ in range(60):
        rows = [own[rng.integers(len(own), size=len(own))] for own in (cases, controls)]
        both = np.concatenate(rows)
        aucs = [roc_auc_score(TRUTH[both], scores[both]) for scores in (GOOD, POOR)]
        drawn.append(aucs[0] - aucs[1])
    value = roc_auc_score(TRUTH, GOOD) - roc_auc_score(TRUTH, POOR)
    np.testing.assert_allclose(found, (value, *np.percentile(drawn, [2.5, 97.5])), rtol=1e-12)


def test_difference__of_r2_is_a_loop_over_scikit_learns():
    truth = RNG.normal(size=60)
    one, other = truth + RNG.normal(size=60), 0.3 * truth
    found = difference(truth, one, other, binary=False, seed=6, resamples=60)
    rng, drawn = np.random.default_rng(6), []
    for _ in range(60):
        rows = rng.integers(60, size=60)
        drawn.append(r2_score(truth[rows], one[rows]) - r2_score(truth[rows], other[rows]))
    value = r2_score(truth, one) - r2_score(truth, other)
    np.testing.assert_allclose(found, (value, *np.percentile(drawn, [2.5, 97.5])), rtol=1e-12)


def test_difference__turns_round_and_is_paired():
    one = difference(TRUTH, GOOD, POOR, binary=True)
    other = difference(TRUTH, POOR, GOOD, binary=True)
    np.testing.assert_allclose(other, (-one.value, -one.high, -one.low), atol=1e-12)
    # A score and nearly the same one: apart their intervals would be as wide as GOOD's.
    near = difference(TRUTH, GOOD, GOOD + RNG.normal(0, 0.02, 90), binary=True)
    assert near.high - near.low < (one.high - one.low) / 3
    same = difference(TRUTH, GOOD, 2 * GOOD, binary=True)
    assert same.value == 0 and np.isnan(same.low)


@pytest.mark.parametrize(("observed", "p"), [(0.61, 1 / 5), (0.6, 2 / 5), (0.3, 1.0)])
def test_chance__p_by_hand(observed, p):
    assert chance(observed, [0.4, 0.5, 0.6, 0.45], 0.5).p == pytest.approx(p)


def test_chance__interval_is_scipys_and_a_leak_lies_above():
    null = [0.52, 0.47, 0.55, 0.5, 0.49]
    found = chance(0.8, null, 0.5)
    assert found.mean[1:] == pytest.approx(stats.ttest_1samp(null, 0).confidence_interval())
    assert found.mean.value == pytest.approx(np.mean(null)) and not found.leak
    assert chance(0.8, [value + 0.1 for value in null], 0.5).leak
    assert not chance(0.8, [value - 0.1 for value in null], 0.5).leak  # below is no leak
    assert chance(1.0, [1.0, 1.0], 0.5).leak and not chance(0.5, [0.5, 0.5], 0.5).leak
    alone = chance(0.8, [0.9], 0.5)
    assert np.isnan(alone.mean.low) and not alone.leak and alone.p == 1


def test_verdict__names_the_better_first_and_beats_only_beyond_the_interval():
    told = verdict("forest", "ridge", "roc_auc", Estimate(0.0104, -0.021, 0.04))
    assert told == "forest does not beat ridge: difference in AUC 0.010 (-0.021 to 0.040)"
    told = verdict("forest", "ridge", "r2", Estimate(-0.1, -0.2, -0.05))
    assert told == "ridge beats forest: difference in R2 0.100 (0.050 to 0.200)"
    assert "no interval" in verdict("a", "b", "r2", Estimate(0.0, np.nan, np.nan))
