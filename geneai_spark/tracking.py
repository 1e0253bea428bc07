"""Training runs in MLflow: settings, versions of tables, metrics, plots, and the model's files.

Without a server the runs are in a SQLite file beside the models; with one they go there by its URI.
The model directory stays what is loaded: MLflow's version points to a copy of it. No sample's id,
genotype or trait is told.
"""

from __future__ import annotations

import importlib.util
import io
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure

import geneai_spark
from geneai_spark import filesystems
from geneai_spark.errors import SetupError, TrackingError
from geneai_spark.registry import Version

EXPERIMENT = "geneai"
_LONGEST = 6000  # characters of a parameter


class Logged(NamedTuple):
    """Where a run is found.

    Attributes:
        run_id: MLflow's id of the run.
        version: MLflow's number of the registered model.
    """

    run_id: str
    version: int


def uri_of(wanted: str, models: str) -> str | None:
    """MLflow's URI; None for ``none``. ``auto`` is a SQLite file in the models' folder, where that
    is local and MLflow is installed.

    Raises:
        SetupError: a URI is given, and MLflow is not installed.
    """
    installed = importlib.util.find_spec("mlflow") is not None
    if wanted == "none":
        return None
    if wanted != "auto":
        if not installed:
            raise SetupError(f"mlflow={wanted} needs MLflow: make extra-mlflow")
        return wanted
    where = filesystems.locate(models)
    if where.scheme or not installed:
        return None
    return f"sqlite:///{Path(where.path).absolute()}/_mlflow/mlflow.db"


def is_there(uri: str) -> bool:
    """Whether a SQLite file is; a server is taken to be."""
    return not uri.startswith("sqlite:///") or Path(uri.removeprefix("sqlite:///")).is_file()


def log(
    uri: str,
    version: Version,
    *,
    parameters: Mapping[str, Any],
    tags: Mapping[str, str],
    metrics: Mapping[str, float],
    history: Sequence[Mapping[str, float]] = (),
    pictures: Mapping[str, bytes] | None = None,
) -> Logged:
    """Log a training run, and register its model's version.

    Args:
        uri: from :func:`uri_of`.
        version: of the model, stored already.
        parameters: settings of the job.
        tags: versions of the tables, and what else tells runs apart.
        metrics: those that are numbers.
        history: a row an epoch, with ``epoch`` and losses: metrics with steps.
        pictures: PNG files by name.

    Raises:
        TrackingError: MLflow does not take it. The model is stored all the same.
    """
    with _run(uri, f"{version.name}/{version.number}", parameters, tags, metrics, history) as one:
        client, run = one
        with tempfile.TemporaryDirectory(prefix="geneai-mlflow-") as folder:
            _copy(version, folder)
            if history:
                Path(folder, "losses.png").write_bytes(plot(history))
            for name, data in (pictures or {}).items():
                Path(folder, name).write_bytes(data)
            client.log_artifacts(run.run_id, folder, "model")
        if not client.search_registered_models(f"name = '{version.name}'"):
            client.create_registered_model(version.name)
        made = client.create_model_version(
            version.name,
            f"{run.artifact_uri}/model",
            run.run_id,
            tags={"directory": version.uri, "version": str(version.number)},
        )
        return Logged(run.run_id, int(made.version))


def log_evaluation(
    uri: str,
    name: str,
    *,
    parameters: Mapping[str, Any],
    tags: Mapping[str, str],
    metrics: Mapping[str, float],
    rows: str,
) -> str:
    """Log an evaluation; returns MLflow's id of the run.

    Args:
        uri: from :func:`uri_of`; the others as of :func:`log`.
        name: of the run.
        rows: all that was measured, for the file ``evaluations.tsv``.

    Raises:
        TrackingError: MLflow does not take it.
    """
    with _run(uri, name, parameters, tags, metrics) as (client, run):
        client.log_text(run.run_id, rows, "evaluations.tsv")
        return str(run.run_id)


