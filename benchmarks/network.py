"""A rank's training on a GPU, beside its CPU and beside plain PyTorch on the same GPU. No Spark.

python benchmarks/network.py [--points 20000x10000 20000x10000x4096-1024] [--only gpu plain loader]

A point is samples x variants, then the widths of the hidden layers. See README.md.
"""

from __future__ import annotations

import argparse
import gc
import os
import resource
import socket
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from pyspark.sql.pandas.types import to_arrow_schema

from geneai_spark import tables
from geneai_spark.features import dose_kernels, doses
from geneai_spark.models import torch_net, torch_rank
from geneai_spark.models.torch_spark import Task
from geneai_spark.parquet_parts import Part

POINTS = ("20000x10000", "100000x10000")
WHO = ("gpu", "cpu", "plain", "loader")
EQUAL = {"cohort": "bench", "model": "net"}
EPOCHS = 4
CAUSAL, H2, BATCH = 100, 0.5, 256
VALIDATION = 0.1
SEED = 3
Floats32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Point:
    """What is trained: samples, variants, widths of the hidden layers."""

    n: int
    m: int
    hidden: tuple[int, ...]

    @property
    def name(self) -> str:
        """As a table shows it."""
        return f"{self.n:,} x {self.m:,}, {'-'.join(map(str, self.hidden))}"


class Cost(NamedTuple):
    """Of an epoch: seconds, the fastest after the first; of the GPU, bytes; and the last loss."""

    first: float
    epoch: float
    cpu: float
    gpu_bytes: int
    loss: float


def point(text: str) -> Point:
    """20000x10000x128-64."""
    n, m, *hidden = text.split("x")
    return Point(int(n), int(m), tuple(map(int, hidden[0].split("-"))) if hidden else (128, 64))


def simulate(at: Point, folder: Path) -> tuple[Task, Callable[[slice], Floats32], Floats32]:
    """Genotypes in Hardy-Weinberg proportions as files of examples; the task of training on them;
    and for the others the same as numbers: standardised doses of some samples, and the trait.
    """
    rng = np.random.default_rng(SEED)
    p = rng.uniform(0.05, 0.5, at.m)
    scale = np.sqrt(2 * p * (1 - p))
    values = ((np.arange(4) - 2 * p[:, None]) / scale[:, None]).astype(np.float32)
    values[:, 3] = 0
    words = (at.m + 63) // 64
    packed = np.empty((at.n, 2, words), np.uint64)
    for first in range(0, at.n, 1000):
        drawn = rng.random((min(1000, at.n - first), at.m), np.float32)
        one, two = drawn < 1 - (1 - p) ** 2, drawn < p**2  # an ALT allele or more, two
        for plane, bits in enumerate((one & ~two, two)):
            padded = np.zeros((len(bits), words * 64), bool)
            padded[:, : at.m] = bits
            made = np.packbits(padded, axis=1, bitorder="little").view("<u8")
            packed[first : first + len(bits), plane] = made

    def dense(rows: slice) -> Floats32:
        own = packed[rows]
        out = np.empty((len(own), at.m), np.float32)
        dose_kernels.look_up_by_column(own, values, out)
        return out

    effects = rng.normal(0, 1, CAUSAL)
    genetic = np.concatenate(
        [dense(slice(first, first + 1000))[:, :CAUSAL] @ effects for first in range(0, at.n, 1000)]
    )
    trait = genetic / genetic.std() * np.sqrt(H2) + rng.normal(0, np.sqrt(1 - H2), at.n)
    trained = int(at.n * (1 - VALIDATION))
    split = np.array(["train"] * trained + ["validation"] * (at.n - trained), object)
    schema = to_arrow_schema(tables.EXAMPLES.schema)
    places = []
    for i, first in enumerate(range(0, at.n, 10_000)):
        own = slice(first, min(first + 10_000, at.n))
        rows = np.arange(own.start, own.stop, dtype=np.int32)
        columns = [
            *(pa.array([value] * len(rows)) for value in EQUAL.values()),
            pa.array(rows), pa.array(split[own]), pa.array(trait[own]),
            doses.binary(packed[own]), pa.array([b""] * len(rows), pa.binary()),
        ]  # fmt: skip
        pq.write_table(pa.Table.from_arrays(columns, schema=schema), folder / f"{i}.parquet")
        places.append(Part(str(folder / f"{i}.parquet"), None))
    task = Task(
        places=places, equal=EQUAL, values=values, binary=False, folder=str(folder / "ranks"),
        identity="bench", hidden=at.hidden, dropout=0.0, learning_rate=1e-3, weight_decay=0.0,
        batch=BATCH, epochs=1, patience=0, seed=SEED,
    )  # fmt: skip
    return task, dense, trait.astype(np.float32)


