"""Text to BGZF blocks (SAM specification, section 4.1), compressed by libdeflate.

Files of whole blocks that are put one after the other are one BGZF file: several writers make the
parts of a file, and `bgzf.EOF_BLOCK` ends it.
"""

from __future__ import annotations

import struct
from typing import Any, Protocol

import deflate
import numpy as np
from numpy.typing import NDArray

from geneai_spark.formats.bgzf import EOF_BLOCK

#: Text of a block: as htslib has it, so that what does not compress fits, too.
BLOCK_TEXT = 0xFF00
_HEAD = struct.Struct("<4BI2BH2BHH")


class Sink(Protocol):
    """Where bytes go."""

    def write(self, data: bytes) -> Any:
        """Take the bytes."""


def block(text: bytes | memoryview, level: int) -> bytes:
    """One block of up to `BLOCK_TEXT` bytes of text."""
    packed = deflate.deflate_compress(text, level)
    size = _HEAD.size + len(packed) + 8
    head = _HEAD.pack(31, 139, 8, 4, 0, 0, 255, 6, 66, 67, 2, size - 1)
    return b"".join((head, packed, struct.pack("<II", deflate.crc32(text), len(text))))


def compress(text: bytes, level: int = 6) -> bytes:
    """A whole BGZF file of a small text."""
    blocks = [block(text[i : i + BLOCK_TEXT], level) for i in range(0, len(text), BLOCK_TEXT)]
    return b"".join((*blocks, EOF_BLOCK))


class BgzfWriter:
    """Writes a part of a BGZF file: whole blocks, and no block that ends it.

    Args:
        sink: where the blocks go; not closed.
        level: 0 (stored) to 12 (smallest).
    """

    def __init__(self, sink: Sink, level: int = 6) -> None:
        self._sink, self._level = sink, level
        self._held: list[memoryview] = []
        self._length = 0  # of what is held
        self._blocks = [0]  # where each block begins; at last the size so far
        self.text_size = 0

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._blocks[-1]

    def write(self, text: bytes | memoryview) -> None:
        """Add text; full blocks are written at once."""
        self._held.append(memoryview(text))
        self._length += len(text)
        self.text_size += len(text)
        if self._length >= BLOCK_TEXT:
            self._flush(self._length - self._length % BLOCK_TEXT)

    def close(self) -> None:
        """Write the last block; the sink stays open."""
        self._flush(self._length)

    def offsets(self, positions: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Virtual offsets in this part of positions in the text, after `close`."""
        blocks = np.asarray(self._blocks, np.uint64)
        number, inside = np.divmod(positions, BLOCK_TEXT)
        at_end = positions == self.text_size  # behind the last block, however full that is
        number, inside = np.where(at_end, len(blocks) - 1, number), np.where(at_end, 0, inside)
        found: NDArray[np.uint64] = blocks[number] << np.uint64(16) | inside.astype(np.uint64)
        return found

    def _flush(self, length: int) -> None:
        text = memoryview(b"".join(self._held))
        for start in range(0, length, BLOCK_TEXT):
            made = block(text[start : min(start + BLOCK_TEXT, length)], self._level)
            self._sink.write(made)
            self._blocks.append(self._blocks[-1] + len(made))
        self._held, self._length = [text[length:]], len(text) - length
