"""A range of a PLINK 1 fileset to Arrow: its good variants, its rejected ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from pyspark.sql.pandas.types import to_arrow_schema

from geneai_spark import filesystems
from geneai_spark.errors import FormatError
from geneai_spark.formats import packed_records
from geneai_spark.formats.packed_records import Array, Fault, MalformedError, Parsed, Reading, Site
from geneai_spark.formats.plink import Part, companions
from geneai_spark.formats.plink_kernels import decode

_NO_ALLELE = ("0", ".")
_UNKNOWN = MalformedError("genotypes", "none of the missing allele 0", "samples that carry it")


def parse_part(part: Part, reading: Reading) -> Iterator[Parsed]:
    """Read and decode some variants.

    Raises:
        FormatError: the first malformed line of the .bim, where ``on_malformed`` is ``fail``; or
            the file is no longer what it was.
    """
    bim = companions(part.uri)[0]
    source = filesystems.open_input(bim)
    try:
        text = _read(source, bim, part.end - part.start, part.start)
    finally:
        source.close()
    lines = text.split(b"\n")[: part.n_variants]
    if len(lines) != part.n_variants:
        raise FormatError(bim, f"{part.n_variants} lines", f"{len(lines)}", offset=part.start)
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
    raw = _read(bed, part.uri, count * width, 3 + first * width)
    return decode(raw, part.n_samples, a1_is_ref=part.a1_is_ref)


def _read(source: filesystems.RandomAccess, uri: str, size: int, at: int) -> bytes:
    """So many bytes from `at` on: fewer, and the file has been cut since it was inspected."""
    found = source.read_at(size, at)
    if len(found) != size:
        raise FormatError(uri, f"{size} bytes", f"{len(found)}", offset=at)
    return found


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
