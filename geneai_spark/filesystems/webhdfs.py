"""HDFS over HTTP, as a pyarrow filesystem: for machines without Hadoop's native client.

HdfsCLI speaks WebHDFS, knows the namenodes of a high-availability pair, and Kerberos. Around it
stand what it lacks: reads by position, and patience. After a datanode's death the namenode sends
readers and writers to it for some 15 seconds more, until its heartbeats are missed. A read is
therefore asked for again, by turns from any datanode and from any but those that failed; a write
waits on this machine's memory or disk until it is complete, so that it can be sent again.
"""

from __future__ import annotations

import datetime
import io
import os
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pyarrow as pa
from pyarrow import fs

T = TypeVar("T")

PATIENCE = 60.0  # seconds that a call goes on trying
_FIRST = 3.0  # the first one: whether there is such a thing at all
_CALM = 0.2, 5.0  # seconds between tries, at first and at most
_TIMEOUT = 10.0, 120.0  # seconds to connect, and to wait for an answer
_MEMORY = 64 << 20  # bytes of a file that is being written; more wait on disk
_PORT = 9870
#: Answers that a later try may not get: a namenode starts, or no datanode of a file is left alive.
_PASSING = ("RetriableException", "StandbyException", "SafeModeException", "IOException")


def addresses(authority: str, given: Mapping[str, str]) -> list[str]:
    """Web addresses of the namenodes behind ``hdfs://authority/``.

    GENEAI_WEBHDFS; else those that ``hdfs-site.xml`` in HADOOP_CONF_DIR has for the name service
    (``hdfs:///``: its only one); else the usual port of the host.

    Raises:
        ValueError: ``hdfs:///``, and nothing says where that is.
    """
    if named := given.get("GENEAI_WEBHDFS"):
        return [address.strip() for address in named.replace(",", ";").split(";")]
    site = _site(given.get("HADOOP_CONF_DIR"))
    scheme = "https" if site.get("dfs.http.policy") == "HTTPS_ONLY" else "http"
    key = f"dfs.namenode.{scheme}-address"
    service = authority or site.get("dfs.nameservices", "")
    nodes = site.get(f"dfs.ha.namenodes.{service}", "").split(",")
    found = [site.get(f"{key}.{service}.{node.strip()}") for node in nodes if service]
    if pair := [f"{scheme}://{one}" for one in found if one]:
        return pair
    if not authority and key in site:
        return [f"{scheme}://{site[key]}"]
    if not authority:
        raise ValueError("hdfs:/// without a host: set storage.hdfs.webhdfs or HADOOP_CONF_DIR")
    return [f"{scheme}://{authority.partition(':')[0]}:{_PORT}"]


def _site(folder: str | None) -> dict[str, str]:
    file = Path(folder or "") / "hdfs-site.xml"
    if not folder or not file.is_file():
        return {}
    properties = ElementTree.parse(file).getroot().iter("property")
    return {p.findtext("name", ""): p.findtext("value", "") for p in properties}


def connect(urls: list[str], given: Mapping[str, str]) -> Any:
    """HdfsCLI's client: with a Kerberos ticket, or as the user HADOOP_USER_NAME.

    Raises:
        ImportError: Kerberos is asked for, and the extra ``kerberos`` is not installed.
    """
    joined = ";".join(urls)
    if given.get("GENEAI_HDFS_KERBEROS") == "true":
        from hdfs.ext.kerberos import KerberosClient

        return KerberosClient(joined, mutual_auth="REQUIRED", timeout=_TIMEOUT)
    from hdfs import InsecureClient

    return InsecureClient(joined, user=given.get("HADOOP_USER_NAME"), timeout=_TIMEOUT)


