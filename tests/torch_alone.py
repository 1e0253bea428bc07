"""A network trained in this process, as its only rank: neither TorchDistributor nor torchrun."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from geneai_spark import filesystems
from geneai_spark.models import torch_net, torch_rank, torch_spark
from tests.servers.processes import HOST, free_ports


@contextmanager
def in_this_process(*, gpu: bool = False) -> Iterator[None]:
    """Within it `prediction.train` starts no other process, and has a GPU only if told so."""
    with pytest.MonkeyPatch.context() as patch:
        (port,) = free_ports(1)
        for name, value in {
            "MASTER_ADDR": HOST,
            "MASTER_PORT": str(port),
            "RANK": "0",
            "WORLD_SIZE": "1",
        }.items():
            patch.setenv(name, value)
        patch.setattr(torch_spark, "train", _train)
        if not gpu:
            patch.setattr(torch_rank, "gpus", lambda: 0)
        yield


def _train(spark: Any, task: torch_spark.Task, ranks: int, retries: int) -> dict[str, Any]:
    return run(task)


def run(task: torch_spark.Task) -> dict[str, Any]:
    """What the only rank leaves."""
    torch_rank.run(task)
    return torch_net.load(filesystems.read(f"{task.folder}/{torch_spark.DONE}"))
