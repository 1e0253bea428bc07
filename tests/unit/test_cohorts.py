"""Sample order."""

from __future__ import annotations

import pyarrow as pa
import pytest

from geneai_spark import tables
from geneai_spark.cohorts import builds, sample_ids
from geneai_spark.errors import TableError


def test_sample_ids__in_order_of_the_packed_vectors():
    rows = [("b", 0, "x", "f"), ("a", 1, "p", "f"), ("a", 0, "q", "f")]
    named = [dict(zip(tables.SAMPLES.schema.names, row, strict=True)) for row in rows]
    samples = pa.Table.from_pylist(named)
    assert sample_ids(samples) == {"a": ["q", "p"], "b": ["x"]}
    with pytest.raises(TableError, match="cohort 'b': position 1"):
        sample_ids(pa.concat_tables([samples, samples.slice(0, 1)]))


def test_builds__of_cohorts_whose_files_agree():
    rows = [("a", "GRCh37"), ("a", "hg19"), ("a", None), ("b", "GRCh37"), ("b", "GRCh38")]
    rows += [("c", None), ("d", "hg38"), (None, "hg38")]
    ingests = pa.table(dict(zip(("cohort", "genomeBuild"), zip(*rows, strict=True), strict=True)))
    assert builds(ingests) == {"a": "GRCh37", "d": "hg38"}
