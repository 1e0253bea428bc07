"""Variants that tell of the same place, put together: what a ranking of variants is read as."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from geneai_spark.features.doses import Planes
from geneai_spark.models import forest_kernels as kernels
from geneai_spark.models.family import KEYS
from geneai_spark.models.forest import bits

MOST = 2_000  # variants that are looked at, the most important ones


class Locus(NamedTuple):
    """A lead variant and those that go with it.

    Attributes:
        lead: number of the most important variant.
        members: numbers of its variants, the lead among them, ascending.
        importance: of the lead; total: of all of them.
    """

    lead: int
    members: npt.NDArray[np.int64]
    importance: float
    total: float


def strongest(importance: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Numbers, ascending, of the variants that :func:`clump` looks at: ``MOST`` above zero."""
    order = np.argsort(-importance, kind="stable")[:MOST]
    return np.sort(order[importance[order] > 0])


def clump(
    keys: pa.Table,
    importance: npt.NDArray[np.float64],
    variants: npt.NDArray[np.int64],
    planes: Planes,
    samples: npt.NDArray[np.int64],
    *,
    window: int = 500_000,
    r2: float = 0.1,
) -> list[Locus]:
    """Put variants into loci, the most important one first.

    The most important variant leads a locus and takes those within ``window`` bases that correlate
    with it; of the rest the most important leads the next.

    Args:
        keys: ``contigName`` and ``start`` of all variants, in their order.
        importance: of all variants.
        variants: numbers of those looked at, ascending; see :func:`strongest`.
        planes: of these, nothing missing, (variants, 2, words).
        samples: positions of those whose doses are compared.
        window: bases to either side of the lead.
        r2: least squared correlation of the doses with the lead's, 0..1.
    """
    contigs = keys.column("contigName").to_numpy(zero_copy_only=False)[variants]
    starts = keys.column("start").to_numpy()[variants]
    counted = bits(samples, planes.shape[2])
    left = np.ones(len(variants), np.bool_)
    found = []
    for i in np.argsort(-importance[variants], kind="stable"):
        if not left[i]:
            continue
        near = np.flatnonzero(
            left & (contigs == contigs[i]) & (np.abs(starts - starts[i]) <= window)
        )
        same = np.empty(len(near))
        kernels.correlate(planes[i], planes[near], counted, same)
        own = near[(same >= r2) | (near == i)]
        left[own] = False
        members = variants[own]
        total = float(importance[members].sum())
        found.append(Locus(int(variants[i]), members, float(importance[variants[i]]), total))
    return found


def ranked(
    keys: pa.Table,
    importance: npt.NDArray[np.float64],
    splits: npt.NDArray[np.int64],
    places: list[Locus],
    used: npt.NDArray[np.bool_],
    p: npt.NDArray[np.float64] | None = None,
    q: npt.NDArray[np.float64] | None = None,
) -> pa.Table:
    """Rows of ``variant_importances``: variants that a model looks at, the most important first.

    Args:
        keys: names of all variants.
        importance: of all of them; so ``splits``, ``used``, ``p`` and false-discovery rates ``q``.
        places: from :func:`clump`.
    """
    rows = np.flatnonzero(used)
    rows = rows[np.argsort(-importance[rows], kind="stable")]
    place, leads = np.zeros(len(keys), np.int32), np.zeros(len(keys), np.bool_)
    for number, locus in enumerate(places, 1):
        place[locus.members] = number
        leads[locus.lead] = True
    nothing = np.full(len(keys), np.nan)
    p, q = nothing if p is None else p, nothing if q is None else q
    table = keys.select([*KEYS, "sourceId"]).take(pa.array(rows))
    more = {
        "importance": pa.array(importance[rows]),
        "splits": pa.array(splits[rows].astype(np.int32)),
        "pValue": pa.array(p[rows], from_pandas=True),
        "falseDiscoveryRate": pa.array(q[rows], from_pandas=True),
        "rank": pa.array(np.arange(1, len(rows) + 1, dtype=np.int32)),
        "locus": pa.array(place[rows], mask=place[rows] == 0),
        "isLead": pa.array(leads[rows]),
    }
    for name, column in more.items():
        table = table.append_column(name, column)
    return table
