"""A range of a BGEN file to Arrow: its good variants, its rejected ones."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import lru_cache
from math import comb
from typing import NamedTuple

import deflate
import numpy as np
import pyarrow as pa
from pyspark.sql.pandas.types import to_arrow_schema

from geneai_spark import filesystems
from geneai_spark.errors import FormatError
from geneai_spark.formats import bgen_kernels as kernels
from geneai_spark.formats import packed_records
from geneai_spark.formats.bgen import Part, Window
from geneai_spark.formats.packed_records import Array, Fault, MalformedError, Parsed, Reading, Site

_AHEAD = 8 << 20
MOST_GENOTYPES = 100_000  # of one sample: 446 alleles if diploid
_FLOAT = b"\x05"  # type byte of float32 in packed values


class _Variant(NamedTuple):
    """A variant's header; `data` is where its genotypes begin in the block."""

    names: list[str]
    contig: str
    position: int
    alleles: list[str]
    data: int


class _Decoded(NamedTuple):
    """Allele indices (samples, ploidy), phase (samples, ploidy - 1), probabilities (samples, G);
    the probabilities are as uint32: their missing values are NaN patterns.
    """

    calls: Array
    bars: Array
    bits: Array


def parse_part(part: Part, reading: Reading) -> Iterator[Parsed]:
    """Read and decode some variants.

    Raises:
        FormatError: the first damaged variant, where ``on_malformed`` is ``fail``.
    """
    columns = to_arrow_schema(packed_records.schema(reading, gp=True))
    source_id = filesystems.source_id(part.uri)
    source = filesystems.open_input(part.uri)
    sites: list[Site] = []
    decoded: list[_Decoded] = []
    faults: list[Fault] = []
    lines = held = 0

    def flush() -> Parsed:
        calls = _columns(decoded, part.choice) if reading.genotypes else {}
        return Parsed(
            packed_records.batch(columns, sites, source_id, part.cohort, **calls),
            packed_records.rejects(part.uri, faults, source_id, reading.on_malformed),
            lines,
        )

    try:
        window = Window(source, _AHEAD)
        for start, end in zip(part.offsets[:-1].tolist(), part.offsets[1:].tolist(), strict=True):
            block = window.read(start, end - start)
            if len(block) != end - start:
                raise FormatError(part.uri, f"{end - start} bytes", f"{len(block)}", offset=start)
            lines += 1
            text = f"variant {part.first + lines}"
            try:
                one = _header(block, part)
                text = f"{' '.join(one.names)} {one.contig}:{one.position}"
                site = _site(one, reading, part.ref_last)
                if not reading.wants(site.contig, site.start, site.end):
                    continue
                if reading.genotypes:
                    decoded.append(_decode(block, one, part, "call_GP" in columns.names))
                    held += sum(array.nbytes for array in decoded[-1])
            except MalformedError as error:
                told = (error.field, error.expected, error.found)
                faults.append(Fault(None, start, *told, text))
                continue
            sites.append(site)
            if held >= packed_records.BATCH_BYTES or len(sites) >= packed_records.BATCH_ROWS:
                yield flush()
                sites, decoded, faults, lines, held = [], [], [], 0, 0
        if lines:
            yield flush()
    finally:
        source.close()


# ------------------------------------------------------------------------------------- headers


def _header(block: bytes, part: Part) -> _Variant:
    at = 0

    def number(kind: str) -> int:
        nonlocal at
        (value,) = struct.unpack_from(kind, block, at)
        at += struct.calcsize(kind)
        return int(value)

    def text(kind: str) -> str:
        nonlocal at
        size = number(kind)
        if at + size > len(block):
            raise struct.error
        at += size
        return block[at - size : at].decode()

    try:
        if part.layout == 1 and (n := number("<I")) != part.n_samples:
            raise MalformedError("samples", str(part.n_samples), str(n))
        own, rsid, contig = text("<H"), text("<H"), text("<H")
        position = number("<I")
        n_alleles = 2 if part.layout == 1 else number("<H")
        alleles = [text("<I") for _ in range(n_alleles)]
    except struct.error:
        raise MalformedError("header", "lengths that fit the variant", "others") from None
    except UnicodeDecodeError:
        raise MalformedError("header", "UTF-8 text", "another byte") from None
    names = [name for name in dict.fromkeys((rsid, own)) if name not in ("", ".")]
    return _Variant(names, contig, position, alleles, at)


def _site(one: _Variant, reading: Reading, ref_last: bool) -> Site:
    if not one.contig:
        raise MalformedError("chromosome", "a name", "none")
    if not one.alleles or not all(one.alleles):
        raise MalformedError("alleles", "one or more, none of them empty", f"{len(one.alleles)}")
    if one.position >= 2**31:
        raise MalformedError("position", "less than 2147483648", str(one.position))
    alleles = one.alleles[-1:] + one.alleles[:-1] if ref_last else one.alleles
    contig = reading.contig(one.contig)
    return Site(contig, one.position - 1, one.names, alleles[0], alleles[1:])


