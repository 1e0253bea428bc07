"""Fields of several VCF files read together, and the table columns they become."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from geneai_spark.errors import SchemaConflictError
from geneai_spark.formats.vcf_reserved import Field

if TYPE_CHECKING:
    from geneai_spark.formats.vcf_header import Header


def merge_fields(
    headers: Sequence[Header], override: Mapping[str, Field] | None = None, *, widen: bool = False
) -> tuple[dict[str, Field], dict[str, Field]]:
    """INFO and FORMAT fields of files that are read together: the union, by key.

    Args:
        headers: one a file; of equal declarations the first counts.
        override: declarations of the user, by ``INFO/KEY`` or ``FORMAT/KEY``; they win.
        widen: Integer in one file and Float in another becomes Float instead of an error.

    Different Numbers become ``.`` (any number), Character and String become String. Raises
    SchemaConflictError, which names the key, both files and both declarations, where Types differ.
    """
    own = override or {}
    info = _merge("INFO", [(h.file, h.info) for h in headers], own, widen)
    return info, _merge("FORMAT", [(h.file, h.format) for h in headers], own, widen)


def _merge(
    kind: str, files: list[tuple[str, dict[str, Field]]], own: Mapping[str, Field], widen: bool
) -> dict[str, Field]:
    merged = {
        key.partition("/")[2]: replace(declared, origin="user")
        for key, declared in own.items()
        if key.startswith(f"{kind}/")
    }
    origin: dict[str, str] = {}
    for file, fields in files:
        for key, new in fields.items():
            old = merged.setdefault(key, new)
            if old.origin == "user":
                continue
            first = origin.setdefault(key, file)
            types = {old.type, new.type}
            if len(types) == 1:
                type_ = old.type
            elif types == {"Character", "String"}:
                type_ = "String"  # stored alike
            elif types == {"Integer", "Float"} and widen:
                type_ = "Float"
            else:
                raise SchemaConflictError(
                    f"{kind} {key} is {_declared(old)} in {first} and {_declared(new)} in {file}"
                )
            number = old.number if old.number == new.number else "."
            merged[key] = replace(old, type=type_, number=number)
    return merged


def _declared(field: Field) -> str:
    how = "reserved (undeclared)" if field.origin == "reserved" else "declared"
    return f"{how} as {field.declaration()}"


def column_names(
    keys: Iterable[str], prefix: str = "INFO_", taken: Iterable[str] = ()
) -> dict[str, str]:
    """Column name of each key: `prefix` + key, fit for Delta and unique regardless of case.

    Characters that Delta or Spark's dotted paths cannot take (``,;{}()=.`` backtick, space)
    become ``_``. Keys that then collide, or meet a name in `taken`, get ``_`` and six hex
    digits of their SHA-256; the first in order keeps the plain name, and keys that needed no
    replacement come first. The result does not depend on the order of `keys`.
    """
    plain = {key: prefix + re.sub(r"[ ,;{}()\n\t=.`]", "_", key) for key in keys}
    used = {name.lower() for name in taken}
    names = {}
    for key in sorted(plain, key=lambda k: (plain[k] != prefix + k, k)):
        name = plain[key]
        if name.lower() in used:
            name += "_" + hashlib.sha256(key.encode()).hexdigest()[:6]
        used.add(name.lower())
        names[key] = name
    return {key: names[key] for key in plain}


def part_names(field: Field) -> tuple[str, ...]:
    """Names of an annotation's fields, as the header's description says; empty if it does not."""
    text = field.description
    match = re.search(r"[Ff]ormat:?\s*['\"]?\s*([^'\"]*\|[^'\"]*)", text) or re.search(
        r"'([^']*\|[^']*)'", text
    )
    if match is None:
        return ()
    return tuple(re.sub(r"\W+", "_", name.strip()) for name in match[1].split("|"))
