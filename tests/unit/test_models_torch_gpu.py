"""The network on a GPU comes to what the CPU does; and what is made there, on either."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

torch = pytest.importorskip("torch", reason="no PyTorch: make extra-torch", exc_type=ImportError)

from pyspark.sql.pandas.types import to_arrow_schema  # noqa: E402

from geneai_spark import tables  # noqa: E402
from geneai_spark.errors import ModelError  # noqa: E402
from geneai_spark.features import doses as packing  # noqa: E402
from geneai_spark.models import inputs, torch_net, torch_rank  # noqa: E402
from geneai_spark.models.torch_spark import ERROR, Task  # noqa: E402
from geneai_spark.parquet_parts import Part  # noqa: E402
from tests import torch_alone  # noqa: E402

N, M, COVARIATES = 1000, 150, 2  # of variants no multiple of 64
EQUAL = {"cohort": "c", "model": "net"}
gpu = pytest.mark.skipif(not torch_rank.gpus(), reason="no GPU that PyTorch can use")
devices = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=gpu)])


def planes(rng: np.random.Generator, n: int) -> packing.Planes:
    """Genotypes of n samples at random, every fourth missing."""
    made: packing.Planes = rng.integers(0, 2**64, (n, 2, (M + 63) // 64), np.uint64)
    return made


def task(folder: Path, **changes: Any) -> Task:
    """Two files of examples, whose trait is the sum of three variants; and a training on them."""
    rng = np.random.default_rng(6)
    held, others = planes(rng, N), rng.normal(0, 1, (N, COVARIATES)).astype("<f4")
    values = rng.normal(0, 1, (M, 4)).astype(np.float32)
    values[:, 3] = 0
    label = inputs.features(held, values, others)[:, :3].sum(axis=1) + rng.normal(0, 1, N)
    if changes.get("binary"):
        label = (label > 0).astype(float)
    splits = np.array([*["train"] * 700, *["validation"] * 200, *["test"] * 100], object)
    folder.mkdir()
    for name, own in (("a", slice(0, 600)), ("b", slice(600, N))):
        rows = np.arange(N, dtype=np.int32)[own]
        columns = [
            *(pa.array([value] * len(rows)) for value in EQUAL.values()),
            pa.array(rows), pa.array(splits[own]), pa.array(label[own]),
            packing.binary(held[own]), pa.array([row.tobytes() for row in others[own]]),
        ]  # fmt: skip
        schema = to_arrow_schema(tables.EXAMPLES.schema)
        pq.write_table(pa.Table.from_arrays(columns, schema=schema), folder / name)
    made = Task(
        places=[Part(str(folder / name), None) for name in "ab"], equal=EQUAL, values=values,
        binary=False, folder=str(folder / "ranks"), identity="one", hidden=(32, 16), dropout=0.3,
        learning_rate=1e-3, weight_decay=1e-4, batch=64, epochs=4, patience=0, seed=1,
        covariates=COVARIATES,
    )  # fmt: skip
    return dataclasses.replace(made, **changes)


def ran(task: Task, *, gpu: bool, name: str = "ranks") -> dict[str, Any]:
    """What one rank comes to, in this process."""
    own = dataclasses.replace(task, folder=f"{task.folder}-{name}")
    with torch_alone.in_this_process(gpu=gpu):
        made = torch_alone.run(own)
    assert (made["device"] == "CPU") is not gpu
    return made


def losses(told: dict[str, Any]) -> list[tuple[float, float]]:
    return [(one["train_loss"], one["validation_loss"]) for one in told["history"]]


@devices
def test_unpack__as_the_kernel(device: str) -> None:
    rng = np.random.default_rng(5)
    held, values = planes(rng, 70), rng.normal(0, 1, (M, 4)).astype(np.float32)
    expected = inputs.features(held, values, np.empty((70, 0), np.float32))
    given = torch.tensor(held.view(np.uint8), device=device)
    found = torch_net.unpack(given, torch.tensor(values, device=device))
    assert found.dtype == torch.float32 and found.is_contiguous()
    np.testing.assert_array_equal(found.cpu().numpy(), expected)


@devices
def test_features__of_a_rank_without_samples(tmp_path: Path, device: str) -> None:
    given = task(tmp_path / "examples")
    values = torch.tensor(given.values, device=device)
    for places, rows in (((), 0), (given.places, 10)):
        shard = torch_rank._shard(places, given)
        found = torch_net.features(shard, slice(0, 10), values)
        assert found.shape == (rows, M + COVARIATES) and found.device.type == device


def test_run__a_gpu_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    given = task(tmp_path / "examples")
    with torch_alone.in_this_process(), pytest.raises(ModelError, match="PyTorch there cannot use"):
        torch_rank.run(given, gpu=True)
    assert Path(given.folder, f"{ERROR}0.json").exists()


def splitmix(start: int, number: int) -> list[int]:
    """Outputs of the generator, by the paper's algorithm in Python's integers."""
    found, word = [], 2**64 - 1
    for i in range(start, start + number):
        z = i * 0x9E3779B97F4A7C15 & word
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & word
        z = (z ^ z >> 27) * 0x94D049BB133111EB & word
        found.append(z ^ z >> 31)
    return found


@devices
def test_uniform__is_splitmix64_by_row_and_column(device: str) -> None:
    # The first numbers from seed 0, as published with the generator.
    assert splitmix(1, 3) == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    for start in (1, 2**61 + 12345):
        rows = torch.tensor([4, 0, 2], device=device)
        found = torch_rank.uniform(rows, 7, start).cpu().numpy()
        expected = np.array(splitmix(start, 35), np.uint64).reshape(5, 7)[[4, 0, 2]]
        np.testing.assert_array_equal(found, (expected >> np.uint64(40)) / 2**24)
    many = torch_rank.uniform(torch.arange(2000, device=device), 50, 9).cpu().numpy()
    assert many.min() >= 0 and many.max() < 1
    assert abs(many.mean() - 0.5) < 5 / np.sqrt(12 * many.size)
    assert abs(np.corrcoef(many[:-1].ravel(), many[1:].ravel())[0, 1]) < 5 / np.sqrt(many.size)


@gpu
@pytest.mark.parametrize("binary", [False, True], ids=["a number", "two classes"])
def test_run__a_gpu_comes_to_what_the_cpu_does(tmp_path: Path, binary: bool) -> None:
    given = task(tmp_path / "examples", binary=binary)
    cpu, other = ran(given, gpu=False), ran(given, gpu=True, name="gpu")
    np.testing.assert_allclose(losses(other), losses(cpu), rtol=1e-4)
    np.testing.assert_allclose(other["scores"], cpu["scores"], rtol=1e-3, atol=1e-4)


@gpu
def test_run__goes_on_with_and_without_a_gpu(tmp_path: Path) -> None:
    given = task(tmp_path / "examples")
    whole = ran(given, gpu=False, name="whole")
    for first in (False, True):
        half = ran(dataclasses.replace(given, epochs=2), gpu=first, name=str(first))
        both = ran(given, gpu=not first, name=str(first))
        assert len(half["history"]) == 2 and both["history"][:2] == half["history"]
        np.testing.assert_allclose(losses(both), losses(whole), rtol=1e-4)
