"""Estimates of a model's skill from scores and truth, with their 95 % intervals: see `metrics`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import special

Vector = npt.NDArray[np.float64]

#: Standard errors to either side of a 95 % interval.
Z = 1.959963984540054
#: Bins of the calibration curve.
BINS = 10
#: Scores nearer to 0 or 1 count as this far off in the recalibration: the logit has no end there.
EDGE = 1e-6
#: Newton's steps that may be needed, and the gain in likelihood that is lost in its rounding.
_STEPS, _SETTLED = 100, 1e-12


class Estimate(NamedTuple):
    """A number and its 95 % interval; NaN where undefined."""

    value: float
    low: float
    high: float


class Bin(NamedTuple):
    """Samples of like scores: their mean score, the share that are cases, how many they are."""

    score: float
    observed: float
    n: int


class Levels(NamedTuple):
    """Samples by their different scores, ascending; no metric needs more. Shape (levels,) each."""

    score: Vector
    cases: npt.NDArray[np.int64]
    controls: npt.NDArray[np.int64]


def called(levels: Levels, threshold: float) -> tuple[int, int]:
    """Cases and controls that are called cases."""
    first = np.searchsorted(levels.score, threshold)
    return int(levels.cases[first:].sum()), int(levels.controls[first:].sum())


def whole(levels: Levels, threshold: float) -> tuple[float, float, float, float]:
    """f1, balanced accuracy, average precision and Brier score.

    Average precision is the sum of precision times gain in recall over falling thresholds, without
    interpolation, as scikit-learn has it.
    """
    tp, fp = called(levels, threshold)
    m, c = int(levels.cases.sum()), int(levels.controls.sum())
    f1 = 2 * tp / (tp + fp + m)
    balanced = (tp / m + 1 - fp / c) / 2
    cases = levels.cases[::-1]
    reached = np.cumsum(cases + levels.controls[::-1])
    precision = np.cumsum(cases) / np.maximum(reached, 1)  # none is called: no case to weigh it
    squares = levels.cases @ np.square(1 - levels.score) + levels.controls @ levels.score**2
    return f1, balanced, float(cases @ precision) / m, float(squares) / (m + c)


def resample(
    levels: Levels,
    cases: npt.NDArray[np.intp],
    controls: npt.NDArray[np.intp],
    threshold: float,
    seed: int,
    resamples: int,
) -> Vector:
    """:func:`whole` of resamples, cases and controls drawn apart, shape (resamples, 4)."""
    rng, size = np.random.default_rng(seed), len(levels.score)
    found = np.empty((resamples, 4))
    for i in range(resamples):
        counts = [
            np.bincount(own[rng.integers(len(own), size=len(own))], minlength=size)
            for own in (cases, controls)
        ]
        found[i] = whole(Levels(levels.score, *counts), threshold)
    return found


def percentiles(value: float, drawn: Vector) -> Estimate:
    """The middle 95 % of resamples; resamples that are all the same have none."""
    drawn = drawn[np.isfinite(drawn)]
    if np.isnan(value) or len(drawn) < 2 or np.ptp(drawn) == 0:
        return Estimate(value, np.nan, np.nan)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Estimate(value, float(low), float(high))


def wilson(k: int, n: int) -> Estimate:
    """A share and Wilson's interval of it."""
    if not n:
        return Estimate(np.nan, np.nan, np.nan)
    share, widen = k / n, 1 + Z**2 / n
    centre = (share + Z**2 / (2 * n)) / widen
    half = Z * np.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2)) / widen
    return Estimate(share, max(0.0, float(centre - half)), min(1.0, float(centre + half)))


def roc_auc(levels: Levels) -> Estimate:
    """Area under the ROC curve with DeLong's interval, on the logit scale.

    Where cases and controls do not overlap the variance is nought, however few there are. The
    interval is then Wilson's, of as many trials as the smaller class has samples: for as few as
    four and four it leaves 0.5 out, as the permutation test does.
    """
    m, c = int(levels.cases.sum()), int(levels.controls.sum())
    # Placements: the share of the other class below a case, above a control, ties half.
    of_case = (np.cumsum(levels.controls) - levels.controls / 2) / c
    of_control = 1 - (np.cumsum(levels.cases) - levels.cases / 2) / m
    area = float(levels.cases @ of_case) / m
    if min(m, c) < 2 or len(levels.score) == 1:
        return Estimate(area, np.nan, np.nan)
    if _apart(levels):
        return wilson(min(m, c), min(m, c)) if area > 0.5 else wilson(0, min(m, c))
    variance = float(levels.cases @ np.square(of_case - area)) / (m - 1) / m
    variance += float(levels.controls @ np.square(of_control - area)) / (c - 1) / c
    half = Z * np.sqrt(variance) / (area * (1 - area))
    low, high = special.expit(special.logit(area) + np.array([-half, half]))
    return Estimate(area, float(low), float(high))


