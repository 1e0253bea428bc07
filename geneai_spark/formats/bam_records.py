"""BAM records of a range to Arrow, and where in a file a record begins."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from geneai_spark.errors import FormatError
from geneai_spark.formats import bam_kernels, bgzf, text_kernels
from geneai_spark.formats import sam_kernels as kernels
from geneai_spark.formats.sam_header import REST, AlignmentFile
from geneai_spark.formats.sam_records import (
    Array,
    Cut,
    Samples,
    attributes,
    batch,
    gathered,
    strings,
)

SEARCHED = 16 << 20  # bytes of text in which a record's start is looked for, at most
_FIRST_LOOK = 256 << 10
_SHOWN = 100  # bytes of a rejected record


class MissedError(Exception):
    """No record begins where the range ends: it, or its start, was a wrong guess."""


def find_record(source: bgzf.Input, file: AlignmentFile, edge: int) -> int | None:
    """Offset of what seems to be the first record from `edge` on; None where none was found."""
    held: list[bgzf.Text] = []
    marks: list[tuple[int, int]] = []
    length, look = 0, _FIRST_LOOK
    pieces = bgzf.pieces(source, file.uri, file.compression, edge)
    at_end = False
    while not at_end and length < SEARCHED:
        for text, offset in pieces:
            marks.append((length, offset))
            held.append(text)
            length += len(text)
            if length >= look:
                break
        else:
            at_end = True
        buf = np.frombuffer(b"".join(held), np.uint8)
        found = int(bam_kernels.find_start(buf, len(file.contigs), at_end))
        if found >= 0:
            at, origin = next(mark for mark in reversed(marks) if mark[0] <= found)
            return origin + found - at
        look *= 4
    return None


def cuts(
    source: bgzf.Input, file: AlignmentFile, part: bgzf.Range, samples: Samples, chunk_bytes: int
) -> Iterator[Cut]:
    """The records of a range.

    Raises:
        MissedError: the last one does not end just where the range does.
        FormatError: what follows a record cannot be one, or the file ends inside it.
    """
    contigs = pa.array(file.contigs, pa.string())
    held: list[bgzf.Text] = []
    marks: list[tuple[int, int]] = []
    length, wanted = 0, chunk_bytes
    for text, offset in _clipped(source, file, part):
        marks.append((length, offset))
        held.append(text)
        length += len(text)
        if length >= wanted:
            chunk = bgzf.Chunk(b"".join(held), marks)
            cut, left = _cut(chunk, contigs, samples, file)
            yield cut
            rest = chunk.text[left:]
            held, marks, length = [rest], _from(marks, left), len(rest)
            wanted = max(chunk_bytes, 2 * length)
    if length:
        chunk = bgzf.Chunk(b"".join(held), marks)
        cut, left = _cut(chunk, contigs, samples, file)
        yield cut
        if left < length:
            if part.end < REST:
                raise MissedError
            raise FormatError(
                file.uri, "a whole record", "the file's end inside it",
                field="record", offset=chunk.offset_of(left),
            )  # fmt: skip


def _clipped(
    source: bgzf.Input, file: AlignmentFile, part: bgzf.Range
) -> Iterator[tuple[bgzf.Text, int]]:
    """Text and offset from a range's first byte to its last; MissedError if that is not there."""
    shift = 16 if file.compression == bgzf.BGZF else 0
    for text, offset in bgzf.pieces(source, file.uri, file.compression, part.start):
        if shift:
            ahead = (part.end >> 16) - (offset >> 16)
            stop = (part.end & 0xFFFF) - (offset & 0xFFFF) if ahead == 0 else len(text) + 1
            if ahead < 0 or (ahead == 0 and stop > len(text)):
                raise MissedError
        else:
            stop = part.end - offset
        if stop <= len(text):
            yield text[:stop], offset
            return
        yield text, offset
    if part.end < REST:
        raise MissedError


def _from(marks: list[tuple[int, int]], left: int) -> list[tuple[int, int]]:
    """Marks of the text from position `left` on."""
    passed = sum(at <= left for at, _ in marks)
    return [(at - left, origin) for at, origin in marks[max(0, passed - 1) :]]


