"""Job settings: a YAML file and ``key=value`` overrides become one frozen, typed dataclass.

Defaults live in the dataclass and nowhere else. Later layers win, key by key::

    dataclass defaults < conf/profiles/<profile>.yaml < --config FILE < key=value

YAML scalars are read as text and converted by the field's type, so that ``5e-8`` is a number
where a number is asked for and ``NO`` is a word where a word is.
"""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from geneai_spark.errors import ConfigError
from geneai_spark.settings import (
    convert,
    flat,
    inner_type,
    parse_yaml,
    plain,
    redact_text,
    type_name,
)
from geneai_spark.settings import (
    option as option,
)
from geneai_spark.storage import Storage

C = TypeVar("C")

_OVERRIDES = "command line"


@dataclass(frozen=True)
class JobConfig:
    """What every job can be told. A job adds its own fields with :func:`option`; a rule that
    spans fields goes into ``__post_init__`` and raises ValueError.
    """

    warehouse: str = option("URI of the folder that holds the tables", "warehouse")
    profile: str = option("where it runs: a file of conf/profiles", "local")
    spark: dict[str, str] = option("Spark settings, e.g. spark.spark.executor.memory=4g", {})
    seed: int = option("seed of everything random", 42)
    storage: Storage = option("where S3 and HDFS are", Storage())

    def part(self, cls: type[Any]) -> dict[str, Any]:
        """The settings that belong to ``cls``, one of the dataclasses this config is made of."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(_dataclass(cls))}

    def redact(self) -> dict[str, Any]:
        """The settings as plain values, secrets replaced by ``***``: fit for logs and tables."""
        return {k: plain(v, k) for k, v in dataclasses.asdict(self).items()}


def load(
    cls: type[C],
    path: str | None = None,
    overrides: Sequence[str] = (),
    profile: str | None = None,
) -> C:
    """Build ``cls`` from a profile, a YAML file and ``key=value`` overrides.

    Args:
        cls: a frozen dataclass, usually a subclass of :class:`JobConfig`.
        path: a YAML file, or None.
        overrides: ``key=value``; nested keys with dots (``thresholds.call_rate=0.9``).
        profile: name of a file in ``conf/profiles``; also stored in the field ``profile``.

    Raises:
        ConfigError: listing at once every unknown key, wrong value and missing setting.
    """
    errors: list[str] = []
    given = _override_mapping(overrides, errors)
    layers: list[tuple[str, Mapping[str, Any]]] = []
    if path is not None:
        layers.append((path, parse_yaml(path, _read(path))))
    layers.append((_OVERRIDES, given))
    if profile is not None:
        layers.append(("--profile", {"profile": profile}))
    if any(f.name == "profile" for f in dataclasses.fields(_dataclass(cls))):
        named = [str(layer["profile"]) for _, layer in layers if "profile" in layer]
        layers.insert(0, _profile_layer(named[-1] if named else None))
    values: dict[str, Any] = {}
    for source, mapping in layers:
        _apply(cls, values, mapping, source, "", errors)
    result = _build(cls, values, "", errors)
    if errors:
        raise ConfigError(_sentence(errors))
    assert result is not None
    return result


def help_text(cls: type[Any], job: str) -> str:
    """The text of ``geneai JOB --help``: each setting, its type, default and meaning."""
    rows = sorted(_rows(cls, ""), key=lambda row: row[2] is not None)  # required ones first
    width = max(len(name) for name, *_ in rows)
    kinds = max(len(kind) for _, kind, *_ in rows)
    needed = [f"{name}={example}" for name, _, default, _, example in rows if default is None]
    extra = [f"{n}={e}" for n, _, d, _, e in rows if d is not None and e][:1]
    example = " ".join(["geneai", job, *needed, *extra, "warehouse=my_warehouse"])
    lines = [f"usage: geneai {job} [--config FILE] [--profile NAME] [key=value ...]", ""]
    doc = (cls.__doc__ or "").strip()
    if doc and not doc.startswith(f"{cls.__name__}("):
        lines += [doc.split("\n\n")[0], ""]
    lines.append("settings (key, type, default, meaning):")
    for name, kind, default, meaning, _ in rows:
        shown = "required" if default is None else f"[{default}]"
        lines.append(f"  {name:<{width}}  {kind:<{kinds}}  {shown}  {meaning}")
    lines += ["", f"example:\n  {example}"]
    lines += [f"  geneai {job} --config conf/{job}.yaml {' '.join(needed)}".rstrip()]
    return "\n".join(lines)


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigError(f"{path}: the config file cannot be read: {reason}") from None


def _override_mapping(overrides: Iterable[str], errors: list[str]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for text in overrides:
        key, equals, value = text.partition("=")
        if equals and key.strip():
            given[key.strip()] = value.strip()
        else:
            errors.append(f"{_OVERRIDES}: expected key=value, found {redact_text(text)!r}")
    return given


def _profile_layer(name: str | None) -> tuple[str, Mapping[str, Any]]:
    folder = conf_folder().joinpath("profiles")
    file = folder.joinpath(f"{name or 'local'}.yaml")
    if file.is_file():
        source = f"profile {name or 'local'}"
        return source, parse_yaml(source, file.read_text(encoding="utf-8"))
    if name in (None, "local"):
        return "profile local", {}
    known = [f.name.removesuffix(".yaml") for f in folder.iterdir()] if folder.is_dir() else []
    raise ConfigError(f"profile: no profile {name!r}{_did_you_mean(str(name), sorted(known))}")


def conf_folder() -> Any:
    """The folder of YAML files: inside the package when installed, else the checkout's."""
    try:
        inside = resources.files("geneai_spark.conf")
        if inside.is_dir():
            return inside
    except ModuleNotFoundError:
        pass
    return Path(__file__).resolve().parent.parent / "conf"


