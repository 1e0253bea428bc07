"""``geneai models``: list, show, promote, export versions of models. Needs no Spark."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence

from geneai_spark import registry, tracking
from geneai_spark.config import JobConfig, load
from geneai_spark.errors import ConfigError, GeneaiError

USAGE = """usage: geneai models list|show|promote|export [MODEL] [key=value ...]

  list     every version: samples it was trained on, its AUC, its names
  show     a version's configuration, metrics and model card
  promote  MODEL as=champion: have a name point to a version; only if it reaches
           at_least=test_roc_auc:0.6, and with if_better=test_roc_auc is above the one that has
           the name, on the same test samples; mlflow=URI: MLflow's alias, too
  export   MODEL to=FOLDER: copy a version's directory, checked

MODEL is a name (its latest version), name/3 or name@champion; models=URI is their folder (models).

example:
  geneai models promote disease_association_label/2 as=champion models=s3a://bucket/models"""


def main(argv: Sequence[str]) -> int:
    """Run ``geneai models …``; 0 done, 1 failed, 2 wrong usage."""
    words = list(argv)
    if not words or any(word in ("-h", "--help") for word in words):
        print(USAGE)
        return 0 if words else 2
    action, *rest = words
    named = [word for word in rest if "=" not in word]
    given = dict(word.split("=", 1) for word in rest if "=" in word)
    models = given.pop("models", "models")
    storage = [f"{key}={value}" for key, value in given.items() if key.startswith("storage.")]
    needs = {"list": 0, "show": 1, "promote": 1, "export": 1}
    extra = {"promote": {"as", "at_least", "if_better", "mlflow"}, "export": {"to"}}.get(
        action, set()
    )
    unknown = {key for key in given if not key.startswith("storage.")} - extra
    if action not in needs or len(named) < needs[action] or len(named) > 1 or unknown:
        what = f"no setting {min(unknown)!r}\n" if unknown else ""
        print(f"geneai models: {what}{USAGE}", file=sys.stderr)
        return 2
    if action == "export" and "to" not in given:
        print(f"geneai models: export needs to=FOLDER\n{USAGE}", file=sys.stderr)
        return 2
    try:
        load(JobConfig, None, storage).storage.prepare()
        for line in ACTIONS[action](models, named[0] if named else None, given):
            print(line)
    except ConfigError as error:
        print(f"geneai models: {error}", file=sys.stderr)
        return 2
    except GeneaiError as error:
        print(f"geneai models: {error}", file=sys.stderr)
        return 1
    return 0


def _list(models: str, name: str | None, given: Mapping[str, str]) -> list[str]:
    found = registry.versions(models, name)
    if not found:
        return [f"no models in {models}"]
    width = max(len(version.name) for version in found)
    lines = [f"{'model':<{width}}  version  family                trained on  test AUC  names"]
    for version in found:
        held = registry.load(version).config
        samples = held.get("samples", {}).get("train", {}).get("samples", "")
        auc = held.get("metrics", {}).get("test_roc_auc")
        lines.append(
            f"{version.name:<{width}}  {version.number:>7}  {held.get('family', ''):<20}  "
            f"{samples:>10}  {'' if auc is None else format(auc, '.3f'):>8}  "
            f"{' '.join(version.aliases)}".rstrip()
        )
    return lines


def _show(models: str, name: str | None, given: Mapping[str, str]) -> list[str]:
    version = registry.find(models, str(name))
    held = registry.load(version)
    return [
        f"{version.name}/{version.number}  {version.uri}  {' '.join(version.aliases)}".rstrip(),
        "",
        json.dumps(dict(held.config), indent=2, sort_keys=True),
        "",
        held.metrics,
        *(text for name, text in held.documents.items() if name.endswith(".md")),
    ]


def _promote(models: str, name: str | None, given: Mapping[str, str]) -> list[str]:
    alias = given.get("as", "champion")
    least = dict(_threshold(word) for word in given.get("at_least", "").split(",") if word)
    version = registry.promote(
        models, str(name), alias, at_least=least, if_better=given.get("if_better")
    )
    wanted = given.get("mlflow", "auto")
    uri = tracking.uri_of(wanted, models)
    if uri is not None and (wanted != "auto" or tracking.is_there(uri)):
        tracking.promote(uri, version, alias)
    return [f"{version.name}/{version.number} is {', '.join(version.aliases)}"]


def _export(models: str, name: str | None, given: Mapping[str, str]) -> list[str]:
    version = registry.find(models, str(name))
    registry.export(version, given["to"])
    return [f"{version.name}/{version.number} is in {given['to']}"]


def _threshold(word: str) -> tuple[str, float]:
    """``metric:number``."""
    metric, _, number = word.partition(":")
    try:
        return metric, float(number)
    except ValueError:
        raise ConfigError(f"at_least={word}: expected metric:number") from None


ACTIONS: Mapping[str, Callable[[str, str | None, Mapping[str, str]], list[str]]] = {
    "list": _list,
    "show": _show,
    "promote": _promote,
    "export": _export,
}
