"""The network in Keras: on both backends, in both forms, each loaded by the other backend."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from geneai_spark.errors import InputError, ModelError, SetupError
from geneai_spark.features import doses as packing
from geneai_spark.models import inputs, keras_net, prediction, scoring
from geneai_spark.models.covariates import Covariates
from geneai_spark.models.examples import Split
from geneai_spark.models.family import KEYS, Study
from geneai_spark.models.prediction import PredictionOptions
from tests import structured

if importlib.util.find_spec("keras") is None:
    pytest.skip("no Keras: make extra-tensorflow", allow_module_level=True)

N, M = 200, 30
RNG = np.random.default_rng(6)
MADE = RNG.binomial(2, 0.4, (M, N)).astype(float)
MADE[RNG.random(MADE.shape) < 0.05] = np.nan
VALUES = 100 + 10 * (np.nan_to_num(MADE[:3]).sum(axis=0) + RNG.normal(0, 0.5, N))
AGE = RNG.normal(50, 10, N)
SPLIT = Split(np.arange(0, 120), np.arange(120, 150), np.arange(150, 200))
#: Backend and form that are trained, and the backend that then loads.
WAYS = [("tensorflow", "keras", "torch"), ("torch", "h5", "tensorflow")]


@pytest.fixture(scope="module")
def held(spark):
    with packing.holding() as hold:
        yield hold(packing.pack(structured.variants(spark, MADE), N, np.arange(N))), hold


def study(held, home, binary):
    values = (np.median(VALUES) < VALUES).astype(float) if binary else VALUES
    ids = [f"s{i}" for i in range(N)]
    others = Covariates(("age",), AGE[:, None]) if binary else None
    return Study("default", "y", ids, values, binary, SPLIT, *held, 3, str(home), "net", (), others)


@pytest.mark.parametrize(("backend", "form", "other"), WAYS)
def test_train__learns_and_is_loaded_by_the_other_backend(held, tmp_path, backend, form, other):
    for name in (backend, other):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"no {name}: make extra-{name}")
    binary = form == "h5"
    given = study(held, tmp_path, binary)
    options = PredictionOptions(
        predictor="keras", backend=backend, model_format=form, epochs=40, batch=16,
        learning_rate=3e-3, hidden=(16, 8), patience=0, max_inputs=20,
    )  # fmt: skip
    trained = prediction.train(given, options)
    assert trained.suffix == form and trained.config["network"]["backend"] == backend
    history = trained.config["history"]
    assert len(history) == 40
    assert history[-1]["train_loss"] < 0.6 * history[0]["train_loss"]
    assert np.corrcoef(trained.scores[SPLIT.test], VALUES[SPLIT.test])[0, 1] > 0.6
    assert np.isnan(trained.scores[SPLIT.train]).all()
    stored = structured.stored(trained)
    found = scoring.gather(given.doses, prediction.wanted(stored), N)
    others = AGE[:, None] if binary else np.empty((N, 0))
    expected = trained.scores[SPLIT.test]
    if form == "keras":  # once: a process costs fifteen seconds, most of it to import
        scored = prediction.score(stored, found.planes, others)
        np.testing.assert_allclose(scored[SPLIT.test], expected, rtol=1e-6)
    stored.config["network"]["backend"] = other
    scored = prediction.score(stored, found.planes, others)
    np.testing.assert_allclose(scored[SPLIT.test], expected, rtol=1e-4, atol=1e-6)
    assert "tensorflow" not in sys.modules  # not in the process that has PyTorch, say


def test_train__stops_early_and_is_the_same_at_any_number_of_partitions(held, tmp_path):
    backend = keras_net.installed("tensorflow")
    options = PredictionOptions(
        predictor="keras", backend=backend, epochs=200, batch=8, learning_rate=0.05,
        hidden=(64,), patience=2, max_inputs=20,
    )  # fmt: skip
    made = []
    for partitions in (1, 7):
        given = study(held, tmp_path / str(partitions), True)
        spread = replace(given, doses=given.doses.repartition(partitions))
        made.append(prediction.train_alone(spread, options))
    np.testing.assert_array_equal(made[0].scores, made[1].scores)
    assert made[0].config == made[1].config and made[0].documents == made[1].documents
    assert made[0].config["epochs"] < 200
    losses = [one["validation_loss"] for one in made[0].config["history"]]
    assert int(np.argmin(losses)) == len(losses) - 3  # two epochs later it stopped


def test_train__a_process_that_fails_is_told(held, tmp_path, monkeypatch):
    monkeypatch.setitem(keras_net.BACKENDS, "nothing", keras_net.installed("tensorflow"))
    with pytest.raises(ModelError, match="Keras on nothing failed:"):
        prediction.train(
            study(held, tmp_path, False),
            PredictionOptions(predictor="keras", backend="nothing", max_inputs=20),
        )


def test_installed__says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(SetupError, match="make extra-tensorflow"):
        keras_net.installed("tensorflow")


def test_refused__is_told_as_it_is(tmp_path, monkeypatch):
    """What the process refuses comes back as an error of the input."""

    def refuse(command, **_):
        (tmp_path / "refused").write_text("too many doses")
        return type("Done", (), {"returncode": 1, "stderr": ""})

    monkeypatch.setattr(keras_net.subprocess, "run", refuse)
    with pytest.raises(InputError, match="too many doses"):
        keras_net._call("train", tmp_path, "tensorflow")


@pytest.fixture(scope="module")
def evil(tmp_path_factory):
    """Networks in both forms with a layer that holds Python code, which leaves a file behind."""
    folder = tmp_path_factory.mktemp("evil")
    program = (
        "import keras\n"
        f"evil = lambda x: (open({str(folder / 'owned')!r}, 'w').close(), x)[1]\n"
        "net = keras.Sequential([keras.Input((1,)), keras.layers.Lambda(evil, (1,))])\n"
        f"for form in {keras_net.FORMATS!r}:\n"
        f"    net.save({str(folder)!r} + '/evil.' + form)\n"
    )
    backend = keras_net.installed("tensorflow")
    env = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True, env=env)
    return folder


@pytest.mark.parametrize("form", keras_net.FORMATS)
def test_score__refuses_code_in_a_network(evil, form):
    """Loading it would run what the file says."""
    owned = evil / "owned"
    owned.unlink(missing_ok=True)
    keys = pa.table({name: ["1"] for name in KEYS})
    one = inputs.Inputs(keys, np.ones(1), np.ones(1))
    with pytest.raises(ModelError, match=r"(?i)lambda"):
        keras_net.score(
            (evil / f"evil.{form}").read_bytes(), form, one, np.zeros((1, 2, 1), np.uint64),
            np.empty((3, 0)), backend=keras_net.installed("tensorflow"), center=0.0, spread=1.0,
        )  # fmt: skip
    assert not owned.exists()
