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

from tests.conftest import ROOT
from tests.integration.test_substrate_study import call, environment
from tests.servers.cluster import Cluster

SCRIPT = str(ROOT / "tests" / "torch_run.py")

if importlib.util.find_spec("torch") is None:
    pytest.skip("no PyTorch: make extra-torch", allow_module_level=True)


def losses(told: dict[str, Any]) -> list[tuple[float, float]]:
    return [(epoch["train_loss"], epoch["validation_loss"]) for epoch in told["history"]]


def run(command: Sequence[str], folder: Path, *ways: str) -> dict[str, Any]:
    out = folder / "out.json"
    call([*command, SCRIPT, str(folder / "tables"), str(out), *ways], environment())
    found: dict[str, Any] = json.loads(out.read_text())
    return found


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one process comes to."""
    found: dict[str, Any] = run([sys.executable], tmp_path_factory.mktemp("one"), "plain")["plain"]
    assert len(found["history"]) == 20
    assert found["history"][-1]["train_loss"] < 0.8 * found["history"][0]["train_loss"]
    return found


def test_train__two_workers_as_one_process_and_a_killed_rank_makes_no_difference(
    one: dict[str, Any], cluster: Cluster, tmp_path: Path
) -> None:
    many = run(cluster.submit, tmp_path, "plain", "killed")
    np.testing.assert_allclose(losses(many["plain"]), losses(one), rtol=1e-5)
    np.testing.assert_allclose(many["plain"]["scores"], one["scores"], rtol=1e-5)
    assert many["killed"]["killed"] == 1
    assert "a rank was lost; training goes on from its last checkpoint" in many["killed"]["said"]
    np.testing.assert_allclose(losses(many["killed"]), losses(many["plain"]), rtol=1e-12)
    np.testing.assert_allclose(many["killed"]["scores"], many["plain"]["scores"], rtol=1e-9)


@pytest.mark.slow
def test_train__the_next_job_goes_on_with_a_training_that_failed(
    one: dict[str, Any], tmp_path: Path
) -> None:
    dead = run([sys.executable], tmp_path, "dead")["dead"]
    assert dead["killed"] == 1
    assert "training failed on " in dead["said"]
    np.testing.assert_allclose(losses(dead), losses(one), rtol=1e-5)
    np.testing.assert_allclose(dead["scores"], one["scores"], rtol=1e-5)
