"""URIs to listings and byte ranges: local files, S3, Google Cloud Storage, HDFS, Azure.

Local paths are handled here with the standard library; everything else goes through
``pyarrow.fs``, whose credentials come from the environment, as the platforms set it.
Nothing here needs Spark, so drivers, Python workers and kernels can all use it.
"""

from __future__ import annotations

import contextlib
import fnmatch
import glob
import hashlib
import os
import re
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, Protocol, TypeVar
from urllib.parse import unquote, urlsplit

from geneai_spark.errors import StorageError

T = TypeVar("T")
_WILD = re.compile(r"[*?\[]")
_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*:")
_ALIASES = {"s3a": "s3", "s3n": "s3", "gcs": "gs"}
_SCHEMES = ("file", "s3", "gs", "hdfs", "abfs", "abfss", *_ALIASES)
_CHUNK = 8 << 20


@dataclass(frozen=True)
class FileInfo:
    """A file as listed.

    Attributes:
        uri: absolute path for local files, else a URI with scheme.
        size: bytes.
        modified: seconds since 1970, None where the store does not tell.
        etag: the object store's version mark; None where there is none.
    """

    uri: str
    size: int
    modified: float | None = None
    etag: str | None = None


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


class Location(NamedTuple):
    """A URI taken apart: scheme ('' is local), the filesystem's own path, what to put before."""

    scheme: str
    path: str
    prefix: str


def locate(uri: str) -> Location:
    """Take ``uri`` apart. Local paths become absolute; ``s3a:`` and ``s3n:`` are ``s3:``."""
    if not _SCHEME.match(uri):
        return Location("", os.path.abspath(os.path.expanduser(uri)), "")
    scheme = uri.split(":", 1)[0].lower()
    scheme = _ALIASES.get(scheme, scheme)
    if scheme == "file":
        return Location("", os.path.abspath(unquote(urlsplit(uri).path)), "")
    rest = uri.split(":", 1)[1].removeprefix("//")
    if scheme in ("s3", "gs"):
        return Location(scheme, rest, f"{scheme}://")
    if scheme in ("abfs", "abfss"):  # abfss://container@account.dfs.core.windows.net/path
        authority, _, path = rest.partition("/")
        container = authority.partition("@")[0]
        return Location(scheme, f"{container}/{path}", f"{scheme}://{authority}/")
    if scheme == "hdfs":
        authority, _, path = rest.partition("/")
        return Location(scheme, f"/{path}", f"hdfs://{authority}")
    raise StorageError(f"{uri}: scheme {scheme!r} is not one of file, s3, gs, hdfs, abfss")


def absolute(uri: str) -> str:
    """``uri`` in its one canonical spelling: an absolute local path, or scheme and path."""
    where = locate(uri)
    if where.scheme in ("abfs", "abfss"):
        return where.prefix + where.path.partition("/")[2]
    return where.prefix + where.path


def spark_uri(uri: str) -> str:
    """``uri`` as Hadoop's file systems want it: S3 as ``s3a:``, no character escaped.

    Schemes that only Spark knows (``dbfs:``, …) stay as they are.
    """
    if (scheme := _SCHEME.match(uri)) and scheme[0][:-1].lower() not in _SCHEMES:
        return uri
    where = locate(uri)
    if where.scheme == "":
        return f"file:{where.path}"
    return re.sub(r"^s3:", "s3a:", absolute(uri))


def source_id(uri: str) -> str:
    """The file's id in every table: first 16 hex digits of the sha256 of its canonical URI."""
    return hashlib.sha256(absolute(uri).encode()).hexdigest()[:16]