# ----------------------------------------------------------------------------------- genotypes


def _decode(block: bytes, one: _Variant, part: Part, gp: bool) -> _Decoded:
    data, n = _inflate(block, one, part), part.n_samples
    if part.layout == 1:
        if len(data) != 6 * n:
            raise MalformedError("genotypes", f"{6 * n} bytes", f"{len(data)}")
        ploidies = np.full(n, 2, np.uint8)
        values = np.frombuffer(data, "<u2").astype(np.int64)
        return _hard(values, 1 << 15, ploidies, 2, part, gp, explicit=True)
    if len(data) < 10 + n:
        raise MalformedError("genotypes", f"{10 + n} bytes or more", f"{len(data)}")
    count, alleles, least, most = struct.unpack_from("<IH2B", data)
    if (count, alleles) != (n, len(one.alleles)):
        expected = f"{n} samples and {len(one.alleles)} alleles"
        raise MalformedError("genotypes", expected, f"{count} and {alleles}")
    ploidies = np.frombuffer(data, np.uint8, n, 8)
    plain = ploidies & 63
    if n and not least <= plain.min() <= plain.max() <= most <= 63:
        raise MalformedError("ploidy", f"{least} to {most}", "another one")
    phased, bits = data[8 + n], data[9 + n]
    if phased > 1 or not 1 <= bits <= 32:
        raise MalformedError("genotypes", "phase 0 or 1, 1 to 32 bits", f"{phased}, {bits}")
    each = np.array([p * (alleles - 1) if phased else comb(p + alleles - 1, p) - 1
                     for p in range(int(most) + 1)], object)  # fmt: skip
    if not phased and n and max(each[np.unique(plain)]) >= MOST_GENOTYPES:
        raise MalformedError("genotypes", f"less than {MOST_GENOTYPES} a sample", "more")
    counts = np.bincount(plain, minlength=int(most) + 1)
    total = sum(int(c) * int(e) for c, e in zip(counts, each, strict=True) if c)
    if len(data) != 10 + n + (total * bits + 7) // 8:
        expected = f"{total} probabilities of {bits} bits"
        raise MalformedError("genotypes", expected, f"{len(data) - 10 - n} bytes")
    values = _unpacked(data, 10 + n, bits, total)
    top = (1 << bits) - 1
    if phased:
        return _phased(values, top, ploidies, alleles, part, gp)
    return _hard(values, top, ploidies, alleles, part, gp, explicit=False)


def _inflate(block: bytes, one: _Variant, part: Part) -> bytes:
    """The genotype data, inflated."""
    at = one.data
    if part.layout == 1 and not part.compression:
        return block[at:]
    if len(block) < at + 4 + (4 if part.layout == 2 and part.compression else 0):
        raise MalformedError("genotypes", "their length", "the variant's end")
    if part.layout == 1:
        size, at = 6 * part.n_samples, at + 4
    elif not part.compression:
        return block[at + 4 :]
    else:
        size, at = struct.unpack_from("<I", block, at + 4)[0], at + 8
    packed = block[at:]
    # What deflates best shrinks a thousandfold: more is a lie that would take the memory.
    if size > 64 + 1100 * max(len(packed), 1) and part.compression == 1:
        raise MalformedError("genotypes", "a plausible length", f"{size} from {len(packed)} bytes")
    try:
        if part.compression == 2:
            data: bytes = pa.Codec("zstd").decompress(packed, size, asbytes=True)
        else:
            data = bytes(deflate.zlib_decompress(packed, size))
    except (OSError, ValueError, MemoryError, deflate.DeflateError):
        raise MalformedError("genotypes", "whole compressed data", "damaged data") from None
    if len(data) != size:
        raise MalformedError("genotypes", f"{size} bytes inflated", f"{len(data)}")
    return data


def _unpacked(data: bytes, at: int, bits: int, total: int) -> Array:
    if bits in (8, 16, 32):
        return np.frombuffer(data, f"<u{bits // 8}", total, at).astype(np.int64)
    out = np.empty(total, np.int64)
    kernels.unpack(np.frombuffer(data, np.uint8, len(data) - at, at), bits, out)
    return out


def _hard(
    values: Array, top: int, ploidies: Array, alleles: int, part: Part, gp: bool, *, explicit: bool
) -> _Decoded:
    most = _most(ploidies)
    sizes, copies, places = _genotypes(most, alleles, part.ref_last)
    calls, bits = _room(ploidies, alleles, int(sizes[most]) if gp else 0)
    wrong = kernels.unphased(
        values, explicit, top, ploidies, sizes, copies, places, part.threshold, calls,
        bits.view(np.float32), bits,
    )  # fmt: skip
    _check(wrong)
    return _Decoded(calls, np.zeros((len(calls), calls.shape[1] - 1), np.uint8), bits)


