"""The job evaluate_model on a small warehouse, both families."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from geneai_spark.jobs import evaluate_model, score_samples, train_model
from sklearn.metrics import roc_auc_score

from geneai_spark import config, store, tables, tracking
from geneai_spark.errors import ConfigError, InputError
from geneai_spark.models.examples import split
from tests import structured, study_tables

N = 120
IDS = [f"PERSON{i:03d}" for i in range(N)]
MADE = np.random.default_rng(1).binomial(2, 0.4, (80, N)).astype(float)
SICK = (MADE[3] + MADE[7] + np.random.default_rng(2).normal(0, 0.4, N) > 1.6).astype(float)
GROUPS = ["south" if i < 50 else "north" for i in range(N)]
FEW = {
    "trees": 10, "folds": 2, "shares": (0.6,), "permutations": 2, "test": 0.4, "mlflow": "none",
}  # fmt: skip


@pytest.fixture(scope="module")
def warehouse(spark, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("evaluated") / "tables")
    store.replace(structured.variants(spark, MADE).coalesce(2), tables.VARIANTS, folder)
    both = {"cohort": "default", "sourceId": "f"}
    people = [{**both, "sampleIndex": i, "sampleId": x} for i, x in enumerate(IDS)]
    study_tables.fill(spark, tables.SAMPLES, people, folder)
    traits = []
    for i, x in enumerate(IDS):
        traits.append({**both, "sampleId": x, "trait": "sick", "value": SICK[i]})
        traits.append({**both, "sampleId": x, "trait": "region", "text": GROUPS[i]})
        if i:
            level = float(MADE[:5, i].sum())
            traits.append({**both, "sampleId": x, "trait": "level", "value": level})
    study_tables.fill(spark, tables.TRAITS, traits, folder)
    relatives = {"cohort": "default", "sampleIndex1": 0, "sampleIndex2": 9}
    study_tables.fill(spark, tables.KINSHIP, [relatives], folder)
    return folder


@pytest.fixture(scope="module")
def told(spark, warehouse):
    """The job's numbers."""
    asked = evaluate_model.Config(trait="sick", group="region", warehouse=warehouse, **FEW)
    return evaluate_model.run(spark, asked)


def test_evaluate_model__stores_what_it_tells(spark, warehouse, told):
    frame = store.read(spark, tables.EVALUATIONS, warehouse).where("trait = 'sick'").toPandas()
    counted = frame.groupby(["family", "kind"]).size().to_dict()
    each = {"fold": 8, "pooled": 4, "group": 8, "learning": 8, "null": 2, "chance": 1}
    wanted = {(f, kind): n for f in evaluate_model.FAMILIES for kind, n in each.items()}
    assert counted == wanted | {("disease_association", "compare"): 1}
    main = frame[frame["metric"] == "roc_auc"].set_index(["family", "kind", "part"])["value"]
    for family in evaluate_model.FAMILIES:
        assert told[f"{family}_cv_roc_auc"] == main[family, "pooled", "all"]
        assert told[f"{family}_test_roc_auc"] == main[family, "learning", "1"]
        assert told[f"{family}_null_roc_auc"] == main[family, "chance", "all"]
        assert told[f"{family}_p_value"] >= 1 / 3
        assert main[family, "pooled", "all"] > 0.6  # two variants make most of the trait
    assert main["disease_association", "compare", "genomic_prediction"] == pytest.approx(
        told["disease_association_test_roc_auc"] - told["genomic_prediction_test_roc_auc"]
    )
    assert "difference in AUC" in str(told["comparison"]) and "leaks" not in told
    sizes = frame[frame["kind"] == "learning"].groupby("part")["trainSamples"].unique()
    assert all(len(found) == 1 for found in sizes) and sizes["0.6"][0] < sizes["1"][0]
    parts = split(IDS, relatives=[(0, 9)], seed=42, validation=0, test=0.4)
    assert sizes["1"][0] == len(parts.train)


def test_evaluate_model__test_samples_are_those_of_train_model(spark, warehouse, told, tmp_path):
    asked = train_model.Config(
        trait="sick",
        family="genomic_prediction",
        test=0.4,
        warehouse=warehouse,
        models=str(tmp_path),
        mlflow="none",
    )
    trained = train_model.run(spark, asked)
    assert trained["test_roc_auc"] == pytest.approx(told["genomic_prediction_test_roc_auc"])
    rows = store.read(spark, tables.PREDICTIONS, warehouse).where("split = 'test'").toPandas()
    truth = dict(zip(IDS, SICK, strict=True))
    auc = roc_auc_score([truth[x] for x in rows["sampleId"]], rows["score"])
    assert told["genomic_prediction_test_roc_auc"] == pytest.approx(auc)


@pytest.mark.parametrize("family", ["disease_association", "genomic_prediction"])
def test_train_model__covariates_and_groups(spark, warehouse, tmp_path, family):
    asked = train_model.Config(
        trait="sick", family=family, covariates=["level"], group="region", test=0.6, trees=20,
        warehouse=warehouse, models=str(tmp_path), mlflow="none",
    )  # fmt: skip
    trained = train_model.run(spark, asked)
    own = f"split = 'test' AND model = '{family}_sick'"
    predicted = store.read(spark, tables.PREDICTIONS, warehouse).where(own).toPandas()
    scores = dict(zip(predicted["sampleId"], predicted["score"], strict=True))
    for group in ("north", "south"):
        own = [x for x, g in zip(IDS, GROUPS, strict=True) if g == group and x in scores]
        truth = [SICK[IDS.index(x)] for x in own]
        auc = roc_auc_score(truth, [scores[x] for x in own])
        name = f"test_of_{group}_roc_auc"
        assert (name in trained) == (len(own) >= 30)
        if name in trained:
            assert trained[name] == pytest.approx(auc)
    assert any(name.startswith("test_of_") for name in trained)
    folder = tmp_path / f"{family}_sick" / "1"
    told = json.loads((folder / "model_config.json").read_text())
    assert [one["name"] for one in told["covariates"]] == ["level"]
    assert "north: " in (folder / "performance_metrics.txt").read_text()
    score = score_samples.Config(model=f"{family}_sick", models=str(tmp_path), warehouse=warehouse)
    score_samples.run(spark, score)
    again = store.read(spark, tables.PREDICTIONS, warehouse).where(f"model = '{family}_sick'")
    found = {row.sampleId: row.score for row in again.collect()}
    assert all(found[x] == pytest.approx(value, rel=1e-9) for x, value in scores.items())


