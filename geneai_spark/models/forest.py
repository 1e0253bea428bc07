"""A random forest for wide data: many thousands of variants, some thousand samples.

All trees grow together, a level at a time. What a level asks of the genotypes is each node's best
split among candidate variants, so that variants can lie in blocks that many tasks go through
(`forest_spark`), and the samples of a cohort need not fit a row of theirs: as VariantSpark does
(Bayat et al. 2020, GigaScience 9, giaa077). Candidates are drawn by the seed, the tree, the node
and the number of the block, so the forest does not depend on how blocks are spread.

* Each tree is grown on ``sample_fraction`` of the training samples, drawn without replacement
  (Bühlmann and Yu 2002, Annals of Statistics 30, 927), until its nodes are pure; it votes with the
  share of cases in a leaf.
* A split parts doses 0 | 1, 2 or 0, 1 | 2, by the greatest decrease of Gini's impurity.
* Importance is what a variant's splits explain of samples that the tree was NOT grown on (MDI-oob,
  Li et al. 2019, NeurIPS 32): the usual sum of decreases favours frequent variants and is far above
  zero for noise. How much is chance is told by a forest of the same genotypes and permuted labels
  (:func:`p_values`, pooled over variants as in Altmann et al. 2010, Bioinformatics 26, 1340).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from geneai_spark.config import option
from geneai_spark.errors import InputError
from geneai_spark.features.doses import Planes
from geneai_spark.models import forest_kernels as kernels
from geneai_spark.models.forest_search import Level, Local, Source, Splits

Ints: TypeAlias = npt.NDArray[np.int64]
Floats: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ForestOptions:
    """How a forest is grown."""

    trees: int = option("how many trees", 500)
    variants_per_split: float = option("share of variants that a node looks at, 0..1", 0.1)
    sample_fraction: float = option("share of training samples that a tree is grown on", 0.632)
    min_leaf: int = option("least number of a tree's samples in a leaf", 1)
    max_depth: int = option("at most so many splits from the root to a leaf", 60)

    def __post_init__(self) -> None:
        """Refuse settings outside their range."""
        if min(self.trees, self.min_leaf, self.max_depth) < 1:
            raise ValueError("trees, min_leaf and max_depth must be at least 1")
        if not 0 < self.variants_per_split <= 1 or not 0 < self.sample_fraction < 1:
            raise ValueError("variants_per_split and sample_fraction must lie between 0 and 1")


@dataclass(frozen=True)
class Forest:
    """Grown trees, as arrays over their nodes; the first nodes are the roots.

    Attributes:
        trees: how many.
        left: a node's left child, -1 at a leaf; the right one is the next.
        variant: number of the variant that parts a node, -1 at a leaf.
        cut: doses above it go right.
        value: share of cases among the tree's samples in a node.
    """

    trees: int
    left: Ints
    variant: Ints
    cut: Ints
    value: Floats

    @property
    def variants(self) -> Ints:
        """Numbers of the variants that it looks at, ascending."""
        found: Ints = np.unique(self.variant[self.variant >= 0])
        return found

    def predict(self, planes: Planes, n: int) -> Floats:
        """Probability of being a case of n samples.

        Args:
            planes: of :attr:`variants`, in this order, nothing missing.
        """
        row = np.searchsorted(self.variants, self.variant)
        out = np.empty(n)
        kernels.predict(planes, np.arange(self.trees), self.left, row, self.cut, self.value, out)
        return out


@dataclass(frozen=True)
class Grown:
    """A forest, and what its growing told.

    Attributes:
        importance: of each variant, (variants,): see the module; 0 for those in no split.
        splits: nodes that each variant parts, (variants,).
        held_out: probability of being a case, (samples,): of a training sample by the trees that
            were not grown on it, of another sample by all trees; NaN if every tree was grown on it.
    """

    forest: Forest
    importance: Floats
    splits: Ints
    held_out: Floats


def grow(
    source: Source,
    truth: npt.NDArray[np.int8],
    training: Ints,
    options: ForestOptions,
    *,
    seed: int,
    told: Callable[[int, int], None] | None = None,
) -> Grown:
    """Grow a forest.

    Args:
        source: the variants.
        truth: 1 for cases, 0 for others, -1 for not known, (samples,).
        training: positions of the samples to grow on, ascending; their truth is known.
        options: see there.
        seed: of everything random.
        told: is told the level and the number of nodes before each level.

    Raises:
        InputError: the training samples are of one class, or too few.
    """
    grower = _Grower(source, truth, training, options, seed)
    depth = 0
    while len(grower.begin) and depth < options.max_depth:
        if told is not None:
            told(depth, len(grower.begin))
        grower.split()
        depth += 1
    return grower.finish()


class _Grower:
    """Trees that grow: nodes of the level, and all nodes so far."""

    def __init__(
        self,
        source: Source,
        truth: npt.NDArray[np.int8],
        training: Ints,
        options: ForestOptions,
        seed: int,
    ) -> None:
        known = truth[training]
        if not (known == 1).any() or not (known == 0).any():
            raise InputError(f"training samples: {len(training)}, of one class only")
        n, trees = len(truth), options.trees
        each = round(options.sample_fraction * len(training))
        if each < 2 * options.min_leaf or each >= len(training):
            raise InputError(f"training samples: {len(training)}: too few for a tree")
        self._source, self._options, self._truth = source, options, truth
        random = np.random.default_rng(seed)
        own = np.zeros((trees, n), np.bool_)
        for tree in range(trees):
            own[tree, training[random.permutation(len(training))[:each]]] = True
        order = np.argsort(truth != 1, kind="stable")  # cases first
        grown_on = own[:, order]
        self.members = np.ascontiguousarray(
            np.broadcast_to(order.astype(np.int32), (trees, n))[grown_on]
        )
        self._others = np.ascontiguousarray(
            np.broadcast_to(order.astype(np.int32), (trees, n))[~grown_on]
        )
        self.begin = np.arange(trees) * each
        self._end = self.begin + each
        self._cases = self.begin + (own & (truth == 1)).sum(axis=1)
        self._from = np.arange(trees) * (n - each)
        self._to = self._from + (n - each)
        self._keys = random.integers(0, 2**63, trees).astype(np.uint64)
        self._ids = np.arange(trees)
        value = (self._cases - self.begin) / each
        self._left: list[Ints] = [np.full(trees, -1)]
        self._variant: list[Ints] = [np.full(trees, -1)]
        self._cut: list[Ints] = [np.zeros(trees, np.int64)]
        self._value: list[Floats] = [value]
        self._total = trees
        self._importance = np.zeros(source.n_variants)
        self._splits = np.zeros(source.n_variants, np.int64)
        self._votes, self._seen = np.zeros(n), np.zeros(n, np.int64)

    def split(self) -> None:
        """Go down a level."""
        rate, least = self._options.variants_per_split, self._options.min_leaf
        level = Level(
            self.members, self.begin, self._cases, self._end, self._keys, rate, least,
            self._others, self._from, self._to,
        )  # fmt: skip
        found, own, others_go = self._source.best(level)
        good = found.which >= 0
        value = (self._cases - self.begin) / (self._end - self.begin)
        self._settle(~good, value)
        nodes = len(good)
        middle, left, right = (np.zeros(nodes, np.int64) for _ in range(3))
        apart, nobody = (np.zeros(nodes, np.int64) for _ in range(2))
        members, others = np.empty_like(self.members), np.empty_like(self._others)
        kernels.part(
            good, own, self.members, self.begin, self._cases, self._end,
            members, middle, left, right,
        )  # fmt: skip
        kernels.part(
            good, others_go, self._others, self._from, self._to, self._to,
            others, apart, nobody, np.zeros_like(nobody),
        )  # fmt: skip
        begin, middle, end = self.begin[good], middle[good], self._end[good]
        left, right = left[good], right[good]
        value_left, value_right = left / (middle - begin), right / (end - middle)
        explained = np.empty(good.sum())
        kernels.judge(
            others, self._from[good], apart[good], self._to[good], self._truth, value[good],
            value_left, value_right, explained,
        )  # fmt: skip
        np.add.at(self._importance, found.which[good], explained)
        np.add.at(self._splits, found.which[good], 1)
        self._note(good, found, value_left, value_right)
        self._descend(members, others, good, (begin, middle, end), (left, right), apart[good])

    def _note(
        self, good: npt.NDArray[np.bool_], found: Splits, left: Floats, right: Floats
    ) -> None:
        """Write the split nodes down, and their children as leaves."""
        ids, count = self._ids[good], int(good.sum())
        children = self._total + 2 * np.arange(count)
        for held, values in (
            (self._left, children),
            (self._variant, found.which[good]),
            (self._cut, found.cut[good]),
        ):
            _put(held, ids, values)
            held.append(np.full(2 * count, 0 if held is self._cut else -1))
        self._value.append(np.stack([left, right], axis=1).ravel())
        self._ids = np.stack([children, children + 1], axis=1).ravel()
        self._total += 2 * count

    def _descend(
        self,
        members: npt.NDArray[np.int32],
        others: npt.NDArray[np.int32],
        good: npt.NDArray[np.bool_],
        places: tuple[Ints, Ints, Ints],
        cases: tuple[Ints, Ints],
        apart: Ints,
    ) -> None:
        """Take the children for the level, but those that are pure or small, which are settled."""
        begin, middle, end = places
        keys = self._keys[good]
        with np.errstate(over="ignore"):
            two = np.stack([keys * np.uint64(2) + np.uint64(i) for i in (1, 2)], axis=1)
        self.members, self._others = members, others
        self.begin = np.stack([begin, middle], axis=1).ravel()
        self._end = np.stack([middle, end], axis=1).ravel()
        self._cases = self.begin + np.stack(cases, axis=1).ravel()
        self._from, self._to = (
            np.stack(pair, axis=1).ravel()
            for pair in ((self._from[good], apart), (apart, self._to[good]))
        )
        self._keys = two.ravel()
        value = (self._cases - self.begin) / np.maximum(self._end - self.begin, 1)
        size = self._end - self.begin
        going = (value > 0) & (value < 1) & (size >= 2 * self._options.min_leaf)
        self._settle(~going, value)
        for name in ("begin", "_end", "_cases", "_from", "_to", "_keys", "_ids"):
            setattr(self, name, getattr(self, name)[going])

    def _settle(self, leaves: npt.NDArray[np.bool_], value: Floats) -> None:
        kernels.settle(
            self._others, self._from[leaves], self._to[leaves], value[leaves],
            self._votes, self._seen,
        )  # fmt: skip

    def finish(self) -> Grown:
        """What is left of the level are leaves."""
        value = (self._cases - self.begin) / np.maximum(self._end - self.begin, 1)
        self._settle(np.ones(len(self.begin), np.bool_), value)
        left, variant, cut = (
            np.concatenate(held) for held in (self._left, self._variant, self._cut)
        )
        forest = Forest(self._options.trees, left, variant, cut, np.concatenate(self._value))
        with np.errstate(invalid="ignore"):
            held_out = self._votes / self._seen
        return Grown(forest, self._importance, self._splits, held_out)


def _put(held: list[Any], ids: Ints, values: Any) -> None:
    """Put values at numbers of nodes, which are those of the last part, or of the one before it."""
    first = sum(len(part) for part in held[:-1])
    held[-1][ids - first] = values


def filled(planes: Planes, training: Ints) -> Planes:
    """Planes with the genotype that most training samples have in place of a missing one.

    Args:
        planes: as `features.doses` documents, (variants, 2, words).
        training: positions of samples.
    """
    out = np.empty_like(planes)
    kernels.fill(np.ascontiguousarray(planes), bits(training, planes.shape[2]), out)
    return out


def modes(planes: Planes, samples: Ints) -> Ints:
    """The dose that most of some samples have, nothing missing, (variants,): what :func:`filled`
    took a missing one for, where the samples are the same.
    """
    counted = kernels.count(np.ascontiguousarray(planes), bits(samples, planes.shape[2]))
    het, alt = counted[:, 0], counted[:, 1]
    ref = len(samples) - het - alt
    first: Ints = np.where((het > ref) & (het >= alt), 1, np.where((alt > ref) & (alt > het), 2, 0))
    return first


def bits(positions: Ints, words: int) -> npt.NDArray[np.uint64]:
    """A bit set at each of some positions, (words,)."""
    flags = np.zeros(words * 64, np.uint8)
    flags[positions] = 1
    return np.packbits(flags, bitorder="little").view("<u8").astype(np.uint64)


def permuted(truth: npt.NDArray[np.int8], training: Ints, seed: int) -> npt.NDArray[np.int8]:
    """Truth of the training samples in another order: what a forest of it finds is chance."""
    found = truth.copy()
    found[training] = np.random.default_rng(seed).permutation(truth[training])
    return found


def p_values(importance: Floats, null: Floats) -> Floats:
    """How often chance makes a variant as important.

    Args:
        importance: of each variant, (variants,).
        null: importances of variants in forests of permuted labels, any number: such forests have
            the same genotypes, their correlation and their frequencies.

    Returns:
        (1 + null ones that reach it) / (1 + null ones), (variants,).
    """
    ordered = np.sort(null)
    reach = len(ordered) - np.searchsorted(ordered, importance, side="left")
    found: Floats = (1 + reach) / (1 + len(ordered))
    return found


def false_discovery(p: Floats) -> Floats:
    """False-discovery rate of each p-value (Benjamini and Hochberg 1995); NaN stays NaN."""
    out = np.full(len(p), np.nan)
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known], kind="stable")]
    ranks = np.arange(1, len(order) + 1)
    out[order] = np.minimum.accumulate((p[order] * len(order) / ranks)[::-1])[::-1].clip(max=1)
    return out


def warm_up() -> None:
    """Compile the kernels."""
    planes = np.zeros((2, 2, 1), np.uint64)
    planes[1, 0, 0] = 0b0101
    truth = np.array([1, 0, 1, 0, -1], np.int8)
    grown = grow(
        Local(filled(planes, np.arange(4)), 1),
        truth,
        np.arange(4),
        ForestOptions(trees=2, variants_per_split=0.9, sample_fraction=0.75),
        seed=1,
    )
    grown.forest.predict(planes[grown.forest.variants], 5)
    numbers = np.zeros((1, 1), np.float32), np.zeros(1, np.int64), np.array([-1]), np.array([-1])
    kernels.descend(*numbers, np.zeros(1, np.int64), np.zeros(1), np.zeros(1), np.zeros(1))
    correlated = np.empty(2)
    kernels.correlate(planes[0], planes, bits(np.arange(4), 1), correlated)
    modes(planes, np.arange(4))