def seconds(epoch: Callable[[], float], epochs: int) -> Cost:
    """Time epochs, each until its loss is known."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    took, loss = [], 0.0
    for _ in range(epochs):
        start, used = time.perf_counter(), _cpu()
        loss = epoch()
        took.append((time.perf_counter() - start, _cpu() - used))
    best, cpu = min(took[1:])
    peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    return Cost(took[0][0], best, cpu, peak, loss)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def ours(task: Task, *, on_gpu: bool) -> Cost:
    """A rank: examples read from files, packed in memory, unpacked a batch at a time."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    os.environ |= {"RANK": "0", "WORLD_SIZE": "1"}
    device = torch_rank._device() if on_gpu else torch.device("cpu")
    with torch_rank._group(device):
        trainer = torch_rank._Trainer(task, device, 0, 1)

        def epoch() -> float:
            trainer.epoch()
            trainer.save()
            return trainer.history[-1]["train_loss"]

        return seconds(epoch, task.epochs)


def plain(task: Task, dense: Callable[[slice], Floats32], trait: Floats32, *, loaded: bool) -> Cost:
    """An ordinary loop in single precision.

    Args:
        loaded: doses are numbers in the machine's memory, and `torch.utils.data.DataLoader`, in
            this process, brings them to the GPU; else all of them lie there.
    """
    n = int(len(trait) * (1 - VALIDATION))
    mean, spread = trait[:n].mean(), trait[:n].std()
    x = torch.empty((n, len(task.values)), device="cpu" if loaded else "cuda")
    for first in range(0, n, 1000):
        own = slice(first, min(first + 1000, n))
        x[own] = torch.from_numpy(dense(own))
    y = torch.from_numpy((trait[:n] - mean) / spread).to(x.device)
    torch.manual_seed(SEED)
    net = torch_net.Net(len(task.values), task.hidden, 0.0).to("cuda")
    adam = torch.optim.Adam(net.parameters(), lr=task.learning_rate)
    data = torch.utils.data.TensorDataset(x, y)
    loader = torch.utils.data.DataLoader(data, task.batch, shuffle=True, pin_memory=True)

    def epoch() -> float:
        total = torch.zeros((), device="cuda")
        order = torch.randperm(n, device=x.device).split(task.batch)
        for a, b in loader if loaded else ((x[rows], y[rows]) for rows in order):
            a, b = a.to("cuda", non_blocking=True), b.to("cuda", non_blocking=True)
            loss = torch.nn.functional.mse_loss(net(a), b)
            adam.zero_grad(set_to_none=True)
            loss.backward()
            adam.step()
            total += loss.detach() * len(b)
        return total.item() / n

    return seconds(epoch, EPOCHS)


def main() -> None:
    """Print a table for each point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", nargs="+", type=point, default=[point(p) for p in POINTS])
    parser.add_argument("--only", nargs="+", choices=WHO, default=WHO)
    given = parser.parse_args()
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    print(f"{name}; PyTorch {torch.__version__}; {torch.get_num_threads()} threads")
    only = [who for who in given.only if who == "cpu" or torch.cuda.is_available()]
    for at in given.points:
        with tempfile.TemporaryDirectory() as folder:
            compare(at, Path(folder), only)


def compare(at: Point, folder: Path, only: Sequence[str]) -> None:
    """Train in each way, and print what an epoch costs."""
    task, dense, trait = simulate(at, folder)
    print(f"\n{at.name}: batches of {BATCH}")
    print(f"{'who':8}{'first s':>9}{'epoch s':>9}{'CPU s':>8}{'GPU GB':>8}{'loss':>8}{'ratio':>8}")
    base = None
    for who in only:
        if who in ("gpu", "cpu"):
            cost = ours(replace(task, epochs=EPOCHS), on_gpu=who == "gpu")
        else:
            cost = plain(task, dense, trait, loaded=who == "loader")
        base = base or cost.epoch
        print(
            f"{who:8}{cost.first:9.2f}{cost.epoch:9.3f}{cost.cpu:8.2f}{cost.gpu_bytes / 1e9:8.2f}"
            f"{cost.loss:8.4f}{cost.epoch / base:8.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
