"""Sums over tasks: every task once, in order, however many there are."""

from __future__ import annotations

import operator

import pytest
from pyspark.sql import SparkSession

from geneai_spark import tasks
from geneai_spark.tasks import Batches


def numbers(batches: Batches) -> list[int] | None:
    """The ids of a task's rows; a task without rows tells nothing."""
    return [i for batch in batches for i in batch.column("id").to_pylist()] or None


@pytest.mark.parametrize("count", [1, 7, tasks.FEW, tasks.FEW + 1, 100])
def test_fold__in_the_order_of_the_tasks(spark: SparkSession, count: int) -> None:
    rows = spark.range(0, 300, 1, count)
    assert tasks.fold(rows, numbers, operator.add, tasks=count) == list(range(300))


@pytest.mark.parametrize("groups", [1, 3, tasks.GROUPS])
def test_fold__of_an_unknown_number_takes_each_task_once(spark: SparkSession, groups: int) -> None:
    rows = spark.range(0, 50, 1, 11)
    found = tasks.fold(rows, numbers, operator.add, groups=groups)
    assert found is not None and sorted(found) == list(range(50))


def test_fold__nothing_told_is_none(spark: SparkSession) -> None:
    assert tasks.fold(spark.range(0, 9, 1, 3), lambda _: None, operator.add, tasks=3) is None
    few = spark.range(0, 9, 1, 3).where("id > 7")  # tasks without rows do not count
    assert tasks.fold(few, numbers, operator.add, tasks=3) == [8]
