"""What is told of a trained model: metrics, rows of tables, a model card."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from geneai_spark import tables
from geneai_spark.models import comparison, metrics
from geneai_spark.models.examples import Split
from geneai_spark.models.family import Study, Trained
from geneai_spark.models.metrics import Classification, Regression

Measured: TypeAlias = Mapping[str, Classification | Regression]

THRESHOLD = 0.5
PARTS = ("train", "validation", "test")
GROUP = "test of "  # the test samples of a group
BASELINE = "baseline"  # what GBLUP reaches on the test samples, beside a network
NO_NAME = r"[^\w.-]"  # of a metric
#: Metrics that the run and the configuration tell.
TOLD = frozenset(
    ["roc_auc", "roc_auc_low", "roc_auc_high", "accuracy", "f1", "brier", "r2", "r2_low", "r2_high",
     "pearson_r", "rmse"]
)  # fmt: skip


def among(split: Split, known: npt.NDArray[np.int64]) -> Split:
    """A split of some of the samples only."""
    return Split(*(np.intersect1d(part, known) for part in split))


def measure(study: Study, trained: Trained) -> Measured:
    """Metrics of each part: of ``test`` what was never looked at, of ``train`` by what was not
    fitted on the sample, if the family tells. A part without cases or controls has none.
    """
    found: dict[str, Classification | Regression] = {}
    measured = [(name, trained.scores, part) for name, part in zip(PARTS, study.split, strict=True)]
    if trained.baseline is not None:
        measured.append((BASELINE, trained.baseline, study.split.test))
    for name, every, part in measured:
        if name == "train" and not trained.held_out:
            continue
        own = part[np.isfinite(every[part])]
        truth, scores = study.values[own], every[own]
        if len(np.unique(truth)) < 2:
            continue
        found[name] = _measured(study, truth, scores)
    groups, _ = by_group(study, trained.scores, study.split.test)
    return found | {GROUP + name: told for name, told in groups.items()}


def by_group(
    study: Study, scores: npt.NDArray[np.float64], own: npt.NDArray[np.int64]
) -> tuple[Measured, tuple[str, ...]]:
    """Metrics of each group of some samples, and the groups that are too small; none: no groups."""
    if study.groups is None:
        return {}, ()
    own = own[np.isfinite(scores[own])]
    labels = [study.groups[i] for i in own]
    return metrics.by_group(study.values[own], scores[own], labels, partial(_measured, study))


def _measured(
    study: Study, truth: npt.NDArray[np.float64], scores: npt.NDArray[np.float64]
) -> Classification | Regression:
    if study.binary:
        return metrics.classification(truth, scores, threshold=THRESHOLD, seed=study.seed)
    return metrics.regression(truth, scores, seed=study.seed)


def theory(trained: Trained) -> str:
    """What GBLUP can be expected to reach, where it was fitted; empty elsewhere."""
    if "expected_r2" not in trained.numbers:
        return ""
    h2, r2, segments = (
        float(trained.numbers[name])
        for name in ("heritability", "expected_r2", "independent_segments")
    )
    return (
        f"By theory GBLUP reaches an R2 of {r2:.3f} with so many training samples ({segments:,.0f} "
        f"independent segments), and no additive model more than the heritability, here {h2:.3f}"
    )


def verdict(study: Study, trained: Trained) -> str:
    """Whether a network does better than GBLUP on the same test samples; empty without one."""
    own = study.split.test
    if trained.baseline is None or len(np.unique(study.values[own])) < 2:
        return ""
    found = comparison.difference(
        study.values[own], trained.scores[own], trained.baseline[own],
        binary=study.binary, seed=study.seed,
    )  # fmt: skip
    said = "beats GBLUP" if found.low > 0 else "does not beat GBLUP"
    said += ", which beats it" if found.high < 0 else ""
    metric = "AUC" if study.binary else "R2"
    told = f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"
    return f"The network {said}: difference in {metric} {told} on the same test samples"


def sentence(measured: Measured) -> str:
    """The skill on the part that says most of new samples, with its interval."""
    for name in ("test", "validation", "train"):
        if name in measured:
            told = f"{'out-of-bag' if name == 'train' else name} {skill(measured[name])}"
            base = f"; GBLUP {skill(measured[BASELINE])}" if BASELINE in measured else ""
            return told + base
    return "no part has samples that differ, to measure on"


def skill(told: Classification | Regression) -> str:
    """The metric that models are compared by, with its interval."""
    kind, found = ("AUC", told.roc_auc) if isinstance(told, Classification) else ("R2", told.r2)
    return f"{kind} {found.value:.3f} ({found.low:.3f} to {found.high:.3f})"


def numbers(measured: Measured) -> dict[str, float]:
    """For the run's metrics: part and metric."""
    return {
        f"{re.sub(NO_NAME, '_', part)}_{name}": value
        for part, told in measured.items()
        for name, value in metrics.as_numbers(told).items()
        if name in TOLD
    }


