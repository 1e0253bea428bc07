"""Pictures of how well a model does on its test samples: sums over samples, nobody is seen."""

from __future__ import annotations

import io
from collections.abc import Callable

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from geneai_spark.models import metrics, results
from geneai_spark.models.family import Study, Trained

Vector = npt.NDArray[np.float64]

BINS = 10  # of predicted values
LEAST = 5  # samples of a bin


def draw(study: Study, trained: Trained) -> dict[str, bytes]:
    """PNG files by name: of two classes the ROC curve and calibration, else calibration alone.
    Nothing where the test samples do not differ.
    """
    own = study.split.test[np.isfinite(trained.scores[study.split.test])]
    truth, scores = study.values[own], trained.scores[own]
    if len(np.unique(truth)) < 2:
        return {}
    if not study.binary:
        return {"calibration.png": _png(lambda axes: _by_bins(axes, *bins(truth, scores)))}
    told = metrics.classification(truth, scores, threshold=results.THRESHOLD, resamples=0)
    found = [(one.score, one.observed) for one in told.bins]
    predicted, observed = np.array(found, np.float64).reshape(-1, 2).T
    return {
        "roc.png": _png(lambda axes: _roc(axes, truth, scores)),
        "calibration.png": _png(lambda axes: _by_bins(axes, predicted, observed)),
    }


def roc(truth: Vector, scores: Vector) -> tuple[Vector, Vector]:
    """False and true positive rates as the threshold falls, from (0, 0) to (1, 1)."""
    order = np.argsort(-scores, kind="stable")
    case, score = truth[order] == 1, scores[order]
    last = np.append(np.flatnonzero(np.diff(score)), len(score) - 1)  # of samples that tie
    hits, misses = np.cumsum(case)[last], np.cumsum(~case)[last]
    return (
        np.concatenate([[0.0], misses / max((~case).sum(), 1)]),
        np.concatenate([[0.0], hits / max(case.sum(), 1)]),
    )


def bins(truth: Vector, scores: Vector) -> tuple[Vector, Vector]:
    """Mean prediction and mean trait of samples alike in prediction, ``LEAST`` or more together."""
    n = max(1, min(BINS, len(scores) // LEAST))
    parts = np.array_split(np.argsort(scores, kind="stable"), n)
    return (
        np.array([scores[part].mean() for part in parts]),
        np.array([truth[part].mean() for part in parts]),
    )


def _roc(axes: Axes, truth: Vector, scores: Vector) -> None:
    axes.plot([0, 1], [0, 1], color="0.7", linestyle="--")
    axes.plot(*roc(truth, scores))
    axes.set_xlabel("controls called cases")
    axes.set_ylabel("cases called cases")


def _by_bins(axes: Axes, predicted: Vector, observed: Vector) -> None:
    ends = [min(predicted.min(), observed.min()), max(predicted.max(), observed.max())]
    axes.plot(ends, ends, color="0.7", linestyle="--")
    axes.plot(predicted, observed, marker="o")
    axes.set_xlabel("predicted, mean of samples alike")
    axes.set_ylabel("observed")


def _png(drawn: Callable[[Axes], None]) -> bytes:
    with matplotlib.rc_context({"svg.hashsalt": "geneai"}):
        figure = Figure(figsize=(5, 5))
        axes = figure.subplots()
        drawn(axes)
        sink = io.BytesIO()
        figure.savefig(sink, format="png")
    return sink.getvalue()
