"""Make a jar of Scala 2.12 run on Java 9 and later: VariantSpark 0.5.5's does not, as published.

python mend_jar.py JAR

Its compiler's optimiser called static methods of interfaces as if they were methods of classes.
Java 8 let it pass, later ones end with IncompatibleClassChangeError ("Inconsistent constant pool
data"). Such references get the tag that Java's specification asks for (JVMS 4.4.2); nothing else is
changed, so the code that runs is the same.
"""

from __future__ import annotations

import struct
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

METHOD, INTERFACE_METHOD, TEXT, CLASS = 10, 11, 1, 7  # tags of a constant pool
#: Bytes of an entry after its tag, but for texts.
SIZES = {3: 4, 4: 4, 5: 8, 6: 8, 7: 2, 8: 2, 9: 4, 10: 4, 11: 4, 12: 4, 15: 3, 16: 2, 17: 4, 18: 4,
         19: 2, 20: 2}  # fmt: skip
INTERFACE_FLAG = 0x0200


class Entry(NamedTuple):
    """An entry of a constant pool: its number, its tag, and where in the file the tag is."""

    number: int
    tag: int
    at: int


def pool(code: bytes) -> Iterator[Entry]:
    """The entries of a class file's constant pool; the last one, of tag 0, is where it ends."""
    (count,) = struct.unpack_from(">H", code, 8)
    at, number = 10, 1
    while number < count:
        tag = code[at]
        yield Entry(number, tag, at)
        size = 2 + struct.unpack_from(">H", code, at + 1)[0] if tag == TEXT else SIZES[tag]
        at += 1 + size
        number += 2 if tag in (5, 6) else 1  # long and double take two
    yield Entry(count, 0, at)


def name_of(code: bytes, entries: dict[int, Entry], number: int) -> bytes:
    """The name of the class that entry ``number`` stands for."""
    (text,) = struct.unpack_from(">H", code, entries[number].at + 1)
    at = entries[text].at
    (size,) = struct.unpack_from(">H", code, at + 1)
    return code[at + 3 : at + 3 + size]


def mend(files: dict[str, bytes]) -> tuple[dict[str, bytes], int]:
    """Give class files with their references mended, and how many were."""
    parsed = {name: {e.number: e for e in pool(code)} for name, code in files.items()}
    interfaces = set()
    for name, code in files.items():
        flags, own = struct.unpack_from(">HH", code, max(e.at for e in parsed[name].values()))
        if flags & INTERFACE_FLAG:
            interfaces.add(name_of(code, parsed[name], own))
    mended, changed = {}, 0
    for name, code in files.items():
        made = bytearray(code)
        for entry in parsed[name].values():
            if entry.tag == METHOD:
                (of,) = struct.unpack_from(">H", code, entry.at + 1)
                if name_of(code, parsed[name], of) in interfaces:
                    made[entry.at] = INTERFACE_METHOD
                    changed += 1
        mended[name] = bytes(made)
    return mended, changed


def main() -> None:
    """Mend a jar in its place."""
    path = Path(sys.argv[1])
    with zipfile.ZipFile(path) as jar:
        held = {name: jar.read(name) for name in jar.namelist()}
    classes = {
        n: c for n, c in held.items() if n.endswith(".class") and c[:4] == b"\xca\xfe\xba\xbe"
    }
    mended, changed = mend(classes)
    part = path.with_suffix(".part")
    with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as jar:
        for name, content in {**held, **mended}.items():
            jar.writestr(name, content)
    part.replace(path)
    print(f"{path.name}: {changed} references mended")


if __name__ == "__main__":
    main()
