"""Sums over the reads of each file: what tasks tell, and how it is put together.

All of it is counted in integers, and what is kept of sequences is chosen by their hash: neither the
number of tasks nor their order shows in a result. Of each file and mate a task keeps the sequences
with the lowest hashes (`SAMPLE` of them, counted over all reads): a uniform sample of the different
sequences, from which duplication is told. A sequence that makes up more than some share of a file
makes up more than that of the reads of some task: those are `frequent`, and counted in a second
pass where the sample has not got them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from geneai_spark import genotypes
from geneai_spark.errors import TableError
from geneai_spark.quality import read_kernels as kernels
from geneai_spark.stored import Rows, fold_rows
from geneai_spark.tasks import Batches

Array: TypeAlias = npt.NDArray[Any]

POSITIONS = 1000  # from a read's first base on: those of short reads; beyond, nothing by position
SAMPLE = 100_000  # different sequences kept of each file and mate
FREQUENT = 0.001  # share of reads above which a sequence is overrepresented
GC_UNIT = 2.0**-30  # of the shares that a read has in percents of GC
LENGTH_STEP = 100  # in which lengths above `POSITIONS` are counted, rounded down
COLUMNS = ["sourceId", "cohort", "sampleId", "mate", "sequence", "quality"]
_HELD = 1 << 20  # hashes that wait to be counted


class Key(NamedTuple):
    """Whose reads they are: a file's, of one mate, with cohort and sample."""

    source: str
    mate: int
    cohort: str
    sample: str


class Counts(NamedTuple):
    """How often values occur: ascending values and their counts, both of shape (n,)."""

    values: Array
    counts: Array

    @classmethod
    def of(cls, values: Array, counts: Array | None = None) -> Counts:
        """Count values that may stand there several times."""
        found, inverse = np.unique(values, return_inverse=True)
        weights = np.ones(len(values), np.int64) if counts is None else counts
        summed = np.zeros(len(found), np.int64)
        np.add.at(summed, inverse, weights)
        return cls(found, summed)

    def add(self, other: Counts) -> Counts:
        """Both together."""
        return Counts.of(*(np.concatenate(pair) for pair in zip(self, other, strict=True)))

    def lowest(self, n: int) -> Counts:
        """Those of the n lowest values."""
        return Counts(self.values[:n], self.counts[:n])


def _none() -> Counts:
    return Counts(np.empty(0, np.uint64), np.empty(0, np.int64))


