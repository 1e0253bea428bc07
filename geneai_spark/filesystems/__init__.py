"""URIs to listings and byte ranges: local files, S3, Google Cloud Storage, HDFS, Azure.

Local paths are handled with the standard library (`local`); everything else goes through
``pyarrow.fs`` (`remote`), with settings from the environment. HDFS is read by Hadoop's native
client where that is installed, else over WebHDFS (`webhdfs`).
Nothing here needs Spark, so drivers, Python workers and kernels can all use it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

from geneai_spark.errors import StorageError
from geneai_spark.filesystems import local, remote, whole
from geneai_spark.filesystems.remote import FileInfo
from geneai_spark.filesystems.uris import (
    Location,
    absolute,
    is_known,
    locate,
    source_id,
    spark_uri,
)

T = TypeVar("T")
_CHUNK = 8 << 20


class RandomAccess(Protocol):
    """An open file that is read by position; several threads may share it."""

    def read_at(self, nbytes: int, offset: int) -> bytes:
        """Up to ``nbytes`` from ``offset``; fewer only at the end of the file."""
        ...

    def size(self) -> int:
        """Bytes in the file."""
        ...

    def close(self) -> None:
        """Let the file go; does no harm twice."""
        ...


def list_files(paths: str | Sequence[str]) -> list[FileInfo]:
    """The files that ``paths`` name: files, globs (``*``, ``?``, ``[…]``) and folders.

    A folder stands for the files directly in it whose names begin with neither ``.`` nor
    ``_``. The result is sorted by URI and names each file once. A comma is part of a name.

    Raises:
        StorageError: a path matches no file, or cannot be listed.
    """
    found: dict[str, FileInfo] = {}
    for path in [paths] if isinstance(paths, str) else paths:
        matched = _guard(path, lambda p=path: _list(locate(p)))  # type: ignore[misc]
        if not matched:
            raise StorageError(f"{path}: no such file, and no file matches it")
        found.update((info.uri, info) for info in matched)
    return [found[uri] for uri in sorted(found)]


def _list(where: Location) -> list[FileInfo]:
    return remote.list_remote(where) if where.scheme else local.list_local(where.path)


def stat(uri: str) -> FileInfo:
    """The file's present size, modification time and etag: what tells one state of it from
    another. S3 has its times in seconds and tells the etag of one object at a time; the etag of a
    local file is its inode with the time of the inode's last change, which nobody can set back.

    Raises:
        StorageError: there is no such file.
    """
    matched = _guard(uri, lambda: _stat(locate(uri)))
    if matched is None:
        raise StorageError(f"{uri}: no such file")
    return matched


def _stat(where: Location) -> FileInfo | None:
    if where.scheme == "":
        return local.stat(where.path)
    return remote.stat(where)


def walk(folder: str) -> list[FileInfo]:
    """Every file in a folder and in those below it, hidden ones too; none where there is none."""
    return _guard(folder, lambda: remote.walk(locate(folder)))


def open_input(uri: str) -> RandomAccess:
    """Open a file for reading by position.

    Raises:
        StorageError: it does not exist or may not be read.
    """
    return _guard(uri, lambda: _open(locate(uri)))


def read(uri: str) -> bytes:
    """All bytes of a file.

    Raises:
        StorageError: it cannot be read.
    """
    file = open_input(uri)
    try:
        return file.read_at(file.size(), 0)
    finally:
        file.close()


def _open(where: Location) -> RandomAccess:
    if where.scheme == "":
        return local.LocalFile(where.path)
    return remote.ArrowFile(remote.system(where).open_input_file(where.path))


def open_arrow(uri: str) -> Any:
    """Open a file for reading as pyarrow wants it, to be closed by the caller.

    Raises:
        StorageError: it does not exist or may not be read.
    """
    where = locate(uri)
    return _guard(uri, lambda: remote.system(where).open_input_file(where.path))


def open_output(uri: str) -> Any:
    """Open a new file for writing, as pyarrow's output stream; local folders are made.

    Raises:
        StorageError: it may not be written there.
    """
    where = locate(uri)

    def create() -> Any:
        if where.scheme == "":
            os.makedirs(os.path.dirname(where.path), exist_ok=True)
        return remote.system(where).open_output_stream(where.path)

    return _guard(uri, create)


@contextlib.contextmanager
def create(uri: str) -> Iterator[Any]:
    """Open a file for writing that stands at ``uri`` once it is whole, in place of what was there.

    Yields a binary stream. After an error nothing has changed: local files and those of HDFS are
    written under a temporary name beside it and renamed, an object appears when it is complete.

    Raises:
        StorageError: it cannot be written.
    """
    with contextlib.ExitStack() as stack:
        stream = _guard(uri, lambda: stack.enter_context(whole.create(locate(uri))))
        try:
            yield stream
        except OSError as error:
            raise StorageError(f"{uri}: {error.strerror or error}") from error
        _guard(uri, stack.close)


def exists(uri: str) -> bool:
    """Whether there is a file or a folder at ``uri``."""

    def look() -> bool:
        where = locate(uri)
        if where.scheme == "":
            return os.path.exists(where.path)
        return bool(remote.system(where).get_file_info(where.path).type.name != "NotFound")

    return _guard(uri, look)


def remove(uri: str) -> None:
    """Remove a file; none there is no error."""
    where = locate(uri)

    def delete() -> None:
        with contextlib.suppress(FileNotFoundError):
            remote.system(where).delete_file(where.path)

    _guard(uri, delete)


def remove_folder(uri: str) -> None:
    """Remove a folder with all that is in it; none there is no error."""
    where = locate(uri)

    def delete() -> None:
        with contextlib.suppress(FileNotFoundError):
            remote.system(where).delete_dir(where.path)

    _guard(uri, delete)


def alone(folder: str) -> contextlib.AbstractContextManager[None]:
    """Keep other processes of this machine out that ask for the same, if the folder is local."""
    if not is_known(folder) or (where := locate(folder)).scheme:
        return contextlib.nullcontext()
    return local.alone(where.path)


def is_reachable(uri: str) -> bool:
    """Whether Python can look at ``uri`` with what it has of libraries and credentials: where it
    cannot (keys that Spark alone was given), Spark has to read and write.
    """
    if not is_known(uri):
        return False
    where = locate(uri)
    if where.scheme == "":
        return True
    try:
        remote.system(where).get_file_info(where.path)
    except (OSError, ImportError, ValueError):
        return False
    return True


def checksum(uri: str) -> str:
    """sha256 of the file's bytes, as hex; read once, 8 MiB at a time."""

    def digest() -> str:
        total, file = hashlib.sha256(), _open(locate(uri))
        try:
            at = 0
            while block := file.read_at(_CHUNK, at):
                total.update(block)
                at += len(block)
        finally:
            file.close()
        return total.hexdigest()

    return _guard(uri, digest)


