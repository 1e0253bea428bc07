"""The directory of a registered model: written once, and not loaded unless it is whole.

::

    trained_model.pkl        bytes of the model; the suffix tells their form
    model_config.json        configuration, and the sha256 of every other file
    performance_metrics.txt  how well it does
    documentation/           model_card.md and what else there is to read

``model_config.json`` is written last: a directory without it is not a model.

What a load finds out: checksums find damage, half a copy and careless edits. They do not find an
attacker, who rewrites a file and its checksum together. The signature does: where the environment
variable ``GENEAI_MODEL_KEY`` is set, ``model_config.json`` carries an HMAC-SHA256 over the rest of
it, checksums included, and a directory without one, or with one of another key, is refused. It
does not tell one signed model from another, an older version say: who may write to the registry
may still put one in the place of the other.

A model that consists of arrays is a pickle of plain values (:func:`dumps_arrays`), which needs
nothing but Python's own types, so :func:`loads_arrays` calls nothing that the file names. Load
files of other suffixes only with the safe loader of their library.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import math
import os
import pickle
import pickletools
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from geneai_spark import __version__, filesystems
from geneai_spark.errors import ModelError

#: Version of the layout that is written, and the newest that is read.
FORMAT_VERSION = 1
#: Where the key of the signature is, in the environment.
KEY = "GENEAI_MODEL_KEY"

MODEL, CONFIG, METRICS = "trained_model.", "model_config.json", "performance_metrics.txt"
DOCUMENTS = "documentation/"

_ADDED = ("model_file", "format_version", "geneai_spark_version", "files", "signature")
_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_PLAIN = (str, int, float, bool, type(None))
#: dtype kinds and their largest items: larger floats differ from one machine to the next.
_KINDS = {"b": 1, "i": 8, "u": 8, "f": 8, "c": 16, "U": math.inf}


@dataclass(frozen=True)
class Contents:
    """What a model directory holds.

    Attributes:
        model: bytes of the trained model.
        suffix: their form, as the end of the file name: ``pkl``, ``keras``, ``pt``.
        config: what JSON can say, by names; those that :func:`save` adds are taken.
        metrics: text of ``performance_metrics.txt``.
        documents: file name in ``documentation/`` -> text.
    """

    model: bytes = field(repr=False)
    suffix: str
    config: Mapping[str, Any]
    metrics: str = field(repr=False)
    documents: Mapping[str, str] = field(repr=False)


def save(contents: Contents, uri: str, *, overwrite: bool = False) -> None:
    """Write a model directory; signed where ``GENEAI_MODEL_KEY`` is set.

    Args:
        contents: what to write.
        uri: the directory, local or of any storage of :mod:`geneai_spark.filesystems`.
        overwrite: replace a model that is there. Until the new one is whole there is none.

    Raises:
        ModelError: files are there and ``overwrite`` is false, or some are not a model's; a name
            or the configuration cannot be written.
        StorageError: it cannot be written.
    """
    config = dict(contents.config)
    if taken := [name for name in _ADDED if name in config]:
        raise ModelError(f"the model's configuration may not have a key {taken[0]!r}")
    for name in [contents.suffix, *contents.documents]:
        if not _NAME.fullmatch(name):
            raise ModelError(f"{name!r} is not a name for a model's file")
    files = {
        MODEL + contents.suffix: contents.model,
        METRICS: contents.metrics.encode(),
        **{DOCUMENTS + name: text.encode() for name, text in contents.documents.items()},
    }
    config["model_file"] = MODEL + contents.suffix
    config["format_version"] = FORMAT_VERSION
    config["geneai_spark_version"] = __version__
    config["files"] = {name: _digest(data) for name, data in files.items()}
    try:
        config = json.loads(json.dumps(config, allow_nan=False))  # as a load will find it
        if key := _key():
            config["signature"] = _sign(config, key)
        told = json.dumps(config, indent=2, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ModelError("the model's configuration cannot be written as JSON") from error
    folder = uri.rstrip("/")
    _make_room(folder, overwrite)
    for name, data in files.items():
        filesystems.write(f"{folder}/{name}", data)
    filesystems.write(f"{folder}/{CONFIG}", told)


def load(uri: str) -> Contents:
    """Read a model directory, and refuse one that is not as it was written.

    Where ``GENEAI_MODEL_KEY`` is set, it must be signed with that key; else a signature is not
    looked at. ``config`` is what :func:`save` was given, without what it has added.

    Raises:
        ModelError: no model is there; a file is missing, changed or none of the model's; the
            format is newer; the signature is missing or wrong.
        StorageError: it cannot be read.
    """
    folder = uri.rstrip("/")
    names = _names(folder)
    if CONFIG not in names:
        raise ModelError(f"{uri}: no model: {CONFIG} is not there, or not yet")
    config = _config(folder)
    sums: dict[str, str] = config["files"]
    if gone := sorted(sums.keys() - names):
        raise ModelError(f"{folder}/{gone[0]}: is missing from the model")
    if more := sorted(names - sums.keys() - {CONFIG}):
        raise ModelError(f"{folder}/{more[0]}: is not one of the model's files")
    files = {name: filesystems.read(f"{folder}/{name}") for name in sums}
    for name, data in files.items():
        if not hmac.compare_digest(_digest(data), sums[name]):
            raise ModelError(f"{folder}/{name}: has changed since the model was written")
    texts = {}
    for name in files.keys() - {config["model_file"]}:
        try:
            texts[name] = files[name].decode()
        except UnicodeDecodeError as error:
            raise ModelError(f"{folder}/{name}: is not text") from error
    return Contents(
        files[config["model_file"]],
        config["model_file"].removeprefix(MODEL),
        {name: value for name, value in config.items() if name not in _ADDED},
        texts.pop(METRICS),
        {name.removeprefix(DOCUMENTS): texts[name] for name in sorted(texts)},
    )


def _config(folder: str) -> dict[str, Any]:
    """The configuration of a directory: of a format that is known, signed where a key is set."""
    where = f"{folder}/{CONFIG}"
    try:
        config: dict[str, Any] = json.loads(
            filesystems.read(where), parse_constant=_refuse_constant
        )
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{where}: is not JSON") from error
    version = config.get("format_version") if isinstance(config, dict) else None
    if type(version) is not int:
        raise ModelError(f"{where}: is not of a model: it has no format_version")
    if version > FORMAT_VERSION:
        raise ModelError(
            f"{where}: format {version} is newer than {FORMAT_VERSION}, the newest that this "
            "version of geneai_spark reads"
        )
    if key := _key():
        if "signature" not in config:
            raise ModelError(f"{where}: is not signed, and {KEY} is set")
        signature = str(config["signature"]).encode(errors="replace")
        if not hmac.compare_digest(signature, _sign(config, key).encode()):
            raise ModelError(f"{where}: the signature is not of this text and the key in {KEY}")
    if not _names_files(config.get("model_file"), config.get("files")):
        raise ModelError(f"{where}: does not name a model's files")
    return config


def _names_files(model: Any, sums: Any) -> bool:
    """Whether a configuration names the files of the layout, each with a sha256."""
    if not (isinstance(model, str) and isinstance(sums, dict) and {model, METRICS} <= sums.keys()):
        return False
    documents = sums.keys() - {model, METRICS}
    return (
        model.startswith(MODEL)
        and all(name.startswith(DOCUMENTS) for name in documents)
        and all(_NAME.fullmatch(name.removeprefix(DOCUMENTS)) for name in sums)
        and all(re.fullmatch("[0-9a-f]{64}", str(one)) for one in sums.values())
    )


def _make_room(folder: str, overwrite: bool) -> None:
    """Remove an older model, its configuration first; nothing else is ever removed."""
    there = _names(folder)
    if not there:
        return
    if not overwrite:
        raise ModelError(f"{folder}: is there already; overwrite=True replaces it")
    ours = (MODEL, CONFIG, METRICS, DOCUMENTS)  # and what a killed save has left beside them
    if others := sorted(name for name in there if not name.startswith(ours)):
        raise ModelError(f"{folder}/{others[0]}: is not one of a model's files")
    for name in sorted(there, key=lambda name: (name != CONFIG, name)):
        filesystems.remove(f"{folder}/{name}")


def _names(folder: str) -> set[str]:
    """Files of a directory and those below it, by their paths in it."""
    start = len(filesystems.absolute(folder)) + 1
    return {info.uri[start:] for info in filesystems.walk(folder)}


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _key() -> bytes:
    return os.environ.get(KEY, "").encode()


def _sign(config: Mapping[str, Any], key: bytes) -> str:
    """HMAC-SHA256 (RFC 2104) of everything but the signature, as JSON in one spelling."""
    rest = {name: value for name, value in config.items() if name != "signature"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def dumps_arrays(values: Mapping[str, Any]) -> bytes:
    """Pickle names with plain values and arrays; the same values give the same bytes.

    An array is stored as its bytes, shape and dtype, so that the pickle holds Python's own types
    only and reading it needs no call; every NumPy reads it.

    Args:
        values: dict, list, tuple, str, int, float, bool, None, in each other; keys of dicts are
            not containers. Arrays hold numbers, bools or text of fixed width; NumPy's scalars
            become Python's.

    Raises:
        ModelError: a value of another type, or one that contains itself.
    """
    try:
        return pickle.dumps(_encode(dict(values)), protocol=5)
    except RecursionError as error:
        raise ModelError("a model's values are nested too deeply") from error


def loads_arrays(data: bytes) -> dict[str, Any]:
    """Read what :func:`dumps_arrays` wrote; arrays are new and may be written to.

    A pickle can ask for any function and call it. This one may ask for none, so that no code of
    a stranger's file runs. Such a file can still be large, or slow to read.

    Raises:
        ModelError: the data ask for a function or class, are damaged, or hold other values.
    """
    try:
        _check_places(data)
        values = _Unpickler(io.BytesIO(data)).load()
        found = _Decoder(len(data)).decode(values)
    except ModelError:
        raise
    except Exception as error:  # a broken pickle can raise nearly anything
        raise ModelError(
            f"not the arrays of a model, or damaged: {type(error).__name__}"
        ) from error
    if type(found) is not dict or not all(type(name) is str for name in found):
        raise ModelError("not the arrays of a model: no names with values")
    return found


def _check_places(data: bytes) -> None:
    """Refuse values that are to be kept at a far place: Python makes room for all before it, up to
    64 GB for a file of ten bytes.
    """
    for opcode, place, _ in pickletools.genops(data):
        if opcode.name in ("PUT", "LONG_BINPUT") and int(place or 0) >= len(data):
            raise ModelError("not the arrays of a model: more values than bytes")


class _Unpickler(pickle.Unpickler):
    """Makes Python's own types and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        asked = ascii(f"{module}.{name}"[:80])[1:-1]
        raise ModelError(f"asks for {asked}, which a model file may not")


