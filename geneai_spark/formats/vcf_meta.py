"""Header lines of VCF files: what of them is stored, and one header for several files together.

How conflicts end is as in ``bcftools merge``: the first definition of an ID wins and the others are
told; but INFO and FORMAT keys of different Types are an error, and of different Numbers ``.``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from geneai_spark import genome
from geneai_spark.errors import FormatError, SchemaConflictError
from geneai_spark.formats.vcf_fields import merge_fields
from geneai_spark.formats.vcf_header import COLUMNS, Header, parse_header, split_attributes
from geneai_spark.formats.vcf_plan import VcfFile
from geneai_spark.formats.vcf_reserved import Field, reserved_format, reserved_info

#: Lines that name people.
_PEOPLE = re.compile(r"##(SAMPLE|PEDIGREE)\s*=")
_CONTIG_ID = re.compile(r"(##contig=<(?:.*?,)?\s*ID=)([^,>]+)")
_LENGTH = re.compile(r"[<,]\s*length=\d")


class Merged(NamedTuple):
    """One header for several files.

    Attributes:
        lines: the ``##`` lines.
        contigs: every contig in the order in which its records are to stand.
        lengths: of the contigs that tell it, bases.
        version: (4, 2), say: the newest of the files'.
        conflicts: ``FILTER q10``: of its several definitions the first stands.
    """

    lines: tuple[str, ...]
    contigs: tuple[str, ...]
    lengths: dict[str, int]
    version: tuple[int, int]
    conflicts: tuple[str, ...]

    def text(self, samples: Sequence[str] | None) -> str:
        """The header as a file has it; None: without genotypes."""
        columns = [*COLUMNS, "FORMAT", *samples] if samples else list(COLUMNS)
        return "\n".join([*self.lines, "\t".join(columns)]) + "\n"


def kept(file: VcfFile, build: str | None) -> tuple[str, ...]:
    """The lines of a file's header that the tables keep: see table ``vcf_headers``.

    Args:
        build: the genome build whose contig names the records are given, None for the file's own.
    """
    version = file.header.version
    lines = [line for line in file.header.lines if not _PEOPLE.match(line)]
    if build is not None:
        lines = [
            _CONTIG_ID.sub(lambda m: m[1] + genome.normalise(m[2], build), line) for line in lines
        ]
    lines += [_line("INFO", reserved_info(version)[key]) for key in file.seen_info]
    lines += [_line("FORMAT", reserved_format(version)[key]) for key in file.seen_format]
    return tuple(lines)


def merge(
    files: Sequence[tuple[str, Sequence[str]]],
    present: Collection[str],
    *,
    genotypes: bool = True,
) -> Merged:
    """Make one header of those of several files.

    Args:
        files: URI and ``##`` lines of each; none: a header of the least that VCF asks.
        present: contigs that the records name.
        genotypes: False leaves FORMAT definitions out.

    Raises:
        SchemaConflictError: an INFO or FORMAT key has different Types.
        FormatError: a line is none that the reader takes.
    """
    columns = "\t".join(COLUMNS)
    headers = [parse_header("\n".join([*lines, columns]), uri) for uri, lines in files]
    info, form = merge_fields(headers)
    declared = {("INFO", key): one for key, one in info.items()}
    declared |= {("FORMAT", key): one for key, one in form.items()}
    out: dict[tuple[str, str], str] = {}  # what a line defines -> the line
    conflicts: dict[tuple[str, str], None] = {}
    for header in headers:
        own: dict[tuple[str, str], str] = {}  # of several definitions in one file the first counts
        for line in header.lines:
            own.setdefault(_defined(line, header.file), line)
        for what, line in own.items():
            if out.setdefault(what, line) != line and what[0] not in ("contig", "fileformat"):
                conflicts[what] = None
    for what in conflicts:
        if what in declared:
            out[what] = _redeclared(out[what], declared[what])
    contigs, lengths = _contigs(headers, present)
    version = max((one.version for one in headers), default=(4, 3))
    lines = [f"##fileformat=VCFv{version[0]}.{version[1]}"]
    waiting = _contig_lines(headers, contigs, lengths)
    for (kind, _), line in out.items():
        if kind == "contig":  # all of them where the first one stands
            lines += waiting
            waiting = []
        elif kind != "fileformat" and (genotypes or kind != "FORMAT"):
            lines.append(line)
    told = tuple(f"{kind} {name}" for kind, name in conflicts if genotypes or kind != "FORMAT")
    return Merged((*lines, *waiting), contigs, lengths, version, told)


def natural(name: str) -> tuple[int, int, list[tuple[int, int, str]]]:
    """A key by which contigs sort as people expect: 1, 2, ... 22, X, Y, MT, then the others."""
    aliases = genome.contig_aliases("GRCh38")
    if (own := aliases.get(name.upper())) is not None:
        return 0, list(genome.BUILDS["GRCh38"].contigs).index(own), [(1, 0, name)]
    words = re.findall(r"\d+|\D+", name)
    return 1, 0, [(0, int(w), w) if w.isdigit() else (1, 0, w) for w in words]


def _defined(line: str, file: str) -> tuple[str, str]:
    """(INFO, DP) of a definition of DP; (kind, rest of the line) of any other line."""
    kind, _, value = line.removeprefix("##").partition("=")
    if kind.strip() not in ("INFO", "FORMAT", "FILTER", "ALT", "contig"):
        return (kind, "" if kind == "fileformat" else value)

    def error(expected: str, found: str, name: str = "") -> FormatError:
        return FormatError(file, expected, found, field=f"{kind} {name}".strip())

    return kind.strip(), split_attributes(value.strip(), error)["ID"]


def _line(kind: str, one: Field) -> str:
    told = one.description or "Reserved key, see the VCF specification"
    return f'##{kind}=<ID={one.key},{one.declaration()},Description="{told}">'


def _redeclared(line: str, one: Field) -> str:
    """A definition with the Number and Type of all files together."""
    line = re.sub(r"(?<=[<,])Number=[^,>]*", f"Number={one.number}", line, count=1)
    return re.sub(r"(?<=[<,])Type=[^,>]*", f"Type={one.type}", line, count=1)


def _contigs(
    headers: Sequence[Header], present: Collection[str]
) -> tuple[tuple[str, ...], dict[str, int]]:
    """Contigs in order: as in the header that has all; else, and further ones, in natural order."""
    lengths: dict[str, int] = {}
    origin: dict[str, str] = {}
    known: dict[str, None] = {}
    for header in headers:
        for one in header.contigs:
            known[one.id] = None
            if one.length is not None and one.length != lengths.setdefault(one.id, one.length):
                raise SchemaConflictError(
                    f"contig {one.id} has {lengths[one.id]} bases in {origin[one.id]} and "
                    f"{one.length} in {header.file}: files of two genome builds"
                )
            origin.setdefault(one.id, header.file)
    whole = next((h for h in headers if len(h.contigs) == len(known)), None)
    order = [c.id for c in whole.contigs] if whole else sorted(known, key=natural)
    return (*order, *sorted(set(present) - set(known), key=natural)), lengths


def _contig_lines(
    headers: Sequence[Header], contigs: Iterable[str], lengths: dict[str, int]
) -> list[str]:
    """The line of each contig: of several the first that tells its length, else the first."""
    found: dict[str, str] = {}
    for header in headers:
        for line in header.lines:
            kind, name = _defined(line, header.file)
            if kind != "contig":
                continue
            first = found.setdefault(name, line)
            if name in lengths and not _LENGTH.search(first) and _LENGTH.search(line):
                found[name] = line
    made = {name: f"##contig=<ID={name}>" for name in contigs if not name.startswith("<")}
    return [found.get(name, made.get(name, "")) for name in contigs if name in found | made]
