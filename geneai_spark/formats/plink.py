"""PLINK 1 filesets (.bed, .bim, .fam) as rows of the table ``variants``.

A fileset is named by its ``.bed``. Tasks read ranges of it and the lines of the ``.bim`` that go
with them; the driver reads the ``.fam`` and, once, the ``.bim`` to count its lines.

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
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import StructType

from geneai_spark import filesystems
from geneai_spark.errors import ConfigError, FormatError
from geneai_spark.formats import packed_records
from geneai_spark.formats.packed_records import Array, Fault, MalformedError, Parsed, Reading, Site
from geneai_spark.formats.plink_kernels import decode

MAGIC = b"\x6c\x1b\x01"
IDS = ("auto", "iid", "fid_iid")
REFS = ("a2", "a1")
_NO_ALLELE = ("0", ".")
_UNKNOWN = MalformedError("genotypes", "none of the missing allele 0", "samples that carry it")
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
    files = [inspect(info.uri, plink_ids) for info in filesystems.list_files(paths)]
    if choices.get("samples") is None and len({file.samples for file in files}) > 1:
        choices["samples"] = files[0].samples
    reading = Reading.of(**choices, on_malformed="fail")
    work, schema = plan(files, [cohort] * len(files), reading, partition_bytes, plink_ref)

    def parse(parts: Sequence[Part]) -> Iterator[Parsed]:
        for part in parts:
            yield from parse_part(part, reading)

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
    source = filesystems.open_input(uri)
    try:
        data = source.read_at(source.size(), 0)
    finally:
        source.close()
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


# --------------------------------------------------------------------------------- in the tasks


def parse_part(part: Part, reading: Reading) -> Iterator[Parsed]:
    """Read and decode some variants.

    Raises:
        FormatError: the first malformed line of the .bim, where ``on_malformed`` is ``fail``; or
            the file is no longer what it was.
    """
    bim = companions(part.uri)[0]
    source = filesystems.open_input(bim)
    try:
        text = source.read_at(part.end - part.start, part.start)
    finally:
        source.close()
    lines = text.split(b"\n")[: part.n_variants]
    if len(lines) != part.n_variants:
        raise FormatError(
            bim, f"{part.n_variants} lines from byte {part.start} on", f"{len(lines)}"
        )
    source_id = filesystems.source_id(part.uri)
    columns = to_arrow_schema(packed_records.schema(reading, cm=True))
    rows = max(1, packed_records.BATCH_BYTES // (2 * max(1, part.n_samples)))
    rows = min(rows, packed_records.BATCH_ROWS)
    offset = part.start
    bed = filesystems.open_input(part.uri)
    try:
        for at in range(0, part.n_variants, rows):
            run = lines[at : at + rows]
            sites, places, faults = [], [], []
            for i, line in enumerate(run):
                try:
                    site = _site(line, reading, part.a1_is_ref)
                except MalformedError as error:
                    faults.append(_fault(error, line, part.first + at + i, offset))
                else:
                    if reading.wants(site.contig, site.start, site.end):
                        sites.append(site)
                        places.append(i)
                offset += len(line) + 1
            calls = {}
            if reading.genotypes and sites:
                matrix = _calls(bed, part, part.first + at, len(run))[places]
                good = _alleles_known(matrix, sites, [run[i] for i in places])
                for j in np.flatnonzero(~good):
                    i = places[j]
                    before = sum(len(one) + 1 for one in run[i:])
                    faults.append(_fault(_UNKNOWN, run[i], part.first + at + i, offset - before))
                if not good.all():
                    matrix = matrix[good]
                    sites = [site for site, keep in zip(sites, good, strict=True) if keep]
                calls = _columns(matrix if part.choice is None else matrix[:, part.choice])
            faults.sort()
            yield Parsed(
                packed_records.batch(columns, sites, source_id, part.cohort, **calls),
                packed_records.rejects(bim, faults, source_id, reading.on_malformed),
                len(run),
            )
    finally:
        bed.close()


def _site(line: bytes, reading: Reading, a1_is_ref: bool) -> Site:
    """A line of a .bim: chromosome, id, [centimorgans,] position, A1, A2."""
    try:
        fields = line.decode().split()
    except UnicodeDecodeError:
        raise MalformedError("line", "UTF-8 text", "another byte") from None
    if len(fields) == 5:  # plink2, too, takes a .bim without centimorgans
        fields.insert(2, "0")
    if len(fields) != 6:
        raise MalformedError("line", "6 fields", f"{len(fields)}")
    contig, name, cm, position, a1, a2 = fields
    try:
        place = int(position)
    except ValueError:
        raise MalformedError("position", "a number", repr(position[:20])) from None
    if not 0 <= place < 2**31:
        raise MalformedError("position", "0 to 2147483647 (plink leaves others out)", str(place))
    try:
        map_place = float(cm)
    except ValueError:
        raise MalformedError("centimorgans", "a number", repr(cm[:20])) from None
    ref, alt = (a1, a2) if a1_is_ref else (a2, a1)
    return Site(
        reading.contig(contig),
        place - 1,
        [] if name == "." else [name],
        "N" if ref in _NO_ALLELE else ref,
        [] if alt in _NO_ALLELE else [alt],
        map_place or None,
    )


def _fault(error: MalformedError, line: bytes, number: int, offset: int) -> Fault:
    text = line.decode("utf-8", "replace")
    return Fault(number + 1, offset, error.field, error.expected, error.found, text)


def _calls(bed: filesystems.RandomAccess, part: Part, first: int, count: int) -> Array:
    width = -(-part.n_samples // 4)
    at, size = 3 + first * width, count * width
    raw = bed.read_at(size, at)
    if len(raw) != size:
        raise FormatError(part.uri, f"{size} bytes", f"{len(raw)}", offset=at)
    return decode(raw, part.n_samples, a1_is_ref=part.a1_is_ref)


def _alleles_known(matrix: Array, sites: Sequence[Site], lines: Sequence[bytes]) -> Array:
    """Whether no genotype has an allele that the .bim does not name."""
    good = np.ones(len(sites), np.bool_)
    for i, (site, line) in enumerate(zip(sites, lines, strict=True)):
        if not site.alts:
            good[i] = not (matrix[i] == 1).any()
        if site.ref == "N" and b"N" not in line.split()[-2:]:
            good[i] &= not (matrix[i] == 0).any()
    return good


def _columns(matrix: Array) -> dict[str, pa.Array]:
    n, samples, _ = matrix.shape
    phased = np.zeros((n, -(-samples // 8)), np.uint8)
    return {
        "call_ploidy": pa.repeat(pa.scalar(2, pa.int32()), n),
        "call_genotype": packed_records.packed(matrix.reshape(n, samples * 2)),
        "call_genotype_phased": packed_records.packed(phased),
    }
