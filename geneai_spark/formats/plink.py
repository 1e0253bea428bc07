"""PLINK 1 filesets (.bed, .bim, .fam) as rows of the table ``variants``.

A fileset is named by its ``.bed``. Tasks read ranges of it and the lines of the ``.bim`` that go
with them (see `plink_records`); the driver reads the ``.fam`` and, once, the ``.bim`` to count its
lines.

Alleles as in plink2: A2 is REF, provisionally (``plink_ref=a1`` for files that have it the other
way round), ``0`` is missing: no ALT, or REF ``N``. Sample ids as ``plink2 --export vcf`` makes
them: ``FID_IID``, or ``IID`` where every FID is 0. All genotypes are diploid, as the file has them,
those of males on X, of Y and of MT, too. The sex and the phenotype of the ``.fam`` are not read:
they are traits. Source: the format's description in the manual of PLINK 1.9.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructType

from geneai_spark import filesystems
from geneai_spark.errors import ConfigError, FormatError
from geneai_spark.formats import packed_records
from geneai_spark.formats.packed_records import Array, Parsed, Reading

MAGIC = b"\x6c\x1b\x01"
IDS = ("auto", "iid", "fid_iid")
REFS = ("a2", "a1")
STEP = 256  # lines of the .bim between places that are remembered: a task begins at one
_CHUNK = 8 << 20


@dataclass(frozen=True)
class PlinkFile:
    """A fileset: its .bed, the samples of its .fam, and where lines 0, STEP, ... of the .bim
    begin, its size last.
    """

    uri: str
    size: int
    samples: tuple[str, ...]
    variants: int
    marks: Array
    build: None = None
    lines: tuple[str, ...] = packed_records.PLINK_HEADER

    @property
    def source_id(self) -> str:
        """The file's id in every table."""
        return filesystems.source_id(self.uri)


class Part(NamedTuple):
    """Some variants of one file, which a task reads: those from number `first` on, and their lines,
    the bytes `start` to `end` of the .bim.
    """

    uri: str
    n_samples: int
    first: int
    n_variants: int
    start: int
    end: int
    cohort: str
    choice: Array | None
    a1_is_ref: bool


def companions(uri: str) -> tuple[str, str]:
    """The .bim and .fam of a .bed."""
    stem = uri.removesuffix(".bed")
    return f"{stem}.bim", f"{stem}.fam"


def read(
    spark: SparkSession,
    paths: str | Sequence[str],
    *,
    cohort: str = "default",
    plink_ids: str = "auto",
    plink_ref: str = "a2",
    partition_bytes: int = 32 << 20,
    **choices: Any,
) -> DataFrame:
    """Read PLINK 1 filesets into one DataFrame; a malformed line of a .bim is an error.

    Args:
        paths: .bed files, or globs that match them alone.
        cohort: name of the cohort whose samples the files share.
        plink_ids: sample ids: ``iid``, ``fid_iid``, or ``auto``: as plink2 makes them.
        plink_ref: which allele is REF: ``a2`` or ``a1``.
        partition_bytes: bytes of a .bed that a task reads.
        choices: genotypes, info, samples, regions and contigs, as for `vcf.read`.

    Raises:
        StorageError, FormatError: a file cannot be read, or breaks the format.
        SampleMismatchError: files differ in their samples, or lack one that is asked for.
    """
    from geneai_spark.formats import plink_records

    files = [inspect(info.uri, plink_ids) for info in filesystems.list_files(paths)]
    if choices.get("samples") is None and len({file.samples for file in files}) > 1:
        choices["samples"] = files[0].samples
    reading = Reading.of(**choices, on_malformed="fail")
    work, schema = plan(files, [cohort] * len(files), reading, partition_bytes, plink_ref)

    def parse(parts: Sequence[Part]) -> Iterator[Parsed]:
        for part in parts:
            yield from plink_records.parse_part(part, reading)

    return packed_records.data_frame(spark, work, parse, schema)


# ------------------------------------------------------------------------------ before reading