def list_files(paths: str | Sequence[str]) -> list[FileInfo]:
    """The files that ``paths`` name: files, globs (``*``, ``?``, ``[…]``) and folders.

    A folder stands for the files directly in it whose names begin with neither ``.`` nor
    ``_``. The result is sorted by URI and names each file once. A comma is part of a name.

    Raises:
        StorageError: a path matches no file, or cannot be listed.
    """
    found: dict[str, FileInfo] = {}
    for path in [paths] if isinstance(paths, str) else paths:
        matched = _guard(path, lambda p=path: _list(p))  # type: ignore[misc]
        if not matched:
            raise StorageError(f"{path}: no such file, and no file matches it")
        found.update((info.uri, info) for info in matched)
    return [found[uri] for uri in sorted(found)]


def stat(uri: str) -> FileInfo:
    """The file's present size, modification time and etag.

    Raises:
        StorageError: there is no such file.
    """
    matched = _guard(uri, lambda: _stat(uri))
    if matched is None:
        raise StorageError(f"{uri}: no such file")
    return matched


def open_input(uri: str) -> RandomAccess:
    """Open a file for reading by position.

    Raises:
        StorageError: it does not exist or may not be read.
    """
    return _guard(uri, lambda: _open(uri))


def open_arrow(uri: str) -> Any:
    """Open a file for reading as pyarrow wants it, to be closed by the caller.

    Raises:
        StorageError: it does not exist or may not be read.
    """
    where = locate(uri)
    return _guard(uri, lambda: _arrow(where).open_input_file(where.path))


def open_output(uri: str) -> Any:
    """Open a new file for writing, as pyarrow's output stream; local folders are made.

    Raises:
        StorageError: it may not be written there.
    """
    where = locate(uri)

    def create() -> Any:
        if where.scheme == "":
            os.makedirs(os.path.dirname(where.path), exist_ok=True)
        return _arrow(where).open_output_stream(where.path)

    return _guard(uri, create)


def remove(uri: str) -> None:
    """Remove a file; none there is no error."""
    where = locate(uri)

    def delete() -> None:
        with contextlib.suppress(FileNotFoundError):
            _arrow(where).delete_file(where.path)

    _guard(uri, delete)


def is_known(uri: str) -> bool:
    """Whether Python can read and write at ``uri``, not Spark alone (``dbfs:``, …)."""
    scheme = _SCHEME.match(uri)
    return scheme is None or scheme[0][:-1].lower() in _SCHEMES


def is_reachable(uri: str) -> bool:
    """Whether Python can look at ``uri`` with what it has of libraries and credentials: where it
    cannot (HDFS without libhdfs, keys that Spark alone was given), Spark has to read and write.
    """
    if not is_known(uri):
        return False
    where = locate(uri)
    return where.scheme == "" or _answers(where)


@lru_cache(maxsize=64)
def _answers(where: Location) -> bool:
    try:
        _arrow(where).get_file_info(where.path)
    except (OSError, ImportError, ValueError):
        return False
    return True


