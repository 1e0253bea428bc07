"""Metrics against scikit-learn, intervals against statsmodels, SciPy and formulas by hand."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats
from sklearn import metrics as sklearn
from statsmodels.stats.proportion import proportion_confint

from geneai_spark.errors import InputError
from geneai_spark.models import estimates
from geneai_spark.models.metrics import as_numbers, by_group, classification, regression, text

Z = stats.norm.ppf(0.975)


def study(n, skill, seed, digits=12):
    """Truth and score; few digits make ties."""
    rng = np.random.default_rng(seed)
    truth = (rng.random(n) < 0.3).astype(int)
    truth[:2] = 0, 1
    score = special.expit(rng.normal(size=n) + skill * (truth - 0.5) - 0.5)
    return truth, np.round(score, digits)


STUDIES = [
    pytest.param(*study(400, 1.5, 1), id="skilled"),
    pytest.param(*study(400, 1.5, 2, digits=1), id="ties"),
    pytest.param(*study(60, 0.0, 3), id="chance"),
    pytest.param(*study(90, -1.0, 4, digits=2), id="worse"),
]


def brute_auc(truth, score):
    """DeLong's estimate from its definition: every case against every control."""
    cases, controls = score[truth == 1], score[truth == 0]
    above = np.array([[(a > b) + (a == b) / 2 for b in controls] for a in cases])
    of_cases, of_controls = above.mean(axis=1), above.mean(axis=0)
    variance = of_cases.var(ddof=1) / len(cases) + of_controls.var(ddof=1) / len(controls)
    return above.mean(), variance


@pytest.mark.parametrize(("truth", "score"), STUDIES)
@pytest.mark.parametrize("threshold", [0.5, 0.3])
def test_classification__values_as_scikit_learn(truth, score, threshold):
    found = classification(truth, score, threshold=threshold, resamples=0)
    called = score >= threshold
    matrix = sklearn.confusion_matrix(truth, called)
    assert matrix.tolist() == [
        [found.true_negatives, found.false_positives],
        [found.false_negatives, found.true_positives],
    ]
    expected = {
        "accuracy": sklearn.accuracy_score(truth, called),
        "balanced_accuracy": sklearn.balanced_accuracy_score(truth, called),
        "precision": sklearn.precision_score(truth, called),
        "recall": sklearn.recall_score(truth, called),
        "specificity": sklearn.recall_score(truth, called, pos_label=0),
        "f1": sklearn.f1_score(truth, called),
        "roc_auc": sklearn.roc_auc_score(truth, score),
        "pr_auc": sklearn.average_precision_score(truth, score),
        "brier": sklearn.brier_score_loss(truth, score),
    }
    for name, value in expected.items():
        assert getattr(found, name).value == pytest.approx(value, rel=1e-12), name
    assert (found.n, found.cases, found.threshold) == (len(truth), truth.sum(), threshold)
    assert found.chance == pytest.approx(max(truth.mean(), 1 - truth.mean()))


@pytest.mark.parametrize(("truth", "score"), STUDIES)
def test_classification__wilson_as_statsmodels(truth, score):
    found = classification(truth, score, resamples=0)
    tn, fp, fn, tp = sklearn.confusion_matrix(truth, score >= 0.5).ravel()
    for estimate, k, n in (
        (found.accuracy, tp + tn, tp + tn + fp + fn),
        (found.precision, tp, tp + fp),
        (found.recall, tp, tp + fn),
        (found.specificity, tn, tn + fp),
    ):
        expected = proportion_confint(k, n, method="wilson")
        assert estimate[1:] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("truth", "score"), STUDIES)
def test_classification__auc_as_delong_by_hand(truth, score):
    area, variance = brute_auc(truth, score)
    found = classification(truth, score, resamples=0).roc_auc
    half = Z * np.sqrt(variance) / (area * (1 - area))
    expected = special.expit(special.logit(area) + np.array([-half, half]))
    assert found == pytest.approx((area, *expected), rel=1e-12)


@pytest.mark.parametrize(("truth", "score"), STUDIES)
def test_classification__calibration_as_statsmodels(truth, score):
    found = classification(truth, score, resamples=0)
    logit = special.logit(np.clip(score, 1e-6, 1 - 1e-6))
    fit = sm.Logit(truth, sm.add_constant(logit)).fit(disp=0, tol=1e-12)
    for i, estimate in enumerate((found.calibration_intercept, found.calibration_slope)):
        assert estimate == pytest.approx((fit.params[i], *fit.conf_int()[i]), rel=1e-6, abs=1e-8)


