"""What is told of a trained model: metrics, rows of tables, a model card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from geneai_spark import tables
from geneai_spark.models import metrics
from geneai_spark.models.examples import Split
from geneai_spark.models.family import Study, Trained
from geneai_spark.models.metrics import Classification

THRESHOLD = 0.5
PARTS = ("train", "validation", "test")


def among(split: Split, known: npt.NDArray[np.int64]) -> Split:
    """A split of some of the samples only."""
    return Split(*(np.intersect1d(part, known) for part in split))


def measure(study: Study, trained: Trained) -> dict[str, Classification]:
    """Metrics of each part that has both classes: of ``test`` what was never looked at, of
    ``train`` by what was not fitted on the sample, if the family tells.
    """
    found = {}
    for name, part in zip(PARTS, study.split, strict=True):
        if name == "train" and not trained.held_out:
            continue
        own = part[np.isfinite(trained.scores[part])]
        if len(np.unique(study.truth[own])) == 2:
            found[name] = metrics.classification(
                study.truth[own], trained.scores[own], threshold=THRESHOLD, seed=study.seed
            )
    return found


def sentence(measured: Mapping[str, Classification]) -> str:
    """The AUC of the part that says most of new samples, with its interval."""
    for name in ("test", "validation", "train"):
        if name in measured:
            auc = measured[name].roc_auc
            what = "out-of-bag" if name == "train" else name
            return f"{what} AUC {auc.value:.3f} ({auc.low:.3f} to {auc.high:.3f})"
    return "no part has cases and controls to measure on"


def numbers(measured: Mapping[str, Classification]) -> dict[str, float]:
    """For the run's metrics: part and metric."""
    return {
        f"{part}_{name}": value
        for part, told in measured.items()
        for name, value in metrics.as_numbers(told).items()
        if name in ("roc_auc", "roc_auc_low", "roc_auc_high", "accuracy", "f1", "brier")
    }


def text(measured: Mapping[str, Classification]) -> str:
    """``performance_metrics.txt``."""
    titles = {"test": "test samples, never looked at", "validation": "validation samples"}
    titles["train"] = "training samples, each by the trees that were not grown on it"
    parts = [part for part in ("test", "validation", "train") if part in measured]
    return "\n\n".join(metrics.text(titles[part], measured[part]).rstrip() for part in parts) + "\n"


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
            "predicted": (scores >= THRESHOLD).astype(np.int32),
            "missingVariants": pa.nulls(len(scores), pa.float64()),
        }
    )
    told = {"cohort": study.cohort, "trait": study.trait, "model": model, "version": version}
    return _declared(rows, told, tables.PREDICTIONS.arrow([]).schema)


def _declared(rows: pa.Table, told: Mapping[str, Any], schema: pa.Schema) -> pa.Table:
    """Rows with further columns of one value, as the schema has them."""
    columns = [
        pa.array([told[field.name]] * len(rows), field.type)
        if field.name in told
        else rows.column(field.name).cast(field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def config(
    study: Study, trained: Trained, measured: Mapping[str, Classification]
) -> dict[str, Any]:
    """``model_config.json``, without a sample's name."""
    told = {key: value for key, value in numbers(measured).items() if np.isfinite(value)}
    return {
        **trained.config,
        "metrics": told,
        "cohort": study.cohort,
        "trait": study.trait,
        "threshold": THRESHOLD,
        "seed": study.seed,
        "samples": {
            name: {"samples": len(part), "cases": int((study.truth[part] == 1).sum())}
            for name, part in zip(PARTS, study.split, strict=True)
        },
    }


def card(name: str, study: Study, trained: Trained, measured: Mapping[str, Classification]) -> str:
    """The model card (Mitchell et al. 2019): what it is, made of whom, what it is not for."""
    held = config(study, trained, measured)
    counts = "\n".join(
        f"- {part}: {told['samples']:,} samples, {told['cases']:,} cases"
        for part, told in held["samples"].items()
    )
    skill = "\n".join(f"- {part}: {_auc(told)}" for part, told in measured.items())
    settings = "\n".join(
        f"- {key}: {value}"
        for key, value in trained.config.items()
        if not isinstance(value, Mapping)
    )
    return CARD.format(
        name=name, trait=study.trait, cohort=study.cohort, counts=counts, skill=skill,
        settings=settings,
    )  # fmt: skip


def _auc(told: Classification) -> str:
    auc = told.roc_auc
    shown = f"ROC AUC {auc.value:.3f} (95 % interval {auc.low:.3f} to {auc.high:.3f})"
    return shown if told.beats_chance else f"{shown}: no skill above chance was shown"


CARD = """# {name}

Tells cases of `{trait}` from controls by genotypes, in the cohort `{cohort}`.

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
"""