def test_score_samples__a_cohort_without_the_covariate(spark, warehouse, tmp_path):
    asked = train_model.Config(
        trait="sick", covariates=["level"], warehouse=warehouse, trees=5, null_forests=0,
        models=str(tmp_path), mlflow="none",
    )  # fmt: skip
    train_model.run(spark, asked)
    other = str(tmp_path / "other")
    store.replace(structured.variants(spark, MADE).coalesce(1), tables.VARIANTS, other)
    both = {"cohort": "default", "sourceId": "f"}
    people = [{**both, "sampleIndex": i, "sampleId": x} for i, x in enumerate(IDS)]
    study_tables.fill(spark, tables.SAMPLES, people, other)
    traits = [{**both, "sampleId": IDS[0], "trait": "height", "value": 1.0}]
    study_tables.fill(spark, tables.TRAITS, traits, other)
    with pytest.raises(InputError, match="has no numeric trait level"):
        score_samples.run(
            spark,
            score_samples.Config(
                model="disease_association_sick", models=str(tmp_path), warehouse=other
            ),
        )


def test_evaluate_model__replaces_the_trait_only_and_names_no_one(spark, warehouse, told, capfd):
    asked = evaluate_model.Config(
        trait="level", families=("genomic_prediction",), warehouse=warehouse,
        **FEW | {"folds": 0, "permutations": 0},
    )  # fmt: skip
    numbers = [evaluate_model.run(spark, asked) for _ in range(2)]
    assert numbers[0] == numbers[1] and "genomic_prediction_test_r2" in numbers[0]
    table = store.read(spark, tables.EVALUATIONS, warehouse)
    assert table.where("trait = 'level'").count() == 6  # two shares, three metrics
    assert table.where("trait = 'sick'").count() == 63
    said = "".join(capfd.readouterr())
    assert "evaluate genomic_prediction" in said and "PERSON" not in said
    both = evaluate_model.Config(trait="level", warehouse=warehouse, **FEW)
    with pytest.raises(InputError, match="more than two values: give case_above"):
        evaluate_model.run(spark, both)
    with pytest.raises(InputError, match="none of the chosen samples has the trait 'eyes'"):
        evaluate_model.run(
            spark, evaluate_model.Config(trait="sick", group="eyes", warehouse=warehouse, **FEW)
        )


def test_evaluate_model__other_models_by_name_and_in_mlflow(spark, warehouse, tmp_path):
    pytest.importorskip("mlflow", reason="no MLflow: make extra-mlflow", exc_type=ImportError)
    asked = evaluate_model.Config(
        trait="sick", families=("logistic", "polygenic", "genomic_prediction"),
        warehouse=warehouse, models=str(tmp_path), covariates=["level"],
        **FEW | {"folds": 0, "permutations": 0, "mlflow": "auto"},
    )  # fmt: skip
    numbers = evaluate_model.run(spark, asked)
    assert numbers["logistic_test_roc_auc"] > 0.6 and "polygenic_test_roc_auc" in numbers
    client, _ = tracking._client(f"sqlite:///{tmp_path}/_mlflow/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("geneai").experiment_id])
    assert run.info.run_name == "evaluate_sick" and run.data.params["covariates"] == "['level']"
    assert run.data.metrics["logistic_test_roc_auc"] == numbers["logistic_test_roc_auc"]
    assert "logistic" in run.data.tags["comparison"]
    assert store.read(spark, tables.EXAMPLES, warehouse).count() == 0  # none is left behind
    text = Path(client.download_artifacts(run.info.run_id, "evaluations.tsv")).read_text()
    assert text.startswith("family\tkind\tpart\t") and "PERSON" not in text
    (line,) = [x for x in text.splitlines() if x.startswith("logistic\tlearning\t1\t")][:1]
    assert line.split("\t")[6:8] == ["roc_auc", str(numbers["logistic_test_roc_auc"])]


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ("families=forests", "expected some of disease_association, .*found forests"),
        ("families=disease_association,disease_association", "each once"),
        ("folds=1", "folds must be 2 or more"),
        ("shares=0.5,2", "shares must lie above 0"),
        ("test=0", "test must be above 0"),
        ("validation=0.9", "leave some to train on"),
        ("trees=0", "trees, min_leaf and max_depth"),
        ("covariates=y", "is what is predicted"),
        ("covariates=a,a", "each once"),
        ("settings.variants=3", "families names none"),
        ("classifier=svm", "classifier must be one of"),
    ],
)
def test_config__is_checked_before_spark(given, match):
    with pytest.raises(ConfigError, match=match):
        config.load(evaluate_model.Config, None, ["trait=y", given])


def test_config__groups_need_folds():
    with pytest.raises(ConfigError, match="group needs folds"):
        config.load(evaluate_model.Config, None, ["trait=y", "group=region", "folds=0"])
