"""Packed genotypes: the one place that decodes them (and packs them, for tests and writers).

A record's genotypes are one binary value; a batch of records is one NumPy matrix, without a
copy when every record has the same width. The layout follows the VCF Zarr specification's
``call_genotype``, ``call_genotype_phased`` and BCF2's typed vectors:

* ``call_genotype``: allele indices, shape (samples, ploidy), C order, int8 (little-endian int16
  in records of more than 126 ALT alleles); -1 is missing (``.``), -2 absent (a haploid ``0`` in
  a diploid-wide record is (0, -2), a lone ``.`` is (-1, -2)). ``call_ploidy`` is the width.
* ``call_genotype_phased``: a little-endian bit run of shape (samples, ploidy - 1), set where the
  separator before the next allele is ``|``.
* ``call_<KEY>``: one type byte (1 int8, 2 int16, 3 int32, 5 float32, 7 text), then the values,
  sample after sample. An integer's missing value is the type's minimum, its end-of-vector filler
  the minimum + 1; a float's are two NaN patterns; text is the samples' raw values joined by TAB.

Kernels import no pyspark: Spark functions, serving and notebooks call the same code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from geneai_spark import genotype_kernels as kernels
from geneai_spark.errors import TableError

MISSING = -1
ABSENT = -2
INT_MISSING = -(2**31)
INT_ABSENT = INT_MISSING + 1
FLOAT_MISSING_BITS = 0x7F800001
FLOAT_ABSENT_BITS = 0x7F800002
TEXT_CODE = 7
TYPE_CODES: dict[int, np.dtype[Any]] = {
    1: np.dtype("<i1"),
    2: np.dtype("<i2"),
    3: np.dtype("<i4"),
    5: np.dtype("<f4"),
}

Array: TypeAlias = npt.NDArray[Any]
Column: TypeAlias = pa.Array | pa.ChunkedArray | Sequence[bytes | None]
Ploidy: TypeAlias = pa.Array | pa.ChunkedArray | npt.ArrayLike | None


# ---------------------------------------------------------------- decoding


def calls(column: Column, n_samples: int, ploidy: Ploidy = None) -> Array:
    """Decode ``call_genotype``.

    Args:
        column: the binary values, one a record.
        n_samples: samples of the cohort.
        ploidy: ``call_ploidy``: one width a record or one for all. Without it records are taken
            as int8, which is refused where the bytes could also be int16.

    Returns:
        Allele indices, int8, shape (records, samples, ploidy): a read-only view of the Arrow
        buffer when all records have one width. Otherwise a copy as wide as the widest record,
        padded with -2 (int16 if one record is). A null record is a lone ``.`` for each sample.

    Raises:
        TableError: a value's length is not samples x ploidy.
    """
    data, starts, lengths, valid = packed_bytes(column)
    n = len(starts)
    if n_samples == 0:
        return np.empty((n, 0, 2), np.int8)
    widths, itemsizes = _widths(lengths, valid, n_samples, ploidy)
    if valid.all() and n and (lengths == lengths[0]).all() and (widths == widths[0]).all():
        dtype = np.dtype("<i2") if itemsizes[0] == 2 else np.dtype(np.int8)
        flat = data[starts[0] : starts[0] + n * lengths[0]]
        return flat.view(dtype).reshape(n, n_samples, int(widths[0]))
    wide = np.dtype("<i2") if (itemsizes == 2).any() else np.dtype(np.int8)
    out = np.full((n, n_samples, max(2, int(widths.max(initial=2)))), ABSENT, wide)
    for i in range(n):
        if not valid[i]:
            out[i, :, 0] = MISSING
            continue
        one = data[starts[i] : starts[i] + lengths[i]]
        one = one.view("<i2" if itemsizes[i] == 2 else np.int8)
        out[i, :, : widths[i]] = one.reshape(n_samples, widths[i])
    return out


def phased(column: Column, n_samples: int, ploidy: Ploidy = 2) -> Array:
    """Decode ``call_genotype_phased``.

    Returns:
        bool, shape (records, samples, widest ploidy - 1): the separator before allele j + 1 is
        ``|``. Null records are all False.
    """
    data, starts, lengths, valid = packed_bytes(column)
    n = len(starts)
    widths = _per_record(ploidy, n, valid)
    out = np.zeros((n, n_samples, max(2, int(widths.max(initial=2))) - 1), np.bool_)
    nbytes = (n_samples * (widths - 1) + 7) // 8
    expect(lengths, nbytes, valid, "call_genotype_phased")
    for width in np.unique(widths[valid]):
        rows = np.flatnonzero(valid & (widths == width))
        size = int(nbytes[rows[0]])
        raw = data[starts[rows][:, None] + np.arange(size)]  # (rows, bytes)
        bits = np.unpackbits(raw, axis=1, count=n_samples * (width - 1), bitorder="little")
        out[rows, :, : width - 1] = bits.reshape(len(rows), n_samples, width - 1)
    return out


def values(column: Column, n_samples: int) -> Array:
    """Decode a ``call_<KEY>`` column.

    Returns:
        Shape (records, samples, widest length). int32 with ``INT_MISSING`` and ``INT_ABSENT``,
        or float32 whose missing and absent values are NaN (``missing_mask`` tells them apart),
        or, for text, objects of shape (records, samples, 1) with the file's raw value. A null
        record (its FORMAT lacks the key) is missing for each sample.

    Raises:
        TableError: a value's type or length does not fit, or types are mixed.
    """
    data, starts, lengths, valid = packed_bytes(column)
    n, rows = len(starts), np.flatnonzero(valid)
    if (lengths[rows] < 1).any():
        raise TableError("call values: a value without its type byte")
    codes = data[starts[rows]]
    kinds = {"text" if c == TEXT_CODE else _dtype(int(c)).kind for c in np.unique(codes)}
    if len(kinds) > 1:
        raise TableError(f"call values: one column mixes {' and '.join(sorted(kinds))}")
    if kinds == {"text"}:
        out = np.full((n, n_samples, 1), ".", object)
        for i in rows:
            text = data[starts[i] + 1 : starts[i] + lengths[i]].tobytes().decode("utf-8")
            parts = text.split("\t")
            if len(parts) != n_samples:
                raise TableError(f"record {i}: {len(parts)} text values, not {n_samples}")
            out[i, :, 0] = parts
        return out
    is_float = kinds == {"f"}
    dtypes = [_dtype(int(c)) for c in codes]
    each = [n_samples * d.itemsize for d in dtypes]
    for i, step in zip(rows, each, strict=True):
        if (lengths[i] - 1) % max(step, 1) or (step == 0 and lengths[i] != 1):
            raise TableError(f"record {i}: {lengths[i] - 1} bytes, not a multiple of {step}")
    sizes = [int(lengths[i] - 1) // max(s, 1) for i, s in zip(rows, each, strict=True)]
    shape = (n, n_samples, max(sizes, default=1))
    # Floats travel as their bits: arithmetic could quieten the two NaN patterns.
    fill = (FLOAT_MISSING_BITS, FLOAT_ABSENT_BITS) if is_float else (INT_MISSING, INT_ABSENT)
    out = np.full(shape, fill[1], np.uint32 if is_float else np.int32)
    if shape[2]:
        out[~valid, :, 0] = fill[0]
    for i, dtype, size in zip(rows, dtypes, sizes, strict=True):
        raw = data[starts[i] + 1 : starts[i] + lengths[i]].tobytes()
        one = np.frombuffer(raw, "<u4" if is_float else dtype).reshape(n_samples, size)
        target = out[i, :, :size]
        target[...] = one
        if dtype.itemsize < 4:
            low = np.iinfo(dtype).min
            target[one == low], target[one == low + 1] = INT_MISSING, INT_ABSENT
    return out.view(np.float32) if is_float else out


def missing_mask(decoded: Array) -> Array:
    """True where a value from ``values`` is missing (``.``) or absent (end of vector)."""
    if decoded.dtype.kind == "f":
        return np.isnan(decoded)
    return np.asarray(decoded == "." if decoded.dtype == object else decoded <= INT_ABSENT)


# ---------------------------------------------------------------- counting


def dosages(decoded: Array, allele: int | None = None) -> Array:
    """Count ALT alleles of each genotype.

    Args:
        decoded: from ``calls``, shape (records, samples, ploidy).
        allele: count this allele only; without it every allele but 0 counts.

    Returns:
        float32, shape (records, samples). NaN where an allele is missing (half calls
        included). A haploid genotype counts 0 or 1.
    """
    result: Array = kernels.dosages(decoded, -1 if allele is None else allele)
    return result


def allele_counts(decoded: Array, n_alleles: int) -> Array:
    """Count each allele over all samples: int32, shape (records, n_alleles), REF first."""
    records, samples, ploidy = decoded.shape
    flat = decoded.reshape(records, samples * ploidy)
    counts: Array = kernels.allele_counts(flat, n_alleles)
    return counts


def genotype_counts(decoded: Array) -> Array:
    """Count genotypes by class: int32, shape (records, 3): hom-REF, het, hom-ALT.

    Only genotypes without a missing allele count. A genotype is homozygous when all alleles
    it has are equal, so a haploid one is too; two different ALT alleles make a het.
    """
    counts: Array = kernels.genotype_counts(decoded)
    return counts


class Tally(NamedTuple):
    """What one pass over the genotypes of a batch counts.

    Lists of alleles follow one another, record after record, REF first: those of record r stand
    at ``offsets[r]:offsets[r + 1]``.

    Attributes:
        offsets: int64, shape (records + 1,).
        classes: int32, shape (records, 3): hom-REF, het, hom-ALT, as :func:`genotype_counts`.
        diploids: int32, shape (records,): complete genotypes of two alleles.
        called: int32, shape (alleles,): copies of the allele, those of half calls too.
        complete: the same in complete genotypes.
        diploid: the same in complete diploid ones.
        homozygous: complete diploid genotypes of this allele alone.
        usual: whether a record has only 0/0, 0/1, 1/0, 1/1 and missing ones, shape (records,).
    """

    offsets: Array
    classes: Array
    diploids: Array
    called: Array
    complete: Array
    diploid: Array
    homozygous: Array
    usual: Array


def codes(decoded: Array) -> Array | None:
    """Diploid genotypes as one uint16 each, shape (records, samples): see ``kernels.HOM_REF``.

    None where alleles are wider than a byte or genotypes than two alleles.
    """
    if decoded.dtype != np.int8 or decoded.shape[2] != 2:
        return None
    pairs = decoded if decoded.ctypes.data % 2 == 0 else decoded.copy()
    view: Array = np.ascontiguousarray(pairs).view("<u2")[..., 0]
    return view


def tally(decoded: Array, n_alleles: Array) -> Tally:
    """Count alleles and genotypes of each record.

    Args:
        decoded: from ``calls``, shape (records, samples, ploidy).
        n_alleles: of each record, REF included, shape (records,).

    Raises:
        TableError: a genotype names an allele that its record does not have.
    """
    records, samples, _ = decoded.shape
    offsets = np.concatenate([[0], np.cumsum(n_alleles, dtype=np.int64)])
    pairs = codes(decoded)
    nothing = np.full((records, 4), -1, np.int32)  # adds up to no number of samples
    usual = nothing if pairs is None else kernels.code_counts(pairs)
    classes, diploids = np.zeros((records, 3), np.int32), np.zeros(records, np.int32)
    alleles = np.zeros((4, int(offsets[-1])), np.int32)
    wrong = kernels.tally(decoded, offsets, usual, classes, diploids, alleles)
    if wrong >= 0:
        raise TableError(f"call_genotype: record {wrong} of the batch names an allele beyond ALT")
    plain = (usual.sum(axis=1) == samples) & (n_alleles >= 2)
    called, complete, diploid, homozygous = alleles
    return Tally(offsets, classes, diploids, called, complete, diploid, homozygous, plain)


# ---------------------------------------------------------------- text


def gt_strings(decoded: Array, phase: Array) -> list[list[str]]:
    """Spell genotypes as a VCF does: ``0|1``, ``./.``, a lone ``.``, ``0``, ``0/0/1``.

    Args:
        decoded: from ``calls``, shape (records, samples, ploidy).
        phase: from ``phased``, shape (records, samples, ploidy - 1).
    """
    records, samples, ploidy = decoded.shape
    shifted = decoded.astype(np.int64) - ABSENT  # absent 0, missing 1, REF 2 ...
    base = int(shifted.max(initial=2)) + 1
    keys = shifted[..., 0]  # one number a genotype: (records, samples)
    for p in range(1, ploidy):
        keys = (keys * base + shifted[..., p]) * 2 + phase[..., p - 1]
    if keys.size == 0:
        return [[] for _ in range(records)]
    if keys.max() >= 1 << 20:  # number the keys that occur; else a table of all is faster
        distinct, places = np.unique(keys, return_inverse=True)
    else:
        distinct, places = np.arange(int(keys.max()) + 1), keys.ravel()
    table = np.empty(len(distinct), object)
    for i in np.flatnonzero(np.bincount(places.ravel())):
        table[i] = _spell(int(distinct[i]), ploidy, base)
    result: list[list[str]] = table[places].reshape(records, samples).tolist()
    return result


def _spell(key: int, ploidy: int, base: int) -> str:
    """Undo the key of ``gt_strings`` and write its genotype."""
    text = ""
    for p in reversed(range(ploidy)):
        key, bar = divmod(key, 2) if p else (key, 0)
        key, allele = divmod(key, base) if p else (0, key)
        allele += ABSENT
        if allele != ABSENT:
            spelt = "." if allele == MISSING else str(allele)
            text = ("" if p == 0 else "|" if bar else "/") + spelt + text
    return text or "."


# ---------------------------------------------------------------- packing


def pack_calls(decoded: Array) -> tuple[pa.BinaryArray, pa.Int32Array]:
    """Pack (records, samples, ploidy) allele indices: (``call_genotype``, ``call_ploidy``).

    Each record takes its own width, at least 2, and int16 where an allele exceeds 126.
    """
    packed: list[bytes | None] = []
    widths: list[int | None] = []
    for one in np.asarray(decoded):  # (samples, ploidy)
        if one.shape[0] == 0:
            packed.append(None)
            widths.append(None)
            continue
        present = np.flatnonzero((one != ABSENT).any(axis=0))
        width = max(2, int(present.max(initial=0)) + 1)
        if one.shape[1] < width:
            one = np.hstack([one, np.full((len(one), width - one.shape[1]), ABSENT, one.dtype)])
        dtype = "<i2" if one.max() > 126 else "<i1"
        packed.append(np.ascontiguousarray(one[:, :width], dtype=dtype).tobytes())
        widths.append(width)
    return pa.array(packed, pa.binary()), pa.array(widths, pa.int32())


def pack_phased(mask: Array, ploidy: Ploidy = None) -> pa.BinaryArray:
    """Pack (records, samples, ploidy - 1) booleans; ``ploidy`` trims each record to its width."""
    mask = np.asarray(mask, np.bool_)
    n = len(mask)
    if ploidy is None:
        ploidy = mask.shape[2] + 1
    widths = _per_record(ploidy, n, np.ones(n, np.bool_))
    return pa.array(
        [
            np.packbits(np.ascontiguousarray(one[:, : w - 1]), bitorder="little").tobytes()
            for one, w in zip(mask, widths, strict=True)
        ],
        pa.binary(),
    )


def pack_values(decoded: Array) -> pa.BinaryArray:
    """Pack what ``values`` gives: each record in the narrowest type and length that holds it."""
    packed = []
    for one in decoded:  # (samples, length)
        if one.dtype == object:
            packed.append(bytes([TEXT_CODE]) + "\t".join(one[:, 0]).encode("utf-8"))
            continue
        bits = np.ascontiguousarray(one).view(np.uint32) if one.dtype.kind == "f" else one
        filler = FLOAT_ABSENT_BITS if one.dtype.kind == "f" else INT_ABSENT
        used = np.flatnonzero((bits != filler).any(axis=0))
        bits = bits[:, : max(1, int(used.max(initial=0)) + 1)]
        if one.dtype.kind == "f":
            packed.append(bytes([5]) + np.ascontiguousarray(bits, "<u4").tobytes())
            continue
        real = bits[bits > INT_ABSENT]
        low, high = int(real.min(initial=0)), int(real.max(initial=0))
        code = 1 if low > -127 and high < 128 else 2 if low > -32767 and high < 32768 else 3
        least = np.iinfo(TYPE_CODES[code]).min
        narrow = np.where(bits > INT_ABSENT, bits, bits - INT_MISSING + least)
        packed.append(bytes([code]) + narrow.astype(TYPE_CODES[code]).tobytes())
    return pa.array(packed, pa.binary())


# ---------------------------------------------------------------- helpers


def packed_bytes(column: Column) -> tuple[Array, Array, Array, Array]:
    """Give (bytes, start of each value, its length, whether it is not null) without a copy."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    elif not isinstance(column, pa.Array):
        column = pa.array(column, pa.binary())
    if not (pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)):
        column = column.cast(pa.large_binary())
    n = len(column)
    _, offset_buffer, data_buffer = column.buffers()
    dtype = np.int64 if pa.types.is_large_binary(column.type) else np.int32
    if offset_buffer is None or offset_buffer.size == 0:
        offsets: Array = np.zeros(n + 1, np.int64)
    else:
        offsets = np.frombuffer(offset_buffer, dtype)[column.offset : column.offset + n + 1]
    data = np.frombuffer(data_buffer or b"", np.uint8)
    data.flags.writeable = False  # Arrow's memory, shared with others
    valid = np.ones(n, np.bool_)
    if column.null_count:
        valid = np.asarray(column.is_valid())
    return data, offsets[:-1].astype(np.int64), np.diff(offsets).astype(np.int64), valid


