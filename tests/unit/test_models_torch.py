"""The network: steps as plain PyTorch takes them, and what its files and errors tell."""

from __future__ import annotations

import dataclasses
import io
import pickle
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="no PyTorch: make extra-torch", exc_type=ImportError)

from geneai_spark.errors import ModelError  # noqa: E402
from geneai_spark.features import doses as packing  # noqa: E402
from geneai_spark.models import inputs, prediction, results, scoring, torch_net, torch_spark  # noqa: E402
from geneai_spark.models.covariates import Covariates  # noqa: E402
from geneai_spark.models.examples import Split  # noqa: E402
from geneai_spark.models.family import Study  # noqa: E402
from geneai_spark.models.prediction import PredictionOptions  # noqa: E402
from tests import structured, torch_alone  # noqa: E402

N, M = 200, 60
RNG = np.random.default_rng(2)
MADE = RNG.binomial(2, 0.3, (M, N)).astype(float)
MADE[RNG.random(MADE.shape) < 0.05] = np.nan
VALUES = np.nan_to_num(MADE[:5]).sum(axis=0) + RNG.normal(0, 0.5, N)
SPLIT = Split(np.arange(0, 120), np.arange(120, 160), np.arange(160, 200))
AGE = RNG.normal(50, 10, N)
BASE = {"predictor": "torch", "hidden": (8,), "batch": 32, "epochs": 3, "max_inputs": 20}


def study(spark, hold, home, binary=False, partitions=3):
    packed = packing.pack(structured.variants(spark, MADE), N, np.arange(N))
    packed = hold(packed.repartition(partitions))
    values = (np.median(VALUES) < VALUES).astype(float) if binary else VALUES
    ids = [f"s{i}" for i in range(N)]
    others = Covariates(("age",), AGE[:, None]) if binary else None
    return Study(
        "default", "y", ids, values, binary, SPLIT, packed, hold, 3, str(home), "net", (), others
    )


def plain(x, y, binary):
    """Losses of an ordinary loop: all samples in one tensor, no ranks, no shards."""
    torch.manual_seed(3)
    net = torch_net.Net(x.shape[1], (8,), 0.0)
    adam = torch.optim.Adam(net.parameters(), lr=1e-3, weight_decay=1e-4)
    loss_of = torch.nn.BCEWithLogitsLoss() if binary else torch.nn.MSELoss()
    center, spread = (0, 1) if binary else (y[SPLIT.train].mean(), y[SPLIT.train].std())
    x, y = torch.from_numpy(x).float(), torch.from_numpy((y - center) / spread).float()
    told = []
    for epoch in range(3):
        order = np.random.default_rng([3, epoch]).permutation(len(SPLIT.train))
        total = 0.0
        for first in range(0, len(order), 32):
            rows = SPLIT.train[order[first : first + 32]]
            loss = loss_of(net(x[rows]), y[rows])
            adam.zero_grad()
            loss.backward()
            adam.step()
            total += loss.item() * len(rows)
        with torch.no_grad():
            validation = loss_of(net(x[SPLIT.validation]), y[SPLIT.validation]).item()
        told.append((total / len(order), validation))
    with torch.no_grad():
        out = net(x).double()
    return told, (torch.sigmoid(out) if binary else out * spread + center).numpy()


