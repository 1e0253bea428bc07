"""Ranges of a SAM or BAM file: how it is cut, and what a range gives.

Lines of SAM begin behind a newline. Where a BAM record begins, nothing tells: a file is cut where
a chain of records seems to begin, and each range, followed record by record from its start, tells
whether a record begins just where it ends. The first range begins at the first record for certain;
so if each range has *landed*, every cut was right.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Container, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from geneai_spark import filesystems
from geneai_spark.errors import BgzfError, FormatError
from geneai_spark.formats import bam_kernels, bam_records, bgzf, sam_header, sam_lines
from geneai_spark.formats import sam_kernels as kernels
from geneai_spark.formats.sam_header import BAM, REST, SAM, AlignmentFile
from geneai_spark.formats.sam_records import EXPECTED, RECORDS, Samples

#: Counting lines back to the start of a range is done for rejects up to this many stored bytes.
COUNT_LINES_BYTES = 256 << 20
#: A contig of 9 bases, a read of two with tags of each kind that has kernels of its own.
_WARM_BAM = bytes.fromhex(
    "42414d010e00000040535109534e3a63094c4e3a390a01000000020000006300090000004e0000000000000000000000"
    "020049120100000002000000ffffffffffffffff0000000072002000000012282852475a61005866660000803f586943"
    "0158424266010000000000803f584342630100000001"
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


class Part(NamedTuple):
    """A range of one file that a task reads."""

    file: AlignmentFile
    range: bgzf.Range


class Outcome(NamedTuple):
    """How the reading of a range went.

    Attributes:
        start: of the range.
        landed: a record began just where the range ended; false, too, where there was a fault.
        fault: what kept the range from being read, if the cuts before it were right.
    """

    start: int
    landed: bool
    fault: FormatError | None = None


class Parsed(NamedTuple):
    """What some text gave.

    Attributes:
        records: the good ones, of schema `sam_records.RECORDS`.
        rejects: the others, of schema `REJECTS`.
        outcome: of the whole range: last of all, and only there.
    """

    records: pa.RecordBatch
    rejects: pa.RecordBatch
    outcome: Outcome | None = None


def split(file: AlignmentFile, target: int | None) -> list[Part]:
    """Cut a file where records begin or seem to, about every `target` stored bytes; None: nowhere.

    Raises:
        StorageError, BgzfError: the file cannot be read.
    """
    if file.body >= REST:
        return []
    if target is None:
        return [Part(file, bgzf.Range(file.body, REST, at_line=True, closed=file.kind == BAM))]
    source = filesystems.open_input(file.uri)
    try:
        ranges = bgzf.split(source, file.uri, file.compression, file.body, target)
        if file.kind == BAM:
            edges = (_find_record(source, file, one.start) for one in ranges[1:])
            starts = sorted({file.body, *(edge for edge in edges if edge is not None)})
            ends = [*starts[1:], REST]
            ranges = [
                bgzf.Range(start, end, at_line=True, closed=True)
                for start, end in zip(starts, ends, strict=True)
            ]
    finally:
        source.close()
    return [Part(file, ranges[0]._replace(at_line=True)), *(Part(file, r) for r in ranges[1:])]


def _find_record(source: bgzf.Input, file: AlignmentFile, edge: int) -> int | None:
    try:
        return bam_records.find_record(source, file, edge)
    except BgzfError:  # no block begins there; or the file is damaged, and who reads it will tell
        return None


def shares(
    files: Sequence[AlignmentFile], target: int, whole: Container[str] = ()
) -> Iterator[list[Part]]:
    """Cut files into lists of ranges, each of about `target` stored bytes: what a task reads.

    Args:
        whole: source ids of files that are not to be cut.
    """
    held: list[Part] = []
    room = float(target)
    for file in files:
        for part in split(file, None if file.source_id in whole else target):
            size = stored_bytes(part)
            if held and size > room:
                yield held
                held, room = [], float(target)
            held.append(part)
            room -= size
    if held:
        yield held


def stored_bytes(part: Part) -> int:
    """How many bytes of the file a range is."""
    shift = 16 if part.file.compression == bgzf.BGZF else 0
    return min(part.range.end >> shift, part.file.size) - (part.range.start >> shift)


def first_wrong(outcomes: Sequence[Outcome]) -> Outcome | None:
    """Of all ranges of a file, in order, the first that has a fault or has not landed.

    Where it begins a record does begin, for the ranges before it have landed: so if it has a fault,
    that is the file's; if not, the file was cut at a wrong place.
    """
    return next((one for one in outcomes if not one.landed), None)


def parse_part(
    part: Part, sample: str, on_malformed: str, chunk_bytes: int = bgzf.CHUNK_BYTES
) -> Iterator[Parsed]:
    """Read and parse one range of one file; what keeps it from being read is told, not raised.

    Args:
        sample: whose the reads are that belong to no read group with a sample.
        on_malformed: ``reject``, or ``fail``: the first malformed record is a fault.
    """
    file, nothing = part.file, pa.RecordBatch.from_pylist([], REJECTS)
    landed, fault = False, None
    samples = Samples(file.groups, sample)
    read = sam_lines.cuts if file.kind == SAM else bam_records.cuts
    source = filesystems.open_input(file.uri)
    before: int | None = file.lines if part.range.start == file.body else None
    try:
        for cut in read(source, file, part.range, samples, chunk_bytes):
            bad = np.flatnonzero(cut.rule != kernels.GOOD)
            rejects = []
            for i in map(int, bad):
                offset, line = int(cut.offset[i]), None
                if cut.line is not None:
                    stored = offset >> 16 if file.compression == bgzf.BGZF else offset
                    cheap = stored <= COUNT_LINES_BYTES or on_malformed == "fail"
                    if before is None and cheap:
                        lines = bgzf.count_lines(source, file.uri, file.compression, offset)
                        before = lines - int(cut.line[i])
                    line = None if before is None else before + int(cut.line[i]) + 1
                field, expected, found = EXPECTED[int(cut.rule[i])]
                if on_malformed == "fail":
                    raise FormatError(
                        file.uri, expected, found, field=field, line=line, offset=offset
                    )
                reason = f"{field}: expected {expected}, found {found}"
                rejects.append((file.source_id, line, offset, reason, cut.text(i)))
            columns = list(zip(*rejects, strict=True))
            refused = nothing
            if columns:
                refused = pa.RecordBatch.from_arrays(
                    [pa.array(c, t) for c, t in zip(columns, REJECTS.types, strict=True)],
                    schema=REJECTS,
                )
            yield Parsed(cut.records, refused)
        landed = True
    except bam_records.MissedError:
        pass
    except FormatError as error:
        fault = error
    finally:
        source.close()
    none = pa.RecordBatch.from_pylist([], RECORDS)
    yield Parsed(none, nothing, Outcome(part.range.start, landed, fault))


def warm_up() -> None:
    """Parse a few records, so that every kernel is compiled and cached."""
    line = b"r\t4\tc\t1\t0\t2M\t*\t0\t0\tAC\tII\tRG:Z:a\tXf:f:1\n"
    with tempfile.TemporaryDirectory() as folder:
        for name, data in (("sam", line), ("bam", _WARM_BAM)):
            uri = os.path.join(folder, name)
            filesystems.write(uri, data)
            file = sam_header.inspect(uri)
            list(parse_part(split(file, None)[0], "", "reject"))
    bam_kernels.find_start(np.frombuffer(_WARM_BAM, np.uint8), 1, True)