def text(study: Study, trained: Trained, measured: Measured) -> str:
    """``performance_metrics.txt``."""
    titles = {"test": "test samples, never looked at", "validation": "validation samples"}
    titles["train"] = "training samples, each by the trees that were not grown on it"
    titles[BASELINE] = "GBLUP on the same test samples"
    groups = {
        part.removeprefix(GROUP): told for part, told in measured.items() if part.startswith(GROUP)
    }
    own = study.split.test[np.isfinite(trained.scores[study.split.test])]
    names = {study.groups[i] for i in own} if study.groups is not None else set()
    small = sorted(name for name in names if name is not None and name not in groups)
    parts = [part for part in ("test", BASELINE, "validation", "train") if part in measured]
    told = []
    for part in parts:
        more = (groups, small) if part == "test" else ()
        told.append(metrics.text(titles[part], measured[part], *more).rstrip())
    return "\n\n".join([*told, *filter(None, [verdict(study, trained), theory(trained)])]) + "\n"


def importances(study: Study, trained: Trained, model: str, version: int) -> pa.Table:
    """Rows of ``variant_importances``."""
    assert trained.importances is not None
    told = {"cohort": study.cohort, "trait": study.trait, "model": model, "version": version}
    return _declared(trained.importances, told, tables.IMPORTANCES.arrow([]).schema)


def predictions(study: Study, trained: Trained, model: str, version: int) -> pa.Table:
    """Rows of ``predictions`` of the samples that the model was trained and tested on."""
    part = np.full(len(study.sample_ids), None, object)
    for name, own in zip(PARTS, study.split, strict=True):
        part[own] = name
    known = np.isfinite(trained.scores)
    scores = trained.scores[known]
    rows = pa.table(
        {
            "sampleId": pa.array([s for s, k in zip(study.sample_ids, known, strict=True) if k]),
            "split": pa.array(part[known].tolist(), pa.string()),
            "score": scores,
            "predicted": decided(scores, binary=study.binary),
            "missingVariants": pa.nulls(len(scores), pa.float64()),
        }
    )
    told = {"cohort": study.cohort, "trait": study.trait, "model": model, "version": version}
    return _declared(rows, told, tables.PREDICTIONS.arrow([]).schema)


def decided(scores: npt.NDArray[np.float64], *, binary: bool) -> pa.Array:
    """The column ``predicted``: 1 for a case, null for a trait that is a number."""
    if not binary:
        return pa.nulls(len(scores), pa.int32())
    return pa.array((scores >= THRESHOLD).astype(np.int32))


def _declared(rows: pa.Table, told: Mapping[str, Any], schema: pa.Schema) -> pa.Table:
    """Rows with further columns of one value, as the schema has them."""
    columns = [
        pa.array([told[field.name]] * len(rows), field.type)
        if field.name in told
        else rows.column(field.name).cast(field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def config(study: Study, trained: Trained, measured: Measured) -> dict[str, Any]:
    """``model_config.json``, without a sample's name."""
    told = {key: value for key, value in numbers(measured).items() if np.isfinite(value)}
    return {
        **trained.config,
        "metrics": told,
        "cohort": study.cohort,
        "trait": study.trait,
        "binary": study.binary,
        "threshold": THRESHOLD if study.binary else None,
        "seed": study.seed,
        "test_samples": digest(study.sample_ids[i] for i in study.split.test),
        "samples": {
            name: {"samples": len(part), **_cases(study, part)}
            for name, part in zip(PARTS, study.split, strict=True)
        },
    }


def digest(names: Iterable[str]) -> str:
    """Tells one set of samples from another, and nobody's name."""
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()[:16]


def _cases(study: Study, part: npt.NDArray[np.int64]) -> dict[str, int]:
    return {"cases": int((study.values[part] == 1).sum())} if study.binary else {}


def card(name: str, study: Study, trained: Trained, measured: Measured) -> str:
    """The model card (Mitchell et al. 2019): what it is, made of whom, what it is not for."""
    held = config(study, trained, measured)
    counts = "\n".join(
        f"- {part}: {told['samples']:,} samples"
        + (f", {told['cases']:,} cases" if study.binary else "")
        for part, told in held["samples"].items()
    )
    skill = "\n".join(f"- {part}: {_shown(told)}" for part, told in measured.items())
    for said in filter(None, (verdict(study, trained), theory(trained))):
        skill += f"\n\n{said}."
    settings = "\n".join(
        f"- {key}: {value}"
        for key, value in trained.config.items()
        if not isinstance(value, (Mapping, list))
    )
    what = f"Tells cases of `{study.trait}` from controls" if study.binary else ""
    return CARD.format(
        what=what or f"Predicts `{study.trait}`",
        references="\n".join(f"- {one}" for one in (*trained.references, CARDS)),
        name=name, cohort=study.cohort, counts=counts, skill=skill,
        settings=settings,
    )  # fmt: skip


def _shown(told: Classification | Regression) -> str:
    shown = skill(told)
    return shown if told.beats_chance else f"{shown}: no skill above chance was shown"


CARDS = "Mitchell et al. 2019, FAT* '19, 220: model cards"
CARD = """# {name}

{what} by genotypes, in the cohort `{cohort}`.

## Data

{counts}

Parts are by a hash of the sample's id; relatives that the table `features_kinship` knows are in
one part.

## How well it does

{skill}

See performance_metrics.txt for all of them, with intervals.

## What was fitted

{settings}

## Intended use

Research: to find variants and places worth looking at, and to compare with other models on the
same split. Importance is not cause: a variant may stand for others that it goes with.

## Limits

Not for diagnosis or for decisions about a person. People of other ancestries, other genotyping or
imputation, and another share of cases than in training change what a score means. Case and control
groups that differ in ancestry, batch or kinship make a model look better than it is.

## References

{references}
"""
