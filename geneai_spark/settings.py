"""Settings declared, and text to typed values: the rules behind :mod:`geneai_spark.config`.

Every value arrives as text (from YAML read without guessing, or from the command line) and is
converted by the type the setting declares; a value that does not fit raises ValueError saying
what was expected and what was found. Values of secret keys are never shown.
"""

from __future__ import annotations

import copy
import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any, Literal, Union

import yaml

from geneai_spark.errors import ConfigError

_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
_NULL = ("", "~", "null", "none")
_SECRET = re.compile(
    r"secret|passw|token|credential|access[._-]?key|account[._-]?key|\.sas\b", re.I
)
_USER_INFO = re.compile(r"://[^/\s@]+@")


def option(help: str, default: Any = dataclasses.MISSING, **metadata: Any) -> Any:
    """Declare a field of a job's config.

    Args:
        help: what the setting means, its unit and its range; shown by ``--help``.
        default: the only place of the default; left out, the setting is required.
        metadata: ``example="…"`` is used in the example line of ``--help``.
    """
    info = {"help": help, **metadata}
    if default is dataclasses.MISSING:
        return dataclasses.field(metadata=info, kw_only=True)
    if isinstance(default, dict | list) or dataclasses.is_dataclass(default):
        return dataclasses.field(
            default_factory=lambda: copy.copy(default), metadata=info, kw_only=True
        )
    return dataclasses.field(default=default, metadata=info, kw_only=True)


def redact_text(text: str) -> str:
    """``text`` without the user part of URIs (``s3a://KEY:SECRET@bucket``)."""
    return _USER_INFO.sub("://***@", text)


def plain(value: Any, key: str = "") -> Any:
    """``value`` as YAML or JSON could hold it; ``***`` where ``key`` is that of a secret."""
    if isinstance(value, dict):
        return {k: plain(v, k) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v, key) for v in value]
    if _SECRET.search(key) and value is not None:
        return "***"
    if isinstance(value, Enum):
        return value.value
    return redact_text(value) if isinstance(value, str) else value


class _Loader(yaml.BaseLoader):
    """Every scalar stays text; a key given twice is an error instead of a silent last wins."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                problem = f"key {key.value!r} stands twice"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def parse_yaml(source: str, text: str) -> Mapping[str, Any]:
    """The mapping that ``text`` holds, every scalar as text; ConfigError naming ``source``."""
    try:
        tree = yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{source}{line}: not valid YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{source}: not valid YAML: {error}") from None
    if tree in (None, ""):
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{source}: expected keys with values, found {_kind(tree)}")
    return tree


def convert(raw: Any, hint: Any, key: str) -> Any:
    """``raw`` (text, a list or a mapping) as the type ``hint`` asks; ValueError if it is not."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        if type(None) in arguments and isinstance(raw, str) and raw.lower() in _NULL:
            return None
        for choice in arguments[:-1]:
            if choice is not type(None):
                try:
                    return convert(raw, choice, key)
                except ValueError:
                    continue
        return convert(raw, [a for a in arguments if a is not type(None)][-1], key)
    if origin in (list, tuple):
        items = [convert(item, arguments[0], key) for item in _items(raw, hint, key)]
        return items if origin is list else tuple(items)
    if origin is dict:
        tree = parse_yaml("value", raw) if isinstance(raw, str) else raw
        if not isinstance(tree, Mapping):
            raise _unfit(raw, hint, key)
        return {k: convert(v, arguments[1], key) for k, v in flat(tree)}
    if not isinstance(raw, str):
        raise _unfit(raw, hint, key)
    if origin is Literal or (isinstance(hint, type) and issubclass(hint, Enum)):
        choices: list[Any] = list(hint) if origin is None else list(arguments)
        words = [str(c.value) if isinstance(c, Enum) else str(c) for c in choices]
        if raw not in words:
            listed = ", ".join(words)
            close = difflib.get_close_matches(raw, words, 1)
            hint_text = f"; did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"expected one of {listed}, found {_shown(raw, key)}{hint_text}")
        return choices[words.index(raw)]
    if hint is str:
        return raw
    if hint is bool and raw.lower() in _TRUE + _FALSE:
        return raw.lower() in _TRUE
    if hint in (int, float):
        try:
            number = float(raw)
            if hint is float:
                return number
            return int(raw) if re.fullmatch(r"[+-]?[\d_]+", raw.strip()) else _whole(number)
        except (ValueError, OverflowError):
            pass
    raise _unfit(raw, hint, key)


def _whole(number: float) -> int:
    if number != int(number):
        raise ValueError
    return int(number)


def _items(raw: Any, hint: Any, key: str) -> list[Any]:
    if isinstance(raw, list):
        return raw
    if not isinstance(raw, str):
        raise _unfit(raw, hint, key)
    if raw.lstrip().startswith("["):
        try:
            tree = yaml.load(raw, Loader=_Loader)
        except yaml.YAMLError:
            raise _unfit(raw, hint, key) from None
        return list(tree)
    return [item.strip() for item in raw.split(",") if item.strip()]


def _unfit(raw: Any, hint: Any, key: str) -> ValueError:
    return ValueError(f"expected {type_name(hint)}, found {_shown(raw, key)}")


def _shown(raw: Any, key: str) -> str:
    if _SECRET.search(key):
        return "a value that is not shown"
    return repr(redact_text(raw)) if isinstance(raw, str) else _kind(raw)


def _kind(value: Any) -> str:
    if isinstance(value, list):
        return "a list"
    return "a mapping" if isinstance(value, Mapping) else repr(value)


def type_name(hint: Any) -> str:
    """A type as a user reads it: ``list of text``, ``number or null``, ``reject|fail``."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        names = [type_name(a) for a in arguments if a is not type(None)]
        return " or ".join(names) + (" or null" if type(None) in arguments else "")
    if origin in (list, tuple):
        return f"list of {type_name(arguments[0])}"
    if origin is dict:
        return f"mapping to {type_name(arguments[1])}"
    if origin is Literal:
        return "|".join(str(a) for a in arguments)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return "|".join(str(member.value) for member in hint)
    plain_names = {"str": "text", "int": "integer", "float": "number", "bool": "true/false"}
    name = str(getattr(hint, "__name__", hint))
    return plain_names.get(name, name)


def flat(mapping: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Nested keys joined with dots, with their values."""
    for key, value in mapping.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def inner_type(hint: Any) -> Any:
    """The type behind ``X | None``."""
    if typing.get_origin(hint) in (Union, types.UnionType):
        rest = [a for a in typing.get_args(hint) if a is not type(None)]
        return rest[0] if len(rest) == 1 else hint
    return hint
