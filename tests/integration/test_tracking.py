"""Runs in MLflow: a SQLite file beside the models, and a real tracking server."""

from __future__ import annotations

import importlib.util
import os
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from geneai_spark import registry, tracking
from geneai_spark.errors import SetupError, TrackingError
from geneai_spark.models.directory import Contents
from geneai_spark.registry import Version
from tests.servers.processes import HOST, free_ports, running, wait_for

if importlib.util.find_spec("mlflow") is None:
    pytest.skip("no MLflow: make extra-mlflow", allow_module_level=True)

# MLflow and SQLAlchemy leave connections to the collector.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")

HISTORY = [{"epoch": 1.0, "train_loss": 0.9}, {"epoch": 2.0, "train_loss": 0.5}]


def model(models: Path) -> Version:
    held = {"family": "genomic_prediction", "metrics": {"test_r2": 0.3}}
    contents = Contents(b"weights", "pth", held, "R2 0.3\n", {"model_card.md": "# Card\n"})
    return registry.add(str(models), "net", contents)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("mlflow")
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{folder}/server.db", "--workers", "1"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    told = {"MLFLOW_DISABLE_TELEMETRY": "true", "PATH": os.environ["PATH"]}
    told["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # seven processes that nobody asks
    log = folder / "log"
    with running(command, log, told) as process:

        def ready() -> bool:
            with urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=5) as answer:
                return bool(answer.status == 200)

        wait_for(ready, process, log)
        yield f"http://{HOST}:{port}"


@pytest.mark.parametrize("where", ["sqlite", "server"])
def test_log__as_mlflow_gives_it_back(
    where: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    uri = tracking.uri_of("auto", str(tmp_path / "models"))
    assert uri == f"sqlite:///{tmp_path}/models/_mlflow/mlflow.db"
    assert not tracking.is_there(uri)
    if where == "server":
        uri = tracking.uri_of(request.getfixturevalue("server"), str(tmp_path / "models"))
    assert uri is not None
    made = [model(tmp_path / "models") for _ in range(2)]
    for version in made:
        logged = tracking.log(
            uri,
            version,
            parameters={
                "trait": "height",
                "keep_samples": "NOT sampleId IN ('NA12878')",
                "storage": {"s3": {"file": "***"}},
            },
            tags={"table.variants": "7"},
            metrics={"test_r2": 0.3, "test_pearson_r": float("nan")},
            history=HISTORY,
            pictures={"roc.png": b"picture"},
        )
    tracking.promote(uri, made[0], "champion")
    assert tracking.is_there(uri)

    from mlflow import MlflowClient

    client = MlflowClient(uri, uri)  # as anybody who looks
    run = client.get_run(logged.run_id)
    assert (run.info.run_name, run.info.status) == ("net/2", "FINISHED")
    assert run.data.params["trait"] == "height"
    assert run.data.params["keep_samples"] == "•••"  # who is left out is nobody's business
    assert run.data.tags["table.variants"] == "7"
    assert run.data.metrics == {"test_r2": 0.3, "train_loss": 0.5}
    losses = client.get_metric_history(logged.run_id, "train_loss")
    assert [(one.step, one.value) for one in losses] == [(1, 0.9), (2, 0.5)]
    names = {info.path for info in client.list_artifacts(logged.run_id, "model")}
    assert {
        "model/trained_model.pth",
        "model/losses.png",
        "model/roc.png",
        "model/documentation",
    } <= names
    champion = client.get_model_version_by_alias("net", "champion")
    assert champion.tags["version"] == "1"
    fetched = client.download_artifacts(logged.run_id, "model", str(tmp_path))
    assert Path(fetched, "trained_model.pth").read_bytes() == b"weights"
    # The registry of directories does not take MLflow's files for models.
    assert [v.number for v in registry.versions(str(tmp_path / "models"))] == [1, 2]


def test_log__a_server_that_is_not_there_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    version = model(tmp_path)
    (port,) = free_ports(1)
    with pytest.raises(TrackingError, match=f"MLflow at http://{HOST}:{port}"):
        tracking.log(f"http://{HOST}:{port}", version, parameters={}, tags={}, metrics={})
    assert registry.load(version).model == b"weights"


def test_uri_of__none_and_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tracking.uri_of("none", "models") is None
    assert tracking.uri_of("auto", "s3://bucket/models") is None
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert tracking.uri_of("auto", "models") is None
    with pytest.raises(SetupError, match="make extra-mlflow"):
        tracking.uri_of("http://here", "models")
