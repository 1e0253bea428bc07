"""Parts to one file: header, parts in order, end; and its index beside it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from geneai_spark import filesystems
from geneai_spark.errors import StorageError
from geneai_spark.export.parts import Written
from geneai_spark.formats import bgzf_writer, tabix, tabix_build
from geneai_spark.formats.bgzf import EOF_BLOCK

_CHUNK = 8 << 20
_AHEAD = 4  # chunks read while one is written
_INDEX_LEVEL = 6


def join(
    uri: str, header: bytes, parts: Sequence[Written], level: int | None
) -> tuple[int, list[int]]:
    """Write the file in place of what stood at `uri`; its size, and where each part begins in it.

    Raises:
        StorageError: a part is not there whole, or the file cannot be written.
    """
    if level is not None:
        header = bgzf_writer.compress(header, level).removesuffix(EOF_BLOCK)
    bases, at = [], len(header)
    for part in parts:
        bases.append(at)
        at += part.size
    for suffix in tabix.SUFFIXES:  # an index of what stood there would lead astray
        filesystems.remove(uri + suffix)
    with filesystems.create(uri) as out:
        out.write(header)
        for part in parts:
            size = 0
            for chunk in _chunks(part):
                out.write(chunk)
                size += len(chunk)
            if size != part.size:
                raise StorageError(f"{part.uri}: {part.size} bytes written, {size} there")
        if level is not None:
            out.write(EOF_BLOCK)
            at += len(EOF_BLOCK)
    return at, bases


def write_index(
    uri: str, parts: Sequence[Written], bases: Sequence[int], names: Sequence[str], depth: int
) -> str:
    """Write the index beside the file; its URI."""
    told = [
        (p.indexed, base) for p, base in zip(parts, bases, strict=True) if p.indexed is not None
    ]
    data = tabix_build.assemble(told, names, depth)
    suffix = ".csi" if depth > tabix_build.TBI_DEPTH else ".tbi"
    with filesystems.create(uri + suffix) as out:
        out.write(bgzf_writer.compress(data, _INDEX_LEVEL))
    return uri + suffix


def _chunks(part: Written) -> Iterator[bytes]:
    """The bytes of a part, some read ahead."""
    source = filesystems.open_input(part.uri)
    try:
        with ThreadPoolExecutor(_AHEAD) as pool:
            waiting: deque[Future[bytes]] = deque()
            for at in range(0, source.size(), _CHUNK):
                waiting.append(pool.submit(source.read_at, _CHUNK, at))
                if len(waiting) > _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
    finally:
        source.close()