class WebHdfs(fs.FileSystemHandler):
    """What `pyarrow.fs.PyFileSystem` asks for, of one HDFS.

    Args:
        authority: of its URIs: ``host:port``, a name service, or nothing.
        given: the settings, see `remote.OWN`.

    Raises:
        OSError: no namenode answers.
    """

    def __init__(self, authority: str, given: Mapping[str, str]) -> None:
        self._urls = addresses(authority, given)
        self._client = connect(self._urls, given)
        patiently(lambda _: self._client.status("/"), _FIRST)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WebHdfs) and other._urls == self._urls

    def __hash__(self) -> int:
        return hash(tuple(self._urls))

    def get_type_name(self) -> str:
        """Its name among pyarrow's filesystems."""
        return "webhdfs"

    def normalize_path(self, path: str) -> str:
        """Paths are as HDFS has them."""
        return path

    # --- listings -------------------------------------------------------------------------

    def get_file_info(self, paths: list[str]) -> list[fs.FileInfo]:
        """Each path's kind, size and time."""
        return [self._info(path) for path in paths]

    def _info(self, path: str) -> fs.FileInfo:
        try:
            return _info(path, patiently(lambda _: self._client.status(path)))
        except FileNotFoundError:
            return fs.FileInfo(path, fs.FileType.NotFound)

    def get_file_info_selector(self, selector: fs.FileSelector) -> list[fs.FileInfo]:
        """What lies in a folder."""
        folder = selector.base_dir.rstrip("/")
        try:
            inside = patiently(lambda _: self._client.list(folder or "/", status=True))
        except FileNotFoundError:
            if selector.allow_not_found:
                return []
            raise
        found = [_info(f"{folder}/{name}", one) for name, one in inside]
        if selector.recursive:
            for one in [one for one in found if one.type == fs.FileType.Directory]:
                found += self.get_file_info_selector(fs.FileSelector(one.path, recursive=True))
        return found

    # --- changes --------------------------------------------------------------------------

    def create_dir(self, path: str, recursive: bool) -> None:
        """Make a folder and those above it."""
        patiently(lambda _: self._client.makedirs(path))

    def delete_file(self, path: str) -> None:
        """Remove a file."""
        if not patiently(lambda _: self._client.delete(path)):
            raise FileNotFoundError(2, "no such file", path)

    def delete_dir(self, path: str) -> None:
        """Remove a folder with what is in it."""
        patiently(lambda _: self._client.delete(path, recursive=True))

    def delete_dir_contents(self, path: str, missing_dir_ok: bool = False) -> None:
        """Remove what is in a folder."""
        selector = fs.FileSelector(path, allow_not_found=missing_dir_ok)
        for one in self.get_file_info_selector(selector):
            self.delete_dir(one.path)

    def delete_root_dir_contents(self) -> None:
        """Never done."""
        raise NotImplementedError("everything on HDFS is not removed")

    def move(self, src: str, dest: str) -> None:
        """Rename; ``dest`` must not be there."""
        patiently(lambda _: self._client.rename(src, dest))

    def copy_file(self, src: str, dest: str) -> None:
        """Through this machine."""
        with self.open_input_file(src) as source, self.open_output_stream(dest, {}) as sink:
            sink.write(source.read())

    # --- bytes ----------------------------------------------------------------------------

    def open_input_file(self, path: str) -> pa.NativeFile:
        """A file to be read by position."""
        status = patiently(lambda _: self._client.status(path))
        if status["type"] != "FILE":
            raise IsADirectoryError(21, "is a folder", path)
        return pa.PythonFile(_Reader(self._client, path, int(status["length"])), mode="r")

    def open_input_stream(self, path: str) -> pa.NativeFile:
        """As :meth:`open_input_file`."""
        return self.open_input_file(path)

    def open_output_stream(self, path: str, metadata: Any) -> pa.NativeFile:
        """A new file, or one instead of what is there; on HDFS once it is closed."""
        return pa.PythonFile(_Writer(self._client, path), mode="w")

    def open_append_stream(self, path: str, metadata: Any) -> pa.NativeFile:
        """Never done."""
        raise NotImplementedError("nothing is appended to files on HDFS")