def _phased(
    values: Array, top: int, ploidies: Array, alleles: int, part: Part, gp: bool
) -> _Decoded:
    most = _most(ploidies)
    if comb(most + alleles - 1, most) > MOST_GENOTYPES:  # then the haplotypes alone are told
        gp = False
    order = np.arange(alleles)
    if part.ref_last:
        order = (order + 1) % alleles
    sizes = np.array([comb(p + alleles - 1, p) if gp else 0 for p in range(most + 1)], np.int64)
    steps = _steps(most, alleles) if gp else np.zeros((1, 1, 1), np.int64)
    calls, bits = _room(ploidies, alleles, int(sizes[most]) if gp else 0)
    bars = np.zeros((len(calls), calls.shape[1] - 1), np.uint8)
    wrong = kernels.phased(
        values, top, ploidies, sizes, order, steps, part.threshold, calls, bars,
        bits.view(np.float32), bits,
    )  # fmt: skip
    _check(wrong)
    return _Decoded(calls, bars, bits)


def _check(wrong: int) -> None:
    if wrong >= 0:
        raise MalformedError(
            "genotypes", "probabilities that add up to 1 or less", f"more in sample {wrong + 1}"
        )


def _most(ploidies: Array) -> int:
    return int((ploidies & 63).max(initial=0))


def _room(ploidies: Array, alleles: int, width: int) -> tuple[Array, Array]:
    n, dtype = len(ploidies), np.int8 if alleles <= 127 else np.dtype("<i2")
    calls = np.empty((n, max(2, _most(ploidies))), dtype)
    return calls, np.empty((n, width), np.uint32)


def _listed(ploidy: int, alleles: int) -> list[tuple[int, ...]]:
    """Genotypes in the order of VCF and BGEN: 00, 01, 11, 02, 12, 22."""
    if ploidy == 0:
        return [()]
    return [(*rest, a) for a in range(alleles) for rest in _listed(ploidy - 1, a + 1)]


@lru_cache(maxsize=64)
def _genotypes(most: int, alleles: int, ref_last: bool) -> tuple[Array, Array, Array]:
    """`sizes`, `copies` and `places` for `bgen_kernels.unphased`."""
    lists = [_listed(p, alleles) for p in range(most + 1)]
    sizes = np.array([len(one) for one in lists], np.int64)
    copies = np.zeros((most + 1, int(sizes.max()), alleles), np.int64)
    places = np.zeros((most + 1, int(sizes.max())), np.int64)
    for p, listed in enumerate(lists):
        number = {genotype: i for i, genotype in enumerate(listed)}
        for g, genotype in enumerate(listed):
            ours = tuple(sorted((a + 1) % alleles for a in genotype)) if ref_last else genotype
            places[p, g] = number[ours]
            for a in ours:
                copies[p, g, a] += 1
    return sizes, copies, places


@lru_cache(maxsize=64)
def _steps(most: int, alleles: int) -> Array:
    """`steps` for `bgen_kernels.phased`."""
    lists = [_listed(p, alleles) for p in range(most + 1)]
    steps = np.zeros((most + 1, len(lists[-1]), alleles), np.int64)
    for p in range(most):
        number = {genotype: i for i, genotype in enumerate(lists[p + 1])}
        for g, genotype in enumerate(lists[p]):
            for a in range(alleles):
                steps[p, g, a] = number[tuple(sorted((*genotype, a)))]
    return steps


def _columns(decoded: list[_Decoded], choice: Array | None) -> dict[str, pa.Array]:
    if choice is not None:
        decoded = [_Decoded(*(array[choice] for array in one)) for one in decoded]
    widths = [one.calls.shape[1] for one in decoded]
    wide = [_FLOAT + one.bits.astype("<u4").tobytes() if one.bits.shape[1] else None
            for one in decoded]  # fmt: skip
    bars = [np.packbits(one.bars, bitorder="little").tobytes() for one in decoded]
    return {
        "call_ploidy": pa.array(widths, pa.int32()),
        "call_genotype": pa.array([one.calls.tobytes() for one in decoded], pa.binary()),
        "call_genotype_phased": pa.array(bars, pa.binary()),
        "call_GP": pa.array(wide, pa.binary()),
    }


def warm_up() -> None:
    """Decode three variants, so that every kernel is compiled and cached."""
    part = Part("", 2, 2, 0, 0, np.zeros(1, np.int64), "", None, False, 0.1)
    for phased in (0, 1):
        values = np.array([0, 7], np.int64)
        ploidies = np.array([1, 129], np.uint8)
        if phased:
            _phased(values, 7, ploidies, 2, part, True)
        else:
            _hard(values, 7, ploidies, 2, part, True, explicit=False)
    kernels.unpack(np.zeros(2, np.uint8), 3, np.empty(2, np.int64))
