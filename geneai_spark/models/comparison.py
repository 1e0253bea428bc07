"""Whether a model beats another, and whether it beats chance: numbers of resamples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import stats

from geneai_spark.models.estimates import Estimate

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]

#: What no honest model's mean lies above when labels are permuted.
CHANCE = {"roc_auc": 0.5, "r2": 0.0, "pearson_r": 0.0}
NAMES = {"roc_auc": "AUC", "r2": "R2", "pearson_r": "correlation"}


class Chance(NamedTuple):
    """What permuted labels gave.

    Attributes:
        mean: with its interval, by Student's t; none of less than two.
        p: of the observed value, one-sided.
        leak: whether the interval lies above what chance is.
    """

    mean: Estimate
    p: float
    leak: bool


def chance(observed: float, null: Sequence[float], centre: float) -> Chance:
    """Compare a value with those of permuted labels.

    Args:
        observed: of the true labels.
        null: of permuted ones, at least one.
        centre: what an honest model's mean of them does not lie above.
    """
    values = np.asarray(null, np.float64)
    n, mean = len(values), float(values.mean())
    p = (1 + int((values >= observed).sum())) / (1 + n)
    if n < 2:
        return Chance(Estimate(mean, np.nan, np.nan), p, False)
    half = float(stats.t.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n))
    return Chance(Estimate(mean, mean - half, mean + half), p, mean - half > centre)


def difference(
    truth: Floats,
    one: Floats,
    other: Floats,
    *,
    binary: bool,
    seed: int = 0,
    resamples: int = 1000,
) -> Estimate:
    """AUC, or R2, of one model less that of another, with percentiles of bootstrap resamples.

    Both are measured on the same samples in each resample; cases and controls are drawn apart. A
    difference that never differs has no interval.

    Args:
        truth: 0 or 1, or a number, (samples,); of two values at least.
        one: scores, (samples,).
        other: scores, (samples,).
        binary: whether the truth is 0 or 1.
        seed: of the bootstrap.
        resamples: of the bootstrap.
    """
    strata = [np.flatnonzero(truth == 1), np.flatnonzero(truth == 0)]
    if not binary:
        strata = [np.arange(len(truth))]
    skills = [(_area if binary else _r2)(truth, scores) for scores in (one, other)]
    rng = np.random.default_rng(seed)
    drawn = np.empty(resamples)
    for i in range(resamples):
        rows = [own[rng.integers(len(own), size=len(own))] for own in strata]
        drawn[i] = skills[0](rows) - skills[1](rows)
    value, drawn = skills[0](strata) - skills[1](strata), drawn[np.isfinite(drawn)]
    if len(drawn) < 2 or np.ptp(drawn) == 0:
        return Estimate(value, np.nan, np.nan)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Estimate(value, float(low), float(high))


def verdict(family: str, other: str, metric: str, found: Estimate) -> str:
    """Say which of two beats the other, if one does: the interval lies to one side of 0."""
    value, low, high = found
    if value < 0:
        family, other, value, low, high = other, family, -value, -high, -low
    told = f"difference in {NAMES[metric]} {value:.3f}"
    told += f" ({low:.3f} to {high:.3f})" if np.isfinite(low) else " (no interval)"
    return f"{family} {'beats' if low > 0 else 'does not beat'} {other}: {told}"


def _area(truth: Floats, scores: Floats) -> Callable[[Sequence[Ints]], float]:
    """The AUC of drawn cases and controls; scores are sorted once."""
    level = np.unique(scores, return_inverse=True)[1]
    size = int(level.max()) + 1

    def area(rows: Sequence[Ints]) -> float:
        cases, controls = (np.bincount(level[own], minlength=size) for own in rows)
        below = np.cumsum(controls) - controls / 2  # ties half
        return float(cases @ below) / (len(rows[0]) * len(rows[1]))

    return area


def _r2(truth: Floats, scores: Floats) -> Callable[[Sequence[Ints]], float]:
    """R2 of drawn samples; NaN where all are alike."""
    squares = np.square(truth - scores)

    def r2(rows: Sequence[Ints]) -> float:
        (own,) = rows
        spread = float(np.square(truth[own] - truth[own].mean()).sum())
        return 1 - float(squares[own].sum()) / spread if spread > 0 else np.nan

    return r2
