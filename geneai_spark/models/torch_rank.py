"""A rank: a process that trains a network, by itself or with others to the same weights.

Each process (rank) holds its share of the samples. What a step learns from does not depend on how
many there are, nor on whether they have GPUs: the order of samples is drawn from seed and epoch for
all of them together, a rank takes those of the batch that it holds, dropout is a hash of a sample's
place, and gradients are sums over ranks divided by the batch's size. So the losses of one, two or
eight ranks differ by rounding alone. After each epoch rank 0 leaves a checkpoint, from which any
number of ranks goes on.
"""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from torch import nn

from geneai_spark import filesystems
from geneai_spark.errors import ModelError
from geneai_spark.models import inputs
from geneai_spark.models.inputs import Shard
from geneai_spark.models.torch_net import Net, at_once, dump, features, load, predict, rebuild
from geneai_spark.models.torch_spark import CHECKPOINT, DONE, ERROR, HISTORY, Task
from geneai_spark.parquet_parts import Part

Ints: TypeAlias = npt.NDArray[np.int64]


def run(task: Task, *, gpu: bool = False) -> None:
    """Train as one of the ranks that torchrun started; what TorchDistributor is given.

    Args:
        gpu: there must be one: else ranks that found theirs would wait for this one.

    Raises:
        Exception: as text also in the task's folder, where the driver finds it.
    """
    rank = int(os.environ.get("RANK", "0"))
    try:
        device = _device()
        if gpu and device.type == "cpu":
            raise ModelError("Spark gave the rank a GPU, which PyTorch there cannot use")
        with _group(device):
            _train(task, device, rank, int(os.environ.get("WORLD_SIZE", "1")))
    except BaseException as error:
        told = {"kind": type(error).__name__, "text": traceback.format_exc()}
        filesystems.write(f"{task.folder}/{ERROR}{rank}.json", json.dumps(told).encode())
        raise


def uniform(rows: torch.Tensor, width: int, start: int) -> torch.Tensor:
    """Numbers in [0, 1) that depend on row, column and ``start`` alone, not on the device.

    The output function of SplitMix64 (Steele, Lea and Flood 2014, doi:10.1145/2660193.2660195).

    Args:
        rows: numbers of the rows, (m,), int64.

    Returns:
        (m, width), 24 bits each.
    """
    x = start + rows[:, None] * width + torch.arange(width, device=rows.device)
    x = x * -7046029254386353131  # 0x9E3779B97F4A7C15; products are modulo 2^64
    x = (x ^ _shifted(x, 30)) * -4658895280553007687  # 0xBF58476D1CE4E5B9
    x = (x ^ _shifted(x, 27)) * -7723592293110705685  # 0x94D049BB133111EB
    return _shifted(x ^ _shifted(x, 31), 40).float() / 2**24


def _shifted(x: torch.Tensor, bits: int) -> torch.Tensor:
    """To the right, as if there was no sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def gpus() -> int:
    """GPUs that this process may use."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _device() -> torch.device:
    """The rank's own GPU where there is one for each rank of this machine, or its CPU."""
    if gpus() < int(os.environ.get("LOCAL_WORLD_SIZE", "1")):
        return torch.device("cpu")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    return device


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


