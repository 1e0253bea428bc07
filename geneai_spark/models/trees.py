"""Classifiers of other libraries as arrays: what a model directory holds, scored without them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import special

from geneai_spark.models import forest_kernels as kernels

Ints: TypeAlias = npt.NDArray[np.int64]
Matrix: TypeAlias = npt.NDArray[np.float64]
Features: TypeAlias = npt.NDArray[np.float32]


class Tree(NamedTuple):
    """A tree, its root first: -1 is no child; ``x <= threshold`` goes left."""

    left: Sequence[int] | Ints
    right: Sequence[int] | Ints
    feature: Sequence[int] | Ints
    threshold: Sequence[float] | Matrix
    value: Sequence[float] | Matrix


class Trees(NamedTuple):
    """Trees, one after another, as arrays over their nodes; see :class:`Tree`.

    Attributes:
        roots: number of each tree's first node, (trees,).
    """

    roots: Ints
    left: Ints
    right: Ints
    feature: Ints
    threshold: Matrix
    value: Matrix

    def sums(self, x: Features) -> Matrix:
        """The values of the leaves that samples come to, summed: (n, features) -> (n,)."""
        out = np.zeros(len(x))
        kernels.descend(np.ascontiguousarray(x), *self, out)
        return out

    def uses(self, features: int) -> Ints:
        """How many nodes each feature parts, (features,)."""
        return np.bincount(self.feature[self.left >= 0], minlength=features)


def join(trees: Iterable[Tree]) -> Trees:
    """Put trees one after another."""
    roots, parts, first = [], [], 0
    for tree in trees:
        left, right = (np.asarray(tree[i], np.int64) for i in (0, 1))
        children = (np.where(side >= 0, side + first, -1) for side in (left, right))
        roots.append(first)
        parts.append((*children, np.maximum(tree.feature, 0), tree.threshold, tree.value))
        first += len(left)
    kinds = (np.int64, np.int64, np.int64, np.float64, np.float64)
    columns = (
        np.concatenate([np.asarray(part[i], kind) for part in parts])
        for i, kind in enumerate(kinds)
    )
    return Trees(np.array(roots, np.int64), *columns)


class Fitted(NamedTuple):
    """A classifier that another library fitted.

    Attributes:
        kind: ``mean`` of the trees' values is the probability; ``sum``, or ``linear``: a logit.
        arrays: `Trees`, or ``coefficients``, (features,).
        base: what is added.
        importance: of each feature, by the library's own measure, (features,).
        held_out: probability of each training sample by what was not fitted on it; None: not told.
        settings: what the library was told, for the model's configuration.
        documents: further texts for the model directory, by name.
    """

    kind: str
    arrays: Mapping[str, Any]
    base: float
    importance: Matrix
    held_out: Matrix | None = None
    settings: Mapping[str, Any] = {}
    documents: Mapping[str, str] = {}


def probability(held: Mapping[str, Any], x: Features) -> Matrix:
    """Probability of being a case by what :class:`Fitted` holds: (n, features) -> (n,)."""
    kind, base = held["kind"], held["base"]
    if kind == "linear":
        return _probability(x @ held["coefficients"] + base)
    trees = Trees(*(held[name] for name in Trees._fields))
    total = trees.sums(x) + base
    return total / len(trees.roots) if kind == "mean" else _probability(total)


def uses(held: Mapping[str, Any], features: int) -> Ints:
    """How many nodes each feature parts; of a sum of all features 0."""
    if "left" not in held:
        return np.zeros(features, np.int64)
    return Trees(*(held[name] for name in Trees._fields)).uses(features)


def _probability(logit: Matrix) -> Matrix:
    found: Matrix = special.expit(logit)
    return found