@pytest.mark.parametrize("binary", [False, True], ids=["two ranks", "one, binary"])
def test_train__ranks_lose_as_plain_pytorch_does(spark, tmp_path, binary):
    options = PredictionOptions(**BASE, dropout=0.0, ranks=2, patience=0)
    with packing.holding() as hold:
        given = study(spark, hold, tmp_path, binary)
        with torch_alone.in_this_process() if binary else nullcontext():
            trained = prediction.train(given, options)
        held = structured.stored(trained)
        wanted = inputs.read_text(held.documents[prediction.INPUTS])
        found = scoring.gather(given.doses, prediction.wanted(held), N)
        said = results.text(given, trained, results.measure(given, trained))
    assert "The network does not beat GBLUP" in said  # three epochs on a sum of five variants
    assert "difference in AUC" in said if binary else "difference in R2" in said
    assert f"By theory GBLUP reaches an R2 of {trained.numbers['expected_r2']:.3f}" in said
    rows = [start // 1000 for start in wanted.keys["start"].to_pylist()]
    x = np.nan_to_num((MADE[rows] - wanted.mean[:, None]) / wanted.scale[:, None]).T
    others = np.empty((N, 0))
    if binary:
        others = AGE[:, None]
        z = (AGE - AGE[SPLIT.train].mean()) / AGE[SPLIT.train].std()
        x = np.column_stack([x, z])
    losses, outputs = plain(x, given.values, binary)
    told = [(one["train_loss"], one["validation_loss"]) for one in trained.config["history"]]
    np.testing.assert_allclose(told, losses, rtol=1e-5)
    # Validation falls in each epoch, so that the best weights are the last.
    assert told[0][1] > told[1][1] > told[2][1]
    np.testing.assert_allclose(trained.scores[SPLIT.test], outputs[SPLIT.test], rtol=1e-5)
    assert np.isnan(trained.scores[SPLIT.train]).all()
    scored = prediction.score(held, found.planes, others)
    np.testing.assert_allclose(scored, outputs, rtol=1e-5)
    assert not list(Path(tmp_path).glob("_checkpoints/*/*"))  # nothing is left lying


def test_train__is_the_same_at_any_number_of_partitions(spark, tmp_path):
    made = []
    for partitions in (1, 7):
        with packing.holding() as hold:
            given = study(spark, hold, tmp_path / str(partitions), True, partitions)
            with torch_alone.in_this_process():
                made.append(prediction.train_alone(given, PredictionOptions(**BASE)))
    np.testing.assert_array_equal(made[0].scores, made[1].scores)
    assert made[0].config == made[1].config and made[0].documents == made[1].documents


@pytest.fixture
def task(spark, tmp_path):
    """What a rank is told of a training of three epochs."""
    with packing.holding() as hold:
        given = study(spark, hold, tmp_path)
        wanted = inputs.strongest(given, 20)
        inputs.write(given, wanted)
        return torch_spark.Task(
            inputs.parts(spark, str(tmp_path), "default", "net"),
            {"cohort": "default", "model": "net"}, wanted.values(), False, str(tmp_path / "ranks"),
            "one", (8,), 0.2, 1e-3, 0.0, 32, 3, 0, 1,
        )  # fmt: skip


def test_train__a_ranks_error_is_told_in_one_message(spark, task):
    broken = dataclasses.replace(task, hidden=("many",))
    with pytest.raises(ModelError, match=r"training failed on rank 0 of 1:\n(.|\n)*TypeError"):
        torch_spark.train(spark, broken, 1, retries=2)


def test_run__goes_on_from_a_checkpoint_of_the_same_training_only(task):
    def ran(**changes):
        with torch_alone.in_this_process():
            return torch_alone.run(dataclasses.replace(task, **changes))

    whole = ran(folder=f"{task.folder}-whole")
    ran(epochs=2)
    checkpoint = Path(task.folder, torch_spark.CHECKPOINT)
    held = torch_net.load(checkpoint.read_bytes())
    assert held["done"] == 2 and held["history"] == whole["history"][:2]
    held["history"][0]["train_loss"] = 7.0  # to be known again
    checkpoint.write_bytes(torch_net.dump(held))
    resumed = ran()
    assert [one["train_loss"] for one in resumed["history"]] == [
        7.0, *(one["train_loss"] for one in whole["history"][1:])
    ]  # fmt: skip
    assert torch.equal(resumed["scores"], whole["scores"])
    other = ran(identity="two")  # finds a checkpoint of "one"
    assert other["history"] == whole["history"] and torch.equal(other["scores"], whole["scores"])


def test_load__refuses_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path(tmp_path, "owned").touch, ())

    sink = io.BytesIO()
    torch.save({"state_dict": Evil()}, sink)
    with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
        torch_net.load(sink.getvalue())
    assert not Path(tmp_path, "owned").exists()


def test_check__clear_text_and_slots(spark, monkeypatch):
    conf = {"spark.ssl.enabled": "true"}

    class Context:
        def getConf(self):  # noqa: N802
            return conf

    class Session:
        sparkContext = Context()  # noqa: N815

    monkeypatch.setattr(torch_spark, "slots_of", lambda _: 2)
    with pytest.raises(ModelError, match="send gradients in clear"):
        torch_spark.check(Session(), 2, local=False)
    conf[torch_spark.SSL] = "true"
    torch_spark.check(Session(), 2, local=False)
    with pytest.raises(ModelError, match="ranks=3, but the cluster runs 2 tasks"):
        torch_spark.check(Session(), 3, local=False)


class Conf(dict):
    """Of a session: as many slots as ``slots`` says, None where executors come and go."""

    @property
    def conf(self):
        return self

    @property
    def sparkContext(self):  # noqa: N802
        return self

    defaultParallelism = 16  # noqa: N815


@pytest.mark.parametrize(("amount", "has"), [(None, False), ("", False), ("0", False), ("1", True)])
def test_has_gpus__one_each(amount, has):
    given = Conf() if amount is None else Conf({torch_spark.GPUS: amount})
    assert torch_spark.has_gpus(given) is has


@pytest.mark.parametrize("amount", ["0.25", "2", "1.0"])
def test_has_gpus__refuses_what_the_distributor_would_wait_for_in_vain(amount):
    with pytest.raises(ModelError, match=f"amount={amount}: a rank takes one GPU: set it to 1"):
        torch_spark.has_gpus(Conf({torch_spark.GPUS: amount}))


@pytest.mark.parametrize(
    ("own", "slots", "ranks"), [(2, 16, 2), (0, 16, 16), (None, 3, 3), (None, None, 16)]
)
def test_ranks__as_many_as_run(monkeypatch, own, slots, ranks):
    monkeypatch.setattr(torch_spark, "slots_of", lambda _: slots)
    assert torch_spark._as_many_as_run(Conf(), own) == ranks
