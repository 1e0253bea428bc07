"""Doses of bi-allelic variants, two bits a sample: what pruning, kinship and PCA work on.

A record's doses are two bit planes of little-endian 64-bit words, shape (2, words): bit ``s`` of
the first is set where sample ``s`` is heterozygous, of the second where it has two ALT alleles,
both where it is missing and after the last sample. That is an eighth of the bytes of packed
genotypes, so that a cohort's doses can be held while they are read many times, and counting
genotypes is counting bits.

Only bi-allelic, diploid records of autosomes are taken: see :func:`usable`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark import StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import BinaryType, StructField, StructType

from geneai_spark import genome, genotypes, tables
from geneai_spark.errors import TableError
from geneai_spark.features import dose_kernels as kernels
from geneai_spark.stored import StoredRows, fold_rows
from geneai_spark.tasks import Batches, quicken

Planes: TypeAlias = npt.NDArray[np.uint64]
Matrix: TypeAlias = npt.NDArray[np.float64]
Rows: TypeAlias = npt.NDArray[np.int64]
Hold: TypeAlias = Callable[[DataFrame], DataFrame]

KEYS = tables.PRUNED_VARIANTS.schema.names
SCHEMA = StructType([*tables.PRUNED_VARIANTS.schema.fields, StructField("doses", BinaryType())])
ARROW = to_arrow_schema(SCHEMA)
BLOCK_BYTES = 8 << 20  # of genotypes, or of numbers made of them, that a worker takes at a time


def pack(
    variants: StoredRows | DataFrame, n_samples: int, rows: Rows, *, min_frequency: float = 0.0
) -> DataFrame:
    """Pack the doses of some samples at the usable variants.

    Args:
        variants: the ``variants`` table, one cohort, with genotypes.
        n_samples: samples of the cohort.
        rows: positions of the samples that are wanted, ascending, shape (n,).
        min_frequency: least minor allele frequency among them, 0..0.5; above 0, variants that
            none of them is called at are left out too.

    Returns:
        ``SCHEMA``: the variant's key, and ``doses`` of the n samples.

    Raises:
        TableError: ``variants`` has no genotypes.
    """
    needed = [*KEYS, "call_genotype", "call_ploidy"]
    if missing := [name for name in needed if name not in variants.columns]:
        raise TableError(f"variants: no column {', '.join(missing)}: ingest with genotypes")
    step = max(1, BLOCK_BYTES // (2 * max(n_samples, 1)))

    def packed(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for block in slices(_usable(batches), step):
            calls = block.column("call_genotype"), n_samples, block.column("call_ploidy")
            found = kernels.pack(genotypes.calls(*calls), rows)
            keys = [block.column(name) for name in KEYS]
            made = pa.RecordBatch.from_arrays([*keys, binary(found)], SCHEMA.names)
            common = minor_frequency(kernels.counts(found, len(rows))) >= min_frequency
            yield (made.filter(pa.array(common)) if min_frequency > 0 else made).cast(ARROW)

    return variants.select(needed).mapInArrow(packed, SCHEMA)


def usable(batch: pa.RecordBatch) -> pa.BooleanArray:
    """Whether records of ``variants`` are bi-allelic, diploid-wide, and on an autosome."""
    autosomes = pa.array(sorted(genome.autosomes()))
    found = pc.is_in(pc.utf8_upper(batch.column("contigName")), autosomes)
    found = pc.and_(found, pc.equal(batch.column("call_ploidy"), 2))
    alts = pc.list_value_length(batch.column("alternateAlleles"))
    return pc.fill_null(pc.and_(found, pc.equal(alts, 1)), False)


def count_usable(variants: StoredRows | DataFrame) -> tuple[int, int]:
    """How many variants there are, and how many of them are :func:`usable`."""

    def counted(batches: Batches) -> tuple[int, int]:
        rows = [(batch.num_rows, int(pc.sum(usable(batch)).as_py() or 0)) for batch in batches]
        return sum(row[0] for row in rows), sum(row[1] for row in rows)

    def added(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
        return one[0] + other[0], one[1] + other[1]

    needed = ["contigName", "call_ploidy", "alternateAlleles"]
    return fold_rows(variants, needed, counted, added) or (0, 0)


def _usable(batches: Batches) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        good = usable(batch)
        yield batch if pc.all(good).as_py() else batch.filter(good)


def subset(doses: DataFrame, rows: Rows) -> DataFrame:
    """Doses of some of the samples only: ``rows`` are positions among those that ``doses`` has."""

    def taken(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            fewer = binary(kernels.take(planes(batch.column("doses")), rows))
            keys = [batch.column(name) for name in KEYS]
            yield pa.RecordBatch.from_arrays([*keys, fewer], SCHEMA.names).cast(ARROW)

    return doses.mapInArrow(taken, SCHEMA)


@contextmanager
def holding() -> Iterator[Hold]:
    """Give a function that keeps a DataFrame in memory, or on disk, until the block ends."""
    held: list[DataFrame] = []

    def hold(df: DataFrame) -> DataFrame:
        held.append(df.persist(StorageLevel.MEMORY_AND_DISK))
        return held[-1]

    try:
        yield hold
    finally:
        for df in held:
            df.unpersist()


# ---------------------------------------------------------------- inside a worker


def slices(batches: Iterable[pa.RecordBatch], step: int) -> Iterator[pa.RecordBatch]:
    """Cut batches into ones of at most ``step`` rows; no copies."""
    for batch in batches:
        for first in range(0, batch.num_rows, step):
            yield batch.slice(first, step)
    quicken()


def planes(column: pa.Array) -> Planes:
    """Read ``doses``: a read-only view, shape (records, 2, words).

    Raises:
        TableError: a value is null, or not as long as the others.
    """
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if column.null_count:
        raise TableError("doses: a null value")
    wide = pa.types.is_large_binary(column.type)
    _, offset_buffer, data = column.buffers()
    if len(column) == 0 or offset_buffer is None:
        return np.empty((0, 2, 0), np.uint64)
    offsets = np.frombuffer(offset_buffer, np.int64 if wide else np.int32)
    offsets = offsets[column.offset : column.offset + len(column) + 1]
    lengths = np.diff(offsets)
    if (lengths != lengths[0]).any() or lengths[0] % 16:
        raise TableError("doses: values of different lengths: of one set of samples only")
    flat = np.frombuffer(data or b"", np.uint8)[offsets[0] : offsets[-1]].view("<u8")
    return np.require(flat, requirements="A").reshape(len(column), 2, int(lengths[0]) // 16)


def binary(found: Planes) -> pa.BinaryArray:
    """Write planes, shape (records, 2, words), as ``doses``."""
    size = found.shape[1] * found.shape[2] * 8
    offsets = np.arange(len(found) + 1, dtype=np.int32) * size
    data = pa.py_buffer(np.ascontiguousarray(found))
    return pa.Array.from_buffers(
        pa.binary(), len(found), [None, pa.py_buffer(offsets), data], null_count=0
    )


def counts(found: Planes, n: int) -> npt.NDArray[np.int64]:
    """Count n samples by genotype, (records, 4): two REF, het, two ALT, missing."""
    counted: npt.NDArray[np.int64] = kernels.counts(found, n)
    return counted


def minor_frequency(counted: npt.NDArray[Any]) -> Matrix:
    """Give each record's minor allele frequency from :func:`counts`; 0 where none is called."""
    called, alts = counted[:, :3].sum(axis=1), counted[:, 1] + 2 * counted[:, 2]
    frequency: Matrix = np.minimum(alts, 2 * called - alts) / np.maximum(2 * called, 1)
    return frequency


