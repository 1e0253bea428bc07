"""BGEN files (1.1, 1.2, 1.3) as rows of the table ``variants``.

The variants of a BGEN file follow one another without a mark between them, so the driver walks
from header to header, each of which tells where the next begins; a ``.bgi`` index (bgenix) beside
the file spares that. Tasks read ranges of variants (see `bgen_records`).

The kept readers (bgen, bgen-reader, cbgen) open a whole local file by name and decode no bytes from
elsewhere, so they cannot serve tasks that read ranges of an object store.
Source: the specification at bgenformat.org.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import struct
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructType

from geneai_spark import filesystems
from geneai_spark.errors import ConfigError, FormatError, StorageError
from geneai_spark.formats import packed_records
from geneai_spark.formats.packed_records import Array, Parsed, Reading

REFS = ("first", "last")
_NEAR, _FAR = 256 << 10, 4 << 10  # bytes read at a time where variants are small, and large


@dataclass(frozen=True)
class BgenFile:
    """A file: samples, how its variants are written, and where each begins (the end comes last)."""

    uri: str
    size: int
    samples: tuple[str, ...]
    layout: int
    compression: int
    offsets: Array
    build: None = None
    lines: tuple[str, ...] = packed_records.BGEN_HEADER

    @property
    def source_id(self) -> str:
        """The file's id in every table."""
        return filesystems.source_id(self.uri)


class Part(NamedTuple):
    """Some variants of one file, which a task reads; `first` is the number of the first."""

    uri: str
    n_samples: int
    layout: int
    compression: int
    first: int
    offsets: Array
    cohort: str
    choice: Array | None
    ref_last: bool
    threshold: float


def companions(uri: str) -> tuple[str, ...]:
    """The .sample of a .bgen: it counts where the .bgen itself names no samples."""
    return (uri.removesuffix(".bgen") + ".sample",)


def read(
    spark: SparkSession,
    paths: str | Sequence[str],
    *,
    cohort: str = "default",
    bgen_ref: str = "first",
    hard_call_threshold: float = 0.1,
    partition_bytes: int = 32 << 20,
    **choices: Any,
) -> DataFrame:
    """Read BGEN files into one DataFrame; a damaged variant is an error.

    Args:
        paths: files, or globs that match them alone.
        cohort: name of the cohort whose samples the files share.
        bgen_ref: which of a variant's alleles is REF: ``first`` or ``last``.
        hard_call_threshold: see `bgen_kernels`.
        partition_bytes: bytes that a task reads.
        choices: genotypes, format, samples, regions and contigs, as for `vcf.read`.

    Raises:
        StorageError, FormatError: a file cannot be read, or breaks the format.
        SampleMismatchError: files differ in their samples, or lack one that is asked for.
    """
    from geneai_spark.formats import bgen_records

    files = [inspect(info.uri) for info in filesystems.list_files(paths)]
    if choices.get("samples") is None and len({file.samples for file in files}) > 1:
        choices["samples"] = files[0].samples
    reading = Reading.of(**choices, on_malformed="fail")
    work, schema = plan(
        files, [cohort] * len(files), reading, partition_bytes, bgen_ref, hard_call_threshold
    )

    def parse(parts: Sequence[Part]) -> Iterator[Parsed]:
        for part in parts:
            yield from bgen_records.parse_part(part, reading)

    return packed_records.data_frame(spark, work, parse, schema)


def plan(
    files: Sequence[BgenFile],
    cohorts: Sequence[str],
    reading: Reading,
    target: int,
    ref: str = "first",
    threshold: float = 0.1,
) -> tuple[list[list[Part]], StructType]:
    """Cut files into parts for tasks of about `target` bytes; and the columns of their rows."""
    if ref not in REFS:
        raise ConfigError(f"bgen_ref={ref!r}: expected {' or '.join(REFS)}")
    if not 0 <= threshold < 0.5:
        raise ConfigError(f"hard_call_threshold={threshold}: expected 0 <= threshold < 0.5")
    work = packed_records.shares(
        (
            (part, int(part.offsets[-1] - part.offsets[0]))
            for file, cohort in zip(files, cohorts, strict=True)
            for part in _parts(file, cohort, reading, target, ref, threshold)
        ),
        target,
    )
    return list(work), packed_records.schema(reading, gp=True)


