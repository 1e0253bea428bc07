"""What the tables tell of a cohort: its samples in the order of the genotypes, its genome build."""

from __future__ import annotations

import pyarrow as pa

from geneai_spark.errors import TableError
from geneai_spark.genome import BUILDS

#: Of the table ``samples``, what :func:`sample_ids` needs.
COLUMNS = ("cohort", "sampleIndex", "sampleId")


def sample_ids(samples: pa.Table) -> dict[str, list[str]]:
    """Give each cohort's sample ids, in the order of the packed vectors.

    Args:
        samples: rows of the table ``samples``, of whole cohorts.

    Raises:
        TableError: a cohort's positions are not 0, 1, 2 ... each once.
    """
    ordered = samples.sort_by([("cohort", "ascending"), ("sampleIndex", "ascending")])
    cohorts: dict[str, list[str]] = {}
    for cohort, index, sample in zip(*(ordered[n].to_pylist() for n in COLUMNS), strict=True):
        ids = cohorts.setdefault(cohort, [])
        if index != len(ids):
            raise TableError(f"samples: cohort {cohort!r}: position {len(ids)} is not there once")
        ids.append(sample)
    return cohorts


def builds(ingests: pa.Table) -> dict[str, str]:
    """Give the genome build of each cohort whose files name one assembly only.

    Args:
        ingests: rows of the ledger of ingested files.
    """
    told: dict[str, set[str]] = {}
    for row in ingests.group_by(["cohort", "genomeBuild"]).aggregate([]).to_pylist():
        if row["cohort"] is not None and row["genomeBuild"] in BUILDS:
            told.setdefault(row["cohort"], set()).add(row["genomeBuild"])
    return {
        cohort: min(names)
        for cohort, names in told.items()
        if len({BUILDS[name].assembly for name in names}) == 1
    }
