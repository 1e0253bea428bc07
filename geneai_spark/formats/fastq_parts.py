"""A range of a FASTQ file to Arrow: its good records, its rejected ones, their count.

A file is cut where records begin. Such a place cannot be told from one line, since a quality may
begin with `@`; so the reader starts a little before and goes along by whole records (see
`fastq_kernels`) until it is past the place asked for. From there on it sees what a reader of the
whole file sees: every range begins with a record that is good.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from geneai_spark import filesystems
from geneai_spark.errors import FormatError
from geneai_spark.formats import bgzf
from geneai_spark.formats import fastq_kernels as kernels

Array = NDArray[Any]

HEAD_BYTES = 1 << 20  # of text in which the encoding of qualities is looked for
RUN_UP = 64 << 10  # stored bytes read before the place where a record is looked for
REST = 1 << 62  # as the end of a range: all that follows
#: Counting lines back to the start of a range is done for rejects up to this many stored bytes.
COUNT_LINES_BYTES = 256 << 20
INTERLEAVED = 3  # as the mate of a file: both mates, in turn
FACTOR = 0x9E3779B97F4A7C15  # of digests
_SHOWN = 200  # characters of a rejected record

RECORDS = pa.schema(
    [
        ("offset", pa.int64()),
        ("readName", pa.string()),
        ("mate", pa.int32()),
        ("pairKey", pa.int64()),
        ("sequence", pa.string()),
        ("quality", pa.string()),
    ]
)
REJECTS = pa.schema(
    [
        ("sourceId", pa.string()),
        ("line", pa.int64()),
        ("offset", pa.int64()),
        ("reason", pa.string()),
        ("text", pa.string()),
    ]
)
_EXPECTED = {
    kernels.HEADER: ("header", "a line that begins with @", "another"),
    kernels.NAME: ("header", "a read name of printable ASCII", "none, or other characters"),
    kernels.SEQUENCE: ("sequence", "letters", "other characters"),
    kernels.SEPARATOR: ("separator", "a line that begins with +", "another"),
}


@dataclass(frozen=True)
class FastqFile:
    """A FASTQ file and how it is to be read.

    Attributes:
        uri: where it is.
        size: stored bytes.
        compression: plain, gzip or bgzf, told from its bytes.
        phred: what was added to quality scores to make them characters: 33 or 64.
        mate: 0 single reads, 1 or 2 that half of pairs, INTERLEAVED both in turn.
        seed: goes into pair keys; the same for the two files of a pair.
    """

    uri: str
    size: int
    compression: str
    phred: int
    mate: int = 0
    seed: int = 0

    @property
    def source_id(self) -> str:
        """The file's id in every table."""
        return filesystems.source_id(self.uri)


class Part(NamedTuple):
    """A range of one file that a task reads."""

    file: FastqFile
    range: bgzf.Range


class Digest(NamedTuple):
    """Names of the good records of some text, in their order.

    Attributes:
        start: where the first one begins.
        records: how many there are.
        names: their fingerprint, see `fastq_kernels.digest`.
    """

    start: int
    records: int
    names: int


class Parsed(NamedTuple):
    """What some text gave.

    Attributes:
        records: the good ones, of schema `RECORDS`; `quality` is Phred+33.
        rejects: the others, of schema `REJECTS`.
        digest: of the good ones' names.
    """

    records: pa.RecordBatch
    rejects: pa.RecordBatch
    digest: Digest


class _Cut(NamedTuple):
    """A chunk of text and the units it is cut into; see `fastq_kernels.find_units`."""

    chunk: bgzf.Chunk
    buf: Array
    newline: Array
    first: Array
    last: Array
    fault: Array