def _encode(value: Any) -> Any:
    """Plain values for arrays: the one bytearray under ``data`` tells them from other dicts."""
    if isinstance(value, np.generic):
        value = value.item()
    if type(value) is np.ndarray:
        if not _is_storable(value.dtype):
            raise ModelError(f"a model file may not hold an array of {value.dtype.name}")
        stored = bytearray(value.tobytes())
        return {"dtype": sys.intern(value.dtype.str), "shape": value.shape, "data": stored}
    if type(value) is str:
        return sys.intern(value)  # pickle writes one object once, and equal ones twice
    if type(value) in _PLAIN:
        return value
    if type(value) is dict:
        if not all(type(key) in _PLAIN for key in value):
            raise ModelError("a model file may not hold a dict with keys that are not plain")
        return {_encode(key): _encode(one) for key, one in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_encode(one) for one in value)
    raise ModelError(f"a model file may not hold a {type(value).__name__}")


class _Decoder:
    """Undoes :func:`_encode`, trusting nothing.

    Args:
        most: values there can be: each took a byte of the file at least. A few lists that hold
            each other many times over stand for more values than fit in memory.
    """

    def __init__(self, most: int) -> None:
        self._left = most

    def decode(self, value: Any) -> Any:
        self._left -= 1
        if self._left < 0:
            raise ModelError("not the arrays of a model: values within each other")
        if type(value) is dict:
            if type(value.get("data")) is bytearray:
                return _array(**value)
            if not all(type(key) in _PLAIN for key in value):
                raise ModelError("a model file may not hold a dict with keys that are not plain")
            return {key: self.decode(one) for key, one in value.items()}
        if type(value) in (list, tuple):
            return type(value)(self.decode(one) for one in value)
        if type(value) in _PLAIN:
            return value
        raise ModelError(f"a model file may not hold a {type(value).__name__}")


def _array(dtype: str, shape: tuple[int, ...], data: bytearray) -> np.ndarray[Any, Any]:
    if type(dtype) is not str or not re.fullmatch("[<>|][a-zA-Z][0-9]+", dtype):
        raise ModelError("not the arrays of a model: an array of an unknown type")
    kind = np.dtype(dtype)
    if not _is_storable(kind):
        raise ModelError(f"a model file may not hold an array of {kind.name}")
    count = math.prod(shape)
    if any(length < 0 for length in shape) or count * kind.itemsize != len(data):
        raise ModelError("not the arrays of a model: an array of another size than its shape")
    return np.ndarray(shape, kind, data)


def _is_storable(dtype: np.dtype[Any]) -> bool:
    return dtype.itemsize <= _KINDS.get(dtype.kind, -1)