def write(uri: str, data: bytes) -> int:
    """Write a whole file, replacing what is there; the bytes written.

    Nobody sees half a file: a local one appears by renaming, an object store shows an object when
    it is complete; HDFS alone shows a file that grows. The folder is made where there are folders.

    Raises:
        StorageError: it cannot be written.
    """

    def put() -> int:
        where = locate(uri)
        if where.scheme == "":
            local.replace(where.path, data)
        else:
            system = remote.system(where)
            if where.scheme == "hdfs":
                system.create_dir(where.path.rpartition("/")[0], recursive=True)
            with system.open_output_stream(where.path) as stream:
                stream.write(data)
        return len(data)

    return _guard(uri, put)


def _guard(uri: str, action: Callable[[], T]) -> T:
    """Run ``action``; the system's errors become StorageError naming the URI."""
    try:
        return action()
    except OSError as error:
        reason = error.strerror or str(error).splitlines()[0] or type(error).__name__
        raise StorageError(f"{uri}: {reason}") from error


__all__ = [
    "FileInfo",
    "Location",
    "RandomAccess",
    "absolute",
    "alone",
    "checksum",
    "create",
    "exists",
    "is_known",
    "is_reachable",
    "list_files",
    "locate",
    "open_arrow",
    "open_input",
    "open_output",
    "read",
    "remove",
    "remove_folder",
    "source_id",
    "spark_uri",
    "stat",
    "walk",
    "write",
]
