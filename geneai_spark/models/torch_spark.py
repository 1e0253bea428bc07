"""Ranks of a network on Spark: TorchDistributor started, watched, told of and started again.

TorchDistributor gives up when a rank does, and says what happened in many places or in none. Here
each rank leaves its error beside the checkpoints, so that the user is told one thing, and a
training that lost a rank goes on from the last checkpoint.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pyspark.sql import SparkSession

from geneai_spark import filesystems
from geneai_spark.errors import ModelError, SetupError
from geneai_spark.parquet_parts import Part

#: Files that ranks leave for each other, and for the driver.
CHECKPOINT, DONE, HISTORY, ERROR = "checkpoint.pt", "trained.pt", "history.json", "error-"
GPUS = "spark.task.resource.gpu.amount"
SSL = "pytorch.spark.distributor.ignoreSsl"
_INTERVAL = 0.5  # seconds between looks at the history
#: What a rank meets when another one is lost, or the network or storage fails in passing.
_PASSING = ("DistBackendError", "DistNetworkError", "DistStoreError", "StorageError")
_LOST = re.compile(r"gloo|nccl|connection (reset|closed|refused)", re.IGNORECASE)


@dataclass(frozen=True)
class Task:
    """All that a rank is told; plain values, which go to it as a pickle.

    Attributes:
        places: the files of the examples.
        equal: cohort and model, whose rows of ``examples`` are meant.
        values: from `Inputs.values`, (variants, 4).
        covariates: how many stand behind the doses.
        binary: whether the trait has two classes.
        folder: URI where ranks leave checkpoints, history and errors.
        identity: of this training: a checkpoint of another one is not gone on from.
        hidden: width of each hidden layer.
        batch: samples of a step, over all ranks.
        patience: epochs without a better validation loss before training stops; 0: never.
    """

    places: Sequence[Part]
    equal: Mapping[str, str]
    values: npt.NDArray[np.float32]
    binary: bool
    folder: str
    identity: str
    hidden: tuple[int, ...]
    dropout: float
    learning_rate: float
    weight_decay: float
    batch: int
    epochs: int
    patience: int
    seed: int
    covariates: int = 0


def train(spark: SparkSession, task: Task, ranks: int, retries: int) -> dict[str, Any]:
    """Have ranks train; what rank 0 wrote.

    Args:
        ranks: processes; 0: one a slot of the session or, in local mode, one a GPU if there is any.
        retries: how often training is started again after a rank was lost.

    Raises:
        SetupError: PyTorch is not installed.
        ModelError: training failed; tells the error of the rank that failed first.
    """
    if importlib.util.find_spec("torch") is None:
        raise SetupError("predictor=torch needs PyTorch: make extra-torch, also on the executors")
    from pyspark.ml.torch.distributor import TorchDistributor

    from geneai_spark.models import torch_net, torch_rank

    local = str(spark.sparkContext.master).split("[")[0] == "local"
    if local and 0 < torch_rank.gpus() < ranks:
        print(f"{ranks} ranks and {torch_rank.gpus()} GPUs: they train on CPUs", file=sys.stderr)
    ranks = ranks or _as_many_as_run(spark, torch_rank.gpus() if local else None)
    check(spark, ranks, local=local)
    gpu = not local and has_gpus(spark)
    for attempt in range(retries + 1):
        _clear(task.folder)
        try:
            with _watched(task), _quiet():
                distributor = TorchDistributor(ranks, local_mode=local, use_gpu=gpu)
                distributor.run(rank, task, gpu)
            break
        except Exception as error:
            told = _errors(task.folder)
            if attempt < retries and all(map(_is_passing, told.values())):
                held = "its last checkpoint" if _has_checkpoint(task) else "the beginning"
                print(f"a rank was lost; training goes on from {held}", file=sys.stderr)
                continue
            raise ModelError(_sentence(told, ranks, error)) from error
    made = torch_net.load(filesystems.read(f"{task.folder}/{DONE}"))
    if made["identity"] != task.identity:
        raise ModelError(f"{task.folder}: what lies there is of another training")
    return made


def rank(task: Task, gpu: bool) -> None:
    """Train as one of the ranks. PyTorch, seconds to import, is imported here: the worker of Spark
    that has torchrun start the rank is told of this function, too, and does without.

    Args:
        gpu: Spark has given the rank one.
    """
    from geneai_spark.models import torch_rank

    torch_rank.run(task, gpu=gpu)


def _as_many_as_run(spark: SparkSession, own: int | None) -> int:
    """Ranks where none are asked for: one a GPU of this machine, of which there are ``own`` (None:
    executors train), or one a slot.
    """
    many = slots_of(spark) if own is None else own
    return many or int(spark.sparkContext.defaultParallelism)


def check(spark: SparkSession, ranks: int, *, local: bool) -> None:
    """Refuse what TorchDistributor would refuse late, or wait for in vain.

    Raises:
        ModelError: encryption is asked for that ranks do not have; or there are too few slots.
    """
    if local:
        return
    conf = spark.sparkContext.getConf()
    if conf.get("spark.ssl.enabled", "false") == "true" and conf.get(SSL, "false") != "true":
        raise ModelError(
            "spark.ssl.enabled is true, and PyTorch's ranks send gradients in clear: train on a "
            f"network that you trust and set spark.{SSL}=true, or use predictor=gblup"
        )
    check_slots(spark, ranks)


def has_gpus(spark: SparkSession) -> bool:
    """Whether tasks of this session have GPUs.

    Raises:
        ModelError: not one each, which is what a rank takes.
    """
    amount = spark.conf.get(GPUS, "0")
    if amount not in ("", "0", "1"):
        raise ModelError(f"{GPUS}={amount}: a rank takes one GPU: set it to 1")
    return amount == "1"


def check_slots(spark: SparkSession, ranks: int) -> None:
    """Refuse more tasks than run at once: a barrier would wait for the others in vain.

    Raises:
        ModelError: there are too few slots.
    """
    slots = slots_of(spark)
    if slots is not None and ranks > slots:
        raise ModelError(f"ranks={ranks}, but the cluster runs {slots} tasks at once at most")


def slots_of(spark: SparkSession) -> int | None:
    """Tasks that run at once; None where executors come and go."""
    if spark.conf.get("spark.dynamicAllocation.enabled", "false") == "true":
        return None
    context = spark.sparkContext._jsc.sc()
    profile = context.resourceProfileManager().defaultResourceProfile()
    return int(context.maxNumConcurrentTasks(profile))


def _has_checkpoint(task: Task) -> bool:
    return filesystems.exists(f"{task.folder}/{CHECKPOINT}")


def _clear(folder: str) -> None:
    """Remove what an earlier attempt told; its checkpoint stays."""
    for info in filesystems.walk(folder):
        if not info.uri.endswith(f"/{CHECKPOINT}"):
            filesystems.remove(info.uri)


def _errors(folder: str) -> dict[int, tuple[str, str]]:
    """Rank -> kind and text of its error."""
    found = {}
    for info in filesystems.walk(folder):
        name = info.uri.rpartition("/")[2]
        if name.startswith(ERROR):
            told: Mapping[str, str] = json.loads(filesystems.read(info.uri))
            found[int(name[len(ERROR) : -len(".json")])] = told["kind"], told["text"]
    return found


def _is_passing(told: tuple[str, str]) -> bool:
    """Whether a rank's error says no more than that another one was lost."""
    kind, text = told
    last = text.rstrip().rpartition("\n")[2]
    return kind in _PASSING or (kind == "RuntimeError" and bool(_LOST.search(last)))