def checksum(uri: str) -> str:
    """sha256 of the file's bytes, as hex; read once, 8 MiB at a time."""

    def digest() -> str:
        total, file = hashlib.sha256(), _open(uri)
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
    it is complete. The folder is made where there are folders.

    Raises:
        StorageError: it cannot be written.
    """

    def put() -> int:
        where = locate(uri)
        if where.scheme == "":
            _replace(where.path, data)
        else:
            system = _arrow(where)
            if where.scheme == "hdfs":
                system.create_dir(where.path.rpartition("/")[0], recursive=True)
            with system.open_output_stream(where.path) as stream:
                stream.write(data)
        return len(data)

    return _guard(uri, put)


# --- local ----------------------------------------------------------------------------------


def _replace(path: str, data: bytes) -> None:
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


class _LocalFile:
    """pread: no shared position, so threads can read at once."""

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_RDONLY)
        self._size = os.fstat(self._descriptor).st_size

    def read_at(self, nbytes: int, offset: int) -> bytes:
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
        return self._size

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class _ArrowFile:
    def __init__(self, file: Any) -> None:
        self._file = file

    def read_at(self, nbytes: int, offset: int) -> bytes:
        return bytes(self._file.read_at(max(0, min(nbytes, self.size() - offset)), offset))

    def size(self) -> int:
        return int(self._file.size())

    def close(self) -> None:
        self._file.close()


def _open(uri: str) -> RandomAccess:
    where = locate(uri)
    if where.scheme == "":
        if os.path.isdir(where.path):
            raise IsADirectoryError(21, "is a folder")
        return _LocalFile(where.path)
    return _ArrowFile(_arrow(where).open_input_file(where.path))


def _stat(uri: str) -> FileInfo | None:
    where = locate(uri)
    if where.scheme == "":
        if not os.path.isfile(where.path):
            return None
        status = os.stat(where.path)
        return FileInfo(where.path, status.st_size, status.st_mtime)
    info = _arrow(where).get_file_info(where.path)
    return _arrow_info(info, where) if info.is_file else None


def _list(pattern: str) -> list[FileInfo]:
    where = locate(pattern)
    if where.scheme:
        return _list_arrow(where)
    if os.path.exists(where.path):  # a name that holds glob characters and exists means itself
        names = [where.path]
    else:
        names = glob.glob(where.path, recursive=True) if _WILD.search(where.path) else []
    files: list[FileInfo] = []
    for name in names:
        if os.path.isdir(name):
            inside = (os.path.join(name, n) for n in os.listdir(name) if n[0] not in "._")
            files += [info for n in inside if (info := _stat(n))]
        elif info := _stat(name):
            files.append(info)
    return files


# --- object stores and HDFS -----------------------------------------------------------------


def _arrow(where: Location) -> Any:
    """The pyarrow filesystem for a location."""
    from pyarrow import fs

    if where.scheme == "":
        return fs.LocalFileSystem()
    if where.scheme == "s3":
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        return fs.S3FileSystem(**({"endpoint_override": endpoint} if endpoint else {}))
    if where.scheme == "gs":
        return fs.GcsFileSystem()
    if where.scheme in ("abfs", "abfss"):
        account = where.prefix.partition("@")[2].partition(".")[0]
        return fs.AzureFileSystem(account_name=account)
    host, _, port = where.prefix.removeprefix("hdfs://").partition(":")
    return fs.HadoopFileSystem(host or "default", int(port or 0))


def _arrow_info(info: Any, where: Location) -> FileInfo:
    modified = info.mtime.timestamp() if info.mtime else None
    path = info.path
    if where.scheme in ("abfs", "abfss"):
        path = path.partition("/")[2]
    return FileInfo(where.prefix + path, int(info.size), modified, getattr(info, "etag", None))


def _list_arrow(where: Location) -> list[FileInfo]:
    from pyarrow import fs

    system = _arrow(where)
    wild = _WILD.search(where.path)
    info = system.get_file_info(where.path)
    if info.is_file:
        return [_arrow_info(info, where)]
    folder = where.path[: wild.start()].rpartition("/")[0] if wild else where.path.rstrip("/")
    deep = bool(wild) and ("/" in where.path[len(folder) + 1 :])
    selector = fs.FileSelector(folder, allow_not_found=True, recursive=deep)
    entries = [entry for entry in system.get_file_info(selector) if entry.is_file]
    if wild:
        entries = [e for e in entries if _same_depth_match(e.path, where.path)]
    else:
        entries = [e for e in entries if e.base_name[0] not in "._"]
    return [_arrow_info(entry, where) for entry in entries]


def _same_depth_match(path: str, pattern: str) -> bool:
    parts, wanted = path.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(map(fnmatch.fnmatchcase, parts, wanted))


def _guard(uri: str, action: Callable[[], T]) -> T:
    """Run ``action``; the system's errors become StorageError naming the URI."""
    try:
        return action()
    except OSError as error:
        reason = error.strerror or str(error).splitlines()[0] or type(error).__name__
        raise StorageError(f"{uri}: {reason}") from error