def _apply(
    cls: type[Any],
    values: dict[str, Any],
    mapping: Mapping[str, Any],
    source: str,
    prefix: str,
    errors: list[str],
) -> None:
    """Put one layer's settings, converted, into ``values`` (nested as the dataclass is)."""
    hints = _hints(cls)
    for key, raw in mapping.items():
        name, _, rest = key.partition(".")
        full = f"{prefix}{key}"
        hint = hints.get(name)
        inner = inner_type(hint)
        nests = dataclasses.is_dataclass(inner) or typing.get_origin(inner) is dict
        if hint is None or (rest and not nests):
            known = [n for n, *_ in _rows(cls, prefix)]
            errors.append(f"{source}: unknown key {full!r}{_did_you_mean(full, known)}")
            continue
        part = {rest: raw} if rest else raw
        where = f"{source}: {prefix}{name}"
        if dataclasses.is_dataclass(inner) and isinstance(part, Mapping):
            assert isinstance(inner, type)
            nested = values.setdefault(name, {})
            _apply(inner, nested, part, source, f"{prefix}{name}.", errors)
            continue
        try:
            if typing.get_origin(inner) is dict and isinstance(part, Mapping):
                item = typing.get_args(inner)[1]
                merged = dict(values.get(name) or {})
                for k, v in flat(part):
                    merged[k] = convert(v, item, f"{prefix}{name}.{k}")
                values[name] = merged
            else:
                values[name] = convert(part, hint, f"{prefix}{name}")
        except ValueError as error:
            errors.append(f"{where}: {error}")


def _build(cls: type[C], values: dict[str, Any], prefix: str, errors: list[str]) -> C | None:
    hints, arguments = _hints(cls), dict(values)
    before = len(errors)
    for field in dataclasses.fields(_dataclass(cls)):
        inner = inner_type(hints[field.name])
        given = values.get(field.name)
        if dataclasses.is_dataclass(inner) and isinstance(given, dict):
            assert isinstance(inner, type)
            base = _default(field)
            if dataclasses.is_dataclass(base) and not isinstance(base, type):
                given = {f.name: getattr(base, f.name) for f in dataclasses.fields(base)} | given
            arguments[field.name] = _build(inner, given, f"{prefix}{field.name}.", errors)
        elif field.name not in values and _default(field) is dataclasses.MISSING:
            meaning = field.metadata.get("help", "")
            kind = type_name(hints[field.name])
            errors.append(f"{prefix}{field.name} is required: {meaning} ({kind})")
    if len(errors) > before or (errors and not prefix):
        return None
    try:
        return cls(**arguments)
    except (ValueError, TypeError) as error:
        errors.append(f"{prefix.rstrip('.') or 'settings'}: {error}")
        return None


def _hints(cls: type[Any]) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    return {f.name: hints[f.name] for f in dataclasses.fields(_dataclass(cls))}


def _dataclass(cls: type[Any]) -> Any:
    return cls


def _default(field: dataclasses.Field[Any]) -> Any:
    """The field's default, MISSING where the setting is required."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _rows(
    cls: type[Any], prefix: str, base: Any = None
) -> Iterable[tuple[str, str, str | None, str, str]]:
    """(key, type, default as text or None if required, meaning, example) of every setting."""
    hints = _hints(cls)
    for field in dataclasses.fields(_dataclass(cls)):
        inner = inner_type(hints[field.name])
        if dataclasses.is_dataclass(inner) and isinstance(inner, type):
            yield from _rows(inner, f"{prefix}{field.name}.", _default(field))
            continue
        value = getattr(base, field.name, _default(field))
        default = None if value is dataclasses.MISSING else _default_text(value)
        meta = field.metadata
        name = f"{prefix}{field.name}"
        kind = type_name(hints[field.name])
        yield (
            name,
            kind,
            default,
            meta.get("help", ""),
            meta.get("example", "…" if default is None else ""),
        )


def _default_text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return "" if value == {} else str(value)


def _did_you_mean(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, 1) or [
        k for k in known if k.rpartition(".")[2] == name.rpartition(".")[2]
    ]
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"{hint}{'' if hint else ';'} known: {', '.join(known)}"


def _sentence(errors: Sequence[str]) -> str:
    if len(errors) == 1:
        return errors[0]
    return f"{len(errors)} settings are wrong:\n" + "\n".join(f"  - {e}" for e in errors)
