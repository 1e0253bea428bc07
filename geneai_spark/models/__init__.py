"""Models of samples, a module a family; `FAMILIES` names ours, entry points those of others.

Another package adds a family with an entry point of the group ``geneai_spark.models`` that names a
module with `family.Family`'s functions: see ``examples/polygenic_score``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from importlib import metadata
from typing import Any

from geneai_spark import config as configs
from geneai_spark.errors import ConfigError, ModelError
from geneai_spark.models import disease, prediction
from geneai_spark.models.family import Family

FAMILIES: Mapping[str, Family] = {"disease_association": disease, "genomic_prediction": prediction}
GROUP = "geneai_spark.models"


def names() -> tuple[str, ...]:
    """Our families, then those of other packages."""
    others = sorted({point.name for point in metadata.entry_points(group=GROUP)} - set(FAMILIES))
    return (*FAMILIES, *others)


def family(name: str) -> Family:
    """A family by its name.

    Raises:
        ModelError: none is called so, or its package cannot be imported.
    """
    if name in FAMILIES:
        return FAMILIES[name]
    for point in metadata.entry_points(group=GROUP, name=name):
        try:
            loaded: Family = point.load()
        except Exception as error:
            raise ModelError(
                f"family {name!r}: {point.value} cannot be imported: {error}"
            ) from None
        return loaded
    raise ModelError(f"no family {name!r} is installed here: there is {', '.join(names())}")


def options(name: str, given: Mapping[str, Any], settings: Mapping[str, str]) -> Any:
    """A family's settings.

    Args:
        given: values by name, of which ours are taken.
        settings: as text, for a family of another package.

    Raises:
        ValueError: a setting is unknown or wrong.
    """
    cls = family(name).Options
    if name in FAMILIES:
        if settings:
            raise ValueError(f"settings are for families of other packages, not for {name}")
        return cls(**{field.name: given[field.name] for field in fields(cls)})
    try:
        return configs.load(cls, None, [f"{key}={value}" for key, value in settings.items()])
    except ConfigError as error:
        raise ValueError(f"settings of {name}: {error}") from None
