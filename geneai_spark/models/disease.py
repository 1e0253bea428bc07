"""Disease association: a random forest on all variants, or another library's classifier; how
important variants are, and loci of them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from geneai_spark.config import option
from geneai_spark.features import doses as packing
from geneai_spark.features.doses import Planes
from geneai_spark.models import (
    classifiers,
    covariates,
    directory,
    forest,
    forest_covariates,
    forest_spark,
    loci,
)
from geneai_spark.models.covariates import Matrix
from geneai_spark.models.directory import Contents
from geneai_spark.models.family import KEYS, Study, Trained, Wanted
from geneai_spark.models.forest import ForestOptions, Grown
from geneai_spark.models.forest_covariates import Beside, Levels
from geneai_spark.models.forest_search import Source
from geneai_spark.models.inputs import InputOptions

FOREST = "forest"
ENGINES = ("auto", "local", "spark")
#: Of the forest.
REFERENCES = (
    "Breiman 2001, Machine Learning 45, 5: random forests",
    "Bühlmann and Yu 2002, Annals of Statistics 30, 927: trees of subsamples",
    "Bayat et al. 2020, GigaScience 9, giaa077: forests of wide genotypes",
    "Li et al. 2019, NeurIPS 32: importance of samples out of the bag (MDI-oob)",
    "Altmann et al. 2010, Bioinformatics 26, 1340: p-values by permuted labels",
)
LOCAL_BYTES = 512 << 20  # of doses that the driver takes where the engine is its own choice


@dataclass(frozen=True)
class DiseaseOptions(InputOptions, ForestOptions):
    """What tells cases from controls; how a forest is grown, where, and what is a locus."""

    classifier: str = option(
        "disease_association: forest, on all variants; or on max_inputs of them scikit (random "
        "forest), mllib (random forest), logistic (MLlib, ridge penalty), xgboost", "forest"
    )  # fmt: skip
    regularization: float = option("ridge penalty of classifier=logistic", 0.1)
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
        InputOptions.__post_init__(self)
        ForestOptions.__post_init__(self)
        if self.classifier not in (FOREST, *classifiers.NAMES):
            known = ", ".join((FOREST, *classifiers.NAMES))
            raise ValueError(f"classifier must be one of {known}")
        if self.regularization < 0:
            raise ValueError("regularization must be 0 or more")
        if self.engine not in ENGINES:
            raise ValueError(f"engine must be one of {', '.join(ENGINES)}")
        if self.null_forests < 0:
            raise ValueError("null_forests must be 0 or more")
        if self.locus_window < 0 or not 0 <= self.locus_r2 <= 1:
            raise ValueError("locus_window must be 0 or more, locus_r2 between 0 and 1")


Options = DiseaseOptions


def train(study: Study, options: DiseaseOptions) -> Trained:
    """Fit what `classifier` names on the training samples."""
    if options.classifier != FOREST:
        return classifiers.train(study, options.classifier, options)
    n = len(study.sample_ids)
    words = -(-n // 64)
    training = study.split.train
    with packing.holding() as briefly:
        numbered = forest_spark.number(study.doses, briefly)
        keys = forest_spark.keys(numbered)
        engine = options.engine
        if engine == "auto":
            engine = "local" if len(keys) * words * 16 <= LOCAL_BYTES else "spark"
        source: Source
        if engine == "local":
            blocks = forest_spark.blocks(numbered, training, briefly)
            source = forest_spark.local(blocks, words, os.cpu_count() or 1)
        else:
            blocks = forest_spark.blocks(numbered, training, study.hold)
            blocks.count()  # they are held before what they are made of is let go
            source = forest_spark.Spread(blocks, len(keys), words)
    scale, z = study.scaled()
    levels = forest_covariates.levels(z, training)
    if len(levels.of):
        source = Beside(source, forest_covariates.planes(z, levels))
    truth = np.full(n, -1, np.int8)
    truth[training] = study.truth[training]  # of the others nothing is looked at
    grown = forest.grow(source, truth, training, options, seed=study.seed)
    null = [
        forest.grow(source, forest.permuted(truth, training, seed), training, options, seed=seed)
        for seed in range(study.seed + 1, study.seed + 1 + options.null_forests)
    ]
    p = np.full(len(keys), np.nan)
    if null:
        chance = np.concatenate([one.importance[: len(keys)] for one in null])
        p = forest.p_values(grown.importance[: len(keys)], chance)
    places = _loci(source, keys, grown, training, options)
    numbers: dict[str, int | float | str] = {
        "variants": len(keys),
        "variants_in_splits": int((grown.splits[: len(keys)] > 0).sum()),
        "nodes": len(grown.forest.left),
        "loci": len(places),
        **_covariates(levels, scale.names, grown.importance[len(keys) :]),
    }
    config = {
        "family": "disease_association",
        "classifier": FOREST,
        "engine": engine,
        "forest": {
            "trees": options.trees,
            "variants_per_split": options.variants_per_split,
            "sample_fraction": options.sample_fraction,
            "min_leaf": options.min_leaf,
            "max_depth": options.max_depth,
        },
        **numbers,
        "covariates": scale.told(),
    }
    return Trained(
        model=_dump(source, keys, grown, training, levels),
        suffix="pkl",
        config=config,
        scores=grown.held_out,
        numbers=numbers,
        importances=loci.ranked(
            keys,
            grown.importance[: len(keys)],
            grown.splits[: len(keys)],
            places,
            grown.splits[: len(keys)] > 0,
            p,
            forest.false_discovery(p),
        ),
        held_out=True,
        references=REFERENCES,
    )


def wanted(held: Contents) -> Wanted:
    """The variants that the model looks at."""
    if held.config.get("classifier", FOREST) != FOREST:
        return classifiers.wanted(held)
    found = directory.loads_arrays(held.model)["keys"]
    names = covariates.read(held.config).names
    return Wanted(pa.table({name: found[name].tolist() for name in KEYS}), names)


def score(held: Contents, planes: Planes, given: Matrix) -> Matrix:
    """Mean share of cases in the leaves that a sample comes to; missing genotypes are what most
    training samples had.
    """
    if held.config.get("classifier", FOREST) != FOREST:
        return classifiers.score(held, planes, given)
    grown = directory.loads_arrays(held.model)
    missing = planes[:, 0] & planes[:, 1]
    out = planes & ~missing[:, None]
    for dose in (1, 2):
        out[grown["fill"] == dose, dose - 1] |= missing[grown["fill"] == dose]
    z = covariates.standardised(given, covariates.read(held.config))
    others = forest_covariates.planes(z, Levels(grown["levels_of"], grown["levels_cuts"]))
    return _forest(grown).predict(np.concatenate([out, others]), len(given))


def _forest(held: Mapping[str, Any]) -> forest.Forest:
    return forest.Forest(held["trees"], held["left"], held["variant"], held["cut"], held["value"])


def _covariates(
    levels: Levels, names: Sequence[str], importance: forest.Floats
) -> dict[str, float]:
    """The importance of each covariate, that of its variables summed."""
    total = np.bincount(levels.of, importance, len(names))
    return {f"importance_{name}": float(total[i]) for i, name in enumerate(names)}


def _dump(
    source: Source, keys: pa.Table, grown: Grown, training: forest.Ints, levels: Levels
) -> bytes:
    """The forest with its variants numbered among those that it looks at, and their names; after
    them the variables of covariates.
    """
    trees = grown.forest
    used = trees.variants
    others = levels.take(used[used >= len(keys)] - len(keys))
    variants = used[used < len(keys)]
    own = keys.take(pa.array(variants))
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
            "fill": forest.modes(source.take(variants), training).astype(np.int8),
            "levels_of": others.of,
            "levels_cuts": others.cuts,
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
    some = loci.strongest(grown.importance[: len(keys)])
    return loci.clump(
        keys,
        grown.importance,
        some,
        source.take(some),
        training,
        window=options.locus_window,
        r2=options.locus_r2,
    )