def _parts(
    file: BgenFile, cohort: str, reading: Reading, target: int, ref: str, threshold: float
) -> Iterator[Part]:
    choice = reading.choice(file.uri, file.samples)
    first, last = 0, len(file.offsets) - 1
    while first < last:
        end = int(np.searchsorted(file.offsets, file.offsets[first] + target, "right")) - 1
        end = min(max(end, first + 1), last)
        yield Part(
            file.uri, len(file.samples), file.layout, file.compression, first,
            file.offsets[first : end + 1], cohort, choice, ref == "last", threshold,
        )  # fmt: skip
        first = end


# ------------------------------------------------------------------------------ before reading


def inspect(uri: str) -> BgenFile:
    """Read a file's header and samples, and find its variants.

    Raises:
        StorageError: it cannot be read.
        FormatError: it is no BGEN file, is cut short, or holds something else behind its variants.
    """
    source = filesystems.open_input(uri)
    try:
        size = source.size()
        head = source.read_at(20, 0)
        if len(head) < 20 or head[16:20] not in (b"bgen", b"\0\0\0\0"):
            raise FormatError(uri, "BGEN: 'bgen' at byte 16", repr(head[16:20]), offset=16)
        offset, length, variants, n = struct.unpack_from("<4I", head)
        if not 20 <= length <= offset or offset + 4 > size:
            found = f"{length} and {offset} in a file of {size} bytes"
            raise FormatError(uri, "lengths of the header and up to the variants", found, offset=0)
        (flags,) = struct.unpack("<I", source.read_at(4, length))
        compression, layout = flags & 3, flags >> 2 & 15
        if layout not in (1, 2) or compression > (1 if layout == 1 else 2):
            raise FormatError(uri, "layout 1 or 2; no compression, zlib or (layout 2) zstd",
                              f"layout {layout}, compression {compression}",
                              field="flags", offset=length)  # fmt: skip
        if flags >> 31:
            block = source.read_at(offset - length, length + 4)
            samples = _own_samples(uri, block, n, length + 4)
        else:
            samples = _sample_file(companions(uri)[0], n)
        offsets = _index(uri, size, variants, offset + 4)
        if offsets is None:
            offsets = _walk(uri, source, offset + 4, variants, layout, compression, n)
    finally:
        source.close()
    return BgenFile(uri, size, samples, layout, compression, offsets)


def _own_samples(uri: str, block: bytes, n: int, at: int) -> tuple[str, ...]:
    """Sample ids of the sample identifier block."""
    samples, place = [], 8
    try:
        length, count = struct.unpack_from("<2I", block)
        for _ in range(count):
            (size,) = struct.unpack_from("<H", block, place)
            samples.append(block[place + 2 : place + 2 + size].decode())
            place += 2 + size
    except (struct.error, UnicodeDecodeError):
        length = -1
    if length != place or count != n or place > len(block):
        raise FormatError(uri, f"{n} sample ids", "a broken block of them", offset=at)
    packed_records.check_unique(uri, samples, 1)
    return tuple(samples)


