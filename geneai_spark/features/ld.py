"""Pruning by linkage disequilibrium: variants of which no two near ones tell the same.

As ``plink2 --indep-pairwise`` intends, of two variants within the window whose squared
correlation of doses exceeds the threshold only one stays, the one of higher minor allele
frequency. Ours takes variants in that order (ties by position and alleles) and keeps one unless
a kept one near it correlates, so the result depends on the data alone, not on how rows are
spread: each contig is cut into bins of two windows that are pruned side by side, and what stays
is pruned again in bins shifted by one window. Two positions at most a window apart share a bin
of the first cut or of the second, so no pair is overlooked.

Correlations are over the samples called in both variants, as plink2's. Going from left to right,
plink2 also drops variants for the sake of ones that it drops later, so it keeps fewer (260 where
ours are 336, on five regions of 1000 Genomes): here each dropped variant has a better kept one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from geneai_spark.errors import InputError
from geneai_spark.features import dose_kernels as kernels
from geneai_spark.features import doses as packing

PLACE = [
    (name, "ascending") for name in ("start", "referenceAllele", "alternateAllele", "sourceId")
]
BIN_BYTES = 1 << 30  # of doses that one worker may hold


def prune(doses: DataFrame, n: int, *, window: int = 500_000, r2: float = 0.2) -> DataFrame:
    """Keep variants of which no two within ``window`` correlate more than ``r2``.

    Variants that do not vary are dropped too.

    Args:
        doses: from ``doses.pack``, of one cohort; read twice, so better held.
        n: samples.
        window: distance in bases up to which variants are compared.
        r2: largest squared correlation that two kept variants may have, 0..1.

    Returns:
        The rows of ``doses`` that stay.

    Raises:
        InputError: a bin of two windows holds more than a worker can: a narrower window, or
            a higher minor allele frequency, is asked for.
    """
    if window < 1 or not 0 <= r2 <= 1:
        raise InputError(f"window {window}, r2 {r2}: expected at least 1, and 0 to 1")
    fullest = doses.groupBy("contigName", _bin(window, 0)).count().agg(F.max("count")).first()
    size = 16 * ((n + 63) // 64)
    if fullest is not None and (fullest[0] or 0) * size > BIN_BYTES:
        raise InputError(
            f"window {window:,}: {fullest[0]:,} variants within twice of it, {size:,} bytes each, "
            f"more than {BIN_BYTES:,} bytes: take a narrower window or a higher min_frequency"
        )

    def pruned(table: pa.Table) -> pa.Table:
        return table.filter(pa.array(keep(table, n, window, r2))).select(packing.SCHEMA.names)

    once = doses.groupBy("contigName", _bin(window, 0)).applyInArrow(pruned, packing.SCHEMA)
    return once.groupBy("contigName", _bin(window, window)).applyInArrow(pruned, packing.SCHEMA)


def keep(table: pa.Table, n: int, window: int, r2: float) -> npt.NDArray[np.bool_]:
    """Prune the variants of one bin: whether each row of the table stays, (records,)."""
    alleles = pc.list_element(table.column("alternateAlleles"), 0)
    places = table.select(["start", "referenceAllele", "sourceId"])
    places = places.append_column("alternateAllele", alleles)
    by_place = pc.sort_indices(places, sort_keys=PLACE).to_numpy()
    found = packing.planes(table.column("doses").take(pa.array(by_place)))
    positions = table.column("start").to_numpy()[by_place]
    stays = prune_block(found, n, positions, window, r2)
    out = np.empty(len(stays), np.bool_)
    out[by_place] = stays
    return out


def prune_block(
    found: packing.Planes, n: int, positions: npt.NDArray[np.int64], window: int, r2: float
) -> npt.NDArray[np.bool_]:
    """Prune variants of one contig, sorted by position, then alleles.

    Args:
        found: doses, (records, 2, words).
        n: samples.
        positions: (records,), ascending.

    Returns:
        Whether each stays, (records,).
    """
    counted = packing.counts(found, n)
    called = counted[:, :3]
    varies = called.max(axis=1) < called.sum(axis=1)  # all het does not vary either
    order = np.argsort(-packing.minor_frequency(counted), kind="stable")
    order = order[varies[order]]
    kept: npt.NDArray[np.bool_] = kernels.prune(found, positions, order, window, r2)
    return kept


def _bin(window: int, shift: int) -> Column:
    return F.floor((F.col("start") + shift) / F.lit(2 * window)).alias("bin")
