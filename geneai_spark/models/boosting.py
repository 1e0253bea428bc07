"""Gradient boosting by xgboost, whose workers are tasks of Spark."""

from __future__ import annotations

import json
import logging
from typing import Any

import numpy as np
from xgboost.spark import SparkXGBClassifier

from geneai_spark.models import torch_spark
from geneai_spark.models.classifiers import Task
from geneai_spark.models.trees import Fitted, Tree, join

RATE, DEPTH = 0.1, 6  # xgboost's usual depth


def fit(task: Task) -> Fitted:
    """Boost trees; importance is the gain of a feature's splits."""
    spark = task.rows.sparkSession
    ranks = task.ranks or torch_spark.slots_of(spark) or 1
    torch_spark.check_slots(spark, ranks)
    settings: dict[str, Any] = {
        "n_estimators": task.trees,
        "learning_rate": RATE,
        "max_depth": min(task.max_depth, DEPTH),
        "min_child_weight": task.min_leaf,
        "subsample": task.sample_fraction,
        "colsample_bynode": task.variants_per_split,
        "tree_method": "hist",
    }
    logging.getLogger("XGBoost-PySpark").setLevel(logging.WARNING)
    classifier = SparkXGBClassifier(**settings, num_workers=ranks, seed=task.seed)
    model = classifier.fit(task.vectors())
    booster = model.get_booster()
    told = json.loads(bytes(booster.save_raw("json")))["learner"]
    share = float(str(told["learner_model_param"]["base_score"]).strip("[]"))
    width = int(told["learner_model_param"]["num_feature"])
    gains = np.zeros(width)
    for name, gain in booster.get_score(importance_type="total_gain").items():
        gains[int(name.removeprefix("f"))] = gain
    trees = told["gradient_booster"]["model"]["trees"]
    return Fitted(
        "sum",
        join(map(_tree, trees))._asdict(),
        float(np.log(share / (1 - share))),
        gains / max(gains.sum(), 1e-300),
        settings=settings,
    )


def _tree(tree: dict[str, Any]) -> Tree:
    """The library's ``x < condition`` of float32 is ``x <= threshold`` by the float32 before it."""
    conditions = np.array(tree["split_conditions"], np.float32)
    return Tree(
        tree["left_children"],
        tree["right_children"],
        tree["split_indices"],
        np.nextafter(conditions, np.float32(-np.inf)).astype(np.float64),
        conditions.astype(np.float64),  # at a leaf: its value
    )
