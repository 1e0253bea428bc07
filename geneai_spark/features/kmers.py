"""K-mers of each sample's reads: counts of all of them, or a sketch by which samples compare.

Canonical: a k-mer and its reverse complement are one, named by the lesser text. Both strands, both
mates and all files of a sample count together; a base that is none of A, C, G, T breaks k-mers.

A sketch is FracMinHash as sourmash makes it (L. Irber et al. 2022): of all k-mers those whose
MurmurHash3 (seed 42) is at most 2^64 / `scaled`, so that sketches of samples of any size compare.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

from geneai_spark import genotypes
from geneai_spark.features import kmer_kernels as kernels
from geneai_spark.stored import Rows
from geneai_spark.tasks import Batches

Array: TypeAlias = npt.NDArray[Any]

SEED = 42  # of sourmash's hashes
COLUMNS = ["cohort", "sampleId", "sequence"]
DENSE = 11  # up to this k a task counts in an array of all 4 ** k codes
_HELD = 4 << 20  # values that wait to be counted

#: What tasks tell: how often a sample's value (a code, or a hash) occurs in the task's reads.
_COUNTED = pa.schema(
    [("cohort", pa.string()), ("sampleId", pa.string()), ("value", pa.int64()), ("n", pa.int64())]
)
_NAMED = pa.schema(
    [("cohort", pa.string()), ("sampleId", pa.string()), ("k", pa.int32()), ("kmer", pa.string()),
     ("count", pa.int64())]
)  # fmt: skip


def counts(reads: Rows, k: int) -> DataFrame:
    """Count all k-mers of each sample: rows of ``features_kmers``.

    Args:
        reads: rows of ``reads``.
        k: bases, 1 to `kmer_kernels.LONGEST`.

    Raises:
        ValueError: k is outside its range.
    """
    _check(k)
    counted = _summed(reads, k, lambda codes: codes, dense=k <= DENSE)

    def name(batches: Batches) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            columns = [batch.column(name) for name in ("cohort", "sampleId")]
            columns += [pa.repeat(pa.scalar(k, pa.int32()), batch.num_rows)]
            columns += [texts(batch.column("value").to_numpy(), k), batch.column("n")]
            yield pa.RecordBatch.from_arrays(columns, schema=_NAMED)

    return counted.mapInArrow(name, from_arrow_schema(_NAMED))


def sketches(reads: Rows, k: int, scaled: int) -> DataFrame:
    """Sketch the k-mers of each sample: rows of ``features_kmer_sketches``.

    Args:
        reads: rows of ``reads``.
        k: bases, 1 to `kmer_kernels.LONGEST`.
        scaled: one k-mer of so many is kept, 2 or more.

    Raises:
        ValueError: k or scaled is outside its range.
    """
    _check(k)
    if scaled < 2:
        raise ValueError("scaled must be 2 or more")
    most = np.uint64(round(2**64 / scaled))
    counted = _summed(reads, k, lambda codes: kernels.sketched(codes, k, SEED, most))
    pairs = F.array_sort(F.collect_list(F.struct("value", "n")))
    listed = counted.groupBy("cohort", "sampleId").agg(pairs.alias("pairs"))
    return listed.select(
        "cohort",
        "sampleId",
        F.lit(k).alias("k"),
        F.lit(scaled).alias("scaled"),
        F.col("pairs.value").alias("hashes"),
        F.col("pairs.n").alias("abundances"),
    )


def similarity(one: Array, other: Array) -> float:
    """Jaccard similarity of two samples, 0 to 1, by ``hashes`` of sketches of one k and scaled."""
    both = len(np.intersect1d(one, other, assume_unique=True))
    return both / (len(one) + len(other) - both) if both else 0.0


def texts(codes: Array, k: int) -> pa.StringArray:
    """K-mers as text, by their codes (n,)."""
    shifts = 2 * np.arange(k - 1, -1, -1)
    letters = np.frombuffer(b"ACGT", np.uint8)[codes.astype(np.int64)[:, None] >> shifts & 3]
    offsets = np.arange(len(codes) + 1, dtype=np.int32) * np.int32(k)
    return pa.StringArray.from_buffers(
        len(codes), pa.py_buffer(offsets), pa.py_buffer(letters.tobytes())
    )


def _check(k: int) -> None:
    if not 1 <= k <= kernels.LONGEST:
        raise ValueError(f"k must lie between 1 and {kernels.LONGEST}")


def _summed(
    reads: Rows, k: int, made: Callable[[Array], Array], *, dense: bool = False
) -> DataFrame:
    """How often each value that is made of a sample's k-mers occurs: `_COUNTED`, a row a value."""

    def work(batches: Batches) -> Iterator[pa.RecordBatch]:
        counters: dict[tuple[str, str], _Dense | _Sparse] = {}
        for batch in batches:
            data, starts, lengths, _ = genotypes.packed_bytes(batch.column("sequence"))
            for sample, rows in _samples(batch):
                if sample not in counters:
                    counters[sample] = _Dense(k) if dense else _Sparse()
                found = kernels.kmers(data, starts, lengths, rows, kernels.CODE_OF, k)
                if (full := counters[sample].add(made(found))) is not None:
                    yield _batch(sample, *full)
        for sample, counter in counters.items():
            yield _batch(sample, *counter.close())

    told = reads.select(COLUMNS).mapInArrow(work, from_arrow_schema(_COUNTED))
    return told.groupBy("cohort", "sampleId", "value").agg(F.sum("n").alias("n"))


