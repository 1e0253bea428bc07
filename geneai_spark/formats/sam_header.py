"""What a SAM or BAM file is, told from its first bytes: its kind, header and first record."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass

from geneai_spark import filesystems
from geneai_spark.errors import FormatError
from geneai_spark.formats import bgzf

SAM, BAM = "SAM", "BAM"
REST = 1 << 62  # as an offset: behind all that is there
_MAGIC = {b"BAM\1": BAM, b"CRAM": "CRAM"}
_ENDING = re.compile(r"\.[sb]am(\.b?gz)?$", re.IGNORECASE)
_LOOKED_AT = 1 << 16  # bytes of a SAM file without a header
_MOST = 1 << 31  # contigs, and bytes of a header: int32 in a BAM file


@dataclass(frozen=True)
class AlignmentFile:
    """A file of aligned reads and how it is to be read.

    Attributes:
        uri: where it is.
        size: stored bytes.
        compression: plain, gzip or bgzf, told from its bytes.
        kind: SAM or BAM, told from its bytes.
        body: offset of the first record (BGZF: virtual); REST where there is none.
        lines: of a SAM file's header.
        contigs: names of the reference sequences, in their order.
        groups: sample by read group, as far as the header tells.
    """

    uri: str
    size: int
    compression: str
    kind: str = SAM
    body: int = 0
    lines: int = 0
    contigs: tuple[str, ...] = ()
    groups: tuple[tuple[str, str], ...] = ()

    @property
    def source_id(self) -> str:
        """The file's id in every table."""
        return filesystems.source_id(self.uri)


def inspect(uri: str) -> AlignmentFile:
    """Look at a file's header.

    Raises:
        StorageError: the file cannot be read.
        FormatError: it is no SAM or BAM file, CRAM among others; its header is broken.
        BgzfError: its compression is cut short or damaged.
    """
    source = filesystems.open_input(uri)
    try:
        size, compression = source.size(), bgzf.detect(source.read_at(18, 0))
        if compression == bgzf.BGZF:
            bgzf.check_eof_block(source, uri)
        text = _Text(source, uri, compression)
        kind = _MAGIC.get(text.peek(4), SAM)
        if kind == "CRAM":
            raise FormatError(
                uri, "SAM or BAM", "CRAM: convert it, samtools view -b -T REFERENCE.fa -o OUT.bam"
            )
        header, contigs = _bam_header(text, uri) if kind == BAM else (text.take_header(), None)
        names, groups, lines = _parse(header, uri)
        if kind == SAM and not lines and _is_other(text.peek(_LOOKED_AT)):
            raise FormatError(uri, "a SAM header, or records of 11 fields", "other data", line=1)
        body = text.offset()
    finally:
        source.close()
    return AlignmentFile(
        uri, size, compression, kind, body, lines, names if contigs is None else contigs, groups
    )


def sample_name(uri: str) -> str:
    """The sample by a file's name, where nothing else tells."""
    return _ENDING.sub("", os.path.basename(uri)) or os.path.basename(uri)


def _is_other(text: bytes) -> bool:
    """Whether a text that begins without a header is no SAM."""
    line, newline, _ = text.partition(b"\n")
    whole = newline or len(text) < _LOOKED_AT
    return b"\0" in text or bool(text and whole and line.count(b"\t") < 10)


def _parse(header: bytes, uri: str) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...], int]:
    """Names of contigs, samples by read group and the number of lines of a header's text."""
    contigs, groups = [], []
    lines = header.decode("utf-8", "replace").removesuffix("\n").split("\n") if header else []
    for i, line in enumerate(lines):
        kind, *fields = line.rstrip("\r").split("\t")
        if kind not in ("@SQ", "@RG"):
            continue
        told = {field[:2]: field[3:] for field in fields if field[2:3] == ":"}
        name = "SN" if kind == "@SQ" else "ID"
        if not told.get(name):
            raise FormatError(uri, f"a field {name}", "none", field=kind, line=i + 1)
        if kind == "@SQ":
            contigs.append(told[name])
        elif told.get("SM"):
            groups.append((told[name], told["SM"]))
    if len(set(contigs)) != len(contigs):
        raise FormatError(uri, "reference sequences of different names", "one twice", field="@SQ")
    return tuple(contigs), tuple(groups), len(lines)


def _bam_header(text: _Text, uri: str) -> tuple[bytes, tuple[str, ...]]:
    """A BAM file's text header and its reference sequences, which count if they differ."""

    def number(field: str) -> int:
        value = int.from_bytes(take(4, field), "little", signed=True)
        if not 0 <= value < _MOST:
            raise FormatError(uri, "a length from 0 on", str(value), field=field)
        return value

    def take(count: int, field: str) -> bytes:
        data = text.take(count)
        if len(data) < count:
            raise FormatError(
                uri, f"{count} bytes", f"the file's end after {len(data)}", field=field
            )
        return data

    take(4, "magic")
    header = take(number("l_text"), "text").rstrip(b"\0")
    names = []
    for _ in range(number("n_ref")):
        names.append(take(number("l_name"), "name").rstrip(b"\0").decode("utf-8", "replace"))
        take(4, "l_ref")
    return header, tuple(names)


class _Text:
    """A file's text from its start on, taken bit by bit; knows the offset of what comes next."""

    def __init__(self, source: bgzf.Input, uri: str, compression: str) -> None:
        self._pieces: Iterable[tuple[bgzf.Text, int]] = bgzf.pieces(source, uri, compression)
        self._held = b""
        self._at = 0
        self._marks: list[tuple[int, int]] = []  # as in a bgzf.Chunk

    def _more(self) -> bool:
        """Hold the next piece, too; False where there is none."""
        for piece, offset in self._pieces:
            if piece:
                passed = sum(at <= self._at for at, _ in self._marks)
                marks = self._marks[max(0, passed - 1) :]
                self._marks = [(at - self._at, origin) for at, origin in marks]
                self._held, self._at = self._held[self._at :], 0
                self._marks.append((len(self._held), offset))
                self._held += piece
                return True
        return False

    def peek(self, count: int) -> bytes:
        """The next bytes, fewer only at the end."""
        while len(self._held) - self._at < count and self._more():
            pass
        return self._held[self._at : self._at + count]

    def take(self, count: int) -> bytes:
        """The next bytes, fewer only at the end."""
        taken: list[bytes] = []
        while count:
            one = self.peek(1) and self._held[self._at : self._at + count]
            if not one:
                break
            taken.append(one)
            self._at += len(one)
            count -= len(one)
        return b"".join(taken)

    def take_header(self) -> bytes:
        """The next lines that begin with ``@``."""
        taken: list[bytes] = []
        while self.peek(1) == b"@":
            while self.peek(1):
                end = self._held.find(b"\n", self._at) + 1
                one = self._held[self._at : end or None]
                taken.append(one)
                self._at += len(one)
                if end:
                    break
        return b"".join(taken)

    def offset(self) -> int:
        """Where the next byte is in the file; REST at its end."""
        if not self.peek(1):
            return REST
        at, origin = next(mark for mark in reversed(self._marks) if mark[0] <= self._at)
        return origin + self._at - at
