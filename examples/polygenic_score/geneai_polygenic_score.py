"""A polygenic score: the sum of marginal effects of the variants that go with the trait most."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from geneai_spark.config import option
from geneai_spark.features.doses import Planes, standardised
from geneai_spark.models import directory, inputs, scoring
from geneai_spark.models.directory import Contents
from geneai_spark.models.family import KEYS, Study, Trained, Wanted


@dataclass(frozen=True)
class Options:
    """How many variants count."""

    variants: int = option("those that go with the trait most, in training", 100)


def train(study: Study, options: Options) -> Trained:
    """Regress the trait on each variant, then on the sum of the effects: training samples alone."""
    n, training = len(study.sample_ids), study.split.train
    chosen = inputs.strongest(study, options.variants)
    planes = scoring.gather(study.doses, Wanted(chosen.keys), n).planes
    x = standardised(planes, n, chosen.mean, chosen.scale)  # (variants, n)
    y = study.values[training]
    effects = x[:, training] @ (y - y.mean()) / len(training)
    raw = effects @ x
    slope, intercept = np.polyfit(raw[training], y, 1)
    scores = intercept + slope * raw
    scores[training] = np.nan  # those were fitted on the samples themselves
    held = {
        "keys": {name: np.array(chosen.keys.column(name).to_pylist()) for name in KEYS},
        "mean": chosen.mean,
        "scale": chosen.scale,
        "effect": slope * effects,
        "intercept": float(intercept),
    }
    return Trained(
        model=directory.dumps_arrays(held),
        suffix="pkl",
        config={"family": "polygenic_score", "variants": len(effects)},
        scores=np.clip(scores, 0, 1) if study.binary else scores,
        numbers={"variants": len(effects)},
    )


def wanted(held: Contents) -> Wanted:
    """The variants that have an effect."""
    import pyarrow as pa

    keys = directory.loads_arrays(held.model)["keys"]
    return Wanted(pa.table({name: keys[name].tolist() for name in KEYS}))


def score(held: Contents, planes: Planes, n: int) -> npt.NDArray[np.float64]:
    """Predicted values of n samples; of a missing genotype the training samples' mean."""
    fitted = directory.loads_arrays(held.model)
    x = standardised(np.ascontiguousarray(planes), n, fitted["mean"], fitted["scale"])
    scores: npt.NDArray[np.float64] = fitted["intercept"] + fitted["effect"] @ x
    return np.clip(scores, 0, 1) if held.config["binary"] else scores
