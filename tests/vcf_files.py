"""Small VCF files for tests, plain or BGZF."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

EOF_BLOCK = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")


def text(
    samples: Sequence[str] = ("A", "B"),
    *,
    records: int = 3,
    first: int = 100,
    contig: str = "22",
    info: str = "Integer",
    seed: int = 1,
    bad: Sequence[int] = (),
) -> str:
    """A VCF with ``records`` data lines; those numbered in ``bad`` (from 0) have no POS."""
    chance = random.Random(seed)
    lines = [
        "##fileformat=VCFv4.3",
        f"##contig=<ID={contig}>",
        f'##INFO=<ID=XX,Number=1,Type={info},Description="a number">',
        '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">',
        "\t".join(["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO"])
        + ("\tFORMAT\t" + "\t".join(samples) if samples else ""),
    ]
    for i in range(records):
        calls = [chance.choice(["0/0", "0|1", "1/1", "./."]) for _ in samples]
        place = "nowhere" if i in bad else str(first + i)
        line = f"{contig}\t{place}\t.\tA\tG\t.\tPASS\tXX={i}"
        lines.append(line + ("\tGT\t" + "\t".join(calls) if samples else ""))
    return "\n".join(lines) + "\n"


def bgzf(data: bytes, block: int = 60_000) -> bytes:
    """``data`` as BGZF, written here from the specification."""
    blocks = []
    for at in range(0, len(data), block):
        part = data[at : at + block]
        packer = zlib.compressobj(6, zlib.DEFLATED, -15)
        packed = packer.compress(part) + packer.flush()
        head = struct.pack("<4BI2BH2BHH", 31, 139, 8, 4, 0, 0, 255, 6, 66, 67, 2, len(packed) + 25)
        blocks.append(head + packed + struct.pack("<II", zlib.crc32(part), len(part)))
    return b"".join(blocks) + EOF_BLOCK


def write(path: Path, content: str) -> str:
    """Write ``content`` (as BGZF if the name ends in .bgz); the path as text."""
    path.write_bytes(bgzf(content.encode()) if path.suffix == ".bgz" else content.encode())
    return str(path)
