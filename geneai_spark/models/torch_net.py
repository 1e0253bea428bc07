"""A dense network in PyTorch: its files, what it sees of samples, what it says of them."""

from __future__ import annotations

import io
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from geneai_spark.features import dose_kernels
from geneai_spark.features.doses import Planes
from geneai_spark.models import inputs
from geneai_spark.models.covariates import Matrix
from geneai_spark.models.inputs import Inputs, Shard

Ints: TypeAlias = npt.NDArray[np.int64]

EVALUATED = 4096  # samples that are scored at once, at most
EVALUATED_BYTES = 256 << 20  # of their doses as numbers; on a GPU some five times that is in use


class Net(nn.Module):
    """Dense layers with ReLU and dropout, and one output: a logit, or the standardised trait."""

    def __init__(self, width: int, hidden: Sequence[int], dropout: float) -> None:
        super().__init__()
        sizes = [width, *hidden, 1]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
        self.dropout = dropout

    def forward(self, x: torch.Tensor, masks: Sequence[torch.Tensor] | None = None) -> torch.Tensor:
        """(m, width) -> (m,). Masks, (m, hidden) of 0 and 1, say what dropout keeps."""
        *inner, last = self.layers
        for i, layer in enumerate(inner):
            x = torch.relu(layer(x))
            if masks is not None and self.dropout:
                x = x * masks[i] / (1 - self.dropout)
        return last(x).squeeze(1)


def load(data: bytes) -> dict[str, Any]:
    """What :func:`dump` wrote: tensors and plain values; a file that asks for more is refused."""
    found: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return found


def dump(values: Mapping[str, Any]) -> bytes:
    """Tensors and plain values as bytes."""
    sink = io.BytesIO()
    torch.save(dict(values), sink)
    return sink.getvalue()


def rebuild(held: Mapping[str, Any]) -> Net:
    """The network of a stored model: its arguments, then its weights."""
    net = Net(**held["arguments"])
    net.load_state_dict(held["state_dict"])
    net.eval()
    return net


@torch.no_grad()
def predict(net: Net, shard: Shard, values: torch.Tensor, binary: bool) -> npt.NDArray[np.float64]:
    """Outputs of a shard's samples: probabilities, or standardised values, (m,).

    Args:
        values: from `Inputs.values`, (variants, 4), on the network's device.
    """
    made = []
    step = at_once(len(values))
    for first in range(0, len(shard.index), step):
        x = features(shard, slice(first, first + step), values)
        made.append(net(x).double().cpu())
    out = torch.cat(made) if made else torch.zeros(0, dtype=torch.float64)
    found: npt.NDArray[np.float64] = (torch.sigmoid(out) if binary else out).numpy()
    return found


def at_once(variants: int) -> int:
    """Samples whose doses are numbers at a time, where no gradient is kept."""
    return max(1, min(EVALUATED, EVALUATED_BYTES // (4 * variants)))


def features(shard: Shard, rows: Ints | slice, values: torch.Tensor) -> torch.Tensor:
    """What a network sees of some rows, on the device of ``values``: see `inputs.features`."""
    if values.device.type == "cpu":
        return torch.from_numpy(shard.features(rows, values.numpy()))
    x = unpack(torch.tensor(shard.planes[rows].view(np.uint8), device=values.device), values)
    if not shard.covariates.shape[1]:
        return x
    return torch.cat([x, torch.tensor(shard.covariates[rows], device=values.device)], dim=1)


def unpack(planes: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Standardised doses, made on a GPU: a genotype travels to it as two bits, not as four bytes.

    Args:
        planes: of samples, as bytes, (m, 2, 8 words).
        values: from `Inputs.values`, (variants, 4).

    Returns:
        (m, variants).
    """
    bits = torch.arange(8, dtype=torch.uint8, device=planes.device)
    low, high = ((planes.unsqueeze(3) >> bits) & 1).flatten(2)[:, :, : len(values)].unbind(1)
    first = torch.arange(len(values), device=planes.device) * 4
    return values.take(first + (low + 2 * high))


@torch.no_grad()
def score(model: bytes, wanted: Inputs, planes: Planes, z: Matrix) -> Matrix:
    """Probabilities of being a case, or the values predicted, of n samples.

    Args:
        model: ``trained_model.pth``.
        planes: of the wanted variants in their order, (variants, 2, words).
        z: standardised covariates, (n, covariates).
    """
    n, others = len(z), z.astype(np.float32)
    held = load(model)
    net, values = rebuild(held), wanted.values()
    turned = dose_kernels.transpose(np.ascontiguousarray(planes), n)
    out = np.empty(n)
    step = at_once(len(values))
    for first in range(0, n, step):
        some = slice(first, first + step)
        x = inputs.features(turned[some], values, others[some])
        made = net(torch.from_numpy(x)).double()
        out[some] = (torch.sigmoid(made) if held["binary"] else made).numpy()
    return np.asarray(out * held["spread"] + held["center"])
