"""Compressed and plain text, read in ranges that end on whole lines.

BGZF (SAM specification, section 4.1) is a series of gzip members of at most 64 KiB, each telling
its own compressed size, so that a reader can start at any block. A *virtual offset* addresses a
byte of the text: ``block offset << 16 | offset in the inflated block``.

A file is cut into `Range`s; each yields whole lines, and every line of the file is in exactly one
range: a range owns the lines whose preceding newline lies in it, so its last line may run on into
the blocks that follow, however far.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol, TypeAlias

import deflate

from geneai_spark.errors import BgzfError

PLAIN, GZIP, BGZF = "plain", "gzip", "bgzf"
Text: TypeAlias = bytes | bytearray

MAX_BLOCK = 1 << 16
EOF_BLOCK = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
READ_BYTES = 4 << 20  # one read from storage
CHUNK_BYTES = 16 << 20  # text handed on at once: bounds a worker's memory


class Input(Protocol):
    """A file that is read at random: what `filesystems.open_input` returns."""

    def read_at(self, nbytes: int, offset: int) -> bytes:
        """Up to `nbytes` bytes from `offset`; fewer only at the end of the file."""

    def size(self) -> int:
        """Size in bytes."""


class Range(NamedTuple):
    """A part of a file.

    `start` and `end` are virtual offsets for BGZF and byte offsets otherwise. `at_line` says that
    `start` is the first byte of a line, which then belongs to this range; else the range begins
    behind the first newline. `closed` says that `end` is the first byte of a line that belongs to
    another range (an index chunk); else a line that starts at `end` still belongs to this one.
    """

    start: int
    end: int
    at_line: bool = False
    closed: bool = False


class Chunk(NamedTuple):
    """Whole lines of text, the last byte a newline.

    `marks` pairs positions in `text` with the file offsets (virtual for BGZF) of what begins there;
    `offset_of` finds any byte's.
    """

    text: bytes
    marks: list[tuple[int, int]]

    def offset_of(self, position: int) -> int:
        """Offset in the file of the byte at `position` of the text (virtual for BGZF)."""
        at, origin = next(mark for mark in reversed(self.marks) if mark[0] <= position)
        return origin + position - at


def detect(head: bytes) -> str:
    """Compression told from a file's first 18 bytes, whatever its name says."""
    if head[:2] != b"\x1f\x8b":
        return PLAIN
    return BGZF if block_size(head, 0) else GZIP


def block_size(data: bytes, at: int) -> int | None:
    """Compressed size of the BGZF block that starts at `at`; None if no block header is there."""
    if data[at : at + 4] != b"\x1f\x8b\x08\x04" or len(data) < at + 18:
        return None
    extra_end = at + 12 + int.from_bytes(data[at + 10 : at + 12], "little")
    field = at + 12
    while field + 4 <= min(extra_end, len(data)):
        length = int.from_bytes(data[field + 2 : field + 4], "little")
        if data[field : field + 2] == b"BC" and length == 2:
            return int.from_bytes(data[field + 4 : field + 6], "little") + 1
        field += 4 + length
    return None


def find_block(source: Input, offset: int) -> int:
    """Offset of the first BGZF block that starts at or after `offset`; the file's size if none.

    Bytes that look like a header can stand inside compressed data, so a candidate counts only if
    three headers follow one another by their sizes, or fewer that end with the file.
    """
    size = source.size()
    while offset < size:
        data = source.read_at(5 * MAX_BLOCK, offset)
        at_end = offset + len(data) >= size
        candidate = data.find(b"\x1f\x8b\x08\x04")
        while 0 <= candidate < MAX_BLOCK:
            at = candidate
            for _ in range(3):
                step = block_size(data, at)
                if step is None:
                    break
                at += step
                if at_end and at == len(data):
                    return offset + candidate
            else:
                return offset + candidate
            candidate = data.find(b"\x1f\x8b\x08\x04", candidate + 1)
        offset += MAX_BLOCK
    return size