def _apart(levels: Levels) -> bool:
    """Whether all cases score higher than all controls, or all lower."""
    cases, controls = (np.flatnonzero(one) for one in (levels.cases, levels.controls))
    return bool(cases[0] > controls[-1] or cases[-1] < controls[0])


def recalibration(levels: Levels) -> tuple[Estimate, Estimate]:
    """Intercept and slope of the logistic regression of the truth on the logit of the score.

    NaN where the score does not vary, or where a threshold parts cases from controls but for
    ties: no slope is steep enough then.
    """
    undefined = Estimate(np.nan, np.nan, np.nan)
    logits = special.logit(np.clip(levels.score, EDGE, 1 - EDGE))
    of_cases, of_controls = logits[levels.cases > 0], logits[levels.controls > 0]
    if of_cases.min() >= of_controls.max() or of_cases.max() <= of_controls.min():
        return undefined, undefined
    total = levels.cases + levels.controls
    mean = np.average(logits, weights=total)
    scale = np.sqrt(np.average(np.square(logits - mean), weights=total))
    X = np.column_stack([np.ones(len(logits)), (logits - mean) / scale])
    beta, step, likelihood = np.zeros(2), np.zeros(2), -np.inf
    for _ in range(_STEPS):
        eta = X @ (beta + step)
        now = levels.cases @ special.log_expit(eta) + levels.controls @ special.log_expit(-eta)
        if now < likelihood:
            step /= 2  # Newton's step went too far
            continue
        beta, likelihood, p = beta + step, now, special.expit(eta)
        information = X.T @ (X * (total * p * (1 - p))[:, None])
        gradient = X.T @ (levels.cases - total * p)
        step = np.linalg.solve(information, gradient)
        if step @ gradient < _SETTLED * (1 + abs(likelihood)):
            beta = beta + step
            break
    else:
        return undefined, undefined
    back = np.array([[1, -mean / scale], [0, 1 / scale]])
    fitted = back @ beta
    half = Z * np.sqrt(np.diag(back @ np.linalg.inv(information) @ back.T))
    found = [
        Estimate(float(b), float(b - h), float(b + h)) for b, h in zip(fitted, half, strict=True)
    ]
    return found[0], found[1]


def bins(levels: Levels) -> tuple[Bin, ...]:
    """The calibration curve: a level's bin is that of its midrank."""
    total = levels.cases + levels.controls
    ends = np.cumsum(total)
    of = (2 * ends - total) * BINS // (2 * ends[-1])
    found = []
    for own in (of == b for b in np.unique(of)):
        n = int(total[own].sum())
        score = float(total[own] @ levels.score[own]) / n
        found.append(Bin(score, int(levels.cases[own].sum()) / n, n))
    return tuple(found)


def errors(y: Vector, p: Vector) -> tuple[float, float, float]:
    """R squared, root mean squared error, mean absolute error."""
    residuals = y - p
    squares = float(residuals @ residuals)
    spread = float(np.square(y - y.mean()).sum()) if np.ptp(y) > 0 else np.nan
    return 1 - squares / spread, float(np.sqrt(squares / len(y))), float(np.abs(residuals).mean())


def pearson(y: Vector, p: Vector) -> Estimate:
    """Pearson's correlation with Fisher's interval, for which four samples are needed."""
    if np.ptp(y) == 0 or np.ptp(p) == 0:
        return Estimate(np.nan, np.nan, np.nan)
    r = float(np.clip(np.corrcoef(y, p)[0, 1], -1, 1))
    if len(y) < 4 or abs(r) == 1:
        return Estimate(r, np.nan, np.nan)
    low, high = np.tanh(np.arctanh(r) + np.array([-Z, Z]) / np.sqrt(len(y) - 3))
    return Estimate(r, float(low), float(high))
