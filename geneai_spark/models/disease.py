"""Disease association: a random forest on all variants, their importances, and loci of them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from geneai_spark.config import option
from geneai_spark.features.doses import Planes
from geneai_spark.models import directory, forest, forest_spark, loci
from geneai_spark.models.directory import Contents
from geneai_spark.models.family import KEYS, Study, Trained, Wanted
from geneai_spark.models.forest import ForestOptions, Grown, Source

ENGINES = ("auto", "local", "spark")
LOCAL_BYTES = 512 << 20  # of doses that the driver takes where the engine is its own choice


@dataclass(frozen=True)
class DiseaseOptions(ForestOptions):
    """How a forest is grown, where, and what is a locus."""

    engine: str = option(
        "where trees grow: local (the driver), spark (tasks), auto by size", "auto"
    )
    null_forests: int = option(
        "forests of permuted labels, which tell importance by chance; 0: no p-values", 1
    )
    locus_window: int = option("bases to either side of a locus's lead", 500_000)
    locus_r2: float = option("variants of a locus correlate with its lead by this r squared", 0.1)

    def __post_init__(self) -> None:
        """Refuse settings outside their range."""
        super().__post_init__()
        if self.engine not in ENGINES:
            raise ValueError(f"engine must be one of {', '.join(ENGINES)}")
        if self.null_forests < 0:
            raise ValueError("null_forests must be 0 or more")
        if self.locus_window < 0 or not 0 <= self.locus_r2 <= 1:
            raise ValueError("locus_window must be 0 or more, locus_r2 between 0 and 1")


Options = DiseaseOptions


def train(study: Study, options: DiseaseOptions) -> Trained:
    """Grow a forest on the training samples."""
    n = len(study.sample_ids)
    words = -(-n // 64)
    training = study.split.train
    numbered = forest_spark.number(study.doses, study.hold)
    keys = forest_spark.keys(numbered)
    blocks = forest_spark.blocks(numbered, training, study.hold)
    size = len(keys) * words * 16
    engine = options.engine
    if engine == "auto":
        engine = "local" if size <= LOCAL_BYTES else "spark"
    source: Source = (
        forest_spark.local(blocks, words, os.cpu_count() or 1)
        if engine == "local"
        else forest_spark.Spread(blocks, len(keys), words)
    )
    truth = np.full(n, -1, np.int8)
    truth[training] = study.truth[training]  # of the others nothing is looked at
    grown = forest.grow(source, truth, training, options, seed=study.seed)
    null = [
        forest.grow(source, forest.permuted(truth, training, seed), training, options, seed=seed)
        for seed in range(study.seed + 1, study.seed + 1 + options.null_forests)
    ]
    p = np.full(len(keys), np.nan)
    if null:
        p = forest.p_values(grown.importance, np.concatenate([one.importance for one in null]))
    places = _loci(source, keys, grown, training, options)
    numbers: dict[str, int | float | str] = {
        "variants": len(keys),
        "variants_in_splits": int((grown.splits > 0).sum()),
        "nodes": len(grown.forest.left),
        "loci": len(places),
    }
    config = {
        "family": "disease_association",
        "engine": engine,
        "forest": {
            "trees": options.trees,
            "variants_per_split": options.variants_per_split,
            "sample_fraction": options.sample_fraction,
            "min_leaf": options.min_leaf,
            "max_depth": options.max_depth,
        },
        **numbers,
    }
    return Trained(
        model=_dump(source, keys, grown, training),
        suffix="pkl",
        config=config,
        scores=grown.held_out,
        numbers=numbers,
        importances=_importances(keys, grown, p, places),
        held_out=True,
    )


def wanted(held: Contents) -> Wanted:
    """The variants that the forest looks at."""
    found = directory.loads_arrays(held.model)["keys"]
    return Wanted(pa.table({name: found[name].tolist() for name in KEYS}))


def score(held: Contents, planes: Planes, n: int) -> npt.NDArray[np.float64]:
    """Mean share of cases in the leaves that a sample comes to; missing genotypes are what most
    training samples had.
    """
    grown = directory.loads_arrays(held.model)
    missing = planes[:, 0] & planes[:, 1]
    out = planes & ~missing[:, None]
    for dose in (1, 2):
        out[grown["fill"] == dose, dose - 1] |= missing[grown["fill"] == dose]
    return _forest(grown).predict(out, n)


def _forest(held: Mapping[str, Any]) -> forest.Forest:
    return forest.Forest(held["trees"], held["left"], held["variant"], held["cut"], held["value"])


def _dump(source: Source, keys: pa.Table, grown: Grown, training: forest.Ints) -> bytes:
    """The forest with its variants numbered among those that it looks at, and their names."""
    trees = grown.forest
    used = trees.variants
    own = keys.take(pa.array(used))
    named = {name: own.column(name).to_pylist() for name in KEYS}
    row = np.where(trees.variant >= 0, np.searchsorted(used, trees.variant), -1)
    return directory.dumps_arrays(
        {
            "format": "geneai forest 1",
            "trees": trees.trees,
            "left": trees.left.astype(np.int32),
            "variant": row.astype(np.int32),
            "cut": trees.cut.astype(np.int8),
            "value": trees.value,
            "fill": forest.modes(source.take(used), training).astype(np.int8),
            "keys": {name: np.array(values) for name, values in named.items()},
        }
    )


def _loci(
    source: Source,
    keys: pa.Table,
    grown: Grown,
    training: forest.Ints,
    options: DiseaseOptions,
) -> list[loci.Locus]:
    some = loci.strongest(grown.importance)
    return loci.clump(
        keys,
        grown.importance,
        some,
        source.take(some),
        training,
        window=options.locus_window,
        r2=options.locus_r2,
    )


def _importances(
    keys: pa.Table, grown: Grown, p: forest.Floats, places: list[loci.Locus]
) -> pa.Table:
    """Variants in some split, the most important first."""
    q = forest.false_discovery(p)
    used = np.flatnonzero(grown.splits > 0)
    used = used[np.argsort(-grown.importance[used], kind="stable")]
    place = np.zeros(len(keys), np.int32)
    leads = np.zeros(len(keys), np.bool_)
    for number, locus in enumerate(places, 1):
        place[locus.members] = number
        leads[locus.lead] = True
    table = keys.select([*KEYS, "sourceId"]).take(pa.array(used))
    more = {
        "importance": pa.array(grown.importance[used]),
        "splits": pa.array(grown.splits[used].astype(np.int32)),
        "pValue": pa.array(p[used], from_pandas=True),
        "falseDiscoveryRate": pa.array(q[used], from_pandas=True),
        "rank": pa.array(np.arange(1, len(used) + 1, dtype=np.int32)),
        "locus": pa.array(place[used], mask=place[used] == 0),
        "isLead": pa.array(leads[used]),
    }
    for name, column in more.items():
        table = table.append_column(name, column)
    return table