def inspect(uri: str, ids: str = "auto") -> PlinkFile:
    """Read a fileset's .fam, count its .bim, and see that the .bed fits them.

    Raises:
        StorageError: one of the three is not there.
        FormatError: it is no variant-major .bed, or the three do not belong together.
    """
    bim, fam = companions(uri)
    bed = filesystems.open_input(uri)
    try:
        magic, size = bed.read_at(3, 0), bed.size()
    finally:
        bed.close()
    if magic != MAGIC:
        found = magic.hex(" ") or "an empty file"
        if magic == b"\x6c\x1b\x00":
            found += " (sample-major: plink --make-bed turns it round)"
        raise FormatError(uri, "a variant-major PLINK 1 .bed: 6c 1b 01", found, offset=0)
    samples = _samples(fam, ids)
    variants, marks = _marks(bim)
    expected = 3 + variants * -(-len(samples) // 4)
    if size != expected:
        raise FormatError(
            uri,
            f"{expected} bytes for {variants} variants (.bim) and {len(samples)} samples (.fam)",
            f"{size}",
            field="size",
        )
    return PlinkFile(uri, size, samples, variants, marks)


def _samples(uri: str, ids: str) -> tuple[str, ...]:
    if ids not in IDS:
        raise ConfigError(f"plink_ids={ids!r}: expected {', '.join(IDS)}")
    data = filesystems.read(uri)
    try:
        lines = data.decode().rstrip().splitlines()
    except UnicodeDecodeError as error:
        raise FormatError(uri, "UTF-8 text", "another byte", offset=error.start) from None
    pairs = []
    for number, line in enumerate(lines, 1):
        fields = line.split()
        if len(fields) < 6:
            raise FormatError(uri, "6 fields", f"{len(fields)}", line=number)
        pairs.append((fields[0], fields[1]))
    if not pairs:
        raise FormatError(uri, "a line a sample", "none")
    if ids == "iid" or (ids == "auto" and all(family == "0" for family, _ in pairs)):
        samples = tuple(own for _, own in pairs)
    else:
        samples = tuple(f"{family}_{own}" for family, own in pairs)
    packed_records.check_unique(uri, samples, 1)
    return samples


def _marks(uri: str) -> tuple[int, Array]:
    """How many lines a .bim has, and where every STEP-th begins; its size last."""
    source = filesystems.open_input(uri)
    try:
        size, at, lines, last = source.size(), 0, 0, b"\n"
        found = [np.zeros(1, np.int64)]
        while block := source.read_at(_CHUNK, at):
            starts = np.flatnonzero(np.frombuffer(block, np.uint8) == 10) + at + 1
            # the j-th newline of this block ends line `lines` + j, so line `lines` + j + 1 begins
            found.append(starts[(STEP - 1 - lines) % STEP :: STEP].astype(np.int64))
            lines, at, last = lines + len(starts), at + len(block), block
    finally:
        source.close()
    marks = np.concatenate(found)
    marks = marks[marks < size]
    return lines + (not last.endswith(b"\n")), np.append(marks, size)


def plan(
    files: Sequence[PlinkFile],
    cohorts: Sequence[str],
    reading: Reading,
    target: int,
    ref: str = "a2",
) -> tuple[list[list[Part]], StructType]:
    """Cut files into parts for tasks of about `target` bytes; and the columns of their rows."""
    if ref not in REFS:
        raise ConfigError(f"plink_ref={ref!r}: expected {' or '.join(REFS)}")
    work = packed_records.shares(
        (
            (part, part.n_variants * -(-part.n_samples // 4))
            for file, cohort in zip(files, cohorts, strict=True)
            for part in _parts(file, cohort, reading, target, ref)
        ),
        target,
    )
    return list(work), packed_records.schema(reading, cm=True)


def _parts(file: PlinkFile, cohort: str, reading: Reading, target: int, ref: str) -> Iterator[Part]:
    choice = reading.choice(file.uri, file.samples)
    steps = max(1, target // (STEP * -(-len(file.samples) // 4)))
    for mark in range(0, len(file.marks) - 1, steps):
        first = mark * STEP
        yield Part(
            file.uri,
            len(file.samples),
            first,
            min(steps * STEP, file.variants - first),
            int(file.marks[mark]),
            int(file.marks[min(mark + steps, len(file.marks) - 1)]),
            cohort,
            choice,
            ref == "a1",
        )