class _Reader(io.RawIOBase):
    """Reads by position, each a request of its own."""

    def __init__(self, client: Any, path: str, size: int) -> None:
        self._client, self._path, self._size, self._at = client, path, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def size(self) -> int:
        return self._size

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def read(self, nbytes: int | None = -1) -> bytes:
        rest = max(0, self._size - self._at)
        nbytes = rest if nbytes is None or nbytes < 0 else min(nbytes, rest)
        if not nbytes:
            return b""
        at = self._at

        def fetch(shunned: list[str]) -> bytes:
            named = {"excludedatanodes": ",".join(shunned)} if shunned else {}
            answer = self._client._open(self._path, offset=at, length=nbytes, **named)
            with answer:
                data = bytes(answer.content)
            if len(data) != nbytes:
                raise ConnectionError(f"{len(data)} of {nbytes} bytes came")
            return data

        data = patiently(fetch)
        self._at += nbytes
        return data

    def readall(self) -> bytes:
        return self.read()

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class _Writer(io.RawIOBase):
    """Keeps what is written until it is closed, and sends it then."""

    def __init__(self, client: Any, path: str) -> None:
        self._client, self._path, self._size = client, path, 0
        self._kept = tempfile.SpooledTemporaryFile(_MEMORY)  # noqa: SIM115 - closed in close()

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._size

    def write(self, data: Any) -> int:
        self._kept.write(data)
        self._size += len(data)
        return len(data)

    def close(self) -> None:
        if self.closed:
            return
        try:
            patiently(self._send)
        finally:
            self._kept.close()
            super().close()

    def _send(self, shunned: list[str]) -> None:
        self._kept.seek(0)
        named = {"excludedatanodes": ",".join(shunned)} if shunned else {}
        first = self._client._create(self._path, overwrite="true", **named)
        pieces = iter(lambda: self._kept.read(1 << 20), b"")
        answer = self._client._request("PUT", first.headers["location"], data=pieces)
        if not answer.ok:
            raise ConnectionError(f"a datanode answered {answer.status_code}")
        stored = int(self._client.status(self._path)["length"])
        if stored != self._size:
            raise ConnectionError(f"{stored} of {self._size} bytes were stored")


def _info(path: str, status: Mapping[str, Any]) -> fs.FileInfo:
    modified = datetime.datetime.fromtimestamp(status["modificationTime"] / 1000, datetime.UTC)
    if status["type"] == "DIRECTORY":
        return fs.FileInfo(path, fs.FileType.Directory, mtime=modified)
    return fs.FileInfo(path, fs.FileType.File, mtime=modified, size=int(status["length"]))


def patiently(action: Callable[[list[str]], T], patience: float = PATIENCE) -> T:
    """Do it, and again where a node does not answer or dies meanwhile.

    Args:
        action: is given the hosts that failed, on every other try: where all hosts of a file have
            failed, or two datanodes share one, to leave them out would be to find none.
        patience: seconds after which no further try begins.

    Raises:
        OSError: what HDFS answered, or did not.
    """
    from hdfs import HdfsError
    from requests import RequestException

    shunned: set[str] = set()
    begun, calm, tries = time.monotonic(), _CALM[0], 0
    while True:
        try:
            return action(sorted(shunned) if tries % 2 else [])
        except HdfsError as error:
            failure = _failure(error)
            if getattr(error, "exception", None) not in _PASSING:
                raise failure from None
        except (RequestException, ConnectionError) as error:
            failure = ConnectionError(type(error).__name__)
            request = getattr(error, "request", None)
            if request is not None and (host := urlsplit(str(request.url)).hostname):
                shunned.add(host)
        if time.monotonic() - begun > patience:
            raise failure
        time.sleep(calm)
        calm, tries = min(2 * calm, _CALM[1]), tries + 1


def _failure(error: Any) -> OSError:
    """HDFS's exception as Python's; its message names paths at most."""
    message = (str(error).splitlines() or [""])[0]
    kinds: dict[str, tuple[type[OSError], int]] = {
        "FileNotFoundException": (FileNotFoundError, 2),
        "AccessControlException": (PermissionError, 13),
        "SecurityException": (PermissionError, 13),
        "FileAlreadyExistsException": (FileExistsError, 17),
        "ParentNotDirectoryException": (NotADirectoryError, 20),
    }
    kind, number = kinds.get(str(getattr(error, "exception", "")), (OSError, 5))
    if "Authentication" in message:
        kind, number = PermissionError, 13
    if kind is FileNotFoundError:
        message = "No such file or directory"
    return kind(number, message)
