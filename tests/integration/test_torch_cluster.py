"""A network trained by TorchDistributor on a real cluster of two workers, and by one process.

The losses are to be the same but for the order of sums, a rank that is killed is to make no
difference, and dropout is on: its masks are the same for any number of ranks.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark.sql import SparkSession

if importlib.util.find_spec("torch") is None:
    pytest.skip("no PyTorch: make extra-torch", allow_module_level=True)

import torch

from geneai_spark.features import doses as packing
from geneai_spark.models import prediction, torch_rank
from tests import torch_alone, torch_run
from tests.conftest import ROOT
from tests.integration.test_substrate_study import call, environment
from tests.servers import cluster as cluster_server
from tests.servers.cluster import Cluster

gpu = pytest.mark.skipif(not torch_rank.gpus(), reason="no GPU that PyTorch can use")
SCRIPT = str(ROOT / "tests" / "torch_run.py")


def losses(told: dict[str, Any]) -> list[tuple[float, float]]:
    return [(epoch["train_loss"], epoch["validation_loss"]) for epoch in told["history"]]


def run(command: Sequence[str], folder: Path, *ways: str) -> dict[str, Any]:
    out = folder / "out.json"
    call([*command, SCRIPT, str(folder / "tables"), str(out), *ways], environment())
    found: dict[str, Any] = json.loads(out.read_text())
    return found


@pytest.fixture(scope="module")
def one(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one process comes to, without TorchDistributor."""
    home = str(tmp_path_factory.mktemp("one"))
    with packing.holding() as hold, torch_alone.in_this_process():
        given = torch_run.study(spark, hold, home)
        found = torch_run.outcome(prediction.train_alone(given, torch_run.OPTIONS))
    assert len(found["history"]) == 20
    assert found["history"][-1]["train_loss"] < 0.8 * found["history"][0]["train_loss"]
    return found


def same(found: dict[str, Any], wanted: dict[str, Any], rtol: float) -> None:
    np.testing.assert_allclose(losses(found), losses(wanted), rtol=rtol)
    np.testing.assert_allclose(found["scores"], wanted["scores"], rtol=rtol)


def test_train__two_workers_one_of_which_is_killed_as_one_process(
    one: dict[str, Any], cluster: Cluster, tmp_path: Path
) -> None:
    found = run(cluster.submit, tmp_path, "killed")["killed"]
    assert found["killed"] == 1
    assert "a rank was lost; training goes on from its last checkpoint" in found["said"]
    same(found, one, 1e-5)


@pytest.mark.slow
def test_train__a_killed_rank_makes_no_difference(cluster: Cluster, tmp_path: Path) -> None:
    many = run(cluster.submit, tmp_path, "plain", "killed")
    assert (many["plain"]["killed"], many["killed"]["killed"]) == (0, 1)
    np.testing.assert_allclose(losses(many["killed"]), losses(many["plain"]), rtol=1e-12)
    same(many["killed"], many["plain"], 1e-9)


@pytest.mark.slow
def test_train__the_next_job_goes_on_with_a_training_that_failed(
    one: dict[str, Any], tmp_path: Path
) -> None:
    dead = run([sys.executable], tmp_path, "dead")["dead"]
    assert dead["killed"] == 1
    assert "training failed on " in dead["said"]
    same(dead, one, 1e-5)


@gpu
def test_train__the_driver_has_a_gpu(one: dict[str, Any], tmp_path: Path) -> None:
    found = run([sys.executable], tmp_path, "gpu")["gpu"]
    assert (one["device"], found["device"]) == ("CPU", torch.cuda.get_device_name())
    same(found, one, 1e-3)


@gpu
def test_train__an_executor_has_a_gpu(one: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "cluster"
    folder.mkdir()
    with cluster_server.start(folder, workers=1, gpu=True) as running:
        found = run(running.submit, tmp_path, "gpu")["gpu"]
    assert (one["device"], found["device"]) == ("CPU", torch.cuda.get_device_name())
    same(found, one, 1e-3)
