"""scikit-learn's random forest, on the driver."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import classification_report

from geneai_spark.models.classifiers import Task
from geneai_spark.models.trees import Fitted, Tree, join

REPORT = "classification_report.txt"


def forest(task: Task) -> Fitted:
    """Grow it; training samples are scored by the trees that have not seen them."""
    x, y = task.local()
    settings: dict[str, Any] = {
        "n_estimators": task.trees,
        "max_features": task.variants_per_split,
        "min_samples_leaf": task.min_leaf,
        "max_depth": task.max_depth,
    }
    model = RandomForestClassifier(
        **settings, oob_score=True, random_state=task.seed, n_jobs=os.cpu_count()
    ).fit(x, y)
    held_out = model.oob_decision_function_[:, 1]
    return Fitted(
        "mean",
        join(_tree(one.tree_) for one in model.estimators_)._asdict(),
        0.0,
        model.feature_importances_,
        held_out,
        settings,
        {REPORT: _report(y, held_out)},
    )


def _tree(tree: Any) -> Tree:
    shares = tree.value[:, 0, :]
    return Tree(
        tree.children_left,
        tree.children_right,
        tree.feature,
        tree.threshold,
        shares[:, 1] / shares.sum(axis=1),
    )


def _report(y: Any, held_out: Any) -> str:
    """scikit-learn's report of the training samples, each by trees that have not seen it."""
    known = np.isfinite(held_out)
    told: str = classification_report(
        y[known], held_out[known] >= 0.5, target_names=["control", "case"], zero_division=0
    )
    return f"Training samples, out of bag\n\n{told}"
