"""A polygenic score: the sum of marginal effects of the variants that go with the trait most.

The trait is then regressed on it and on covariates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from geneai_spark.config import option
from geneai_spark.features.doses import Planes, standardised
from geneai_spark.models import covariates, directory, inputs, scoring
from geneai_spark.models.covariates import Matrix
from geneai_spark.models.directory import Contents
from geneai_spark.models.family import KEYS, Study, Trained, Wanted


@dataclass(frozen=True)
class Options:
    """How many variants count."""

    variants: int = option("those that go with the trait most, in training", 100)


def train(study: Study, options: Options) -> Trained:
    """Regress the trait on each variant, then on the sum of the effects and covariates: training
    samples alone.
    """
    n, training = len(study.sample_ids), study.split.train
    chosen = inputs.strongest(study, options.variants)
    planes = scoring.gather(study.doses, Wanted(chosen.keys), n).planes
    x = standardised(planes, n, chosen.mean, chosen.scale)  # (variants, n)
    y = study.values[training]
    effects = x[:, training] @ (y - y.mean()) / len(training)
    raw = effects @ x
    scale, z = study.scaled()
    design = np.column_stack([np.ones(n), raw, z])
    fitted = np.linalg.lstsq(design[training], y, rcond=None)[0]
    scores = design @ fitted
    scores[training] = np.nan  # those were fitted on the samples themselves
    held = {
        "keys": {name: np.array(chosen.keys.column(name).to_pylist()) for name in KEYS},
        "mean": chosen.mean,
        "scale": chosen.scale,
        "effect": effects,
        "fitted": fitted,
    }
    return Trained(
        model=directory.dumps_arrays(held),
        suffix="pkl",
        config={
            "family": "polygenic_score",
            "variants": len(effects),
            "covariates": scale.told(),
        },
        scores=np.clip(scores, 0, 1) if study.binary else scores,
        numbers={"variants": len(effects)},
    )


def wanted(held: Contents) -> Wanted:
    """The variants that have an effect, and the covariates."""
    keys = directory.loads_arrays(held.model)["keys"]
    names = covariates.read(held.config).names
    return Wanted(pa.table({name: keys[name].tolist() for name in KEYS}), names)


def score(held: Contents, planes: Planes, given: Matrix) -> Matrix:
    """Predicted values of n samples; of what is missing the training samples' mean."""
    fitted, n = directory.loads_arrays(held.model), len(given)
    x = standardised(np.ascontiguousarray(planes), n, fitted["mean"], fitted["scale"])
    z = covariates.standardised(given, covariates.read(held.config))
    scores: Matrix = np.column_stack([np.ones(n), fitted["effect"] @ x, z]) @ fitted["fitted"]
    return np.clip(scores, 0, 1) if held.config["binary"] else scores
