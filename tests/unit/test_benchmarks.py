"""What benchmarks do to a peer's jar: references to methods of interfaces, and nothing else."""

from __future__ import annotations

import struct

from benchmarks import mend_jar


def class_file(flags: int, own: int) -> bytes:
    """A class file, ``Face`` or ``Other``, that refers to a method of each, with a long between."""
    texts = [struct.pack(">BH", 1, len(text)) + text for text in (b"Face", b"Other", b"m", b"()V")]
    entries = [
        *texts,  # 1 to 4
        struct.pack(">BH", 7, 1),  # 5: class Face
        struct.pack(">BH", 7, 2),  # 6: class Other
        struct.pack(">BHH", 12, 3, 4),
        struct.pack(">BQ", 5, 2**64 - 1),  # 8 and 9
        struct.pack(">BHH", 10, 5, 7),  # 10: Face.m
        struct.pack(">BHH", 10, 6, 7),  # 11: Other.m
    ]
    head = struct.pack(">IHHH", 0xCAFEBABE, 0, 52, 12)
    return head + b"".join(entries) + struct.pack(">HHHHHHH", flags, own, 0, 0, 0, 0, 0)


def test_mend__tags_references_to_methods_of_interfaces_and_changes_nothing_else():
    files = {"Face.class": class_file(0x0600, 5), "Other.class": class_file(0x0020, 6)}
    mended, changed = mend_jar.mend(files)
    assert changed == 2
    for name, code in files.items():
        tags = {entry.number: entry.tag for entry in mend_jar.pool(mended[name])}
        assert (tags[10], tags[11]) == (11, 10)
        differing = [i for i, (a, b) in enumerate(zip(code, mended[name], strict=True)) if a != b]
        assert len(differing) == 1
    assert mend_jar.mend(mended) == (mended, 0)
