"""The forest on hipster (17,010 real variants, a label of four of them), by the jobs."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from geneai_spark.jobs import (
    evaluate_model,
    ingest_traits,
    ingest_variants,
    score_samples,
    train_model,
)
from sklearn.metrics import accuracy_score, roc_auc_score

from geneai_spark import registry, store, tables
from geneai_spark.errors import InputError, ModelError
from geneai_spark.features import doses
from geneai_spark.models import disease, scoring
from geneai_spark.models.examples import split
from geneai_spark.models.family import Study
from geneai_spark.selection import select

#: Contig and POS of the variants that the label was made of (../shared/data/README).
PLANTED = {("2", 223034082), ("5", 126626044), ("4", 54511913), ("7", 17284577)}


@pytest.fixture(scope="module")
def study(spark, shared_data, tmp_path_factory):
    """Hipster ingested, with its label: (folder, warehouse, labels by sample)."""
    folder = tmp_path_factory.mktemp("hipster")
    warehouse = str(folder / "tables")
    frame = pd.read_csv(shared_data / "cohort" / "hipster_labels_covariates.txt", index_col=0)
    frame["permuted"] = np.random.default_rng(1).permutation(frame["label"].to_numpy())
    frame[["label", "score", "permuted"]].rename_axis("sample").to_csv(folder / "traits.csv")
    vcf = str(shared_data / "cohort" / "hipster.vcf.bgz")
    ingest_variants.run(spark, ingest_variants.Config(inputs=(vcf,), warehouse=warehouse))
    csv = (str(folder / "traits.csv"),)
    ingest_traits.run(spark, ingest_traits.Config(inputs=csv, warehouse=warehouse))
    return folder, warehouse, frame["label"]


@pytest.fixture(scope="module")
def trained(spark, study):
    """The job's metrics."""
    folder, warehouse, _ = study
    models = str(folder / "models")
    config = train_model.Config(
        trait="label", warehouse=warehouse, models=models, trees=100, mlflow="none"
    )
    return train_model.run(spark, config)


def leads(rows) -> list[tuple[str, int]]:
    """Contig and POS of the loci's leads, by rank."""
    return [(row.contigName, row.start + 1) for row in sorted(rows, key=lambda r: r.locus)]


def near(lead: tuple[str, int]) -> tuple[str, int] | None:
    """The planted variant within 500,000 bases."""
    found = [p for p in PLANTED if p[0] == lead[0] and abs(p[1] - lead[1]) < 500_000]
    return found[0] if found else None


def test_train_model__ranks_the_four_planted_loci_first(spark, study, trained):
    _, warehouse, _ = study
    rows = store.read(spark, tables.IMPORTANCES, warehouse)
    found = rows.where("isLead AND model = 'disease_association_label'").collect()
    assert {near(lead) for lead in leads(found)[:4]} == PLANTED
    first = [row for row in found if row.locus <= 4]
    assert all(row.falseDiscoveryRate < 0.05 for row in first)
    fifth = min((row for row in found if row.locus == 5), key=lambda row: row.rank)
    assert min(row.importance for row in first) > 10 * fifth.importance


def test_train_model__metrics_are_scikit_learns_of_its_predictions(spark, study, trained):
    _, warehouse, labels = study
    rows = store.read(spark, tables.PREDICTIONS, warehouse).toPandas().set_index("sampleId")
    for part, least in (("test", 0.9), ("train", 0.9)):
        own = rows[rows["split"] == part]
        truth = labels.loc[own.index]
        auc = roc_auc_score(truth, own["score"])
        assert trained[f"{part}_roc_auc"] == pytest.approx(auc)
        assert trained[f"{part}_accuracy"] == pytest.approx(accuracy_score(truth, own["predicted"]))
        assert trained[f"{part}_accuracy"] > least
        assert trained[f"{part}_roc_auc_low"] < auc < trained[f"{part}_roc_auc_high"]
    assert 0.15 < (rows["split"] == "test").mean() < 0.25


def test_train_model__ten_seeds_and_tasks_as_the_driver(spark, study):
    _, warehouse, labels = study
    chosen = select(spark, warehouse)
    truth = labels.loc[list(chosen.sample_ids)].to_numpy(np.float64)
    with doses.holding() as hold:
        packed = hold(doses.pack(chosen.scanned, 2504, chosen.rows))
        parts = split(chosen.sample_ids, validation=0, test=0.2)
        numbered, found = [], {}
        for seed in range(10):
            study_ = Study(
                "default", "label", chosen.sample_ids, truth, True, parts, packed, hold, seed
            )
            options = disease.DiseaseOptions(trees=60, null_forests=0, engine="local")
            found[seed] = disease.train(study_, options)
            rows = found[seed].importances.to_pandas()
            order = rows[rows["isLead"]].sort_values("locus").head(4)
            places = zip(order["contigName"], order["start"] + 1, strict=True)
            numbered.append({near(place) for place in places})
        assert numbered == [PLANTED] * 10
        spread = disease.DiseaseOptions(trees=60, null_forests=0, engine="spark")
        again = disease.train(study_, spread)
    assert again.model == found[9].model
    assert again.importances.equals(found[9].importances)


