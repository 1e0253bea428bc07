"""Models of samples, a module a family; `FAMILIES` names ours, entry points those of others.

Another package adds a family with an entry point of the group ``geneai_spark.models`` that names a
module with `family.Family`'s functions: see ``examples/polygenic_score``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from functools import partial
from importlib import metadata
from typing import Any

from geneai_spark import config as configs
from geneai_spark.errors import ConfigError, ModelError
from geneai_spark.models import classifiers, disease, prediction
from geneai_spark.models.family import Family, Fit

FAMILIES: Mapping[str, Family] = {"disease_association": disease, "genomic_prediction": prediction}
GROUP = "geneai_spark.models"
#: What else a family of ours can be told to fit, by a name of its own: family, setting.
VARIANTS: Mapping[str, tuple[str, str]] = {
    **{name: ("disease_association", "classifier") for name in classifiers.NAMES},
    **{name: ("genomic_prediction", "predictor") for name in ("polygenic", *prediction.NETWORKS)},
}


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


def fit(name: str, given: Mapping[str, Any], settings: Mapping[str, str]) -> Fit:
    """How a model is trained that is measured beside others: a network without its baseline.

    Args:
        name: of a family, or of `VARIANTS`.
        given: see :func:`options`; so ``settings``.

    Raises:
        ValueError: a setting is unknown or wrong.
    """
    if name in VARIANTS:
        of, setting = VARIANTS[name]
        own = options(of, {**given, setting: name}, {})
        alone = prediction.train_alone if of == "genomic_prediction" else disease.train
        return partial(alone, options=own)
    own = options(name, given, {} if name in FAMILIES else settings)
    return partial(family(name).train, options=own)


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