def _sample_file(uri: str, n: int) -> tuple[str, ...]:
    """Sample ids of the .sample file, if there is one, else sample_1, sample_2, ..."""
    try:
        source = filesystems.open_input(uri)
    except StorageError:
        return tuple(f"sample_{i}" for i in range(1, n + 1))
    try:
        data = source.read_at(source.size(), 0)
    finally:
        source.close()
    try:
        rows = [line.split() for line in data.decode().rstrip().splitlines()]
    except UnicodeDecodeError as error:
        raise FormatError(uri, "UTF-8 text", "another byte", offset=error.start) from None
    if len(rows) != n + 2:
        expected = f"2 lines of header and {n} of samples"
        raise FormatError(uri, expected, f"{len(rows)} lines")
    pair = rows[0][:2] == ["ID_1", "ID_2"]
    for number, row in enumerate(rows[2:], 3):
        if len(row) != len(rows[0]):
            raise FormatError(uri, f"{len(rows[0])} fields", f"{len(row)}", line=number)
    if not pair:
        samples = [row[0] for row in rows[2:]]
    elif all(row[0] in ("0", row[1]) for row in rows[2:]):
        samples = [row[1] for row in rows[2:]]
    else:
        samples = [f"{row[0]}_{row[1]}" for row in rows[2:]]
    packed_records.check_unique(uri, samples, 3)
    return tuple(samples)


def _index(uri: str, size: int, variants: int, start: int) -> Array | None:
    """Where variants begin, by the .bgi; None where there is none, or it is of another file."""
    try:
        source = filesystems.open_input(f"{uri}.bgi")
    except StorageError:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "index")
        try:
            with open(path, "wb") as file:
                at = 0
                while block := source.read_at(8 << 20, at):
                    file.write(block)
                    at += len(block)
        finally:
            source.close()
        try:
            with contextlib.closing(sqlite3.connect(path)) as index:
                rows = index.execute(
                    "SELECT file_start_position, size_in_bytes FROM Variant ORDER BY 1"
                ).fetchall()
        except sqlite3.Error:
            return None
    found = np.array(rows, np.int64).reshape(-1, 2)
    offsets = np.append(found[:, 0], size)
    # Only an index that accounts for every byte is of this very file.
    fits = len(rows) == variants and offsets[0] == start
    return offsets if fits and (found[:, 0] + found[:, 1] == offsets[1:]).all() else None


class Window:
    """Reads a file here and there, ahead where one read follows the other."""

    def __init__(self, source: filesystems.RandomAccess, size: int) -> None:
        self.source, self.size = source, size
        self.at, self.data = 0, b""

    def read(self, offset: int, nbytes: int) -> bytes:
        """Bytes from `offset` on: fewer only at the file's end."""
        if not self.at <= offset <= offset + nbytes <= self.at + len(self.data):
            self.at, self.data = offset, self.source.read_at(max(nbytes, self.size), offset)
        return self.data[offset - self.at : offset - self.at + nbytes]


def _walk(
    uri: str,
    source: filesystems.RandomAccess,
    start: int,
    variants: int,
    layout: int,
    compression: int,
    n: int,
) -> Array:
    """Where variants begin, from header to header."""
    window, size = Window(source, _NEAR), source.size()
    offsets = np.empty(variants + 1, np.int64)
    at = start

    def number(kind: str, nbytes: int) -> int:
        nonlocal at
        data = window.read(at, nbytes)
        at += nbytes
        return int(struct.unpack(kind, data)[0])

    for i in range(variants):
        offsets[i] = at
        try:
            at += 4 if layout == 1 else 0
            for _ in range(3):  # id, rsid, chromosome
                length = number("<H", 2)  # on its own line: it moves `at`
                at += length
            at += 4  # position
            for _ in range(2 if layout == 1 else number("<H", 2)):
                length = number("<I", 4)
                at += length
            length = 6 * n if (layout, compression) == (1, 0) else number("<I", 4)
            at += length
        except struct.error:
            at = size + 1
        if at > size:
            found = f"the file's end within number {i + 1}"
            raise FormatError(uri, f"{variants} variants", found, offset=int(offsets[i]))
        window.size = _NEAR if at - offsets[i] < _NEAR // 4 else _FAR
    offsets[variants] = at
    if at != size:
        found = f"{size - at} more bytes"
        raise FormatError(uri, f"the file's end after {variants} variants", found, offset=at)
    return offsets