def moments(counted: npt.NDArray[Any]) -> tuple[Matrix, Matrix]:
    """Give what standardises doses: mean, and scale sqrt(2 p (1 - p)) with p = mean / 2.

    Both (records,), of the samples called. The scale is 0 where they do not vary.
    """
    called, alts = counted[:, :3].sum(axis=1), counted[:, 1] + 2 * counted[:, 2]
    mean = alts / np.maximum(called, 1)
    return mean, np.sqrt(mean * (1 - mean / 2))


def standardised(found: Planes, n: int, mean: Matrix, scale: Matrix) -> Matrix:
    """Give (dose - mean) / scale, 0 where missing or where the scale is 0: (records, n)."""
    by_genotype = np.arange(4) - mean[:, None]  # (records, 4)
    by_genotype[:, 3] = 0
    values = np.divide(
        by_genotype, scale[:, None], out=np.zeros_like(by_genotype), where=scale[:, None] > 0
    )
    out = np.empty((len(found), n))
    kernels.look_up(found, values, out)
    return out


def chunks(
    found: Planes, n: int, mean: Matrix, scale: Matrix, size: int
) -> Iterator[tuple[slice, Matrix]]:
    """Which of the variants, and their standardised doses, (some, n): ``size`` bytes at a time."""
    step = max(1, size // (8 * n))
    for i in range(0, len(found), step):
        own = slice(i, i + step)
        yield own, standardised(np.ascontiguousarray(found[own]), n, mean[own], scale[own])


def warm_up() -> None:
    """Compile the kernels, on arrays as Arrow gives them: read-only."""
    alleles = np.zeros((1, 1, 2), np.int8)
    alleles.flags.writeable = False
    rows, places = np.zeros(1, np.int64), np.zeros(1, np.int64)
    found = kernels.pack(alleles, rows)
    for writeable in (True, False):
        found.flags.writeable = writeable
        kernels.take(found, rows)
        kernels.look_up(found, np.zeros((1, 4)), np.empty((1, 1)))
        kernels.transpose(found, 1)
        kernels.prune(found, places, np.zeros(len(kernels.counts(found, 1)), np.int64), 1, 0.5)
        kernels.pair_counts(found, found, np.zeros((1, 1, 5), np.int32))