def test_classification__calibration_of_honest_and_sure_scores():
    rng = np.random.default_rng(5)
    p = rng.uniform(0.01, 0.99, 20_000)
    truth = rng.random(20_000) < p
    honest = classification(truth, p, resamples=0)
    assert honest.calibration_slope.value == pytest.approx(1, abs=0.06)  # 4 sd
    assert honest.calibration_intercept.value == pytest.approx(0, abs=0.07)
    sure = classification(truth, special.expit(2 * special.logit(p)), resamples=0)
    assert sure.calibration_slope.value == pytest.approx(honest.calibration_slope.value / 2)
    for one in honest.bins:
        assert one.n == 2000 and abs(one.observed - one.score) < 0.05


@settings(max_examples=200)
@given(st.lists(st.tuples(st.booleans(), st.sampled_from([0, 0.1, 0.5, 0.7, 1])), min_size=1))
def test_classification__any_study_has_sound_numbers(pairs):
    truth, score = (np.array(column, float) for column in zip(*pairs, strict=True))
    if len(set(truth.tolist())) == 1:
        with pytest.raises(InputError, match="of one class"):
            classification(truth, score, resamples=0)
        return
    found = classification(truth, score, resamples=20)
    area = sklearn.roc_auc_score(truth, score)
    assert found.roc_auc.value == pytest.approx(area, abs=1e-12)
    for name in ("accuracy", "recall", "roc_auc", "specificity"):
        value, low, high = getattr(found, name)
        assert np.isnan(low) or (0 <= low <= value + 1e-12 and value - 1e-12 <= high <= 1)
    assert sum(one.n for one in found.bins) == len(truth)
    assert sum(one.n * one.observed for one in found.bins) == pytest.approx(truth.sum())
    slope = found.calibration_slope
    overlap = min(score[truth == 1]) < max(score[truth == 0]) and (
        max(score[truth == 1]) > min(score[truth == 0])
    )
    assert np.isfinite(slope).all() == overlap
    if overlap:
        logit = special.logit(np.clip(score, estimates.EDGE, 1 - estimates.EDGE))
        p = special.expit(found.calibration_intercept.value + slope.value * logit)
        assert (truth - p).sum() == pytest.approx(0, abs=1e-5)  # the score equations
        assert (logit * (truth - p)).sum() == pytest.approx(0, abs=1e-4)


def test_classification__bootstrap_as_written_out():
    truth, score = study(120, 1.0, 6, digits=2)
    found = classification(truth, score, seed=3, resamples=2000)
    rng = np.random.default_rng(99)
    cases, controls = np.flatnonzero(truth), np.flatnonzero(truth == 0)
    drawn = []
    for _ in range(400):
        rows = np.concatenate([rng.choice(cases, len(cases)), rng.choice(controls, len(controls))])
        y, p = truth[rows], score[rows]
        drawn.append(
            (
                sklearn.f1_score(y, p >= 0.5),
                sklearn.balanced_accuracy_score(y, p >= 0.5),
                sklearn.average_precision_score(y, p),
                sklearn.brier_score_loss(y, p),
            )
        )
    expected = np.percentile(drawn, [2.5, 97.5], axis=0).T
    estimates = (found.f1, found.balanced_accuracy, found.pr_auc, found.brier)
    for estimate, ends in zip(estimates, expected, strict=True):
        assert estimate[1:] == pytest.approx(ends, abs=0.1 * (ends[1] - ends[0]))
    assert classification(truth, score, seed=3, resamples=2000) == found
    assert classification(truth, score, seed=4, resamples=2000).f1.value == found.f1.value
    assert classification(truth, score, seed=4, resamples=2000).f1 != found.f1


def test_classification__order_of_the_samples_does_not_matter():
    truth, score = study(101, 1.0, 7, digits=1)
    order = np.random.default_rng(8).permutation(101)
    one = classification(truth, score, resamples=0)
    other = classification(truth[order], score[order], resamples=0)
    assert one.bins == other.bins and one.roc_auc == other.roc_auc


def test_classification__bins_of_equal_numbers_keep_ties_together():
    score = np.arange(20) / 20
    found = classification([0, 1] * 10, score, resamples=0).bins
    assert [one.n for one in found] == [2] * 10
    assert found[3] == pytest.approx((0.325, 0.5, 2))
    (one,) = classification([0, 0, 1, 1], [0.4] * 4, resamples=0).bins
    assert one == pytest.approx((0.4, 0.5, 4))


