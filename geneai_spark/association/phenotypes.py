"""Traits, covariates and principal components from the tables, a row a sample."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from geneai_spark import tables
from geneai_spark.errors import InputError
from geneai_spark.stored import latest, latest_or_empty


def read(
    spark: SparkSession,
    warehouse: str,
    cohort: str,
    *,
    traits: Sequence[str],
    covariates: Sequence[str] = (),
    n_components: int = 0,
) -> tuple[pd.DataFrame, list[str]]:
    """Give traits and covariates as columns, indexed by sample id, and the covariates' names.

    Args:
        spark: the session.
        warehouse: URI of the tables.
        cohort: its samples only.
        traits: names in the table ``traits``.
        covariates: likewise.
        n_components: principal components to join as further covariates; a sample without them
            has them missing.

    Raises:
        InputError: a name that no sample has a number for; no or too few components.
        TableError: the table ``traits`` has not been written.
    """
    known, _ = latest(spark, tables.TRAITS, warehouse)
    frame = pivot(known, cohort, list(dict.fromkeys([*traits, *covariates])))
    if not n_components:
        return frame, list(covariates)
    scores = latest_or_empty(spark, tables.PCA_SCORES, warehouse)
    found = components(scores, cohort, n_components)
    return frame.join(found, how="left"), [*covariates, *found.columns]


def pivot(traits: DataFrame, cohort: str, names: Sequence[str]) -> pd.DataFrame:
    """Give numeric traits of the ``traits`` table as columns, indexed by sample id.

    Raises:
        InputError: a name that no sample of the cohort has a number for.
    """
    chosen = traits.where(F.col("cohort") == cohort).where(F.col("trait").isin(list(names)))
    long = chosen.where(F.col("value").isNotNull()).select("sampleId", "trait", "value").toPandas()
    known = set(long["trait"])
    if unknown := [name for name in names if name not in known]:
        raise InputError(f"cohort {cohort!r} has no numeric trait {', '.join(unknown)}")
    return long.pivot(index="sampleId", columns="trait", values="value")[list(names)]


def components(scores: DataFrame, cohort: str, n: int) -> pd.DataFrame:
    """Give the first ``n`` principal components as columns, indexed by sample id.

    Args:
        scores: the table ``features_pca_scores``; its samples without scores become missing.

    Raises:
        InputError: the cohort has no scores, or fewer components than asked for.
    """
    own = scores.where((F.col("cohort") == cohort) & F.col("scores").isNotNull())
    found = own.select("sampleId", "scores").toPandas()
    remedy = f"run geneai extract_features cohort={cohort} with at least {n} components first"
    if found.empty:
        raise InputError(
            f"components: {n}: cohort {cohort!r} has no principal components: {remedy}"
        )
    known = int(found["scores"].map(len).min())
    if known < n:
        raise InputError(f"components: {n}: cohort {cohort!r} has {known} components: {remedy}")
    values = np.stack(found["scores"].map(lambda row: np.asarray(row[:n], np.float64)).tolist())
    columns = [f"component {i + 1}" for i in range(n)]
    return pd.DataFrame(values, index=pd.Index(found["sampleId"]), columns=columns)