@contextmanager
def _run(
    uri: str,
    name: str,
    parameters: Mapping[str, Any],
    tags: Mapping[str, str],
    metrics: Mapping[str, float],
    history: Sequence[Mapping[str, float]] = (),
) -> Iterator[tuple[Any, Any]]:
    """A run with settings and numbers, open for files: MLflow's client, and what it says of it."""
    client, entities = _client(uri)
    try:
        experiment = client.get_experiment_by_name(EXPERIMENT)
        if experiment is None:
            number = client.create_experiment(EXPERIMENT, artifact_location=_artifacts(uri))
        else:
            number = experiment.experiment_id
        run = client.create_run(number, run_name=name).info
        try:
            _tell(client, entities, run.run_id, parameters, tags, metrics, history)
            yield client, run
        except BaseException:
            client.set_terminated(run.run_id, "FAILED")
            raise
        client.set_terminated(run.run_id)
    except Exception as error:
        raise TrackingError(f"MLflow at {uri}: {str(error).splitlines()[0]}") from error


def promote(uri: str, version: Version, alias: str) -> None:
    """Have MLflow's alias point to the version, too, where MLflow knows it.

    Raises:
        TrackingError: MLflow does not take it.
    """
    client, _ = _client(uri)
    try:
        for known in client.search_model_versions(f"name = '{version.name}'"):
            if known.tags.get("version") == str(version.number):
                client.set_registered_model_alias(version.name, alias, str(known.version))
                return
    except Exception as error:
        raise TrackingError(f"MLflow at {uri}: {str(error).splitlines()[0]}") from error


def plot(history: Sequence[Mapping[str, float]]) -> bytes:
    """The losses by epoch, as PNG."""
    with matplotlib.rc_context({"svg.hashsalt": "geneai"}):
        figure = Figure(figsize=(6, 4))
        axes = figure.subplots()
        steps = [told["epoch"] for told in history]
        for name in sorted({key for told in history for key in told} - {"epoch"}):
            axes.plot(steps, [told.get(name, np.nan) for told in history], label=name)
        axes.set_xlabel("epoch")
        axes.set_ylabel("loss")
        axes.legend()
        sink = io.BytesIO()
        figure.savefig(sink, format="png")
    return sink.getvalue()


def _client(uri: str) -> tuple[Any, Any]:
    """MLflow's client, told to call nobody else and to be quiet."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    from mlflow import MlflowClient, entities

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    if uri.startswith("sqlite:///"):
        Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    return MlflowClient(uri, uri), entities


def _artifacts(uri: str) -> str | None:
    """Where runs' files go: beside a SQLite file; a server has its own place."""
    if not uri.startswith("sqlite:///"):
        return None
    return (Path(uri.removeprefix("sqlite:///")).parent / "artifacts").absolute().as_uri()


def _tell(
    client: Any,
    entities: Any,
    run: str,
    parameters: Mapping[str, Any],
    tags: Mapping[str, str],
    metrics: Mapping[str, float],
    history: Sequence[Mapping[str, float]],
) -> None:
    params = [entities.Param(k, _shown(v)) for k, v in sorted(parameters.items())]
    every = {**tags, "geneai_spark": geneai_spark.__version__}
    numbers = [entities.Metric(k, v, 0, 0) for k, v in metrics.items() if np.isfinite(v)]
    for told in history:
        step = int(told["epoch"])
        numbers += [entities.Metric(k, v, 0, step) for k, v in told.items() if k != "epoch"]
    told_tags = [entities.RunTag(k, v) for k, v in sorted(every.items())]
    client.log_batch(run, params=params, tags=told_tags)
    for first in range(0, len(numbers), 1000):  # as many as MLflow takes at once
        client.log_batch(run, metrics=numbers[first : first + 1000])


def _shown(value: Any) -> str:
    """A parameter as text; a condition on sample ids may name a person and is left out whole."""
    text = str(value)
    return "•••" if "sampleid" in text.lower() else text[:_LONGEST]


def _copy(version: Version, folder: str) -> None:
    start = len(filesystems.absolute(version.uri)) + 1
    for info in filesystems.walk(version.uri):
        target = Path(folder) / info.uri[start:]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(filesystems.read(info.uri))
