"""A dense network in Keras, on TensorFlow or on PyTorch, each in a process of its own.

The two libraries abort in one process, and Keras takes its backend from the environment before it
is imported: so this module is run as a program, ``python -m geneai_spark.models.keras_net``, that
is told what to do by files in a folder, and the functions here that others call start it.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from geneai_spark.errors import InputError, ModelError, SetupError
from geneai_spark.features import dose_kernels
from geneai_spark.features.doses import Planes
from geneai_spark.models import inputs
from geneai_spark.models.covariates import Matrix
from geneai_spark.models.inputs import Inputs
from geneai_spark.parquet_parts import Part

BACKENDS = {"tensorflow": "tensorflow", "torch": "torch"}  # Keras' name -> package
FORMATS = ("keras", "h5")
MAX_BYTES = 4 << 30  # of standardised doses, which Keras takes at once
TASK, MODEL, SCORES, HISTORY = "task.json", "model.", "scores.npy", "history.json"
FEATURES = ("planes", "values", "covariates")
_LAST = 20  # lines of an error that are told


@dataclass(frozen=True)
class Task:
    """What a network is trained on, and how. See `torch_spark.Task`.

    Attributes:
        places: the files of the examples.
        equal: cohort and model, whose rows of ``examples`` are meant.
        suffix: form of the stored network: ``keras`` or ``h5``.
    """

    places: Sequence[Part]
    equal: Mapping[str, str]
    binary: bool
    suffix: str
    hidden: tuple[int, ...]
    dropout: float
    learning_rate: float
    batch: int
    epochs: int
    patience: int
    seed: int


@dataclass(frozen=True)
class Trained:
    """What came of a training.

    Attributes:
        model: the stored network.
        scores: of all samples, probabilities or values, (n,).
        history: a row an epoch: ``epoch``, ``train_loss``, ``validation_loss``.
        center: subtracted from a trait that is a number.
        spread: by which it was divided.
    """

    model: bytes
    scores: npt.NDArray[np.float64]
    history: list[dict[str, float]]
    center: float
    spread: float


def train(task: Task, values: npt.NDArray[np.float32], backend: str) -> Trained:
    """Train in a process of its own.

    Args:
        values: from `Inputs.values`, (variants, 4).
        backend: ``tensorflow`` or ``torch``.

    Raises:
        SetupError: Keras or its backend is not installed.
        InputError: more doses than Keras can take at once.
        ModelError: training failed; tells the end of its error.
    """
    with tempfile.TemporaryDirectory(prefix="geneai-keras-") as folder:
        home = Path(folder)
        (home / TASK).write_text(json.dumps(asdict(task)))
        np.save(home / "values.npy", values)
        _call("train", home, backend)
        told = json.loads((home / HISTORY).read_text())
        return Trained(
            (home / f"{MODEL}{task.suffix}").read_bytes(),
            np.load(home / SCORES),
            told["history"],
            told["center"],
            told["spread"],
        )


def score(
    model: bytes,
    suffix: str,
    wanted: Inputs,
    planes: Planes,
    z: Matrix,
    *,
    backend: str,
    center: float,
    spread: float,
) -> npt.NDArray[np.float64]:
    """Probabilities of being a case, or the values predicted, of n samples.

    Args:
        model: ``trained_model.keras`` or ``.h5``.
        planes: of the wanted variants in their order, (variants, 2, words).
        z: standardised covariates, (n, covariates).
        backend: any: it need not be the one that trained.
        center: of the trait in training.
        spread: of the trait in training.
    """
    with tempfile.TemporaryDirectory(prefix="geneai-keras-") as folder:
        home = Path(folder)
        (home / f"{MODEL}{suffix}").write_bytes(model)
        np.save(home / "values.npy", wanted.values())
        np.save(home / "planes.npy", dose_kernels.transpose(np.ascontiguousarray(planes), len(z)))
        np.save(home / "covariates.npy", z.astype(np.float32))
        _call("score", home, backend)
        scores: npt.NDArray[np.float64] = np.load(home / SCORES) * spread + center
        return scores


def installed(wanted: str) -> str:
    """The backend, or where that is not installed the other one.

    Raises:
        SetupError: none of them is, or Keras is not.
    """
    found = [name for name in (wanted, *BACKENDS) if importlib.util.find_spec(BACKENDS[name])]
    if importlib.util.find_spec("keras") is None or not found:
        raise SetupError("predictor=keras needs Keras and TensorFlow: make extra-tensorflow")
    return found[0]


def _call(action: str, folder: Path, backend: str) -> None:
    told = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "2"}
    command = [sys.executable, "-m", __name__, action, str(folder)]
    done = subprocess.run(command, env=told, capture_output=True, text=True, check=False)
    if done.returncode:
        if (folder / "refused").is_file():
            raise InputError((folder / "refused").read_text())
        last = "\n".join(done.stderr.strip().splitlines()[-_LAST:])
        raise ModelError(f"Keras on {backend} failed:\n{last}")


# ---------------------------------------------------------------- in the process of its own


def _build(task: Mapping[str, Any], width: int) -> Any:
    """The seed project's network: dense layers with ReLU, dropout after the first ones."""
    import keras

    layers: list[Any] = [keras.Input((width,))]
    for i, size in enumerate(task["hidden"]):
        layers.append(keras.layers.Dense(size, activation="relu"))
        if i < len(task["hidden"]) - 1 and task["dropout"]:
            layers.append(keras.layers.Dropout(task["dropout"]))
    layers.append(keras.layers.Dense(1, activation="sigmoid" if task["binary"] else None))
    net = keras.Sequential(layers)
    loss = keras.losses.BinaryCrossentropy() if task["binary"] else keras.losses.MeanSquaredError()
    net.compile(keras.optimizers.Adam(task["learning_rate"]), loss)
    return net


