"""Small PLINK and BGEN files for tests, written here from the specifications."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

#: Genotypes as .bed codes: 0 homozygous A1, 1 missing, 2 heterozygous, 3 homozygous A2.
A1A1, MISSING, HET, A2A2 = 0, 1, 2, 3


def write_bed(
    stem: Path,
    codes: Sequence[Sequence[int]] | np.ndarray,
    *,
    bim: Sequence[str] | None = None,
    fam: Sequence[str] | None = None,
) -> str:
    """Write a fileset of .bed codes (variants, samples); the path of its .bed."""
    given = np.asarray(codes, np.uint8)
    m, n = given.shape
    fours = np.pad(given, ((0, 0), (0, -n % 4))).reshape(m, -1, 4)
    fours <<= np.array([0, 2, 4, 6], np.uint8)
    body = b"\x6c\x1b\x01" + np.bitwise_or.reduce(fours, axis=2).tobytes()
    lines = bim or [f"22\trs{i}\t0\t{100 + i}\tG\tA" for i in range(len(codes))]
    people = fam or [f"0 S{i} 0 0 0 -9" for i in range(n)]
    stem.with_suffix(".bed").write_bytes(body)
    stem.with_suffix(".bim").write_text("".join(f"{line}\n" for line in lines))
    stem.with_suffix(".fam").write_text("".join(f"{line}\n" for line in people))
    return str(stem.with_suffix(".bed"))


class Variant(NamedTuple):
    """A variant of a BGEN file, layout 2.

    Attributes:
        stored: for each sample the numbers that stand in the file.
        ploidies: of each sample; missing: which are missing.
    """

    stored: Sequence[Sequence[int]]
    ploidies: Sequence[int]
    missing: Sequence[bool]
    phased: bool = False
    bits: int = 8
    alleles: Sequence[str] = ("A", "G")
    position: int = 100
    contig: str = "22"
    rsid: str = "rs1"
    own: str = "id1"

    @property
    def data(self) -> bytes:
        """Genotype data, before compression."""
        flat, at = 0, 0
        for sample in self.stored:
            for number in sample:
                flat |= number << at
                at += self.bits
        n = len(self.ploidies)
        flags = [p | 128 * m for p, m in zip(self.ploidies, self.missing, strict=True)]
        return (
            struct.pack("<IH", n, len(self.alleles))
            + bytes([min(self.ploidies), max(self.ploidies), *flags, self.phased, self.bits])
            + flat.to_bytes((at + 7) // 8, "little")
        )


def _head(one: Variant, *, count: bool) -> bytes:
    body = b"".join(
        struct.pack("<H", len(text)) + text.encode() for text in (one.own, one.rsid, one.contig)
    )
    body += struct.pack("<I", one.position)
    body += struct.pack("<H", len(one.alleles)) if count else b""
    return body + b"".join(struct.pack("<I", len(a)) + a.encode() for a in one.alleles)


def bgen(
    variants: Sequence[Variant], *, compression: int = 1, ids: Sequence[str] | None = ("S0", "S1")
) -> bytes:
    """A BGEN file of layout 2: no compression, zlib (1) or zstd (2)."""
    n = len(variants[0].ploidies)
    body = b""
    for one in variants:
        data = one.data
        packed = data
        if compression == 1:
            packed = zlib.compress(data)
        elif compression == 2:
            packed = pa.Codec("zstd").compress(data, asbytes=True)
        length = struct.pack("<I", len(data)) if compression else b""
        body += _head(one, count=True) + struct.pack("<I", len(length + packed)) + length + packed
    return _file(body, len(variants), n, compression | 2 << 2, ids)


def bgen_1(
    variants: Sequence[tuple[Variant, Sequence[tuple[int, int, int]]]],
    *,
    compression: int = 1,
    ids: Sequence[str] | None = None,
) -> bytes:
    """A BGEN file of layout 1: variants with three numbers a sample."""
    n, body = len(variants[0][1]), b""
    for one, numbers in variants:
        data = b"".join(struct.pack("<3H", *three) for three in numbers)
        packed = zlib.compress(data) if compression else data
        length = struct.pack("<I", len(packed)) if compression else b""
        body += struct.pack("<I", n) + _head(one, count=False) + length + packed
    return _file(body, len(variants), n, compression | 1 << 2, ids)


def _file(body: bytes, m: int, n: int, flags: int, ids: Sequence[str] | None) -> bytes:
    block = b""
    if ids is not None:
        flags |= 1 << 31
        names = b"".join(struct.pack("<H", len(i)) + i.encode() for i in ids)
        block = struct.pack("<2I", 8 + len(names), len(ids)) + names
    offset = 20 + len(block)
    return struct.pack("<4I4sI", offset, 20, m, n, b"bgen", flags) + block + body
