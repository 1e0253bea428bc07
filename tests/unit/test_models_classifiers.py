"""Classifiers of other libraries: stored arrays say what the libraries themselves say."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from pyspark.ml.classification import RandomForestClassifier as MllibForest
from pyspark.ml.util import JavaMLWriter
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from geneai_spark import filesystems
from geneai_spark.errors import InputError, SetupError
from geneai_spark.features import doses as packing
from geneai_spark.models import classifiers, disease, inputs, mllib, scoring, trees
from geneai_spark.models.covariates import Covariates
from geneai_spark.models.disease import DiseaseOptions
from geneai_spark.models.examples import Split
from geneai_spark.models.family import Study
from tests import structured

N, M = 160, 40
RNG = np.random.default_rng(3)
MADE = RNG.binomial(2, 0.35, (M, N)).astype(float)
MADE[RNG.random(MADE.shape) < 0.03] = np.nan
AGE = RNG.normal(50, 10, N)
SICK = (4 * np.nan_to_num(MADE[9], nan=0.7) + 0.2 * AGE + RNG.normal(0, 1, N) > 12.5).astype(float)
SPLIT = Split(np.arange(0, 110), np.empty(0, np.int64), np.arange(110, N))
FEW = {"trees": 15, "max_inputs": 30, "variants_per_split": 0.3, "max_depth": 6}


def needs(name):
    """Skip where the library is not installed."""
    try:
        classifiers.check(name)
    except SetupError as error:
        pytest.skip(str(error))


def study(spark, hold, home, partitions=3):
    packed = packing.pack(structured.variants(spark, MADE), N, np.arange(N))
    ids = [f"s{i}" for i in range(N)]
    return Study(
        "default", "y", ids, SICK, True, SPLIT, hold(packed.repartition(partitions)), hold, 3,
        str(home), "m", (), Covariates(("age",), AGE[:, None]),
    )  # fmt: skip


def features(spark, home, held):
    """What libraries see, read from the table: x (N, variants + 1), y (N,)."""
    known = inputs.read_text(held.documents[classifiers.INPUTS])
    equal = {"cohort": "default", "model": "m"}
    shard = inputs.read(inputs.parts(spark, str(home), **equal), equal)
    assert shard.index.tolist() == list(range(N))
    return shard.features(slice(None), known.values()), shard.label


def by_library(spark, name, x, y, settings):
    """Probabilities of all samples by the library itself, fitted on the training samples."""
    own = SPLIT.train
    if name == "scikit":
        model = RandomForestClassifier(**settings, random_state=3).fit(x[own], y[own])
        return model.predict_proba(x)[:, 1]
    if name == "logistic":
        strength = 1 / (len(own) * settings["regParam"])
        x = x.astype(float)
        model = LogisticRegression(C=strength, tol=1e-10, max_iter=5000).fit(x[own], y[own])
        return model.predict_proba(x)[:, 1]
    import xgboost

    asked = {k: v for k, v in settings.items() if k != "n_estimators"}
    told = {**asked, "objective": "binary:logistic", "seed": 3, "nthread": 1}
    matrix = xgboost.DMatrix(x[own].astype(np.float32), y[own])
    booster = xgboost.train(told, matrix, settings["n_estimators"])
    return booster.predict(xgboost.DMatrix(x.astype(np.float32)))


@pytest.mark.parametrize("name", ["scikit", "logistic", "xgboost"])
def test_train__says_what_the_library_says(spark, tmp_path, name):
    needs(name)
    options = DiseaseOptions(classifier=name, **FEW)
    with packing.holding() as hold:
        given = study(spark, hold, tmp_path)
        trained = disease.train(given, options)
        held = structured.stored(trained)
        wanted = disease.wanted(held)
        found = scoring.gather(given.doses, wanted, N)
    json.dumps(trained.config)
    x, y = features(spark, tmp_path, held)
    expected = by_library(spark, name, x, y, trained.config["settings"])
    tolerance = {"rtol": 1e-4} if name == "logistic" else {"rtol": 1e-5}
    np.testing.assert_allclose(trained.scores[110:], expected[110:], **tolerance)
    scored = disease.score(held, found.planes, AGE[:, None])
    np.testing.assert_allclose(scored, expected, **tolerance)
    assert wanted.covariates == ("age",)
    top = trained.importances.slice(0, 1).to_pylist()[0]
    assert top["start"] == 9_000 and top["isLead"] and top["locus"] == 1 and top["pValue"] is None
    assert trained.numbers["importance_age"] > 0
    if name == "scikit":
        own = RandomForestClassifier(
            **trained.config["settings"], random_state=3, oob_score=True
        ).fit(x[:110], y[:110])
        np.testing.assert_allclose(trained.scores[:110], own.oob_decision_function_[:, 1])
        assert "precision" in trained.documents["classification_report.txt"]
    else:
        assert np.isnan(trained.scores[:110]).all() and not trained.held_out


def test_mllib__trees_say_what_mllib_says(spark, tmp_path):
    """MLlib's own transform, of the model that it fits on the same rows by the same seed."""
    options = DiseaseOptions(classifier="mllib", **FEW)
    with packing.holding() as hold:
        given = study(spark, hold, tmp_path)
        trained = disease.train(given, options)
        held = structured.stored(trained)
        x, _ = features(spark, tmp_path, held)
        wanted = inputs.read_text(held.documents[classifiers.INPUTS])
        rows = classifiers._task(given, wanted, options).vectors()
        model = MllibForest(**trained.config["settings"], seed=3).fit(rows)
    assert model.getNumTrees == 15
    expected = [model.predictProbability(one)[1] for one in _vectors(x)]
    np.testing.assert_allclose(trained.scores[110:], expected[110:], rtol=1e-12)
    assert trained.importances["start"][0].as_py() == 9_000
    assert not list(tmp_path.glob("_checkpoints/*/*"))