def check_eof_block(source: Input, file: str) -> None:
    """Raise BgzfError unless the file ends with the empty block that marks a whole file."""
    size = source.size()
    if source.read_at(len(EOF_BLOCK), max(0, size - len(EOF_BLOCK))) != EOF_BLOCK:
        raise BgzfError(
            file,
            "the empty BGZF block that ends a whole file",
            "another end: the file is truncated, or its writer was stopped",
            offset=size,
        )


def inflate_blocks(source: Input, file: str, start: int = 0) -> Iterator[tuple[Text, int]]:
    """Yield (text, block offset) of each BGZF block from block offset `start` to the end.

    Raises:
        BgzfError: a block is cut short, is no block, or fails its checksum or size.
    """
    data, base, at = b"", start, 0
    while True:
        size = block_size(data, at)
        if size is None or at + size > len(data):
            base, data, at = base + at, source.read_at(READ_BYTES, base + at), 0
            if not data:
                return
            size = block_size(data, 0)
            if size is None:
                raise BgzfError(file, "a BGZF block header", "other bytes", offset=base)
            if size > len(data):
                raise BgzfError(
                    file,
                    f"a BGZF block of {size} bytes",
                    f"the end of the file after {len(data)} bytes",
                    offset=base,
                )
        block = data[at : at + size]
        try:
            # Checks CRC32 and ISIZE, as a gzip member's trailer gives them. Not made bytes: a copy.
            text = deflate.gzip_decompress(block, int.from_bytes(block[-4:], "little"))
        except (deflate.DeflateError, ValueError, MemoryError) as error:
            raise BgzfError(
                file,
                "a BGZF block that inflates to its checksum",
                f"damage ({error})",
                offset=base + at,
            ) from None
        yield text, base + at
        at += size


def inflate_gzip(source: Input, file: str) -> Iterator[tuple[Text, int]]:
    """Yield (text, offset in the text) of a gzip file of one or more members.

    Raises:
        BgzfError: the file is cut short or fails a checksum.
    """
    position = offset = 0
    inflater = zlib.decompressobj(wbits=31)
    pending = b""
    while True:
        if not pending:
            pending = source.read_at(READ_BYTES, position)
            position += len(pending)
            if not pending:
                break
        try:
            text = inflater.decompress(pending, CHUNK_BYTES)
        except zlib.error as error:
            raise BgzfError(file, "gzip data", f"damage ({error})", offset=position) from None
        pending = inflater.unconsumed_tail
        if text:
            yield text, offset
            offset += len(text)
        if inflater.eof:
            pending = inflater.unused_data.lstrip(b"\0")  # padding between members is legal
            inflater = zlib.decompressobj(wbits=31)
            fresh = True
        else:
            fresh = False
    if not fresh:
        raise BgzfError(file, "the end of a gzip member", "the end of the file", offset=position)


def read_plain(source: Input, start: int = 0) -> Iterator[tuple[Text, int]]:
    """Yield (text, byte offset) from `start` to the end."""
    while text := source.read_at(READ_BYTES, start):
        yield text, start
        start += len(text)


def pieces(
    source: Input, file: str, compression: str, start: int = 0
) -> Iterator[tuple[Text, int]]:
    """Yield (text, offset) from `start`: offsets are virtual for BGZF, else positions in the text.

    A gzip file can only be read from 0.
    """
    if compression == PLAIN:
        yield from read_plain(source, start)
    elif compression == GZIP:
        if start:
            for text, offset in inflate_gzip(source, file):
                skip = min(len(text), max(0, start - offset))
                if skip < len(text):
                    yield text[skip:], offset + skip
        else:
            yield from inflate_gzip(source, file)
    else:
        inside = start & 0xFFFF
        for text, block in inflate_blocks(source, file, start >> 16):
            if inside > len(text):
                raise BgzfError(
                    file,
                    f"at least {inside} bytes in the block",
                    f"{len(text)}",
                    offset=block,
                )
            yield text[inside:], block << 16 | inside
            inside = 0