@contextmanager
def _group(device: torch.device) -> Iterator[None]:
    if device.type == "cuda":
        dist.init_process_group("nccl", device_id=device)
    else:
        dist.init_process_group("gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def _train(task: Task, device: torch.device, rank: int, world: int) -> None:
    trainer = _Trainer(task, device, rank, world)
    trainer.resume()
    dist.barrier()
    while not trainer.finished:
        trainer.epoch()
        if rank == 0:
            trainer.save()
        dist.barrier()
    scores = trainer.scores()
    if rank == 0:
        best = trainer.best["state_dict"]
        filesystems.write(
            f"{task.folder}/{DONE}",
            dump(
                {
                    "identity": task.identity,
                    "binary": task.binary,
                    "device": _name(device),
                    "arguments": trainer.arguments,
                    "state_dict": best,
                    "center": trainer.center,
                    "spread": trainer.spread,
                    "history": trainer.history,
                    "scores": torch.from_numpy(scores),
                }
            ),
        )
    dist.barrier()


def _shard(places: Sequence[Part], task: Task) -> Shard:
    """The rank's samples; of more ranks than files some have none."""
    held = inputs.read(places, task.equal)
    if len(held.index):
        return held
    words = (len(task.values) + 63) // 64
    others = np.empty((0, task.covariates), np.float32)
    return replace(held, planes=np.empty((0, 2, words), np.uint64), covariates=others)


class _Trainer:
    """A rank's part in the training."""

    def __init__(self, task: Task, device: torch.device, rank: int, world: int) -> None:
        self.task, self.device, self.rank, self.world = task, device, rank, world
        places, everyone = inputs.ordered(task.places, task.equal)  # small columns of all files
        self.n = int(everyone.index.max()) + 1
        training = np.sort(everyone.index[everyone.split == "train"])
        known = everyone.label[everyone.split == "train"]
        self.center, self.spread = 0.0, 1.0
        if not task.binary:
            self.center, self.spread = float(np.mean(known)), float(np.std(known)) or 1.0
        self.samples = len(training)
        self.validated = int((everyone.split == "validation").sum())
        self.shard = _shard(places[rank::world], task)
        self.mine = np.full(self.samples, -1)  # row of the shard by place in `training`
        own = np.flatnonzero(self.shard.split == "train")
        self.mine[np.searchsorted(training, self.shard.index[own])] = own
        self.arguments: dict[str, Any] = {
            "width": len(task.values) + task.covariates,
            "hidden": list(task.hidden),
            "dropout": task.dropout,
        }
        self.values = torch.from_numpy(task.values).to(device)
        torch.manual_seed(task.seed)
        net = Net(**self.arguments).to(device)
        ids = [device.index] if device.type == "cuda" else None
        self.net = nn.parallel.DistributedDataParallel(net, device_ids=ids)
        self.optimizer = torch.optim.Adam(
            net.parameters(), lr=task.learning_rate, weight_decay=task.weight_decay
        )
        self.done = 0
        self.history: list[dict[str, float]] = []
        self.best: dict[str, Any] = {}

    @property
    def finished(self) -> bool:
        """All epochs are done, or the validation loss has not fallen for ``patience`` of them."""
        late = self.task.patience and self.done - self.best.get("epoch", 0) >= self.task.patience
        return self.done >= self.task.epochs or bool(late and self.validated)

    def resume(self) -> None:
        """Go on from the checkpoint of this training, if there is one."""
        uri = f"{self.task.folder}/{CHECKPOINT}"
        if not filesystems.exists(uri):
            return
        held = load(filesystems.read(uri))
        if held["identity"] == self.task.identity:
            self.net.module.load_state_dict(held["state_dict"])
            self.optimizer.load_state_dict(held["optimizer"])
            self.done, self.history, self.best = held["done"], held["history"], held["best"]

    def save(self) -> None:
        """Write the checkpoint, whole or not at all, and the history for those who watch."""
        held = {
            "identity": self.task.identity,
            "state_dict": self.net.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "done": self.done,
            "history": self.history,
            "best": self.best,
        }
        filesystems.write(f"{self.task.folder}/{CHECKPOINT}", dump(held))
        told = json.dumps(self.history).encode()
        filesystems.write(f"{self.task.folder}/{HISTORY}", told)

    def epoch(self) -> None:
        """Go through all training samples once, then look at the validation samples."""
        task = self.task
        order = np.random.default_rng([task.seed, self.done]).permutation(self.samples)
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        self.net.train()
        for step, first in enumerate(range(0, self.samples, task.batch)):
            places = order[first : first + task.batch]
            total += self._step(places, (self.done * 1_000_003 + step))
        losses = torch.stack([total, self._validation()])
        dist.all_reduce(losses)
        self.done += 1
        told = {"epoch": float(self.done), "train_loss": losses[0].item() / self.samples}
        if self.validated:
            told["validation_loss"] = losses[1].item() / self.validated
        self.history.append(told)
        loss = told.get("validation_loss", -float(self.done))  # without validation the last counts
        if not self.best or loss < self.best["loss"]:
            weights = {k: v.detach().cpu().clone() for k, v in self.net.module.state_dict().items()}
            self.best = {"epoch": self.done, "loss": loss, "state_dict": weights}

    def _step(self, places: Ints, number: int) -> torch.Tensor:
        """A step on the samples at these places of all; the loss of this rank's, summed."""
        rows = self.mine[places]
        own = np.flatnonzero(rows >= 0)
        x, y = self._batch(rows[own])
        masks = self._masks(own, number)
        loss = self._loss(self.net(x, masks), y)
        self.optimizer.zero_grad(set_to_none=True)
        mean = loss * (self.world / len(places))  # DDP takes the mean over ranks
        mean.backward()
        self.optimizer.step()
        return loss.detach()

    def _masks(self, own: Ints, number: int) -> Sequence[torch.Tensor]:
        """What dropout keeps of this rank's samples, which are at these places of the batch."""
        if not self.task.dropout:
            return ()
        start = np.random.default_rng([self.task.seed, number]).integers(2**62)
        drawn = uniform(torch.from_numpy(own).to(self.device), sum(self.task.hidden), int(start))
        kept = (drawn < 1 - self.task.dropout).float()
        masks: tuple[torch.Tensor, ...] = torch.split(kept, list(self.task.hidden), dim=1)
        return masks

    def _batch(self, rows: Ints) -> tuple[torch.Tensor, torch.Tensor]:
        y = (self.shard.label[rows] - self.center) / self.spread
        return features(self.shard, rows, self.values), torch.from_numpy(y).float().to(self.device)

    def _loss(self, out: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Summed over samples."""
        if self.task.binary:
            return nn.functional.binary_cross_entropy_with_logits(out, y, reduction="sum")
        return nn.functional.mse_loss(out, y, reduction="sum")

    @torch.no_grad()
    def _validation(self) -> torch.Tensor:
        self.net.eval()
        rows = np.flatnonzero(self.shard.split == "validation")
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        step = at_once(len(self.values))
        for first in range(0, len(rows), step):
            x, y = self._batch(rows[first : first + step])
            total += self._loss(self.net.module(x), y)
        return total

    def scores(self) -> npt.NDArray[np.float64]:
        """Of all samples, by the best weights, (n,): of rank 0 complete."""
        net = rebuild({"arguments": self.arguments, "state_dict": self.best["state_dict"]})
        out = torch.zeros(self.n, dtype=torch.float64)
        own = predict(net.to(self.device), self.shard, self.values, self.task.binary)
        out[torch.from_numpy(self.shard.index)] = torch.from_numpy(own)
        out = out.to(self.device)
        dist.all_reduce(out)
        made: npt.NDArray[np.float64] = out.cpu().numpy()
        return made * self.spread + self.center  # of two classes times 1, plus 0