def test_mllib__writes_where_spark_knows_the_storage(spark, tmp_path, monkeypatch):
    """A warehouse on s3: is s3a: to Spark."""
    told = []

    def save(_, path):
        told.append(path)
        raise InterruptedError

    monkeypatch.setattr(JavaMLWriter, "save", save)
    monkeypatch.setattr(filesystems, "remove_folder", told.append)
    with packing.holding() as hold:
        given = study(spark, hold, tmp_path)
        wanted = inputs.strongest(given, 5)
        inputs.write(given, wanted)
        task = classifiers._task(given, wanted, DiseaseOptions(classifier="mllib", trees=2))
        with pytest.raises(InterruptedError):
            mllib.forest(replace(task, folder="s3://bucket/tables/_checkpoints/m"))
    folder = "bucket/tables/_checkpoints/m/mllib"
    assert told == [f"s3a://{folder}", f"s3://{folder}"]


def _vectors(x):
    from pyspark.ml.linalg import Vectors

    return [Vectors.dense(row.astype(float)) for row in x]


@pytest.mark.parametrize("name", classifiers.NAMES)
def test_train__is_the_same_at_any_number_of_partitions(spark, tmp_path, name):
    needs(name)
    made = []
    for partitions in (1, 7):
        with packing.holding() as hold:
            given = study(spark, hold, tmp_path / str(partitions), partitions)
            made.append(disease.train(given, DiseaseOptions(classifier=name, **FEW)))
    assert made[0].model == made[1].model
    assert made[0].importances.equals(made[1].importances)
    np.testing.assert_array_equal(made[0].scores, made[1].scores)


def test_train__test_samples_labels_do_not_count(spark, tmp_path):
    made = []
    for labels in (SICK, np.where(np.arange(N) < 110, SICK, 1 - SICK)):
        with packing.holding() as hold:
            given = study(spark, hold, tmp_path)
            object.__setattr__(given, "values", labels)
            made.append(disease.train(given, DiseaseOptions(classifier="mllib", **FEW)).model)
    assert made[0] == made[1]


def test_check__says_how_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SetupError, match="classifier=xgboost is not installed: make extra-class"):
        classifiers.check("xgboost")
    classifiers.check("mllib")


def test_options__unknown_classifier():
    with pytest.raises(ValueError, match="classifier must be one of forest, scikit, xgboost"):
        DiseaseOptions(classifier="svm")


def test_scikit__refuses_what_the_driver_cannot_hold(spark, tmp_path, monkeypatch):
    needs("scikit")
    monkeypatch.setattr(classifiers, "MAX_BYTES", 100)
    with packing.holding() as hold, pytest.raises(InputError, match="lower max_inputs, or choose"):
        disease.train(study(spark, hold, tmp_path), DiseaseOptions(classifier="scikit", **FEW))


def test_probability__of_logits_that_overflow():
    held = {"kind": "linear", "base": 0.0, "coefficients": np.ones(1)}
    x = np.array([[-2000.0], [0], [2000]], np.float32)
    assert trees.probability(held, x).tolist() == [0, 0.5, 1]
