"""Covariates of samples, age or sex: what predicts beside genotypes.

Every family standardises them by its training samples; a missing one is their mean, 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from geneai_spark.errors import InputError

Ints: TypeAlias = npt.NDArray[np.int64]
Matrix: TypeAlias = npt.NDArray[np.float64]


class Covariates(NamedTuple):
    """Covariates by name, and their values, (n, covariates), NaN where missing."""

    names: tuple[str, ...]
    values: Matrix


class Scale(NamedTuple):
    """What standardises covariates: mean and spread of the training samples, (covariates,)."""

    names: tuple[str, ...]
    mean: Matrix
    spread: Matrix

    def told(self) -> list[dict[str, Any]]:
        """For ``model_config.json``."""
        rows = zip(self.names, self.mean.tolist(), self.spread.tolist(), strict=True)
        return [dict(zip(("name", "mean", "spread"), row, strict=True)) for row in rows]


def none(n: int) -> Covariates:
    """No covariates of n samples."""
    return Covariates((), np.empty((n, 0)))


def of(sample_ids: Sequence[str], frame: pd.DataFrame, names: Sequence[str]) -> Covariates:
    """Covariates in the order of the samples.

    Args:
        frame: indexed by sample id, a column a covariate.
    """
    found = frame.reindex(list(sample_ids))[list(names)].to_numpy(np.float64, copy=True)
    found[~np.isfinite(found)] = np.nan
    return Covariates(tuple(names), found)


def fit(given: Covariates, training: Ints) -> Scale:
    """Mean and spread of the training samples that have them.

    Raises:
        InputError: one does not vary among them.
    """
    own = given.values[training]
    for name, column in zip(given.names, own.T, strict=True):
        if len(np.unique(column[np.isfinite(column)])) < 2:
            raise InputError(f"covariate {name!r} does not vary among the training samples")
    if not given.names:
        return Scale((), np.empty(0), np.empty(0))
    return Scale(given.names, np.nanmean(own, axis=0), np.nanstd(own, axis=0))


def read(config: Mapping[str, Any]) -> Scale:
    """Undo :meth:`Scale.told`, from ``model_config.json``."""
    rows = config.get("covariates", [])
    mean, spread = (np.array([row[key] for row in rows], np.float64) for key in ("mean", "spread"))
    return Scale(tuple(str(row["name"]) for row in rows), mean, spread)


def standardised(values: Matrix, scale: Scale) -> Matrix:
    """(values - mean) / spread, 0 where missing, (n, covariates)."""
    found: Matrix = np.nan_to_num((values - scale.mean) / scale.spread, nan=0.0)
    return found
