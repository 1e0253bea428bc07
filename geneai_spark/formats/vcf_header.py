"""The header of a VCF file (4.0 to 4.5): text -> typed fields, contigs and samples.

What leaves a doubt about the meaning of the data (a type that does not exist, an unclosed
bracket, two samples of one name) is a FormatError; what only breaks the letter of the
specification is accepted. ``docs/vcf-leniency.md`` lists what, and why.

Three keys are read by the reader itself and therefore always have the specification's
declaration, whatever the header says: FORMAT ``GT`` (1 String) and INFO ``END`` (1 Integer).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from geneai_spark.errors import FormatError
from geneai_spark.formats.vcf_fields import column_names, merge_fields
from geneai_spark.formats.vcf_reserved import Field, reserved_format, reserved_info
from geneai_spark.genome import guess_build

__all__ = ["COLUMNS", "Contig", "Field", "Header", "column_names", "header_end", "merge_fields",
           "parse_header", "reserved_format", "reserved_info", "split_attributes"]  # fmt: skip

#: The fixed columns; FORMAT and the samples follow where there are genotypes.
COLUMNS = ("#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO")
VERSIONS = tuple((4, minor) for minor in range(6))
TYPES = ("Integer", "Float", "Flag", "Character", "String")
#: Keys whose declaration is the specification's: the reader acts on them.
FIXED_INFO = {"END": ("1", "Integer")}
FIXED_FORMAT = {"GT": ("1", "String")}


@dataclass(frozen=True)
class Contig:
    """A ``##contig`` line; `length` in bases where the header gives it."""

    id: str
    length: int | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Header:
    """A parsed header.

    Attributes:
        file: URI of the file.
        version: (4, 0) to (4, 5).
        info, format: declared fields by key, in the header's order.
        filters, alts: description by ID.
        contigs: ``##contig`` lines in order, each ID once.
        samples: sample names in column order.
        lines: the ``##`` lines, without line ends.
        n_lines: lines of the header with ``#CHROM``: the body begins at line n_lines + 1.
        build: genome build guessed from contig lengths, else from ``##reference`` and
            ``assembly=`` (see ``genome.guess_build``); None where nothing tells.
    """

    file: str
    version: tuple[int, int]
    info: dict[str, Field]
    format: dict[str, Field]
    filters: dict[str, str]
    alts: dict[str, str]
    contigs: tuple[Contig, ...]
    samples: tuple[str, ...]
    lines: tuple[str, ...]
    n_lines: int
    build: str | None


Error = Callable[..., FormatError]


def header_end(data: bytes) -> int | None:
    """Offset just after the header in `data` (the file's first bytes), None if it goes on.

    The header ends with the first line that does not begin with ``##``: ``#CHROM`` in a sound
    file, the culprit in a broken one (or its first 1,000 bytes), so that ``parse_header`` can
    name it. At the end of a file that lacks a last newline, pass all of it to `parse_header`.
    """
    start = 3 if data.startswith(b"\xef\xbb\xbf") else 0
    while start < len(data):
        newline = data.find(b"\n", start)
        if not data.startswith(b"##", start):
            if newline >= 0:
                return newline + 1
            culprit = not b"#CHROM".startswith(data[start : start + 6])
            return start + 1000 if culprit and len(data) > start + 1000 else None
        if newline < 0:
            return None
        start = newline + 1
    return None


def parse_header(text: str | bytes, file: str) -> Header:
    """Parse a VCF header: everything up to and including the ``#CHROM`` line.

    Bytes are UTF-8 (a byte-order mark is skipped); ``##`` lines of older files that are not
    UTF-8 are read as Latin-1. Raises FormatError naming file, line, what was expected and
    what was found; never a sample name.
    """
    lines = _decode_lines(text, file)
    version = _version(lines[0], file)
    parsed = _Lines(file, version)
    for number, line in enumerate(lines, 1):
        if not line.startswith("##"):
            break
        parsed.add(number, line)
    else:
        raise FormatError(file, "a #CHROM line after the ## lines", "the end of the header",
                          line=len(lines))  # fmt: skip
    samples = _samples(line, file, number)
    contigs = tuple(parsed.contigs.values())
    references = parsed.references + [c.attributes.get("assembly", "") for c in contigs[:1]]
    build = guess_build({c.id: c.length for c in contigs}, " ".join(references))
    return Header(
        file, version, parsed.info, parsed.format, parsed.filters, parsed.alts, contigs, samples,
        tuple(lines[: number - 1]), number, build,
    )  # fmt: skip