def _cut(
    chunk: bgzf.Chunk, contigs: pa.StringArray, samples: Samples, file: AlignmentFile
) -> tuple[Cut, int]:
    """The whole records of some text, and the position behind them."""
    buf = np.frombuffer(chunk.text, np.uint8)
    bounds, broken = bam_kernels.walk(buf)
    starts, left = bounds[:-1], int(bounds[-1])
    at, origin = np.array(chunk.marks, np.int64).T
    mark = np.searchsorted(at, bounds, side="right") - 1
    offset = origin[mark] + bounds - at[mark]
    if broken:
        size = int.from_bytes(chunk.text[left : left + 4], "little")
        raise FormatError(
            file.uri, f"a record of {bam_kernels.FIXED} to {bam_kernels.LONGEST} bytes", f"{size}",
            field="block_size", offset=int(offset[-1]),
        )  # fmt: skip
    places, numbers, refs, rule = bam_kernels.measure(buf, starts, len(contigs))
    good = rule == kernels.GOOD
    records = _records(
        buf, bounds[1:][good], places[good], numbers[good], refs[good], contigs,
        offset[:-1][good], samples,
    )  # fmt: skip

    def text(i: int) -> str:
        first, name = int(starts[i]), int(starts[i]) + 4 + bam_kernels.FIXED
        shown = chunk.text[name : name + max(0, chunk.text[first + 12] - 1)]
        if shown.isascii() and shown.decode("ascii").isprintable():
            return shown.decode("ascii")
        return chunk.text[first : min(int(bounds[i + 1]), first + _SHOWN)].hex()

    return Cut(rule, offset[:-1], None, records, text), left


def _records(
    buf: Array,
    end: Array,
    places: Array,
    numbers: Array,
    refs: Array,
    contigs: pa.StringArray,
    offset: Array,
    samples: Samples,
) -> pa.RecordBatch:
    """Good records as Arrow has them."""
    name, name_end = places[:, bam_kernels.NAME], _name_end(buf, places)
    named = (name_end > name) & ~((name_end - name == 1) & (buf[name] == ord("*")))
    cigar_at, cigar, bases_at, bases, scores_at, scores = bam_kernels.write_reads(buf, places)
    floats = bam_kernels.floats(buf, end, places, places[:, bam_kernels.FLOATS].sum())
    keys, value_at, values, group = bam_kernels.write_tags(buf, end, places, *_float_texts(floats))
    grouped = group[:, 0] != kernels.NONE
    columns = {
        "readName": gathered(buf, name, np.where(named, name_end, name), named),
        "cigar": strings(cigar_at, cigar, places[:, bam_kernels.CIGAR_COUNT] > 0),
        "sequence": strings(bases_at, bases, places[:, bam_kernels.BASES] > 0),
        "quality": strings(scores_at, scores, places[:, bam_kernels.SCORES] > 0),
        "readGroup": gathered(values, group[:, 0], group[:, 1], grouped),
        "attributes": attributes(
            places[:, bam_kernels.TAG_COUNT],
            strings(np.arange(0, 2 * len(keys) + 1, 2, dtype=np.int32), keys),
            strings(value_at, values),
        ),
    }
    for column, which in (("contigName", 0), ("mateContigName", 1)):
        columns[column] = contigs.take(pa.array(refs[:, which], mask=refs[:, which] < 0))
    return batch(columns, numbers, offset, samples)


def _name_end(buf: Array, places: Array) -> Array:
    """Positions behind the names: of the NUL that ends each."""
    name = places[:, bam_kernels.NAME]
    return np.asarray(name + buf[name - bam_kernels.FIXED + 8] - 1)


def _float_texts(numbers: Array) -> tuple[Array, Array]:
    """Texts of float32 numbers one after another: offsets (n + 1), bytes.

    As samtools writes them, in six digits, where that is the number; else in as many as it takes.
    """
    different, which = np.unique(numbers.view(np.uint32), return_inverse=True)
    texts = [_float_text(one) for one in different.view(np.float32)]
    length = np.array([len(text) for text in texts], np.int64)
    ends = np.cumsum(length)
    data = np.frombuffer("".join(texts).encode(), np.uint8)
    at, out = text_kernels.gather(data, (ends - length)[which], ends[which])
    return at, out


def _float_text(number: np.float32) -> str:
    short = f"{number:g}"
    return short if np.float32(short) == number or number != number else f"{number:.9g}"
