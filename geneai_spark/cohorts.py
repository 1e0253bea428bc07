"""What the tables tell of a cohort: its samples in the order of the genotypes, its genome build."""

from __future__ import annotations

from pyspark.sql import DataFrame

from geneai_spark.errors import TableError
from geneai_spark.genome import BUILDS


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


def builds(ingests: DataFrame) -> dict[str, str]:
    """Give the genome build of each cohort whose files name one assembly only.

    Args:
        ingests: the ledger of ingested files.
    """
    told: dict[str, set[str]] = {}
    for row in ingests.select("cohort", "genomeBuild").distinct().collect():
        if row["cohort"] is not None and row["genomeBuild"] in BUILDS:
            told.setdefault(row["cohort"], set()).add(row["genomeBuild"])
    return {
        cohort: min(names)
        for cohort, names in told.items()
        if len({BUILDS[name].assembly for name in names}) == 1
    }