def inspect(uri: str, phred: int | None = None) -> FastqFile:
    """Look at a file's first records.

    The encoding is Phred+64 where no quality is below `;` and some is above `K`, else Phred+33:
    machines that wrote Phred+64 reached `h`, and `K` is 42 in Phred+33.

    Args:
        phred: 33 or 64 where the encoding is known.

    Raises:
        StorageError: the file cannot be read.
        FormatError: it holds something, but no FASTQ record at its start.
        BgzfError: it is cut short or damaged.
    """
    source = filesystems.open_input(uri)
    try:
        size = source.size()
        compression = bgzf.detect(source.read_at(18, 0))
        if compression == bgzf.BGZF:
            bgzf.check_eof_block(source, uri)
        file = FastqFile(uri, size, compression, 33)
        cuts = _cuts(source, file, bgzf.Range(0, REST, at_line=True), HEAD_BYTES)
        found = next((cut for cut in cuts if cut.first.size), None)
    finally:
        source.close()
    if found is None:
        return file if phred is None else FastqFile(uri, size, compression, phred)
    good = found.first[found.fault == kernels.GOOD]
    if not good.size and found.chunk.text.lstrip()[:1] != b"@":
        raise FormatError(uri, "FASTQ records", "another text, or other data", line=1)
    spans = kernels.locate(found.buf, found.newline, good, 0)
    least, greatest = kernels.quality_range(found.buf, spans[:, 4], spans[:, 5])
    told = 64 if least >= ord(";") and greatest > ord("K") else 33
    return FastqFile(uri, size, compression, told if phred is None else phred)


def split(file: FastqFile, target: int) -> list[Part]:
    """Cut a file where records (interleaved: pairs) begin, about every `target` stored bytes."""
    source = filesystems.open_input(file.uri)
    try:
        edges = [r.start for r in bgzf.split(source, file.uri, file.compression, 0, target)]
        found = {0} | {find_record(source, file, edge) for edge in edges if edge}
    finally:
        source.close()
    starts = sorted(found - {REST})
    ends = [*starts[1:], REST]
    return [
        Part(file, bgzf.Range(start, end, at_line=True, closed=True))
        for start, end in zip(starts, ends, strict=True)
    ]


def find_record(source: bgzf.Input, file: FastqFile, edge: int) -> int:
    """Offset of the first good record (interleaved: pair) from `edge` on; REST if there is none."""
    if file.compression == bgzf.BGZF:
        start = max(0, (edge >> 16) - RUN_UP)
        start = bgzf.find_block(source, start) << 16 if start else 0
    else:
        start = max(0, edge - RUN_UP)
    run = bgzf.Range(min(start, edge), REST, at_line=start == 0)
    for cut in _cuts(source, file, run, RUN_UP):
        offsets = _offsets(cut)
        good = offsets[cut.fault == kernels.GOOD]
        if file.mate == INTERLEAVED:
            spans = kernels.locate(cut.buf, cut.newline, cut.first[cut.fault == 0], INTERLEAVED)
            mate, _ = kernels.pair_up(cut.buf, spans[:, 0], spans[:, 1], True)
            good = good[mate == 1]
        after = good[good >= edge]
        if after.size:
            return int(after[0])
    return REST


def parse_part(
    part: Part, on_malformed: str, chunk_bytes: int = bgzf.CHUNK_BYTES
) -> Iterator[Parsed]:
    """Read and parse one range of one file.

    Args:
        on_malformed: ``reject``, or ``fail``.

    Raises:
        FormatError: the first malformed record, where ``on_malformed`` is ``fail``.
        StorageError, BgzfError: the file cannot be read.
    """
    file = part.file
    source = filesystems.open_input(file.uri)
    passed = 0  # lines
    try:
        lines = _Lines(source, part)
        for cut in _cuts(source, file, part.range, chunk_bytes):
            offsets = _offsets(cut)
            good = cut.fault == kernels.GOOD
            spans = kernels.locate(cut.buf, cut.newline, cut.first[good], file.mate)
            mate = np.full(len(spans), file.mate, np.uint8)
            faults = [(int(i), *_explain(cut, int(i), file)) for i in np.flatnonzero(~good)]
            if file.mate == INTERLEAVED:
                mate, _ = kernels.pair_up(cut.buf, spans[:, 0], spans[:, 1], True)
                lone = np.flatnonzero(good)[mate == 0]
                told = ("header", "the read's mate before or after it", "another read")
                faults = sorted([*faults, *((int(i), *told) for i in lone)])
            rejects = []
            for unit, field, expected, found in faults:
                line = lines.number(passed + int(cut.first[unit]), always=on_malformed == "fail")
                offset = int(offsets[unit])
                if on_malformed == "fail":
                    raise FormatError(
                        file.uri, expected, found, field=field, line=line, offset=offset
                    )
                rejects.append(
                    {
                        "sourceId": file.source_id,
                        "line": line,
                        "offset": offset,
                        "reason": f"{field}: expected {expected}, found {found}",
                        "text": _text(cut, unit),
                    }
                )
            kept = np.ones(len(spans), bool) if file.mate != INTERLEAVED else mate > 0
            records, digest = _records(cut.buf, spans[kept], offsets[good][kept], mate[kept], file)
            yield Parsed(records, pa.RecordBatch.from_pylist(rejects, REJECTS), digest)
            passed += len(cut.newline)
    finally:
        source.close()


