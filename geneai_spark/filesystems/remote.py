"""Object stores and HDFS, each as a pyarrow filesystem, by the settings of the environment.

The environment is the one place that says where storage is and how to log in, in the driver and
in each Python worker; ``geneai_spark.storage`` puts a job's settings there and sends them along.
Beside the cloud libraries' own names (``AWS_ENDPOINT_URL_S3``, ``AWS_REGION``, ``AWS_PROFILE``,
``HADOOP_USER_NAME``, ``HADOOP_CONF_DIR``, …) there are those in ``OWN``.
"""

from __future__ import annotations

import datetime
import fnmatch
import os
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from geneai_spark.filesystems.uris import Location

#: Name in the environment -> what it says.
OWN = {
    "GENEAI_S3_PATH_STYLE": "true, false: bucket in the path, or in the host; default: as is usual",
    "GENEAI_S3_ANONYMOUS": "true: no keys, for public buckets",
    "GENEAI_HDFS_CLIENT": "native (libhdfs), webhdfs, or auto: native where it is installed",
    "GENEAI_WEBHDFS": "http://namenode:9870, several of a high-availability pair with ';'",
    "GENEAI_HDFS_KERBEROS": "true: WebHDFS with the Kerberos ticket of this machine",
}
_READ = ("AWS_", "GENEAI_", "HADOOP_", "GOOGLE_", "AZURE_")
#: Times that a request to S3 is made which meets errors that pass (500, 503, a connection lost).
S3_TRIES = 10
WILD = re.compile(r"[*?\[]")


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


class ArrowFile:
    """A file of a pyarrow filesystem, read by position."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def read_at(self, nbytes: int, offset: int) -> bytes:
        """Up to ``nbytes`` from ``offset``."""
        return bytes(self._file.read_at(max(0, min(nbytes, self.size() - offset)), offset))

    def size(self) -> int:
        """Bytes in the file."""
        return int(self._file.size())

    def close(self) -> None:
        """Let it go."""
        self._file.close()


def system(where: Location) -> Any:
    """The pyarrow filesystem of a location; one is made for each set of settings, and kept.

    Raises:
        OSError: the store does not answer.
        ValueError: a setting makes no sense.
    """
    settings = tuple(sorted((k, v) for k, v in os.environ.items() if k.startswith(_READ)))
    authority = where.prefix if where.scheme in ("abfs", "abfss", "hdfs") else ""
    return _system(where.scheme, authority, settings)


@lru_cache(maxsize=16)
def _system(scheme: str, prefix: str, settings: tuple[tuple[str, str], ...]) -> Any:
    from pyarrow import fs

    given = dict(settings)
    if scheme == "":
        return fs.LocalFileSystem()
    if scheme == "s3":
        return fs.S3FileSystem(**_s3(given))
    if scheme == "gs":
        return fs.GcsFileSystem()
    if scheme in ("abfs", "abfss"):
        return fs.AzureFileSystem(account_name=prefix.partition("@")[2].partition(".")[0])
    authority = prefix.removeprefix("hdfs://")
    client = given.get("GENEAI_HDFS_CLIENT", "auto")
    if client != "webhdfs":
        host, _, port = authority.partition(":")
        try:
            return fs.HadoopFileSystem(host or "default", int(port or 0))
        except OSError:  # libhdfs, or the JVM that it wants, is not installed
            if client == "native":
                raise
    from geneai_spark.filesystems import webhdfs

    return fs.PyFileSystem(webhdfs.WebHdfs(authority, given))


def _s3(given: dict[str, str]) -> dict[str, Any]:
    """What `pyarrow.fs.S3FileSystem` is told beside what the AWS library finds by itself."""
    options: dict[str, Any] = {}
    if endpoint := given.get("AWS_ENDPOINT_URL_S3") or given.get("AWS_ENDPOINT_URL"):
        options["endpoint_override"] = endpoint
    if region := given.get("AWS_REGION") or given.get("AWS_DEFAULT_REGION"):
        options["region"] = region
    if given.get("GENEAI_S3_PATH_STYLE") == "false":
        options["force_virtual_addressing"] = True
    if given.get("GENEAI_S3_ANONYMOUS") == "true":
        options["anonymous"] = True
    from pyarrow import fs

    options["retry_strategy"] = fs.AwsDefaultS3RetryStrategy(max_attempts=S3_TRIES)
    return options


def info_of(info: Any, where: Location) -> FileInfo:
    """A pyarrow file info with its URI."""
    modified = info.mtime.timestamp() if info.mtime else None
    path = info.path
    if where.scheme in ("abfs", "abfss"):
        path = path.partition("/")[2]
    return FileInfo(where.prefix + path, int(info.size), modified, getattr(info, "etag", None))


def stat(where: Location) -> FileInfo | None:
    """A file's size, time and, in S3, etag; None where there is no file.

    Of an object both come from one answer: they belong together.
    """
    if where.scheme != "s3":
        info = system(where).get_file_info(where.path)
        return info_of(info, where) if info.is_file else None
    try:
        with system(where).open_input_file(where.path) as file:
            told = {key.lower(): value.decode() for key, value in file.metadata().items()}
            size = file.size()
    except FileNotFoundError:
        return None
    time = told.get("last-modified")
    modified = datetime.datetime.fromisoformat(time).timestamp() if time else None
    return FileInfo(where.prefix + where.path, int(size), modified, told.get("etag"))


def walk(where: Location) -> list[FileInfo]:
    """Every file below a folder."""
    from pyarrow import fs

    selector = fs.FileSelector(where.path, allow_not_found=True, recursive=True)
    return [info_of(one, where) for one in system(where).get_file_info(selector) if one.is_file]


def list_remote(where: Location) -> list[FileInfo]:
    """The files that a path names: a file, a glob, or a folder's files."""
    from pyarrow import fs

    store = system(where)
    wild = WILD.search(where.path)
    info = store.get_file_info(where.path)
    if info.is_file:
        return [info_of(info, where)]
    folder = where.path[: wild.start()].rpartition("/")[0] if wild else where.path.rstrip("/")
    deep = bool(wild) and ("/" in where.path[len(folder) + 1 :])
    selector = fs.FileSelector(folder or "/", allow_not_found=True, recursive=deep)
    entries = [entry for entry in store.get_file_info(selector) if entry.is_file]
    if wild:
        entries = [e for e in entries if _same_depth_match(e.path, where.path)]
    else:
        entries = [e for e in entries if e.base_name[0] not in "._"]
    return [info_of(entry, where) for entry in entries]


def _same_depth_match(path: str, pattern: str) -> bool:
    parts, wanted = path.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(map(fnmatch.fnmatchcase, parts, wanted))
