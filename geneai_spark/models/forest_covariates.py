"""Covariates in a forest, which splits doses: variables of three levels beside the variants.

A covariate's cuts are quantiles of the training samples. A node looks at all of these variables,
whatever share of the variants it looks at.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from geneai_spark.features import dose_kernels
from geneai_spark.features.doses import Planes
from geneai_spark.models import forest_search
from geneai_spark.models.forest_search import Best, Ints, Level, Source

Matrix: TypeAlias = npt.NDArray[np.float64]

CUTS = 16  # of a covariate, at most


class Levels(NamedTuple):
    """Covariates as variables of three levels.

    Attributes:
        of: which covariate, (variables,).
        cuts: above the first the level is 1, above the second 2, (variables, 2).
    """

    of: Ints
    cuts: Matrix

    def take(self, rows: Ints) -> Levels:
        """Some of the variables."""
        return Levels(self.of[rows], self.cuts[rows])


def levels(z: Matrix, training: Ints) -> Levels:
    """Cuts between neighbouring values of the training samples, at ``CUTS`` quantiles at most.

    Args:
        z: standardised covariates, (n, covariates).
    """
    of, cuts = [], []
    for i, column in enumerate(z[training].T):
        known = np.unique(column)
        between = (known[:-1] + known[1:]) / 2
        if len(between) > CUTS:
            quantiles = np.quantile(column, np.arange(1, CUTS + 1) / (CUTS + 1))
            near = np.searchsorted(between, quantiles).clip(0, len(between) - 1)
            between = np.unique(between[near])
        if len(between) % 2:
            between = np.append(between, np.inf)  # nobody is above it
        pairs = between.reshape(-1, 2)
        of += [i] * len(pairs)
        cuts.append(pairs)
    return Levels(np.array(of, np.int64), np.concatenate([np.empty((0, 2)), *cuts]))


def planes(z: Matrix, made: Levels) -> Planes:
    """Levels of samples as doses, nothing missing, (variables, 2, words of samples)."""
    own = z[:, made.of].T  # (variables, n)
    above = own[:, :, None] > made.cuts[:, None, :]
    packed: Planes = dose_kernels.pack(
        np.ascontiguousarray(above, np.int8), np.arange(len(z), dtype=np.int64)
    )
    return packed & ~(packed[:, 0] & packed[:, 1])[:, None]  # bits after the last sample


class Beside:
    """Variants of another source, and after them variables that are always looked at.

    Args:
        source: the variants.
        planes: of the variables, nothing missing, (variables, 2, words).
    """

    def __init__(self, source: Source, planes: Planes) -> None:
        self.n_variants = source.n_variants + len(planes)
        self._source, self._planes = source, planes

    def best(self, level: Level) -> Best:
        """The best split of each node among all of them."""
        first = self._source.n_variants
        own = forest_search.search_block(self._planes, first, 0, level._replace(rate=1.0))
        beside = forest_search.parted(
            own, self._planes, np.where(own.which < 0, -1, own.which - first), level
        )
        return forest_search.best_of(self._source.best(level), beside, level)

    def take(self, variants: Ints) -> Planes:
        """Planes of some of them, ascending numbers."""
        first = self._source.n_variants
        here = variants >= first
        some = self._source.take(variants[~here])
        found: Planes = np.concatenate([some, self._planes[variants[here] - first]])
        return found
