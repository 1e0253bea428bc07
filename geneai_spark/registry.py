"""Versions of models in a folder: ``<models>/<name>/<version>/``, each a model directory.

A version is added once and never changed; names such as ``champion`` point to one of them and are
moved by :func:`promote`. The folder is a URI: local, S3 or HDFS.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from geneai_spark import filesystems
from geneai_spark.errors import ModelError
from geneai_spark.models import directory
from geneai_spark.models.directory import Contents

ALIASES = "aliases.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class Version(NamedTuple):
    """A version of a model.

    Attributes:
        name: of the model.
        number: of the version, from 1.
        uri: its directory.
        aliases: what points to it.
    """

    name: str
    number: int
    uri: str
    aliases: tuple[str, ...]


def add(models: str, name: str, contents: Contents) -> Version:
    """Write the next version of a model.

    Raises:
        ModelError: the name is not one of letters, digits, ``_``, ``.`` and ``-``.
    """
    check_name(name)
    home = _home(models, name)
    inside = (info.uri.rsplit(f"/{name}/", 1)[-1] for info in filesystems.walk(home))
    begun = (path.partition("/")[0] for path in inside)  # half-written ones of dead runs, too
    number = max((int(part) for part in begun if part.isdecimal()), default=0) + 1
    directory.save(contents, f"{home}/{number}")
    return Version(name, number, f"{home}/{number}", ())


def check_name(name: str) -> None:
    """Raise ModelError if a model cannot be called so."""
    if not _NAME.fullmatch(name):
        raise ModelError(f"model name {name!r}: expected letters, digits, '_', '.' and '-'")


def versions(models: str, name: str | None = None) -> list[Version]:
    """All versions, by name and number; of one model, if it is named. None that is half-written."""
    home = models.rstrip("/")
    found = []
    for info in filesystems.walk(home if name is None else _home(models, name)):
        parts = info.uri.rsplit("/", 3)
        if parts[-1] == directory.CONFIG and parts[2].isdecimal():
            found.append((parts[1], int(parts[2]), "/".join(parts[:3])))
    pointed = {n: aliases(models, n) for n in {n for n, _, _ in found}}
    return [
        Version(n, v, uri, tuple(sorted(a for a, to in pointed[n].items() if to == v)))
        for n, v, uri in sorted(found)
    ]


def aliases(models: str, name: str) -> dict[str, int]:
    """What points to which version of a model."""
    uri = f"{_home(models, name)}/{ALIASES}"
    if not filesystems.exists(uri):
        return {}
    read: Mapping[str, Any] = json.loads(filesystems.read(uri))
    return {alias: int(version) for alias, version in read.items()}


def find(models: str, wanted: str) -> Version:
    """A version by ``name``, the latest; ``name/3``; or ``name@champion``.

    Raises:
        ModelError: there is none; says which there are.
    """
    name, at, alias = wanted.partition("@")
    name, slash, number = name.partition("/")
    held = versions(models, name)
    if not held:
        there = sorted({version.name for version in versions(models)})
        raise ModelError(f"no model {name!r} in {models}: there is {', '.join(there) or 'none'}")
    if at:
        chosen = [version for version in held if alias in version.aliases]
    elif slash:
        chosen = [version for version in held if str(version.number) == number]
    else:
        chosen = held[-1:]
    if not chosen:
        told = ", ".join(str(version.number) for version in held)
        raise ModelError(f"model {name!r} has no version {alias or number!r}: it has {told}")
    return chosen[0]


def promote(
    models: str,
    wanted: str,
    alias: str = "champion",
    *,
    at_least: Mapping[str, float] | None = None,
    if_better: str | None = None,
) -> Version:
    """Have an alias point to a version.

    Args:
        at_least: metrics, as ``model_config.json`` names them, and what they must reach.
        if_better: a metric in which the version must be above the one that has the alias, which
            must have been measured on the same test samples.

    Raises:
        ModelError: there is no such version, the alias is no name, or a condition is not met.
    """
    if not _NAME.fullmatch(alias) or alias.isdecimal():
        raise ModelError(f"alias {alias!r}: expected a name such as champion")
    version = find(models, wanted)
    for metric, least in (at_least or {}).items():
        if (found := _metric(version, metric)) < least:
            raise ModelError(f"{version.name}/{version.number}: {metric} {found:.4g} < {least:g}")
    if if_better is not None and alias in aliases(models, version.name):
        _check_better(version, find(models, f"{version.name}@{alias}"), if_better)
    held = {**aliases(models, version.name), alias: version.number}
    uri = f"{_home(models, version.name)}/{ALIASES}"
    filesystems.write(uri, (json.dumps(held, indent=2, sort_keys=True) + "\n").encode())
    return find(models, f"{version.name}/{version.number}")


def _metric(version: Version, metric: str) -> float:
    told: Mapping[str, float] = load(version).config.get("metrics", {})
    if metric not in told:
        there = ", ".join(sorted(told)) or "none"
        raise ModelError(
            f"{version.name}/{version.number} has no metric {metric!r}: it has {there}"
        )
    return float(told[metric])


def _check_better(version: Version, other: Version, metric: str) -> None:
    if other.number == version.number:
        return
    measured = [load(one).config.get("test_samples") for one in (version, other)]
    if measured[0] is None or measured[0] != measured[1]:
        raise ModelError(
            f"{version.name}/{version.number} and /{other.number} were not measured on the same "
            "test samples: train them with one seed, one test share, one cohort"
        )
    ours, theirs = _metric(version, metric), _metric(other, metric)
    if ours <= theirs:
        raise ModelError(
            f"{version.name}/{version.number}: {metric} {ours:.4g} is not above the {theirs:.4g} "
            f"of /{other.number}"
        )


def export(version: Version, uri: str) -> None:
    """Copy a version's directory elsewhere, once it is sure that it is whole.

    Raises:
        ModelError: it is not; or there is a model already.
    """
    directory.save(load(version), uri)


def load(version: Version) -> Contents:
    """What a version holds, once it is sure that it is whole; see `models.directory`."""
    return directory.load(version.uri)


def _home(models: str, name: str) -> str:
    return f"{models.rstrip('/')}/{name}"
