"""Files that appear whole or not at all, however large: written as a stream."""

from __future__ import annotations

import contextlib
import ctypes
import os
import uuid
from collections.abc import Iterator
from typing import Any

from geneai_spark.filesystems import remote
from geneai_spark.filesystems.uris import Location


@contextlib.contextmanager
def create(where: Location) -> Iterator[Any]:
    """A stream to a new file that takes its place at the end; an error leaves all as it was."""
    if where.scheme == "":
        os.makedirs(os.path.dirname(where.path), exist_ok=True)
    if where.scheme not in ("", "hdfs"):
        yield from _object(where)
        return
    if os.path.isdir(where.path) and where.scheme == "":
        raise IsADirectoryError(21, "is a folder")
    system, beside = remote.system(where), f"{where.path}.{uuid.uuid4().hex[:8]}.tmp"
    if where.scheme == "hdfs":
        system.create_dir(where.path.rpartition("/")[0], recursive=True)
    stream = system.open_output_stream(beside)
    try:
        yield stream
        stream.close()
        if where.scheme == "hdfs":  # which renames onto nothing that is there
            with contextlib.suppress(FileNotFoundError):
                system.delete_file(where.path)
            system.move(beside, where.path)
        else:
            os.replace(beside, where.path)
    except BaseException:
        with contextlib.suppress(OSError):
            stream.close()
        with contextlib.suppress(OSError):
            system.delete_file(beside)
        raise


def _object(where: Location) -> Iterator[Any]:
    """An object store shows an object when its stream is closed."""
    stream = remote.system(where).open_output_stream(where.path)
    try:
        yield stream
    except BaseException:
        # Arrow has no way to give up an upload, and closes a stream that is forgotten: then half
        # an object would stand there. One that is never forgotten is never closed.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(stream))
        raise
    stream.close()