def test_classification__coverage_of_the_auc():
    """The true area of two normals one apart is Phi(1/sqrt 2); few intervals miss it."""
    rng, area = np.random.default_rng(9), stats.norm.cdf(1 / np.sqrt(2))
    truth, hits = np.repeat([0, 1], 40), 0
    for _ in range(400):
        score = special.expit(rng.normal(size=80) + truth)
        _, low, high = classification(truth, score, resamples=0).roc_auc
        hits += low < area < high
    assert 0.92 < hits / 400 < 0.98


@pytest.mark.parametrize(("each", "beats"), [(2, False), (3, False), (4, True), (50, True)])
def test_classification__few_samples_told_apart_are_not_a_proof(each, beats):
    truth = np.repeat([0, 1], each)
    found = classification(truth, truth * 0.5 + 0.25)
    assert found.roc_auc == pytest.approx((1, *proportion_confint(each, each, method="wilson")))
    assert found.beats_chance == beats
    # A permutation test of both sides, at 5 %, is of the same mind.
    assert beats == (2 / special.comb(2 * each, each) < 0.05)
    assert found.f1.value == 1 and np.isnan(found.f1.low) and np.isnan(found.pr_auc.high)
    assert np.isnan(found.calibration_slope).all()
    wrong = classification(1 - truth, truth * 0.5 + 0.25, resamples=0)
    assert wrong.roc_auc.value == 0 and wrong.roc_auc.high == pytest.approx(1 - found.roc_auc.low)


def test_classification__undefined_is_nan():
    flat = classification([0, 1, 1, 0], [0.4] * 4)
    assert flat.roc_auc.value == 0.5 and np.isnan(flat.roc_auc.low) and not flat.beats_chance
    assert np.isnan(flat.precision).all() and flat.f1.value == 0
    assert np.isnan(flat.calibration_intercept).all() and np.isnan(flat.calibration_slope).all()
    one_case = classification([0, 1, 0, 0], [0.1, 0.9, 0.2, 0.3])
    assert one_case.roc_auc.value == 1 and np.isnan(one_case.roc_auc.low)
    assert not one_case.beats_chance


@pytest.mark.parametrize(
    ("truth", "score", "match"),
    [
        ([0, 1], [0.5], r"shape \(2,\).*\(1,\)"),
        ([[0, 1]], [[0.5, 0.5]], "shape"),
        ([], [], "no sample"),
        ([0, 2, 3], [0.5] * 3, "truth: 2 of 3 values are neither 0 nor 1"),
        ([0, np.nan], [0.5] * 2, "truth: 1 of 2 values are neither"),
        ([0, 1, 1], [0.5, np.nan, np.inf], "score: 2 of 3 values are missing"),
        ([0, 1, 1], [0.5, -0.25, 1.25], "score: 2 of 3 values lie outside 0 to 1"),
        ([1, 1], [0.5, 0.5], "all 2 values are of one class"),
        ([0, 0], [0.5, 0.5], "all 2 values are of one class"),
    ],
)
def test_classification__raises(truth, score, match):
    with pytest.raises(InputError, match=match) as caught:
        classification(truth, score)
    assert "0.25" not in str(caught.value)


def test_regression__values_and_intervals():
    rng = np.random.default_rng(10)
    truth = rng.normal(170, 10, 200)
    predicted = 0.6 * truth + rng.normal(70, 6, 200)
    found = regression(truth, predicted, resamples=2000)
    assert found.n == 200 and found.beats_chance
    assert found.r2.value == pytest.approx(sklearn.r2_score(truth, predicted), rel=1e-12)
    rmse = sklearn.root_mean_squared_error(truth, predicted)
    assert found.rmse.value == pytest.approx(rmse, rel=1e-12)
    mae = sklearn.mean_absolute_error(truth, predicted)
    assert found.mae.value == pytest.approx(mae, rel=1e-12)
    r = stats.pearsonr(truth, predicted)
    expected = (r.statistic, *r.confidence_interval())
    assert found.pearson_r == pytest.approx(expected, rel=1e-12)
    drawn = []
    for _ in range(400):
        rows = rng.integers(200, size=200)
        y, p = truth[rows], predicted[rows]
        both = (sklearn.root_mean_squared_error(y, p), sklearn.mean_absolute_error(y, p))
        drawn.append((sklearn.r2_score(y, p), *both))
    ends = np.percentile(drawn, [2.5, 97.5], axis=0).T
    for estimate, (low, high) in zip((found.r2, found.rmse, found.mae), ends, strict=True):
        assert estimate[1:] == pytest.approx((low, high), abs=0.1 * (high - low))