def _decode_lines(text: str | bytes, file: str) -> list[str]:
    if isinstance(text, str):
        lines = text.removeprefix("\ufeff").split("\n")
    else:
        lines = []
        for number, raw in enumerate(text.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
            try:
                lines.append(raw.decode())
            except UnicodeDecodeError as error:
                if not raw.startswith(b"##"):
                    raise FormatError(file, "UTF-8 text", f"byte 0x{raw[error.start]:02x}",
                                      line=number) from None  # fmt: skip
                lines.append(raw.decode("latin-1"))
    if lines and not lines[-1]:
        lines.pop()
    lines = [line.removesuffix("\r") for line in lines]
    for number, line in enumerate(lines, 1):
        if control := re.search(r"[\x00-\x08\x0a-\x1f]", line):
            raise FormatError(file, "text", f"the control character 0x{ord(control[0]):02x}",
                              line=number)  # fmt: skip
    return lines or [""]


def _version(line: str, file: str) -> tuple[int, int]:
    known = ", ".join(f"VCFv{a}.{b}" for a, b in VERSIONS)
    key, _, value = line.rstrip().partition("=")
    if key != "##fileformat":
        found = "an empty file" if not line else "another line"
        raise FormatError(file, "a VCF that begins with ##fileformat=VCFv4.x", found, line=1)
    match = re.fullmatch(r"VCFv(\d+)\.(\d+)", value)
    version = (int(match[1]), int(match[2])) if match else None
    if version not in VERSIONS:
        raise FormatError(file, f"one of {known}", repr(value[:40]), field="fileformat", line=1)
    return version


class _Lines:
    """Collects the ## lines of one file."""

    def __init__(self, file: str, version: tuple[int, int]) -> None:
        self.file, self.version = file, version
        self.info: dict[str, Field] = {}
        self.format: dict[str, Field] = {}
        self.filters: dict[str, str] = {}
        self.alts: dict[str, str] = {}
        self.contigs: dict[str, Contig] = {}
        self.references: list[str] = []

    def add(self, number: int, line: str) -> None:
        key, equals, value = line[2:].partition("=")
        kind = key.strip()

        def error(expected: str, found: str, name: str = "") -> FormatError:
            where = f"{kind} {name}".strip() or None
            return FormatError(self.file, expected, found, field=where, line=number)

        if not equals or not kind:
            raise error("##key=value", "a ## line without key or '='")
        if kind == "fileformat" and number > 1 and _version(line, self.file) != self.version:
            raise error("one ##fileformat", "a second one of another version")
        if kind in ("reference", "assembly"):
            self.references.append(value)
        if kind not in ("INFO", "FORMAT", "FILTER", "ALT", "contig"):
            return
        attributes = split_attributes(value.strip(), error)
        name = attributes.get("ID", "")
        if not name:
            raise error("an ID", "none")
        if bad := re.search(r"[\s,<>]" if kind in ("contig", "ALT") else r"[\s,;=<>]", name):
            raise error("an ID without whitespace or punctuation that separates",
                        f"{bad[0]!r} in {name[:40]!r}")  # fmt: skip
        if kind == "INFO":
            self._declare(self.info, FIXED_INFO, name, attributes, error)
        elif kind == "FORMAT":
            self._declare(self.format, FIXED_FORMAT, name, attributes, error)
        elif kind == "FILTER":
            self.filters.setdefault(name, attributes.get("Description", ""))
        elif kind == "ALT":
            self.alts.setdefault(name, attributes.get("Description", ""))
        else:
            self._contig(name, attributes, error)

    @staticmethod
    def _declare(
        fields: dict[str, Field],
        fixed: Mapping[str, tuple[str, str]],
        name: str,
        attributes: Mapping[str, str],
        error: Error,
    ) -> None:
        number, type_ = attributes.get("Number", ""), attributes.get("Type", "")
        number = "." if number == "-1" else number  # as samtools 0.1 wrote "any number"
        in_format = fixed is FIXED_FORMAT
        codes = r"\d+|[ARG.]|P|LA|LR|LG|M" if in_format else r"\d+|[ARG.]"
        if not re.fullmatch(codes, number):
            raise error("Number: digits or one of A R G . (FORMAT also P LA LR LG M)",
                        repr(number[:20]) if number else "none", name)  # fmt: skip
        if type_ not in TYPES or (in_format and type_ == "Flag"):
            allowed = ", ".join(t for t in TYPES if not (in_format and t == "Flag"))
            raise error(f"Type: one of {allowed}", repr(type_[:20]) if type_ else "none", name)
        if number == "0" and type_ != "Flag":
            raise error("Number=0 with Type=Flag only", f"Number=0,Type={type_}", name)
        if type_ == "Flag":
            number = "0"
        number, type_ = fixed.get(name, (number, type_))
        declared = Field(name, str(int(number)) if number.isdigit() else number, type_,
                         attributes.get("Description", ""))  # fmt: skip
        first = fields.setdefault(name, declared)
        if first.declaration() != declared.declaration():
            raise error(f"{first.declaration()} as declared before", declared.declaration(), name)

    def _contig(self, name: str, attributes: Mapping[str, str], error: Error) -> None:
        length = attributes.get("length")
        if length is not None and not re.fullmatch(r"[0-9]+", length):
            raise error("length: a number of bases", repr(length[:20]), name)
        others = {k: v for k, v in attributes.items() if k not in ("ID", "length")}
        contig = Contig(name, int(length) if length else None, others)
        first = self.contigs.setdefault(name, contig)
        if first.length is None and contig.length is not None:
            self.contigs[name] = replace(first, length=contig.length)


_KEY = re.compile(r"\s*([^=,<>\"\s]+)\s*=")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"\s*(?=,|$)')
_PLAIN = re.compile(r"[^,\"]*(?=,|$)")


def split_attributes(value: str, error: Error) -> dict[str, str]:
    """``<ID=a,Description="b">`` -> its pairs; the first of a repeated key counts."""
    if not value.startswith("<") or not value.endswith(">") or len(value) < 2:
        raise error("<key=value,...>", "no closing bracket" if value[:1] == "<" else "no bracket")
    pairs: dict[str, str] = {}
    body, at = value[1:-1], 0
    while True:
        key = _KEY.match(body, at)
        if not key:
            raise error("key=value pairs separated by commas", f"{body[at : at + 40]!r}")
        quoted = _QUOTED.match(body, key.end())
        if not quoted and (body[key.end() : key.end() + 1] == '"' or key[1] == "Description"):
            raise error("text in double quotes, quotes in it escaped",
                        f"{body[key.end() : key.end() + 40]!r}", key[1])  # fmt: skip
        match = quoted or _PLAIN.match(body, key.end())
        if not match:
            raise error("quotes around the whole value", "a quote within it", key[1])
        text = re.sub(r'\\(["\\])', r"\1", quoted[1]) if quoted else match[0].strip()
        pairs.setdefault(key[1], text)
        if match.end() == len(body):
            return pairs
        at = match.end() + 1


def _samples(line: str, file: str, number: int) -> tuple[str, ...]:
    """Sample names of the ``#CHROM`` line; errors tell columns by number, never by name."""

    def error(expected: str, found: str) -> FormatError:
        return FormatError(file, expected, found, field="#CHROM", line=number)

    if not line.startswith("#"):
        raise error("a #CHROM line after the ## lines", "a line that does not begin with #")
    names = line.rstrip("\t").split("\t")  # GATK 1 ended this line with a tab
    if len(names) < len(COLUMNS) and line.split()[: len(COLUMNS)] == list(COLUMNS):
        raise error("columns separated by tabs", "spaces")
    for i, (name, expected) in enumerate(zip(names, (*COLUMNS, "FORMAT"), strict=False), 1):
        if name != expected:
            raise error(f"{expected} as column {i}", "another name")
    if len(names) < len(COLUMNS):
        raise error(f"the {len(COLUMNS)} columns {' '.join(COLUMNS)}", f"{len(names)}")
    samples = names[len(COLUMNS) + 1 :]
    if len(names) == len(COLUMNS) + 1:
        raise error("a sample after FORMAT", "none")
    first: dict[str, int] = {}
    for i, name in enumerate(samples, len(COLUMNS) + 2):
        if not name.strip():
            raise error("a sample name", f"none in column {i}")
        if name in first:
            raise error("each sample once", f"columns {first[name]} and {i} have the same name")
        first[name] = i
    return tuple(samples)