def keys(file: FastqFile) -> Iterator[Array]:
    """Of a whole file's records in order, malformed ones too: key and whether it is good (n, 2)."""
    source = filesystems.open_input(file.uri)
    try:
        for cut in _cuts(source, file, bgzf.Range(0, REST, at_line=True), bgzf.CHUNK_BYTES):
            out = np.zeros((len(cut.first), 2), np.int64)
            good = cut.fault == kernels.GOOD
            spans = kernels.locate(cut.buf, cut.newline, cut.first[good], file.mate)
            out[good, 0] = kernels.hash_names(
                cut.buf, spans[:, 0], spans[:, 1], np.uint64(file.seed)
            )
            out[good, 1] = 1
            if len(out):
                yield out
    finally:
        source.close()


def joined(digests: Iterable[Digest]) -> Digest:
    """What some text gives as a whole, from what its parts give."""
    whole = Digest(0, 0, 0)
    for one in sorted(digests):
        names = whole.names * pow(FACTOR, one.records, 1 << 64) + one.names
        whole = Digest(0, whole.records + one.records, names & (1 << 64) - 1)
    return whole


def _records(
    buf: Array, spans: Array, offsets: Array, mate: Array, file: FastqFile
) -> tuple[pa.RecordBatch, Digest]:
    """Good records as Arrow has them, and the digest of their names."""
    keys = kernels.hash_names(buf, spans[:, 0], spans[:, 1], np.uint64(file.seed))
    shift = np.uint8(file.phred - 33)
    texts = [
        _strings(buf, spans[:, 2 * i], spans[:, 2 * i + 1], by)
        for i, by in enumerate((np.uint8(0), np.uint8(0), shift))
    ]
    columns = [
        pa.array(offsets, pa.int64()),
        texts[0],
        pa.array(mate.astype(np.int32)),
        pa.array(keys) if file.mate else pa.nulls(len(keys), pa.int64()),
        texts[1],
        texts[2],
    ]
    named = int(kernels.digest(keys, np.uint64(FACTOR)))
    start = int(offsets[0]) if len(offsets) else 0
    return pa.RecordBatch.from_arrays(columns, schema=RECORDS), Digest(start, len(keys), named)


def _strings(buf: Array, start: Array, end: Array, shift: Any) -> pa.Array:
    """Texts, known to be ASCII, as an Arrow column."""
    offsets, data = kernels.gather(buf, start, end, shift)
    return pa.StringArray.from_buffers(len(start), pa.py_buffer(offsets), pa.py_buffer(data))


def _cuts(
    source: bgzf.Input, file: FastqFile, part: bgzf.Range, chunk_bytes: int
) -> Iterator[_Cut]:
    """Text of a range, cut into units; what is not whole goes before the next text."""
    held = bgzf.Chunk(b"", [])
    for chunk in bgzf.chunks(source, file.uri, file.compression, part, chunk_bytes):
        cut, left = _cut(_join(held, chunk), file, at_end=False)
        held = _tail(cut.chunk, left)
        yield cut
    if held.text:
        # An empty line more where the file ends: an empty quality needs no newline there.
        more = b"\n" if part.end >= REST else b""
        cut, _ = _cut(bgzf.Chunk(held.text + more, held.marks), file, at_end=True)
        yield cut