def test_regression__the_mean_and_a_shift_are_no_skill():
    truth = np.random.default_rng(11).normal(size=100)
    mean = regression(truth, np.full(100, truth.mean()))
    assert mean.r2.value == pytest.approx(0, abs=1e-12) and not mean.beats_chance
    assert np.isnan(mean.pearson_r).all()
    shifted = regression(truth, truth + 5)
    assert shifted.pearson_r.value == pytest.approx(1) and shifted.r2.value < -10
    assert not shifted.beats_chance
    flat = regression([3.0] * 5, [1.0, 2, 3, 4, 5])
    assert np.isnan(flat.r2).all() and np.isnan(flat.pearson_r).all() and not flat.beats_chance
    assert flat.mae.value == pytest.approx(1.2)
    few = regression([1.0, 2, 4], [1.0, 3, 3])
    assert np.isfinite(few.pearson_r.value) and np.isnan(few.pearson_r.low)
    perfect = regression([1.0, 2, 4, 7], [1.0, 2, 4, 7], resamples=5)
    assert perfect.rmse == pytest.approx((0, np.nan, np.nan), nan_ok=True)


@pytest.mark.parametrize(
    ("truth", "predicted", "match"),
    [
        ([1.0, 2], [1.0], "shape"),
        ([], [], "no sample"),
        ([1.0, np.nan], [1.0, 2], "truth: 1 of 2"),
        ([1.0, 2], [np.inf, np.nan], "predicted: 2 of 2"),
    ],
)
def test_regression__raises(truth, predicted, match):
    with pytest.raises(InputError, match=match):
        regression(truth, predicted)


def test_by_group__each_by_itself():
    truth, score = study(300, 1.0, 12)
    groups = ["EUR"] * 150 + ["AFR"] * 100 + ["EAS"] * 10 + [None] * 10 + ["SAS"] * 30
    truth[270:] = 0
    few, none = (partial(classification, resamples=n) for n in (50, 0))
    found, left_out = by_group(truth, score, groups, few)
    assert list(found) == ["AFR", "EUR"] and left_out == ("EAS", "SAS")
    assert found["AFR"] == classification(truth[150:250], score[150:250], resamples=50)
    assert by_group(truth, score, groups, none, 10)[1] == ("SAS",)
    with pytest.raises(InputError, match="299 groups are given for 300 samples"):
        by_group(truth, score, groups[1:], none)


def test_text__says_what_was_found():
    truth, score = study(400, 1.5, 1)
    found = classification(truth, score)
    told = text("forest 3", found, {"EUR": found}, ["EAS", "SAS"])
    assert told.startswith(f"forest 3\n400 samples; 95 % intervals in brackets\n{truth.sum()} case")
    area, low, high = found.roc_auc
    assert f"roc_auc                {area:.3f} ({low:.3f} to {high:.3f})\n" in told
    assert told.count("Skill above chance was shown") == 2 and "No skill" not in told
    assert "EUR: 400 samples" in told and told.endswith("to measure: EAS, SAS\n")
    assert f"an accuracy of {found.chance:.3f}" in told
    assert max(map(len, told.splitlines())) <= 100


def test_text__is_plain_where_there_is_no_skill():
    truth, score = study(60, 0.0, 3)
    found = classification(truth, score)
    assert found.roc_auc.low < 0.5 < found.roc_auc.high
    assert "No skill above chance was shown" in text("m", found)
    flat = text("m", classification([0, 1], [0.4, 0.4]))
    assert "No skill above chance was shown" in flat
    assert "precision              undefined\n" in flat
    assert "roc_auc                0.500 (no interval)\n" in flat
    told = text("m", regression([1.0, 2, 3, 4], [4.0, 3, 2, 1]))
    assert "No skill above the mean was shown" in told and "Calibration" not in told


def test_as_numbers__flat_and_finite():
    truth, score = study(100, 1.0, 13)
    found = classification(truth, score, resamples=50)
    numbers = as_numbers(found)
    assert numbers["accuracy_low"] == found.accuracy.low and numbers["n"] == 100
    assert json.loads(json.dumps(numbers, allow_nan=False)) == numbers
    assert all(type(number) is float for number in numbers.values())
    undefined = as_numbers(classification([0, 1], [0.4, 0.4]))
    assert "precision" not in undefined and "roc_auc_low" not in undefined
    assert undefined["roc_auc"] == 0.5
    few = as_numbers(regression([1.0, 2, 4], [1.0, 3, 3], resamples=0))
    assert few.keys() == {"n", "r2", "pearson_r", "rmse", "mae"}