def _per_record(ploidy: Ploidy, n: int, valid: Array) -> Array:
    """Spread ``ploidy`` to one int64 a record; 2 where the record is null."""
    if isinstance(ploidy, pa.Array | pa.ChunkedArray):
        ploidy = ploidy.fill_null(2).to_numpy()
    return np.where(valid, np.asarray(ploidy, np.int64), 2)


def _widths(lengths: Array, valid: Array, n_samples: int, ploidy: Ploidy) -> tuple[Array, Array]:
    """Give each record's ploidy and bytes per allele."""
    n = len(lengths)
    if ploidy is None:
        widths = np.where(valid, lengths // n_samples, 2)
        if (valid & (widths >= 4) & (widths % 2 == 0)).any():
            raise TableError("call_genotype: give call_ploidy, the width is ambiguous without it")
    else:
        widths = _per_record(ploidy, n, valid)
    itemsizes = np.where(valid, lengths // np.maximum(n_samples * widths, 1), 1)
    expect(lengths, n_samples * widths * np.clip(itemsizes, 1, 2), valid, "call_genotype")
    return widths, itemsizes


def expect(lengths: Array, expected: Array, valid: Array, name: str) -> None:
    """Raise TableError where a packed value that is not null has another length in bytes."""
    wrong = np.flatnonzero(valid & (lengths != expected))
    if len(wrong):
        i = wrong[0]
        raise TableError(
            f"{name}: record {i} of the batch holds {lengths[i]} bytes, not {expected[i]}: "
            "is this the samples table of the same cohort?"
        )


def _dtype(code: int) -> np.dtype[Any]:
    if code not in TYPE_CODES:
        raise TableError(f"call values: unknown type code {code}")
    return TYPE_CODES[code]
