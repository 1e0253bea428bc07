"""The best split of each node of a level of trees, of variants that lie in blocks: see `forest`."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from geneai_spark.features.doses import Planes
from geneai_spark.models import forest_kernels as kernels

Ints: TypeAlias = npt.NDArray[np.int64]
Floats: TypeAlias = npt.NDArray[np.float64]

BLOCK = 1024  # variants; part of what the seed means
LEAST_GAIN = 1e-9
_NOBODY, _NOWHERE = np.empty(0, np.int32), np.empty(0, np.int64)


class Level(NamedTuple):
    """Nodes that want a split.

    Attributes:
        members: positions of samples, node after node, the cases of each first.
        begin: where a node's begin, (nodes,); cases: where its cases end; end: where all end.
        keys: what the node draws candidates by, uint64 (nodes,).
        rate: share of variants that are candidates.
        least: samples that a side must have.
        others: positions of the samples that the nodes' trees were not grown on, node after node.
        others_begin: where a node's begin; others_end: where they end, (nodes,).
    """

    members: npt.NDArray[np.int32]
    begin: Ints
    cases: Ints
    end: Ints
    keys: npt.NDArray[np.uint64]
    rate: float
    least: int
    others: npt.NDArray[np.int32] = _NOBODY
    others_begin: Ints = _NOWHERE
    others_end: Ints = _NOWHERE


class Splits(NamedTuple):
    """Each node's best: decrease of impurity, number of the variant (-1: none), cut 0 or 1."""

    gain: Floats
    which: Ints
    cut: Ints


class Best(NamedTuple):
    """Each node's best split, and who goes right by it: 1, of ``members`` and of ``others``.

    So the genotypes are gone through once a level.
    """

    splits: Splits
    members: npt.NDArray[np.uint8]
    others: npt.NDArray[np.uint8]


class Block(NamedTuple):
    """Variants next to each other: the block's number, and their planes with nothing missing."""

    number: int
    planes: Planes


class Source(Protocol):
    """Where the variants are."""

    n_variants: int

    def best(self, level: Level) -> Best:
        """The best split of each node among all variants."""

    def take(self, variants: Ints) -> Planes:
        """Planes of some variants, ascending numbers."""


def search(blocks: Sequence[Block], level: Level) -> Splits:
    """Each node's best split among the variants of some blocks, in the blocks' order."""
    found = _nothing(level)
    for number, planes in blocks:
        _look(planes, number * BLOCK, number, level, found)
    return found


def search_block(planes: Planes, first: int, number: int, level: Level) -> Splits:
    """Each node's best split among variants numbered from ``first``, drawn as block ``number``."""
    found = _nothing(level)
    _look(planes, first, number, level, found)
    return found


def _nothing(level: Level) -> Splits:
    nodes = len(level.begin)
    return Splits(np.full(nodes, LEAST_GAIN), np.full(nodes, -1), np.zeros(nodes, np.int64))


def _look(planes: Planes, first: int, number: int, level: Level, found: Splits) -> None:
    kernels.best_splits(
        planes, first, number, level.members, level.begin, level.cases, level.end,
        level.keys, level.rate, level.least, *found,
    )  # fmt: skip


def parted(splits: Splits, planes: Planes, row: Ints, level: Level) -> Best:
    """Tell who goes right.

    Args:
        planes: of the variants that split nodes, (rows, 2, words).
        row: of planes, for each node; -1: none of them splits it, (nodes,).
    """
    goes = tuple(np.zeros(len(who), np.uint8) for who in (level.members, level.others))
    mine = level.members, level.begin, level.end
    kernels.sides(planes, row, splits.cut, *mine, goes[0])
    theirs = level.others, level.others_begin, level.others_end
    kernels.sides(planes, row, splits.cut, *theirs, goes[1])
    return Best(splits, *goes)


def better(one: Splits, other: Splits) -> Splits:
    """The better of two splits for each node; of equals the one of the earlier variant."""
    taken = _is_better(one, other)
    return Splits(*(np.where(taken, b, a) for a, b in zip(one, other, strict=True)))


def _is_better(one: Splits, other: Splits) -> npt.NDArray[np.bool_]:
    earlier = (other.which >= 0) & ((one.which < 0) | (other.which < one.which))
    found: npt.NDArray[np.bool_] = (other.gain > one.gain) | ((other.gain == one.gain) & earlier)
    return found


def best_of(one: Best, other: Best, level: Level) -> Best:
    """Likewise with who goes right; changes the first."""
    taken = _is_better(one.splits, other.splits)
    kernels.take_over(taken, level.begin, level.end, other.members, one.members)
    theirs = level.others_begin, level.others_end
    kernels.take_over(taken, *theirs, other.others, one.others)
    return one._replace(splits=better(one.splits, other.splits))


class Local:
    """Variants in this process.

    Args:
        planes: of all variants, (variants, 2, words), nothing missing: see `forest.filled`.
        threads: that go through blocks.
    """

    def __init__(self, planes: Planes, threads: int = 2) -> None:
        self.n_variants, self._planes, self._threads = len(planes), planes, threads

    def best(self, level: Level) -> Best:
        """The best split of each node among all variants."""
        blocks = [
            Block(first // BLOCK, self._planes[first : first + BLOCK])
            for first in range(0, self.n_variants, BLOCK)
        ]
        parts = [blocks[i :: self._threads] for i in range(self._threads)]
        with ThreadPoolExecutor(self._threads) as pool:
            found = list(pool.map(lambda part: search(part, level), filter(None, parts)))
        best = found[0]
        for other in found[1:]:
            best = better(best, other)
        return parted(best, self._planes, best.which, level)

    def take(self, variants: Ints) -> Planes:
        """Planes of some variants."""
        found: Planes = self._planes[variants]
        return found
