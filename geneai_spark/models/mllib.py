"""Spark MLlib's random forest and logistic regression: distributed by rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.ml.classification import LogisticRegression, RandomForestClassifier

from geneai_spark import filesystems
from geneai_spark.models.classifiers import Task
from geneai_spark.models.trees import Fitted, Tree, join

DEEPEST = 30  # MLlib's bound
_DIGITS = 9  # sums come back from tasks in any order


def forest(task: Task) -> Fitted:
    """Grow it."""
    settings: dict[str, Any] = {
        "numTrees": task.trees,
        "featureSubsetStrategy": str(task.variants_per_split),
        "subsamplingRate": 1.0,
        "minInstancesPerNode": task.min_leaf,
        "maxDepth": min(task.max_depth, DEEPEST),
    }
    rows = task.vectors().cache()
    try:
        model = RandomForestClassifier(**settings, seed=task.seed).fit(rows)
        place = f"{task.folder}/mllib"
        try:
            model.write().overwrite().save(filesystems.spark_uri(place))
            nodes = rows.sparkSession.read.parquet(filesystems.spark_uri(f"{place}/data"))
            found = nodes.select("treeID", "nodeData.*").toArrow()
        finally:
            filesystems.remove_folder(place)
    finally:
        rows.unpersist()
    importance = model.featureImportances.toArray()
    return Fitted("mean", join(_trees(found))._asdict(), 0.0, importance, settings=settings)


def logistic(task: Task) -> Fitted:
    """Fit it with a ridge penalty; importance is the size of a standardised feature's effect."""
    settings: dict[str, Any] = {"regParam": task.regularization, "elasticNetParam": 0.0}
    rows = task.vectors().cache()
    try:
        model = LogisticRegression(**settings, standardization=False, tol=1e-9, maxIter=500).fit(
            rows
        )
    finally:
        rows.unpersist()
    coefficients = np.round(model.coefficients.toArray(), _DIGITS)
    base = round(float(model.intercept), _DIGITS)
    return Fitted(
        "linear", {"coefficients": coefficients}, base, np.abs(coefficients), settings=settings
    )


def _trees(nodes: pa.Table) -> Iterator[Tree]:
    """Trees of the rows that MLlib stores: a node's number is that of a walk, the root's 0."""
    ordered = nodes.sort_by([("treeID", "ascending"), ("id", "ascending")])
    number = ordered["treeID"].to_numpy()
    ends = np.flatnonzero(np.diff(number, append=-1)) + 1
    first = 0
    for end in ends:
        part = ordered.slice(first, end - first)
        splits = part["split"].combine_chunks()
        cuts = [values[0] if values else 0.0 for values in
                splits.field("leftCategoriesOrThreshold").to_pylist()]  # fmt: skip
        stats = np.array(part["impurityStats"].to_pylist())
        yield Tree(
            part["leftChild"].to_numpy(),
            part["rightChild"].to_numpy(),
            splits.field("featureIndex").to_numpy(),
            np.array(cuts),
            stats[:, 1] / stats.sum(axis=1),
        )
        first = end
