"""Files of this machine, with the standard library: half the price of pyarrow's, and globs."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from geneai_spark.filesystems.remote import WILD, FileInfo


def replace(path: str, data: bytes) -> None:
    """Write beside ``path`` and rename, with the permissions a new file has."""
    if os.path.isdir(path):
        raise IsADirectoryError(21, "is a folder")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    beside = f"{path}.{uuid.uuid4().hex[:8]}.tmp"
    try:
        with open(beside, "xb") as file:
            file.write(data)
        os.replace(beside, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(beside)
        raise


@contextmanager
def alone(folder: str) -> Iterator[None]:
    """Hold a lock on a folder, which the other processes of this machine wait for that take it,
    too; where the file system knows no locks, nothing is held.
    """
    descriptor = -1
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        if descriptor >= 0:
            os.close(descriptor)


class LocalFile:
    """pread: no shared position, so threads can read at once."""

    def __init__(self, path: str) -> None:
        if os.path.isdir(path):
            raise IsADirectoryError(21, "is a folder")
        self._descriptor = os.open(path, os.O_RDONLY)
        self._size = os.fstat(self._descriptor).st_size

    def read_at(self, nbytes: int, offset: int) -> bytes:
        """Up to ``nbytes`` from ``offset``."""
        block = os.pread(self._descriptor, nbytes, offset)
        if len(block) == nbytes or not block:
            return block
        parts = [block]  # a short read: interrupted, or the end
        while block := os.pread(
            self._descriptor, nbytes - sum(map(len, parts)), offset + sum(map(len, parts))
        ):
            parts.append(block)
        return b"".join(parts)

    def size(self) -> int:
        """Bytes in the file."""
        return self._size

    def close(self) -> None:
        """Let it go; does no harm twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def stat(path: str) -> FileInfo | None:
    """The file's size, time and mark; None where there is no file."""
    if not os.path.isfile(path):
        return None
    status = os.stat(path)
    mark = f"{status.st_ino:x}-{status.st_ctime_ns:x}"
    return FileInfo(path, status.st_size, status.st_mtime, mark)


def list_local(path: str) -> list[FileInfo]:
    """The files that a path names: a file, a glob, or a folder's files."""
    if os.path.exists(path):  # a name that holds glob characters and exists means itself
        names = [path]
    else:
        names = glob.glob(path, recursive=True) if WILD.search(path) else []
    files: list[FileInfo] = []
    for name in names:
        if os.path.isdir(name):
            inside = (os.path.join(name, n) for n in os.listdir(name) if n[0] not in "._")
            files += [info for n in inside if (info := stat(n))]
        elif info := stat(name):
            files.append(info)
    return files