def _train(home: Path) -> None:
    import keras

    task = json.loads((home / TASK).read_text())
    values = np.load(home / "values.npy")
    places = [Part(uri, groups and tuple(groups)) for uri, groups in task["places"]]
    held = inputs.read(places, task["equal"])
    if 4 * len(held.index) * len(values) > MAX_BYTES:
        (home / "refused").write_text(
            f"{len(held.index):,} samples x {len(values):,} variants: predictor=keras takes "
            f"{MAX_BYTES >> 30} GiB of doses at most: lower max_inputs, or predictor=torch"
        )
        sys.exit(1)
    keras.utils.set_random_seed(task["seed"])
    if keras.backend.backend() == "tensorflow":
        import tensorflow

        tensorflow.config.experimental.enable_op_determinism()
    x = held.features(slice(None), values)
    training, validation = (held.split == name for name in ("train", "validation"))
    center, spread = 0.0, 1.0
    if not task["binary"]:
        known = held.label[training]
        center, spread = float(known.mean()), float(known.std()) or 1.0
    y = ((held.label - center) / spread).astype(np.float32)
    net = _build(task, x.shape[1])
    stop = []
    if validation.any() and task["patience"]:
        stop = [keras.callbacks.EarlyStopping(patience=task["patience"], restore_best_weights=True)]
    fitted = net.fit(
        x[training],
        y[training],
        batch_size=task["batch"],
        epochs=task["epochs"],
        validation_data=(x[validation], y[validation]) if validation.any() else None,
        callbacks=stop,
        verbose=0,
    ).history
    net.save(home / f"{MODEL}{task['suffix']}")
    names = {"loss": "train_loss", "val_loss": "validation_loss"}
    history = [
        {"epoch": float(i + 1), **{names[k]: float(v[i]) for k, v in fitted.items()}}
        for i in range(len(fitted["loss"]))
    ]
    told = {"history": history, "center": center, "spread": spread}
    (home / HISTORY).write_text(json.dumps(told))
    scores = np.empty(len(x))
    scores[held.index] = _predict(net, x) * spread + center
    np.save(home / SCORES, scores)


def _score(home: Path) -> None:
    import keras

    (file,) = home.glob(f"{MODEL}*")
    net = keras.saving.load_model(file, compile=False, safe_mode=True)
    x = inputs.features(*(np.load(home / f"{name}.npy") for name in FEATURES))
    np.save(home / SCORES, _predict(net, x))


def _predict(net: Any, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    found: npt.NDArray[np.float64] = net.predict(x, verbose=0)[:, 0].astype(np.float64)
    return found


if __name__ == "__main__":
    {"train": _train, "score": _score}[sys.argv[1]](Path(sys.argv[2]))
