"""The job evaluate_model on a small warehouse, both families."""

from __future__ import annotations

import numpy as np
import pytest
from geneai_spark.jobs import evaluate_model, train_model
from sklearn.metrics import roc_auc_score

from geneai_spark import config, store, tables
from geneai_spark.errors import ConfigError, InputError
from geneai_spark.models.examples import split
from tests import structured, study_tables

N = 120
IDS = [f"PERSON{i:03d}" for i in range(N)]
MADE = np.random.default_rng(1).binomial(2, 0.4, (80, N)).astype(float)
SICK = (MADE[3] + MADE[7] + np.random.default_rng(2).normal(0, 0.4, N) > 1.6).astype(float)
GROUPS = ["south" if i < 50 else "north" for i in range(N)]
FEW = {"trees": 10, "folds": 2, "shares": (0.6,), "permutations": 2, "test": 0.4}


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
    ],
)
def test_config__is_checked_before_spark(given, match):
    with pytest.raises(ConfigError, match=match):
        config.load(evaluate_model.Config, None, ["trait=y", given])


def test_config__groups_need_folds():
    with pytest.raises(ConfigError, match="group needs folds"):
        config.load(evaluate_model.Config, None, ["trait=y", "group=region", "folds=0"])
