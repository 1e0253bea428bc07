"""Sample ids of a cohort in the order of its packed genotypes."""

from __future__ import annotations

from pyspark.sql import DataFrame

from geneai_spark.errors import TableError


def sizes(samples: DataFrame) -> dict[str, int]:
    """Give each cohort's number of samples."""
    return {row["cohort"]: row["count"] for row in samples.groupBy("cohort").count().collect()}


def sample_ids(samples: DataFrame) -> dict[str, list[str]]:
    """Give each cohort's sample ids, in the order of the packed vectors.

    Args:
        samples: the ``samples`` table or a part of it that holds whole cohorts.

    Raises:
        TableError: a cohort's positions are not 0, 1, 2 ... each once.
    """
    rows = samples.select("cohort", "sampleIndex", "sampleId").collect()
    cohorts: dict[str, list[str]] = {}
    for cohort, index, sample in sorted(rows):
        ids = cohorts.setdefault(cohort, [])
        if index != len(ids):
            raise TableError(f"samples: cohort {cohort!r}: position {len(ids)} is not there once")
        ids.append(sample)
    return cohorts
