"""Ranges of whole lines over plain, gzip and BGZF text; damage is told, never read past."""

from __future__ import annotations

import gzip
import random
import struct
import zlib
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geneai_spark.errors import BgzfError
from geneai_spark.formats import bgzf


class Memory:
    """A file in memory."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def read_at(self, nbytes: int, offset: int) -> bytes:
        return self.data[offset : offset + nbytes]

    def size(self) -> int:
        return len(self.data)


def block(text: bytes) -> bytes:
    """One BGZF block, made by the specification's text with zlib."""
    deflater = zlib.compressobj(6, zlib.DEFLATED, -15)
    data = deflater.compress(text) + deflater.flush()
    head = b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x06\0BC\x02\0" + struct.pack("<H", len(data) + 25)
    return head + data + struct.pack("<II", zlib.crc32(text), len(text))


def compress(texts: Iterable[bytes]) -> bytes:
    return b"".join(map(block, texts)) + bgzf.EOF_BLOCK


def header_end(text: bytes) -> int | None:
    return text.find(b"\n") + 1 or None


def lines_of(source: Memory, compression: str, target: int, chunk_bytes: int) -> list[bytes]:
    _, found, body = bgzf.head(source, "f", header_end)
    assert found == compression
    out = []
    for part in bgzf.split(source, "f", compression, body, target):
        for chunk in bgzf.chunks(source, "f", compression, part, chunk_bytes):
            assert chunk.text.endswith(b"\n")
            out += chunk.text[:-1].split(b"\n")
    return out


@given(
    lines=st.lists(st.binary(max_size=40).filter(lambda b: b"\n" not in b), max_size=25),
    cuts=st.lists(st.integers(0, 30), min_size=1, max_size=60),
    last_newline=st.booleans(),
    target=st.sampled_from([1, 30, 100, 10**9]),
    chunk_bytes=st.sampled_from([1, 16, 10**6]),
)
@settings(max_examples=150, deadline=None)
def test_ranges__every_line_once_in_order(
    lines: list[bytes], cuts: list[int], last_newline: bool, target: int, chunk_bytes: int
) -> None:
    text = b"#h\n" + b"".join(line + b"\n" for line in lines)
    if lines and lines[-1] and not last_newline:
        text = text[:-1]
    blocks, at = [], 0
    for cut in [*cuts, len(text)]:
        blocks.append(text[at : at + cut])
        at += cut
    for compression, data in (
        (bgzf.PLAIN, text),
        (bgzf.GZIP, gzip.compress(text)),
        (bgzf.BGZF, compress(blocks)),
    ):
        assert lines_of(Memory(data), compression, target, chunk_bytes) == lines


def test_split__at_every_block_boundary() -> None:
    texts = [bytes([65 + i]) * 3 + b"\n" for i in range(9)]
    source = Memory(compress([b"#h\n", *texts]))
    starts = [0]
    for text in [b"#h\n", *texts]:
        starts.append(starts[-1] + len(block(text)))
    for offset in range(source.size()):
        expected = min((s for s in [*starts, source.size()] if s >= offset), default=source.size())
        assert bgzf.find_block(source, offset) == expected


def test_find_block__passes_over_bytes_that_look_like_a_header() -> None:
    lure = b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x06\0BC\x02\0\x40\0"
    stored = b"\x01" + struct.pack("<HH", len(lure), len(lure) ^ 0xFFFF) + lure  # not compressed
    head = b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x06\0BC\x02\0" + struct.pack("<H", len(stored) + 25)
    luring = head + stored + struct.pack("<II", zlib.crc32(lure), len(lure))
    data = luring + compress([b"a\n", b"b\n", b"c\n"])
    assert bgzf.find_block(Memory(data), 1) == len(luring)


def test_detect__by_content() -> None:
    assert bgzf.detect(b"##fileformat=VCFv4.2") == bgzf.PLAIN
    assert bgzf.detect(gzip.compress(b"x")) == bgzf.GZIP
    assert bgzf.detect(block(b"x")) == bgzf.BGZF
    assert bgzf.detect(b"") == bgzf.PLAIN


def test_offsets__lead_back_to_the_line() -> None:
    rng = random.Random(7)
    lines = [b"%d:" % i + b"x" * rng.randrange(30) for i in range(200)]
    text = b"#h\n" + b"\n".join(lines) + b"\n"
    blocks = [text[i : i + 41] for i in range(0, len(text), 41)]
    for data in (text, compress(blocks)):
        source = Memory(data)
        _, compression, body = bgzf.head(source, "f", header_end)
        for part in bgzf.split(source, "f", compression, body, 300):
            for chunk in bgzf.chunks(source, "f", compression, part, 64):
                at = 0
                for line in chunk.text[:-1].split(b"\n"):
                    offset = chunk.offset_of(at)
                    number = int(line.split(b":")[0])
                    assert bgzf.count_lines(source, "f", compression, offset) == number + 1
                    tail = b"".join(t for t, _ in bgzf.pieces(source, "f", compression, offset))
                    assert tail.startswith(line + b"\n")
                    at += len(line) + 1


def everything(data: bytes) -> list[bytes]:
    return lines_of(Memory(data), bgzf.BGZF, 10**9, 10**6)


def test_damage__is_told() -> None:
    texts = [b"#h\n", b"one\n" * 50, b"two\n" * 50]
    good = compress(texts)
    assert len(everything(good)) == 100
    second = len(block(texts[0]))
    with pytest.raises(BgzfError, match=r"f, byte \d+: expected a BGZF block of \d+ bytes"):
        everything(good[: second + 30])
    with pytest.raises(BgzfError, match="inflates to its checksum"):
        everything(good[: second + 25] + b"\xff\xff\xff" + good[second + 28 :])
    crc = second + len(block(texts[1])) - 8
    with pytest.raises(BgzfError, match="inflates to its checksum"):
        everything(good[:crc] + b"\0\0\0\0" + good[crc + 4 :])
    with pytest.raises(BgzfError, match="block header, found other bytes"):
        everything(good[: second + len(block(texts[1]))] + b"garbage" * 9)


def test_check_eof_block__missing() -> None:
    whole = compress([b"#h\n", b"x\n"])
    bgzf.check_eof_block(Memory(whole), "f")
    with pytest.raises(BgzfError, match="truncated"):
        bgzf.check_eof_block(Memory(whole[: -len(bgzf.EOF_BLOCK)]), "f")


def test_gzip__members_and_damage() -> None:
    two = gzip.compress(b"#h\na\n") + gzip.compress(b"b\nc")
    assert lines_of(Memory(two), bgzf.GZIP, 1, 1) == [b"a", b"b", b"c"]
    with pytest.raises(BgzfError, match="end of a gzip member"):
        lines_of(Memory(two[:-4]), bgzf.GZIP, 1, 1)
    with pytest.raises(BgzfError, match="damage"):
        lines_of(Memory(two[:-8] + b"\1\2\3\4" + two[-4:]), bgzf.GZIP, 1, 1)