def test_score_samples__predicts_as_the_forest_did_for_test_samples(spark, study, trained):
    folder, warehouse, _ = study
    table = store.read(spark, tables.PREDICTIONS, warehouse)
    before = table.where("split = 'test'").toPandas().set_index("sampleId")["score"]
    config = {"models": str(folder / "models"), "warehouse": warehouse}
    asked = score_samples.Config(model="disease_association_label", **config)
    told = score_samples.run(spark, asked)
    assert (told["version"], told["model_variants_lacking"]) == (1, 0)
    after = store.read(spark, tables.PREDICTIONS, warehouse).toPandas().set_index("sampleId")
    np.testing.assert_allclose(after["score"].loc[before.index], before, rtol=1e-12)
    assert len(after) == 2504 and (after["missingVariants"] == 0).all()


def test_model_directory__moves_and_a_tampered_one_is_refused(study, trained, tmp_path):
    folder, _, _ = study
    version = registry.find(str(folder / "models"), "disease_association_label")
    held = registry.load(version)
    assert held.config["family"] == "disease_association"
    assert "ROC" in held.metrics or "roc" in held.metrics
    card = held.documents["model_card.md"]
    assert "not for diagnosis" in card.lower()
    assert "## References" in card and "Breiman 2001" in card
    assert "HG00096" not in json.dumps(dict(held.config)) + held.metrics
    moved = tmp_path / "elsewhere" / "disease_association_label"
    shutil.copytree(folder / "models" / "disease_association_label", moved)
    there = registry.find(str(tmp_path / "elsewhere"), "disease_association_label/1")
    assert registry.load(there) == held
    file = moved / "1" / "trained_model.pkl"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(ModelError, match="trained_model"):
        registry.load(there)


def test_train_model__permuted_labels_show_no_skill(spark, study):
    folder, warehouse, _ = study
    config = train_model.Config(
        trait="permuted",
        warehouse=warehouse,
        models=str(folder / "models"),
        trees=60,
        variants_per_split=0.02,
        mlflow="none",
    )
    told = train_model.run(spark, config)
    assert told["test_roc_auc_low"] < 0.5
    rows = store.read(spark, tables.IMPORTANCES, warehouse).where("trait = 'permuted'")
    assert rows.where("falseDiscoveryRate < 0.05").count() <= 2
    held = registry.load(registry.find(str(folder / "models"), told["model"]))
    assert "no skill above chance" in held.metrics.lower()
    assert "no skill above chance" in held.documents["model_card.md"]


def test_score_samples__refuses_a_cohort_that_lacks_the_variants(spark, study, trained):
    folder, warehouse, _ = study
    config = score_samples.Config(
        model="disease_association_label",
        models=str(folder / "models"),
        warehouse=warehouse,
        max_missing=0.0,
    )
    held = registry.load(registry.find(config.models, config.model))
    packed = doses.pack(select(spark, warehouse).scanned, 2504, np.arange(2504))
    some = packed.where("contigName != '2'")
    found = scoring.gather(some, disease.wanted(held), 2504)
    assert 0 < (~found.known).sum() < len(found.known)
    np.testing.assert_allclose(found.missing, (~found.known).mean())
    with pytest.raises(ModelError, match="no model 'nobody'"):
        registry.find(config.models, "nobody")
    with pytest.raises(InputError, match="more than two values: give case_above"):
        train_model.run(
            spark,
            train_model.Config(trait="score", warehouse=warehouse, models=config.models),
        )


def test_promote__moves_a_name(study, trained):
    folder, _, _ = study
    models = str(folder / "models")
    version = registry.promote(models, "disease_association_label/1")
    assert version.aliases == ("champion",)
    assert registry.find(models, "disease_association_label@champion").number == 1
    with pytest.raises(ModelError, match="no version"):
        registry.find(models, "disease_association_label@challenger")


@pytest.mark.slow
def test_evaluate_model__tells_skill_from_chance_and_compares(spark, study):
    """Of so few trees and training samples neither family is known to be the better one."""
    _, warehouse, labels = study
    config = evaluate_model.Config(
        mlflow="none",
        trait="label",
        warehouse=warehouse,
        folds=2,
        shares=(0.25,),
        permutations=3,
        test=0.5,
        min_frequency=0.3,
        trees=60,
    )
    told = evaluate_model.run(spark, config)
    frame = store.read(spark, tables.EVALUATIONS, warehouse).where("metric = 'roc_auc'").toPandas()
    for family in config.families:
        own = frame[frame["family"] == family].set_index(["kind", "part"])
        assert own.loc[("pooled", "all"), "samples"] == len(labels)
        assert own.loc[("pooled", "all"), "low"] > 0.5
        null = own.loc["null"]["value"]
        assert len(null) == 3 and null.max() < told[f"{family}_test_roc_auc"]
        assert told[f"{family}_p_value"] == 1 / 4
        assert abs(told[f"{family}_null_roc_auc"] - 0.5) < 0.05  # 5 sd of a mean of three
        small, large = own.loc[("learning", "0.25")], own.loc[("learning", "1")]
        assert small["trainSamples"] < 0.35 * large["trainSamples"]
        assert small["value"] < large["value"] and small["samples"] == large["samples"]
    assert "leaks" not in told
    forest, gblup = (f"{name}_test_roc_auc" for name in config.families)
    (row,) = frame[frame["kind"] == "compare"].to_dict("records")
    assert row["value"] == pytest.approx(told[forest] - told[gblup])
    apart = np.hypot(*(told[f"{name}_high"] - told[f"{name}_low"] for name in (forest, gblup)))
    assert 0 < row["high"] - row["low"] < apart  # the samples are the same: that is worth something
    beats = row["low"] > 0 or row["high"] < 0
    assert (" beats " in str(told["comparison"])) == beats