def _cut(chunk: bgzf.Chunk, file: FastqFile, *, at_end: bool) -> tuple[_Cut, int]:
    """Cut text into units, up to the position in it that is returned."""
    buf = np.frombuffer(chunk.text, np.uint8)
    newline = np.flatnonzero(buf == 10)
    first, last, fault, left = kernels.find_units(buf, newline, np.uint8(file.phred), at_end)
    if file.mate == INTERLEAVED and not at_end:
        good = first[fault == kernels.GOOD]
        spans = kernels.locate(buf, newline, good, INTERLEAVED)
        _, decided = kernels.pair_up(buf, spans[:, 0], spans[:, 1], False)
        if decided < len(good):  # the last record waits for its mate
            left = int(good[decided])
            first, last, fault = (a[: np.searchsorted(first, left)] for a in (first, last, fault))
    at = int(newline[left - 1]) + 1 if left else 0
    return _Cut(chunk, buf, newline[:left], first, last, fault), at


def _join(held: bgzf.Chunk, chunk: bgzf.Chunk) -> bgzf.Chunk:
    if not held.text:
        return chunk
    ahead = len(held.text)
    return bgzf.Chunk(
        held.text + chunk.text, [*held.marks, *((at + ahead, o) for at, o in chunk.marks)]
    )


def _tail(chunk: bgzf.Chunk, start: int) -> bgzf.Chunk:
    if start >= len(chunk.text):
        return bgzf.Chunk(b"", [])
    later = [(at - start, origin) for at, origin in chunk.marks if at > start]
    return bgzf.Chunk(chunk.text[start:], [(0, chunk.offset_of(start)), *later])


def _offsets(cut: _Cut) -> Array:
    """Offset in the file of each unit."""
    if not cut.first.size:
        return np.empty(0, np.int64)
    starts = np.where(cut.first > 0, cut.newline[cut.first - 1] + 1, 0)
    at, origin = np.array(cut.chunk.marks, np.int64).T
    mark = np.searchsorted(at, starts, side="right") - 1
    return np.asarray(origin[mark] + starts - at[mark])


def _text(cut: _Cut, unit: int) -> str:
    start = int(cut.newline[cut.first[unit] - 1]) + 1 if cut.first[unit] else 0
    end = min(int(cut.newline[cut.last[unit] - 1]), start + _SHOWN)
    return cut.chunk.text[start:end].decode("utf-8", "replace")


def _explain(cut: _Cut, unit: int, file: FastqFile) -> tuple[str, str, str]:
    """Field, expected and found of a malformed record."""
    rule, line = int(cut.fault[unit]), int(cut.first[unit])
    if rule == kernels.SHORT:
        return "record", "4 lines", str(int(cut.last[unit]) - line)
    if rule == kernels.LENGTH:
        size = [
            kernels.line_end(cut.buf, cut.newline, i) - kernels.line_start(cut.newline, i)
            for i in (line + 1, line + 3)
        ]
        return "quality", f"{size[0]} characters, one a base", str(size[1])
    if rule == kernels.QUALITY:
        allowed = f"characters of Phred+{file.phred}, {chr(file.phred)} to ~"
        return "quality", allowed, "others"
    return _EXPECTED[rule]


class _Lines:
    """Line numbers: known in a file's first range, counted back for others when first asked."""

    def __init__(self, source: bgzf.Input, part: Part) -> None:
        self._source, self._part = source, part
        self._before: int | None = None if part.range.start else 0

    def number(self, line: int, *, always: bool) -> int | None:
        """1-based number in the file of a range's line, None where counting costs too much."""
        file, start = self._part.file, self._part.range.start
        stored = start >> (16 if file.compression == bgzf.BGZF else 0)
        if self._before is None and (always or stored <= COUNT_LINES_BYTES):
            self._before = bgzf.count_lines(self._source, file.uri, file.compression, start)
        return None if self._before is None else self._before + line + 1


def warm_up() -> None:
    """Parse two records, so that every kernel is compiled and cached."""
    text = b"@a/1\nAC\n+\nII\n@a/2\nAC\n+\nI\n"
    for mate in (0, INTERLEAVED):
        file = FastqFile("", len(text), bgzf.PLAIN, 33, mate)
        for at_end in (False, True):
            cut, _ = _cut(bgzf.Chunk(text, [(0, 0)]), file, at_end=at_end)
            good = cut.first[cut.fault == kernels.GOOD]
            spans = kernels.locate(cut.buf, cut.newline, good, mate)
            _records(cut.buf, spans, good, np.zeros(len(good), np.uint8), file)
            kernels.quality_range(cut.buf, spans[:, 4], spans[:, 5])