def chunks(
    source: Input,
    file: str,
    compression: str,
    part: Range,
    chunk_bytes: int = CHUNK_BYTES,
) -> Iterator[Chunk]:
    """Yield the lines that `part` owns as chunks of about `chunk_bytes` (longer if one line is).

    A last line without a newline gets one.
    """
    held: list[Text] = []
    marks: list[tuple[int, int]] = []
    length = 0
    skipping = not part.at_line  # until the first newline
    limit: int | None = None  # position in the held text where the range ends

    def position_of_end(text: Text, offset: int) -> int | None:
        """Where in the held text `part.end` falls, once the piece that holds it is there."""
        if compression == BGZF:
            if offset >> 16 > part.end >> 16:
                return length
            if offset >> 16 == part.end >> 16:
                return length + max(0, (part.end & 0xFFFF) - (offset & 0xFFFF))
            return None
        return length + max(0, part.end - offset) if offset + len(text) > part.end else None

    for text, offset in pieces(source, file, compression, part.start):
        if limit is None:
            limit = position_of_end(text, offset)
        if skipping:
            newline = text.find(b"\n")
            if limit is not None and (newline < 0 or newline >= limit):
                return
            if newline < 0:
                continue
            text, offset, skipping = text[newline + 1 :], offset + newline + 1, False
            limit = None if limit is None else limit - newline - 1
        if text:
            marks.append((length, offset))
        held.append(text)
        length += len(text)
        if limit is not None:
            if part.closed:
                held[-1] = text[: max(0, limit - length + len(text))]
            elif (end := text.find(b"\n", max(0, limit - length + len(text)))) >= 0:
                held[-1] = text[: end + 1]  # the line that holds or starts at `limit` is ours
            else:
                continue
            if whole := b"".join(held):
                yield Chunk(whole, marks)
            return
        if length >= chunk_bytes and (end := text.rfind(b"\n")) >= 0:
            held[-1] = text[: end + 1]
            yield Chunk(b"".join(held), marks)
            rest = text[end + 1 :]
            marks, held, length = (
                [(0, offset + end + 1)] if rest else [],
                [rest],
                len(rest),
            )
    if length:
        whole = b"".join(held)
        yield Chunk(whole if whole.endswith(b"\n") else whole + b"\n", marks)


def split(source: Input, file: str, compression: str, body: int, target: int) -> list[Range]:
    """Cut a file into ranges of about `target` stored bytes, from the newline at offset `body` on.

    BGZF is cut at block boundaries found by scanning; gzip cannot be cut and is one range.
    """
    if compression == GZIP:
        return [Range(body, 1 << 62)]
    shift = 16 if compression == BGZF else 0
    size, first = source.size(), body >> shift
    count = max(1, round((size - first) / target))
    edges = [first + (size - first) * i // count for i in range(1, count)]
    if compression == BGZF:
        edges = [find_block(source, edge) for edge in edges]
    bounds = [
        body,
        *sorted({e << shift for e in edges if body < e << shift and e < size}),
        size << shift,
    ]
    return [Range(start, end) for start, end in itertools.pairwise(bounds)]


def count_lines(source: Input, file: str, compression: str, end: int) -> int:
    """Number of newlines before offset `end` (virtual for BGZF), counted from the file's start."""
    lines = 0
    for text, offset in pieces(source, file, compression):
        if offset >= end:
            break
        inside = len(text)
        if compression != BGZF:
            inside = end - offset
        elif offset >> 16 == end >> 16:
            inside = end & 0xFFFF
        lines += text.count(b"\n", 0, inside)
    return lines


def head(
    source: Input, file: str, find_end: Callable[[bytes], int | None]
) -> tuple[bytes, str, int]:
    """Read the `#` lines that a file begins with.

    Args:
        find_end: from the text so far to the header's length, or None while it is not whole.

    Returns:
        The header (where no end is found: all lines up to the first that is no header line, for the
        parser to complain of), the file's compression, and the offset of the header's last byte,
        its newline, from where `split` and `chunks` go on.
    """
    compression = detect(source.read_at(18, 0))
    held = b""
    start = at = 0
    for text, offset in pieces(source, file, compression):
        start, at, held = offset, len(held), held + text
        end = find_end(held)
        if end is not None:
            held = held[:end]
            break
        last = held.rfind(b"\n", 0, len(held) - 1)
        if held[last + 1 : last + 2] not in (b"#", b""):
            break
    return held, compression, start + max(0, len(held) - 1 - at)
