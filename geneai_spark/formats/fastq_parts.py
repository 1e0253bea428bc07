"""A range of a FASTQ file to Arrow: its good records, its rejected ones, their count."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from geneai_spark import filesystems
from geneai_spark.errors import FormatError
from geneai_spark.formats import bgzf
from geneai_spark.formats import fastq_kernels as kernels
from geneai_spark.formats.fastq_lines import (
    INTERLEAVED,
    REST,
    Array,
    Cut,
    FastqFile,
    cut_text,
    cuts,
    offsets_of,
)
from geneai_spark.formats.fastq_plan import Part

CHUNK_BYTES = 4 << 20  # of text at once: what was read is still near when it is copied
#: Counting lines back to the start of a range is done for rejects up to this many stored bytes.
COUNT_LINES_BYTES = 256 << 20
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


def parse_part(part: Part, on_malformed: str, chunk_bytes: int = CHUNK_BYTES) -> Iterator[Parsed]:
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
        for cut in cuts(source, file, part.range, chunk_bytes):
            offsets = offsets_of(cut)
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
        for cut in cuts(source, file, bgzf.Range(0, REST, at_line=True), CHUNK_BYTES):
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


def _text(cut: Cut, unit: int) -> str:
    start = int(cut.newline[cut.first[unit] - 1]) + 1 if cut.first[unit] else 0
    end = min(int(cut.newline[cut.last[unit] - 1]), start + _SHOWN)
    return cut.chunk.text[start:end].decode("utf-8", "replace")


def _explain(cut: Cut, unit: int, file: FastqFile) -> tuple[str, str, str]:
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
            cut, _ = cut_text(bgzf.Chunk(text, [(0, 0)]), file, at_end=at_end)
            good = cut.first[cut.fault == kernels.GOOD]
            spans = kernels.locate(cut.buf, cut.newline, good, mate)
            _records(cut.buf, spans, good, np.zeros(len(good), np.uint8), file)
            kernels.quality_range(cut.buf, spans[:, 4], spans[:, 5])
