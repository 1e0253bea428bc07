"""The job extract_features and every extractor of the registry."""

from __future__ import annotations

import numpy as np
import pytest
from geneai_spark.jobs import extract_features
from pyspark.sql import functions as F

from geneai_spark import config, store, tables
from geneai_spark.errors import ConfigError, InputError, TableError
from geneai_spark.features import EXTRACTORS, doses, structure
from geneai_spark.stored import Computed
from tests import structured

FAMILY = structured.families(1500, seed=1)  # 8 people, see there
CROWD = structured.populations([40, 40], 1500, fst=0.1, seed=2)
MADE = structured.blank(np.hstack([FAMILY, CROWD]), 0.02, seed=3)
MADE[7] = MADE[6]
IDS = [f"s{i}" for i in range(88)]
FITTED = np.arange(88) % 8 > 0


def rows_of(spark, name: str, parts: int) -> list[list[dict[str, object]]]:
    variants = structured.variants(spark, MADE).repartition(parts)
    options = structure.StructureOptions(window=3000, r2=0.15, k=2)
    with doses.holding() as hold:
        study, _ = structure.study("default", IDS, np.arange(88), variants, options, hold)
        study = structure.replace(study, fitted=FITTED)
        found = EXTRACTORS[name](study, options).rows
        frames = [
            made.frame()
            if isinstance(made, Computed)
            else spark.createDataFrame(made, table.schema)
            for table, made in found
        ]
        return [
            [row.asDict() for row in df.orderBy(*table.key).collect()]
            for df, (table, _) in zip(frames, found, strict=True)
        ]


@pytest.mark.parametrize("name", EXTRACTORS)
def test_extractors__one_partition_as_seven(spark, name):
    one, seven = (rows_of(spark, name, parts) for parts in (1, 7))
    assert len(one) == len(seven) and all(one)
    for left, right in zip(one, seven, strict=True):
        assert len(left) == len(right)
        for a, b in zip(left, right, strict=True):
            assert a.keys() == b.keys()
            for key, value in a.items():
                if isinstance(value, float) or key in ("scores", "loadings"):
                    np.testing.assert_allclose(value, b[key], rtol=1e-10, atol=1e-8)
                else:
                    assert value == b[key]


@pytest.fixture(scope="module")
def warehouse(spark, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("structure") / "tables")
    variants = structured.variants(spark, MADE)
    x = structured.variants(spark, MADE[:5], contig="X")
    store.replace(variants.union(x), tables.VARIANTS, folder)
    samples = [("default", i, sample, "f") for i, sample in enumerate(IDS)]
    store.replace(spark.createDataFrame(samples, tables.SAMPLES.schema), tables.SAMPLES, folder)
    other = {"cohort": "other", "sampleIndex": 0, "sampleId": "x", "scores": [1.0], "fitted": True}
    rows = store.from_rows(spark, [other], tables.PCA_SCORES)
    store.replace(rows, tables.PCA_SCORES, folder)
    return folder


def settings(warehouse: str, **given) -> extract_features.Config:
    return extract_features.Config(warehouse=warehouse, window=3000, k=2, **given)


def test_run__nothing_before_its_tables(spark, warehouse):
    with pytest.raises(TableError, match="features_pruned_variants"):
        extract_features.run(spark, settings(warehouse, features=("pca",)))


def test_study__raises_where_no_variant_can_be_used(spark):
    variants = structured.variants(spark, MADE[:6], contig=["X"] * 2 + ["1"] * 4)
    options = structure.StructureOptions(min_frequency=0.5)
    with doses.holding() as hold, pytest.raises(InputError, match=r"none of 6 variants.*: 2 are"):
        structure.study("default", IDS, np.arange(88), variants, options, hold)


def test_run__prunes_relates_fits_and_projects(spark, warehouse):
    told = extract_features.run(spark, settings(warehouse, unrelated=True))
    assert told["variants"] == 1505 and told["variants_unusable"] == 5
    assert (
        told["variants_used"]
        == told["ld_kept"] + told["ld_pruned"]
        == told["pca_variants"] + told["ld_pruned"]
    )
    assert told["ld_pruned"] > 0
    assert (told["pairs_duplicate"], told["pairs_first"]) == (1, 15)

    pairs = store.read(spark, tables.KINSHIP, warehouse)
    close = pairs.where("kinship > 0.177").select("sampleIndex1", "sampleIndex2").collect()
    assert all(pair[1] < 8 for pair in close)
    scores = store.read(spark, tables.PCA_SCORES, warehouse)
    rows = scores.where("cohort = 'default'").orderBy("sampleIndex").collect()
    assert [row.sampleId for row in rows] == IDS
    left_out = {row.sampleIndex for row in rows if not row.fitted}
    assert told["pca_projected"] == len(left_out) and told["pca_samples"] == 88 - len(left_out)
    assert not any(
        pair[0] not in left_out and pair[1] not in left_out
        for pair in pairs.select("sampleIndex1", "sampleIndex2").collect()
    )
    first = np.array([row.scores[0] for row in rows])
    assert (first[8:48] > 0).all() != (first[48:] > 0).all()  # the two populations
    assert scores.where("cohort = 'other'").count() == 1
    each = store.read(spark, tables.PCA_COMPONENTS, warehouse).orderBy("component").collect()
    assert [row.component for row in each] == [1, 2]
    assert told["pca_explained"] == pytest.approx(sum(row.explainedVarianceRatio for row in each))
    assert store.read(spark, tables.PCA_LOADINGS, warehouse).count() == told["pca_variants"]
    assert store.read(spark, tables.PRUNED_VARIANTS, warehouse).count() == told["ld_kept"]

    # PCA alone, later, takes up what is stored, and replaces rows of the cohort
    again = extract_features.run(
        spark, settings(warehouse, features=("pca",), unrelated=True, seed=7)
    )
    assert again["pca_variants"] == told["pca_variants"]
    assert again["pca_samples"] == told["pca_samples"]
    anew = store.read(spark, tables.PCA_SCORES, warehouse).where("cohort = 'default'")
    anew = [row.scores for row in anew.orderBy("sampleIndex").collect()]
    np.testing.assert_allclose(anew, [row.scores for row in rows], atol=1e-4)


def test_run__chosen_samples_only(spark, warehouse):
    traits = [
        {"cohort": "default", "sampleId": s, "trait": "crowd", "value": float(i >= 8)}
        for i, s in enumerate(IDS)
    ]
    rows = [{name: row.get(name) for name in tables.TRAITS.schema.names} for row in traits]
    store.replace(store.from_rows(spark, rows, tables.TRAITS), tables.TRAITS, warehouse)
    told = extract_features.run(
        spark, settings(warehouse, keep_samples="crowd = 1", pruned=False, features=("pca",))
    )
    assert told["samples_kept"] == told["pca_samples"] == 80
    stored = store.read(spark, tables.PCA_SCORES, warehouse).where("cohort = 'default'")
    assert stored.agg(F.min("sampleIndex"), F.count("*")).collect()[0] == (8, 80)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ("features=ld,pcr", "features must be some of ld, kinship, pca"),
        ("features=", "features must be some of"),
        ("min_frequency=2", "min_frequency must lie between 0 and 0.5"),
        ("r2=-1", "r2 must lie between 0 and 1"),
        ("k=0", "must be above 0"),
    ],
)
def test_config__raises_on_what_is_out_of_range(given, match):
    with pytest.raises(ConfigError, match=match):
        config.load(extract_features.Config, None, [given])
