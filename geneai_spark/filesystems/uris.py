"""URIs taken apart and spelt in one way."""

from __future__ import annotations

import hashlib
import os
import re
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from geneai_spark.errors import StorageError

_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*:")
_ALIASES = {"s3a": "s3", "s3n": "s3", "gcs": "gs"}
_SCHEMES = ("file", "s3", "gs", "hdfs", "abfs", "abfss", *_ALIASES)


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


def is_known(uri: str) -> bool:
    """Whether Python can read and write at ``uri``, not Spark alone (``dbfs:``, …)."""
    scheme = _SCHEME.match(uri)
    return scheme is None or scheme[0][:-1].lower() in _SCHEMES
