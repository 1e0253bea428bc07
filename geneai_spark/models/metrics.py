"""How well a model does on samples that it has not seen, each number with its 95 % interval.

A number of a few hundred samples is a guess, and the interval says how good a one:

* shares (accuracy, precision, recall, specificity): Wilson 1927, J Am Stat Assoc 22:209;
* ``roc_auc``: the variance of DeLong, DeLong, Clarke-Pearson 1988, Biometrics 44:837, by the
  midranks of Sun and Xu 2014, IEEE Signal Process Lett 21:1389, on the logit scale, so that it
  stays between 0 and 1;
* ``calibration_intercept`` and ``calibration_slope``: Wald's, of the logistic regression of the
  truth on the logit of the score (Cox 1958, Biometrika 45:562); 0 and 1 are ideal, a slope below
  1 is a model too sure of itself;
* ``pearson_r``: Fisher's z;
* all others: percentiles of bootstrap resamples, cases and controls drawn apart.

NaN is what is undefined, or has no interval: resamples that never differ show no error at all,
which of few samples is no evidence that there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from geneai_spark.errors import InputError
from geneai_spark.models import estimates
from geneai_spark.models.estimates import Bin, Estimate, Vector


@dataclass(frozen=True)
class Classification:
    """How well cases are told from controls.

    Attributes:
        n: samples.
        cases: those whose truth is 1; the others are controls.
        threshold: scores from it on are called cases.
        chance: accuracy of always naming the commoner class.
        true_positives: cases called cases.
        false_positives: controls called cases.
        true_negatives: controls called controls.
        false_negatives: cases called controls.
        accuracy: share called rightly.
        balanced_accuracy: mean of recall and specificity; 0.5 is chance.
        precision: share of cases among those called cases.
        recall: share of the cases called cases.
        specificity: share of the controls called controls.
        f1: harmonic mean of precision and recall.
        roc_auc: probability that a case has a higher score than a control, ties half.
        pr_auc: average precision; the share of cases is chance.
        brier: mean squared difference of score and truth.
        calibration_intercept: 0 where scores are probabilities.
        calibration_slope: 1 where scores are probabilities.
        bins: calibration curve, of samples in equal numbers by score; equal scores stay together,
            so there can be fewer than ten bins.
    """

    n: int
    cases: int
    threshold: float
    chance: float
    true_positives: int
    false_positives: int
    true_negatives: int
    false_negatives: int
    accuracy: Estimate
    balanced_accuracy: Estimate
    precision: Estimate
    recall: Estimate
    specificity: Estimate
    f1: Estimate
    roc_auc: Estimate
    pr_auc: Estimate
    brier: Estimate
    calibration_intercept: Estimate
    calibration_slope: Estimate
    bins: tuple[Bin, ...]

    @property
    def beats_chance(self) -> bool:
        """Whether the whole interval of ``roc_auc`` lies above 0.5."""
        return self.roc_auc.low > 0.5


@dataclass(frozen=True)
class Regression:
    """How well a number is predicted.

    Attributes:
        n: samples.
        r2: 1 - squared errors / squared differences from the mean of these samples; 0 is what the
            mean achieves, less is worse. It is not the square of ``pearson_r``.
        pearson_r: correlation, blind to scale and shift.
        rmse: root of the mean squared error, in the unit of the truth.
        mae: mean absolute error, in the unit of the truth.
    """

    n: int
    r2: Estimate
    pearson_r: Estimate
    rmse: Estimate
    mae: Estimate

    @property
    def beats_chance(self) -> bool:
        """Whether the whole interval of ``r2`` lies above 0: better than the mean."""
        return self.r2.low > 0


def classification(
    truth: npt.ArrayLike,
    score: npt.ArrayLike,
    *,
    threshold: float = 0.5,
    seed: int = 0,
    resamples: int = 1000,
) -> Classification:
    """Measure the scores of a two-class model.

    Args:
        truth: 0 or 1, shape (samples,).
        score: probability of 1, shape (samples,).
        threshold: scores from it on are called cases.
        seed: of the bootstrap.
        resamples: of the bootstrap; 0: its intervals are NaN.

    Raises:
        InputError: lengths differ, truth is not 0 or 1 or has one class only, a score is missing
            or outside 0 to 1.
    """
    y, p = _matched(truth, score)
    if wrong := np.count_nonzero((y != 0) & (y != 1)):
        raise InputError(f"truth: {wrong} of {len(y)} values are neither 0 nor 1")
    if wrong := np.count_nonzero(~np.isfinite(p)):
        raise InputError(f"score: {wrong} of {len(p)} values are missing or not finite")
    if wrong := np.count_nonzero((p < 0) | (p > 1)):
        raise InputError(f"score: {wrong} of {len(p)} values lie outside 0 to 1")
    n, m = len(y), np.count_nonzero(y)
    if m in (0, n):
        raise InputError(f"truth: all {n} values are of one class")
    scores, level = np.unique(p, return_inverse=True)
    counts = [np.bincount(level[y == label], minlength=len(scores)) for label in (1, 0)]
    levels = estimates.Levels(scores, *counts)
    tp, fp = estimates.called(levels, threshold)
    resampled = estimates.resample(levels, level[y == 1], level[y == 0], threshold, seed, resamples)
    f1, balanced, pr_auc, brier = (
        estimates.percentiles(value, drawn)
        for value, drawn in zip(estimates.whole(levels, threshold), resampled.T, strict=True)
    )
    intercept, slope = estimates.recalibration(levels)
    return Classification(
        n=n,
        cases=m,
        threshold=threshold,
        chance=max(m, n - m) / n,
        true_positives=tp,
        false_positives=fp,
        true_negatives=n - m - fp,
        false_negatives=m - tp,
        accuracy=estimates.wilson(tp + n - m - fp, n),
        balanced_accuracy=balanced,
        precision=estimates.wilson(tp, tp + fp),
        recall=estimates.wilson(tp, m),
        specificity=estimates.wilson(n - m - fp, n - m),
        f1=f1,
        roc_auc=estimates.roc_auc(levels),
        pr_auc=pr_auc,
        brier=brier,
        calibration_intercept=intercept,
        calibration_slope=slope,
        bins=estimates.bins(levels),
    )


def regression(
    truth: npt.ArrayLike, predicted: npt.ArrayLike, *, seed: int = 0, resamples: int = 1000
) -> Regression:
    """Measure the predictions of a number; what one value everywhere leaves undefined is NaN.

    Args:
        truth: shape (samples,).
        predicted: shape (samples,).
        seed: of the bootstrap.
        resamples: of the bootstrap; 0: its intervals are NaN.

    Raises:
        InputError: lengths differ, there is no sample, or a value is missing.
    """
    y, p = _matched(truth, predicted)
    for name, values in (("truth", y), ("predicted", p)):
        if wrong := np.count_nonzero(~np.isfinite(values)):
            raise InputError(f"{name}: {wrong} of {len(y)} values are missing or not finite")
    n, rng = len(y), np.random.default_rng(seed)
    drawn = np.empty((resamples, 3))
    for i in range(resamples):
        rows = rng.integers(n, size=n)
        drawn[i] = estimates.errors(y[rows], p[rows])
    r2, rmse, mae = (
        estimates.percentiles(value, found)
        for value, found in zip(estimates.errors(y, p), drawn.T, strict=True)
    )
    return Regression(n, r2, estimates.pearson(y, p), rmse, mae)


def by_group(
    truth: npt.ArrayLike,
    score: npt.ArrayLike,
    groups: Sequence[str | None],
    measure: Callable[[Vector, Vector], Classification | Regression],
    least: int = 30,
) -> tuple[dict[str, Classification | Regression], tuple[str, ...]]:
    """Measure each group by itself, ancestries say: a model can fail one of them unseen.

    Args:
        truth: shape (samples,).
        score: shape (samples,).
        groups: label of each sample; None belongs to no group.
        measure: of truth and score of a group's samples: :func:`classification`, say.
        least: groups of fewer samples are left out.

    Returns:
        groups in the order of their names; names of those left out, for they are too small or
        do not differ.

    Raises:
        InputError: lengths differ, or what ``measure`` refuses in a group.
    """
    y, p = _matched(truth, score)
    if len(groups) != len(y):
        raise InputError(f"{len(groups)} groups are given for {len(y)} samples")
    labels = np.array(groups, np.object_)
    found: dict[str, Classification | Regression] = {}
    left_out = []
    for name in sorted({name for name in groups if name is not None}):
        own = labels == name
        if own.sum() < least or np.ptp(y[own]) == 0:
            left_out.append(name)
        else:
            found[name] = measure(y[own], p[own])
    return found, tuple(left_out)


_OF_GROUPS = {
    True: ("accuracy", "roc_auc", "pr_auc", "brier", "calibration_slope"),
    False: ("r2", "pearson_r", "rmse"),
}


def text(
    name: str,
    metrics: Classification | Regression,
    groups: Mapping[str, Classification | Regression] | None = None,
    left_out: Sequence[str] = (),
) -> str:
    """Write metrics for a reader: the text of ``performance_metrics.txt``.

    Args:
        name: of the model.
        metrics: of all samples.
        groups: from :func:`by_group`.
        left_out: groups that were not measured.
    """
    lines = [name, f"{metrics.n:,} samples; 95 % intervals in brackets", ""]
    if isinstance(metrics, Classification):
        controls = metrics.n - metrics.cases
        lines.insert(2, f"{metrics.cases:,} cases, {controls:,} controls")
    lines += [_skill(metrics), ""]
    form = ".3f" if isinstance(metrics, Classification) else ".4g"  # a trait has any scale
    for one in fields(metrics):
        value = getattr(metrics, one.name)
        if isinstance(value, Estimate):
            lines.append(f"{one.name:<22} {_told(value, form)}")
    if isinstance(metrics, Classification):
        lines += [
            "",
            f"Always naming the commoner class has an accuracy of {metrics.chance:.3f}.",
            f"Scores from {metrics.threshold:g} on are called cases:",
            f"{'':<22} {'case':>8} {'control':>8}",
            f"{'called case':<22} {metrics.true_positives:>8,} {metrics.false_positives:>8,}",
            f"{'called control':<22} {metrics.false_negatives:>8,} {metrics.true_negatives:>8,}",
            "",
            "Calibration:",
            f"{'samples':<22} {'score':>8} {'cases':>8}",
            *(f"{one.n:<22,} {one.score:>8.3f} {one.observed:>8.3f}" for one in metrics.bins),
        ]
    for group, own in (groups or {}).items():
        binary = isinstance(own, Classification)
        cases = f", {own.cases:,} cases" if isinstance(own, Classification) else ""
        lines += ["", f"{group}: {own.n:,} samples{cases}", _skill(own)]
        for metric in _OF_GROUPS[binary]:
            lines.append(f"{metric:<22} {_told(getattr(own, metric), form)}")
    if left_out:
        lines += ["", f"Too few samples, or one class only, to measure: {', '.join(left_out)}"]
    return "\n".join(lines) + "\n"


def as_numbers(metrics: Classification | Regression) -> dict[str, float]:
    """Give metrics flat, for MLflow and JSON: ``accuracy``, ``accuracy_low``, ``accuracy_high``.

    What is undefined is left out, as are the bins.
    """
    numbers: dict[str, float] = {}
    for one in fields(metrics):
        value = getattr(metrics, one.name)
        if isinstance(value, Estimate):
            ends = zip(("", "_low", "_high"), value, strict=True)
            numbers.update({one.name + end: float(number) for end, number in ends})
        elif not isinstance(value, tuple):
            numbers[one.name] = float(value)
    return {name: number for name, number in numbers.items() if np.isfinite(number)}


def _skill(metrics: Classification | Regression) -> str:
    if isinstance(metrics, Classification):
        chance, measure, limit = "chance", "roc_auc", 0.5
    else:
        chance, measure, limit = "the mean", "r2", 0
    if metrics.beats_chance:
        return f"Skill above {chance} was shown: the interval of {measure} lies above {limit}."
    return (
        f"No skill above {chance} was shown: the interval of {measure} does not lie above {limit}."
    )


def _told(one: Estimate, form: str = ".3f") -> str:
    value, low, high = (format(number, form) for number in one)
    if np.isnan(one.value):
        return "undefined"
    if np.isnan(one.low) or np.isnan(one.high):
        return f"{value} (no interval)"
    return f"{value} ({low} to {high})"


def _matched(truth: npt.ArrayLike, other: npt.ArrayLike) -> tuple[Vector, Vector]:
    """Both as float64, one value a sample each."""
    y, p = np.asarray(truth, np.float64), np.asarray(other, np.float64)
    if y.ndim != 1 or y.shape != p.shape:
        raise InputError(f"truth has the shape {y.shape}, what is measured by it {p.shape}")
    if not len(y):
        raise InputError("there is no sample to measure")
    return y, p
