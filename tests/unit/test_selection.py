"""Conditions choose samples and variants; each expected set is worked out by hand."""

from __future__ import annotations

import pytest
from pyspark.sql import functions as F

from geneai_spark import store, tables
from geneai_spark.errors import InputError, TableError
from geneai_spark.selection import related, select
from tests import packed

IDS = ["anna", "ben", "cem", "dora"]


def rows_of(table, rows):
    """Fill the columns that are not given with null."""
    return [{name: row.get(name) for name in table.schema.names} for row in rows]


@pytest.fixture(scope="module")
def warehouse(spark, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("selection") / "tables")
    sites = [("1", start, "A", ["C"]) for start in (10, 20, 30)]
    calls = [[(0, 1)] * 4] * 3
    both = packed.variants(spark, sites, calls).unionByName(
        packed.variants(spark, sites[:1], calls[:1], cohort="other")
    )
    store.replace(both, tables.VARIANTS, folder)
    samples = [("default", i, sample, "f") for i, sample in enumerate(IDS)]
    store.replace(spark.createDataFrame(samples, tables.SAMPLES.schema), tables.SAMPLES, folder)
    return folder


@pytest.fixture(scope="module")
def measured(spark, warehouse):
    variants = store.read(spark, tables.VARIANTS, warehouse)
    given = {"callRate": F.col("start") / 40, "flags": F.array(F.lit("rare"))}
    columns = [
        given.get(f.name, F.col(f.name) if f.name in variants.columns else F.lit(None))
        .cast(f.dataType)
        .alias(f.name)
        for f in tables.VARIANT_QUALITY.schema
    ]
    store.replace(variants.select(columns), tables.VARIANT_QUALITY, warehouse)
    rates = [
        {"cohort": "default", "sampleIndex": i, "sampleId": sample, "callRate": 1 - i / 10}
        for i, sample in enumerate(IDS)
    ]
    traits = [
        {"cohort": "default", "sampleId": "ben", "trait": "age at onset", "value": 50.0},
        {"cohort": "default", "sampleId": "dora", "trait": "age at onset", "value": 20.0},
        {"cohort": "default", "sampleId": "dora", "trait": "callRate", "value": 0.0},
    ]
    pairs = [{"cohort": "default", "sampleIndex1": 1, "sampleIndex2": 2}]
    for table, rows in (
        (tables.SAMPLE_QUALITY, rates),
        (tables.TRAITS, traits),
        (tables.KINSHIP, pairs),
    ):
        store.replace(store.from_rows(spark, rows_of(table, rows), table), table, warehouse)
    return warehouse


def starts(selected):
    return sorted(row.start for row in selected.variants.select("start").collect())


def test_select__everything_of_one_cohort(spark, warehouse):
    found = select(spark, warehouse)
    assert found.sample_ids == tuple(IDS) and found.rows.tolist() == [0, 1, 2, 3]
    assert starts(found) == [10, 20, 30]
    assert found.counts == {"samples": 4, "samples_kept": 4}


def test_select__conditions(spark, measured):
    found = select(
        spark,
        measured,
        keep_variants="callRate >= 0.5 AND array_contains(flags, 'rare')",
        keep_samples="callRate > 0.7",
    )
    assert starts(found) == [20, 30] and found.rows.tolist() == [0, 1, 2]
    assert found.counts == {"samples": 4, "samples_kept": 3, "variants_kept": 2}


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("`age at onset` < 30", [3]),
        ("coalesce(`age at onset`, 99) > 30", [0, 1, 2]),
        ("NOT related", [0, 1, 3]),
        ("NOT related AND callRate < 0.95", [1, 3]),
    ],
)
def test_select__traits_and_relatives(spark, measured, condition, expected):
    assert select(spark, measured, keep_samples=condition).rows.tolist() == expected


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"keep_samples": "colour = 1"}, "keep_samples: colour = 1: .*colour"),
        ({"keep_variants": "callRate >"}, "keep_variants: callRate >: "),
        ({"keep_samples": "callRate > 1"}, "none of 4 samples"),
        ({"keep_variants": "start > 99"}, "no variant is kept"),
    ],
)
def test_select__raises_on_a_wrong_or_empty_condition(spark, measured, options, match):
    with pytest.raises(InputError, match=match):
        select(spark, measured, **options)


def test_select__raises_on_what_is_not_there(spark, warehouse, tmp_path):
    with pytest.raises(TableError, match="no cohort 'trio'"):
        select(spark, warehouse, cohort="trio")
    with pytest.raises(TableError, match="'samples': not in warehouse"):
        select(spark, str(tmp_path))


def test_related__fewest_leave():
    assert related([]) == set()
    assert related([(0, 1)]) == {1}
    assert related([(0, 1), (0, 2), (0, 3)]) == {0}
    assert related([(0, 1), (1, 2), (2, 3)]) == {1, 2}
    assert related([(4, 5), (5, 6), (7, 8)]) == {5, 8}