@dataclass
class Sums:
    """Sums over reads; see `read_kernels.add_reads` for the arrays.

    Attributes:
        reads: how many.
        least, greatest: their lengths.
        lengths: reads by length.
        gc: reads by percent of G and C, spread as FastQC does, in `GC_UNIT`; int64, (101,).
        sequences: hashes of beginnings: all of them in a task, then those of the sample.
        frequent: hashes of those that may be overrepresented.
    """

    reads: int = 0
    least: int = 1 << 62
    greatest: int = 0
    lengths: Counter[int] = field(default_factory=Counter)
    by_quality: Array = field(default_factory=lambda: _zeros(0, kernels.QUALITIES))
    by_base: Array = field(default_factory=lambda: _zeros(0, kernels.CLASSES))
    adapters: Array = field(default_factory=lambda: _zeros(len(kernels.ADAPTERS), 0))
    means: Array = field(default_factory=lambda: _zeros(kernels.QUALITIES))
    totals: Array = field(default_factory=lambda: _zeros(kernels.CLASSES))
    gc: Array = field(default_factory=lambda: _zeros(101))
    sequences: Counts = field(default_factory=_none)
    frequent: Array = field(default_factory=lambda: np.empty(0, np.uint64))
    _waiting: list[Array] = field(default_factory=list)
    _held: int = 0

    def add(self, sequences: _Texts, qualities: _Texts, rows: Array) -> None:
        """Add some reads of a batch.

        Raises:
            TableError: a quality is not as long as its sequence, or is no Phred+33.
        """
        lengths = sequences.lengths[rows]
        if not len(lengths):
            return
        self._grow(int(lengths.max()))
        gc = np.empty((len(rows), 2), np.int64)
        fit = bool((lengths == qualities.lengths[rows]).all())
        if fit:
            bad = kernels.add_reads(
                *sequences, qualities.data, qualities.starts, rows,
                kernels.CLASS_OF, kernels.ADAPTER_CODES, kernels.MAY_END,
                self.by_quality, self.by_base, self.means, self.totals, self.adapters, gc,
            )  # fmt: skip
        if not fit or bad >= 0:
            raise TableError("reads: quality: expected a character of Phred+33 a base")
        self.reads += len(rows)
        self.least, self.greatest = (
            min(self.least, int(lengths.min())),
            max(self.greatest, int(lengths.max())),
        )
        counted = np.where(lengths > POSITIONS, lengths // LENGTH_STEP * LENGTH_STEP, lengths)
        self.lengths.update(dict(zip(*(x.tolist() for x in Counts.of(counted)), strict=True)))
        self._add_gc(gc)
        self._waiting.append(kernels.hash_beginnings(*sequences, rows))
        self._held += len(rows)
        if self._held > max(_HELD, len(self.sequences.values)):
            self._settle()

    def closed(self) -> Sums:
        """What a task tells: of its sequences the sample, and which are frequent."""
        self._settle()
        often = self.sequences.counts > FREQUENT * self.reads
        self.frequent = self.sequences.values[often]
        self.sequences = self.sequences.lowest(SAMPLE)
        return self

    def merge(self, other: Sums) -> Sums:
        """Add what another task told; changes these."""
        for one, two in ((self, other), (other, self)):
            one._grow(len(two.by_quality))
        for name in ("by_quality", "by_base", "adapters", "means", "totals", "gc"):
            np.add(getattr(self, name), getattr(other, name), out=getattr(self, name))
        self.reads += other.reads
        self.least = min(self.least, other.least)
        self.greatest = max(self.greatest, other.greatest)
        self.lengths.update(other.lengths)
        self.sequences = self.sequences.add(other.sequences).lowest(SAMPLE)
        self.frequent = np.union1d(self.frequent, other.frequent)
        return self

    def _grow(self, length: int) -> None:
        """Make room for reads of a length."""
        more = min(length, POSITIONS) - len(self.by_quality)
        if more > 0:
            self.by_quality = np.pad(self.by_quality, ((0, more), (0, 0)))
            self.by_base = np.pad(self.by_base, ((0, more), (0, 0)))
            self.adapters = np.pad(self.adapters, ((0, 0), (0, more)))

    def _settle(self) -> None:
        if self._waiting:
            self.sequences = self.sequences.add(Counts.of(np.concatenate(self._waiting)))
            self._waiting, self._held = [], 0

    def _add_gc(self, gc: Array) -> None:
        """Spread reads over percents: ``gc`` has bases, and G and C among them, (n, 2)."""
        pairs = Counts.of(gc[:, 0] << 31 | gc[:, 1])
        for pair, count in zip(*(x.tolist() for x in pairs), strict=True):
            length, both = pair >> 31, pair & (1 << 31) - 1
            if length:
                low, high, shares = _percents(length)
                at = slice(low[both], high[both] + 1)
                self.gc[at] += shares[at] * count


@lru_cache(256)
def _percents(length: int) -> tuple[Array, Array, Array]:
    """What FastQC spreads a read of a length over, by its number of G and C, 0 to length: the
    least and greatest percent, (length + 1,), and of each percent the share in `GC_UNIT`, (101,).

    A number of bases stands for half a base less to half more; a percent is shared out among the
    numbers that reach it.
    """
    both = np.arange(length + 1)
    edges = (np.maximum(both - 0.5, 0), np.minimum(both + 0.5, length))
    low, high = (np.floor(edge * 100 / length + 0.5).astype(np.int64) for edge in edges)
    claims = np.bincount(low, minlength=102) - np.bincount(high + 1, minlength=102)
    claims = np.cumsum(claims)[:101]
    shares = np.rint(1 / np.maximum(claims, 1) / GC_UNIT).astype(np.int64)
    return low, high, shares


class _Texts(NamedTuple):
    """A column of texts: bytes, where each begins, and its length."""

    data: Array
    starts: Array
    lengths: Array


def _zeros(*shape: int) -> Array:
    return np.zeros(shape, np.int64)


def _texts(batch: pa.RecordBatch, name: str) -> _Texts:
    data, starts, lengths, _ = genotypes.packed_bytes(batch.column(name))
    return _Texts(data, starts, lengths)


def _groups(batch: pa.RecordBatch) -> dict[Key, Array]:
    """Rows of a batch by whose reads they are, (n,) each."""
    codes = np.zeros(batch.num_rows, np.int64)
    found = []
    for name in Key._fields:
        column = batch.column(_COLUMN_OF[name]).dictionary_encode()
        found.append(column.dictionary.to_pylist())
        codes = codes * len(found[-1]) + column.indices.to_numpy()
    groups = {}
    for code in np.unique(codes).tolist():
        rows, parts = np.flatnonzero(codes == code), []
        for values in reversed(found):
            code, at = divmod(code, len(values))
            parts.append(values[at])
        groups[Key(*reversed(parts))] = rows
    return groups


_COLUMN_OF = dict(zip(Key._fields, ("sourceId", "mate", "cohort", "sampleId"), strict=True))


def add_up(reads: Rows) -> dict[Key, Sums]:
    """Go through reads once: the sums of each file and mate.

    Args:
        reads: the ``reads`` table.

    Raises:
        TableError: qualities do not fit the sequences.
    """

    def work(batches: Batches) -> dict[Key, Sums]:
        sums: dict[Key, Sums] = {}
        for batch in batches:
            texts = _texts(batch, "sequence"), _texts(batch, "quality")
            for key, rows in _groups(batch).items():
                sums.setdefault(key, Sums()).add(*texts, rows)
        return {key: one.closed() for key, one in sums.items()}

    def merge(one: dict[Key, Sums], other: dict[Key, Sums]) -> dict[Key, Sums]:
        for key, sums in other.items():
            one[key] = one[key].merge(sums) if key in one else sums
        return one

    return fold_rows(reads, COLUMNS, work, merge) or {}


def overrepresented(reads: Rows, sums: Mapping[Key, Sums]) -> dict[Key, list[tuple[str, int]]]:
    """Sequences that make up more than `FREQUENT` of a file's reads, and occur twice or more.

    Goes through the sequences once more where there may be some.

    Returns:
        Of each file and mate beginnings and their counts, the most frequent first.
    """
    wanted = {key: _candidates(one) for key, one in sums.items()}
    wanted = {key: hashes for key, hashes in wanted.items() if len(hashes)}
    if not wanted:
        return {}

    def work(batches: Batches) -> dict[Key, Counter[str]]:
        found: dict[Key, Counter[str]] = {}
        for batch in batches:
            sequences = _texts(batch, "sequence")
            for key, rows in _groups(batch).items():
                if key not in wanted:
                    continue
                hashes = kernels.hash_beginnings(*sequences, rows)
                for row in rows[np.isin(hashes, wanted[key])].tolist():
                    text = batch.column("sequence")[row].as_py().upper()
                    cut = text[: kernels.CUT] if len(text) > kernels.CUT_FROM else text
                    found.setdefault(key, Counter())[cut] += 1
        return found

    def merge(
        one: dict[Key, Counter[str]], other: dict[Key, Counter[str]]
    ) -> dict[Key, Counter[str]]:
        for key, counts in other.items():
            one.setdefault(key, Counter()).update(counts)
        return one

    found = fold_rows(reads, COLUMNS[:-1], work, merge) or {}
    return {
        key: sorted(
            ((text, n) for text, n in counts.items() if n > max(1, FREQUENT * sums[key].reads)),
            key=lambda pair: (-pair[1], pair[0]),
        )
        for key, counts in found.items()
    }


def _candidates(sums: Sums) -> Array:
    """Hashes of what may be overrepresented; counted already where the sample is all there is."""
    counted = sums.sequences
    if len(counted.values) == SAMPLE:
        return sums.frequent
    return counted.values[counted.counts > max(1, FREQUENT * sums.reads)]


def warm_up() -> None:
    """Compile every kernel for the types that a worker meets."""
    row = {"sequence": "ACGTN", "quality": "IIIII"}
    batch = pa.RecordBatch.from_pylist([row])
    Sums().add(_texts(batch, "sequence"), _texts(batch, "quality"), np.zeros(1, np.int64))