class _Dense:
    """Counts of few possible values: a place for each."""

    def __init__(self, k: int) -> None:
        self._counts = np.zeros(4**k, np.int64)

    def add(self, values: Array) -> None:
        """Count values."""
        kernels.add_counts(values, self._counts)

    def close(self) -> tuple[Array, Array]:
        """Values that occur, and how often."""
        values = np.flatnonzero(self._counts)
        return values, self._counts[values]


class _Sparse:
    """Counts of any values, given away when many wait."""

    def __init__(self) -> None:
        self._waiting: list[Array] = []
        self._held = 0

    def add(self, values: Array) -> tuple[Array, Array] | None:
        """Count values; what was counted, where that is enough."""
        self._waiting.append(values)
        self._held += len(values)
        return self.close() if self._held >= _HELD else None

    def close(self) -> tuple[Array, Array]:
        """Values that occur, and how often; begins anew."""
        every = np.concatenate([np.empty(0, np.uint64), *self._waiting])
        self._waiting, self._held = [], 0
        values, counts = np.unique(every, return_counts=True)
        return values, counts


def _batch(sample: tuple[str, str], values: Array, counts: Array) -> pa.RecordBatch:
    texts = [pa.repeat(pa.scalar(text, pa.string()), len(values)) for text in sample]
    numbers = [pa.array(array.astype(np.int64)) for array in (values, counts)]
    return pa.RecordBatch.from_arrays([*texts, *numbers], schema=_COUNTED)


def _samples(batch: pa.RecordBatch) -> Iterator[tuple[tuple[str, str], Array]]:
    """Cohort and sample, and their rows in a batch."""
    cohorts, samples = (batch.column(name).dictionary_encode() for name in COLUMNS[:2])
    width = max(1, len(samples.dictionary))
    codes = cohorts.indices.to_numpy().astype(np.int64) * width + samples.indices.to_numpy()
    for code in np.unique(codes).tolist():
        cohort, sample = divmod(code, width)
        names = cohorts.dictionary[cohort].as_py(), samples.dictionary[sample].as_py()
        yield names, np.flatnonzero(codes == code)


def warm_up() -> None:
    """Compile every kernel for the types that a worker meets."""
    data, starts, lengths, _ = genotypes.packed_bytes(pa.array(["ACGTN"]))
    found = kernels.kmers(data, starts, lengths, np.zeros(1, np.int64), kernels.CODE_OF, 3)
    kernels.sketched(found, 3, SEED, np.uint64(1))
    kernels.add_counts(found, np.zeros(64, np.int64))