def _sentence(told: Mapping[int, tuple[str, str]], ranks: int, error: Exception) -> str:
    """One message: of the rank that failed for a reason of its own."""
    own = {r: t for r, t in told.items() if not _is_passing(t)} or dict(told)
    if not own:
        last = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        return f"training failed on {ranks} ranks; a process ended without a word: {last[0]}"
    rank, (_, text) = min(own.items())
    return f"training failed on rank {rank} of {ranks}:\n{text.rstrip()}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Ranks started from this machine use one thread each, and torchrun need not say so."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("OMP_NUM_THREADS", None)


@contextmanager
def _watched(task: Task) -> Iterator[None]:
    """On a terminal, a bar of the epochs with their losses."""
    if not sys.stderr.isatty():
        yield
        return
    done = threading.Event()
    watcher = threading.Thread(target=_watch, args=(task, done), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def _watch(task: Task, done: threading.Event) -> None:
    from tqdm import tqdm

    with tqdm(total=task.epochs, desc="epochs", leave=False, file=sys.stderr) as bar:
        while not done.wait(_INTERVAL):
            with contextlib.suppress(Exception):  # not there yet
                history = _history(task.folder)
                bar.n = len(history)
                bar.set_postfix({k: f"{v:.4f}" for k, v in history[-1].items() if k != "epoch"})


def _history(folder: str) -> Sequence[Mapping[str, float]]:
    told: Sequence[Mapping[str, float]] = json.loads(filesystems.read(f"{folder}/{HISTORY}"))
    return told
