"""Genomic prediction: a trait or class from genotypes, by GBLUP, a polygenic score or a network.

A network is worth its cost where it predicts what GBLUP does not. So GBLUP is fitted beside it on
the same samples, and what both reach on the test samples is told together.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from geneai_spark import __version__, filesystems
from geneai_spark.config import option
from geneai_spark.errors import InputError, SetupError
from geneai_spark.features.doses import Planes
from geneai_spark.models import covariates, inputs, keras_net, polygenic, ridge, torch_spark
from geneai_spark.models.covariates import Matrix
from geneai_spark.models.directory import Contents
from geneai_spark.models.family import Study, Trained, Wanted
from geneai_spark.models.polygenic import PolygenicOptions
from geneai_spark.models.ridge import RidgeOptions

NETWORKS = ("torch", "keras")
LINEAR = ("gblup", "polygenic")  # weights of variants, stored and scored alike
PREDICTORS = (*LINEAR, *NETWORKS)
SETTINGS = ("hidden", "dropout", "learning_rate", "weight_decay", "batch", "epochs", "patience")
INPUTS = "inputs.tsv"
#: Of networks.
REFERENCES = (
    "Kingma and Ba 2015, ICLR, arXiv:1412.6980: Adam",
    "Srivastava et al. 2014, J Mach Learn Res 15, 1929: dropout",
)


@dataclass(frozen=True)
class PredictionOptions(PolygenicOptions, RidgeOptions):
    """What predicts, and how a network is built and trained."""

    predictor: str = option(
        "genomic_prediction: gblup, polygenic (a score by clumping and thresholding), or a network "
        "by torch or keras, beside which GBLUP is fitted",
        "gblup",
    )
    backend: str = option("of keras: tensorflow or torch", "tensorflow")
    model_format: str = option("of a network of keras: keras or h5", "keras")
    hidden: tuple[int, ...] = option("widths of a network's hidden layers", (128, 64))
    dropout: float = option("share of a hidden layer's outputs that a step leaves out", 0.2)
    learning_rate: float = option("Adam's", 1e-3)
    weight_decay: float = option("penalty on squared weights, of torch", 1e-4)
    batch: int = option("samples of a step, over all ranks", 256)
    epochs: int = option("times that a network sees each sample, at most", 50)
    patience: int = option(
        "epochs without a better validation loss, then it stops; needs validation > 0; 0: never", 5
    )
    retries: int = option("times that training goes on after it lost a process", 2)

    def __post_init__(self) -> None:
        """Refuse settings outside their range."""
        PolygenicOptions.__post_init__(self)
        RidgeOptions.__post_init__(self)
        if self.predictor not in PREDICTORS:
            raise ValueError(f"predictor must be one of {', '.join(PREDICTORS)}")
        if self.backend not in keras_net.BACKENDS:
            raise ValueError(f"backend must be one of {', '.join(keras_net.BACKENDS)}")
        if self.model_format not in keras_net.FORMATS:
            raise ValueError(f"model_format must be one of {', '.join(keras_net.FORMATS)}")
        if not self.hidden or min(self.hidden) < 1:
            raise ValueError("hidden must name the width of one layer at least")
        if not 0 <= self.dropout < 1:
            raise ValueError("dropout must be 0 or more, and less than 1")
        for name in ("batch", "epochs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more")
        for name in ("weight_decay", "patience", "retries"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or more")
        if self.learning_rate <= 0:
            raise ValueError("learning_rate must be more than 0")


Options = PredictionOptions


def train(study: Study, options: PredictionOptions) -> Trained:
    """Fit what `predictor` names on the training samples."""
    if options.predictor == "polygenic":
        return polygenic.train(study, options)
    baseline = ridge.train(study, options) if _has_baseline(study, options) else None
    if options.predictor == "gblup":
        if baseline is None:
            raise InputError(
                f"{len(study.sample_ids):,} samples: predictor=gblup takes {ridge.MAX_SAMPLES:,} "
                "at most; predictor=polygenic and torch take more"
            )
        return baseline
    trained = train_alone(study, options)
    if baseline is None:
        return trained
    told = {k: v for k, v in baseline.numbers.items() if k != "variants"}
    return replace(trained, baseline=baseline.scores, numbers={**trained.numbers, **told})


def train_alone(study: Study, options: PredictionOptions) -> Trained:
    """Fit a polygenic score or a network, with nothing beside it."""
    if options.predictor == "polygenic":
        return polygenic.train(study, options)
    wanted = inputs.strongest(study, options.max_inputs)
    inputs.write(study, wanted)
    made = (_by_keras if options.predictor == "keras" else _by_torch)(study, options, wanted)
    scores = made.scores.copy()
    scores[study.split.train] = np.nan  # those were fitted on the samples themselves
    epochs = len(made.history)
    config: dict[str, Any] = {
        "family": "genomic_prediction",
        "engine": options.predictor,
        "variants": len(wanted.keys),
        "network": {name: getattr(options, name) for name in SETTINGS} | made.more,
        "covariates": study.scaled()[0].told(),
        "epochs": epochs,
        "history": made.history,
    }
    return Trained(
        model=made.model,
        suffix=made.suffix,
        config=config,
        scores=scores,
        numbers={"variants": len(wanted.keys), "epochs": epochs},
        documents={INPUTS: wanted.text()},
        references=REFERENCES,
    )


class _Made(NamedTuple):
    """What an engine made; ``more`` is what its scoring needs besides, or its users."""

    model: bytes
    suffix: str
    scores: npt.NDArray[np.float64]
    history: list[dict[str, float]]
    more: dict[str, Any]


def _by_torch(study: Study, options: PredictionOptions, wanted: inputs.Inputs) -> _Made:
    spark = study.doses.sparkSession
    task = torch_spark.Task(
        places=inputs.parts(spark, study.warehouse, study.cohort, study.model),
        equal={"cohort": study.cohort, "model": study.model},
        values=wanted.values(),
        binary=study.binary,
        folder=f"{study.warehouse.rstrip('/')}/_checkpoints/{study.cohort}-{study.model}",
        identity=_identity(study, options, wanted),
        seed=study.seed,
        covariates=len(study.scaled()[0].names),
        **{name: getattr(options, name) for name in SETTINGS},
    )
    made = torch_spark.train(spark, task, options.ranks, options.retries)
    filesystems.remove_folder(task.folder)
    more = {"device": made["device"]}
    return _Made(_stored(made), "pth", made["scores"].numpy(), made["history"], more)


def _by_keras(study: Study, options: PredictionOptions, wanted: inputs.Inputs) -> _Made:
    backend = options.backend
    if keras_net.installed(backend) != backend:
        raise SetupError(f"backend={backend} is not installed: make extra-{backend}")
    task = keras_net.Task(
        places=inputs.parts(study.doses.sparkSession, study.warehouse, study.cohort, study.model),
        equal={"cohort": study.cohort, "model": study.model},
        binary=study.binary,
        suffix=options.model_format,
        seed=study.seed,
        **{name: getattr(options, name) for name in SETTINGS if name != "weight_decay"},
    )
    made = keras_net.train(task, wanted.values(), backend)
    more = {"backend": backend, "center": made.center, "spread": made.spread}
    return _Made(made.model, task.suffix, made.scores, made.history, more)


def _has_baseline(study: Study, options: PredictionOptions) -> bool:
    return options.predictor == "gblup" or len(study.sample_ids) <= ridge.MAX_SAMPLES


def _identity(study: Study, options: PredictionOptions, wanted: inputs.Inputs) -> str:
    """What a checkpoint must be of to be gone on from: the same data, settings and software."""
    kept = {k: v for k, v in asdict(options).items() if k not in ("ranks", "retries")}
    told = [kept, study.seed, study.binary, __version__]
    digest = hashlib.sha256(json.dumps(told).encode())
    for part in (wanted.text(), "\n".join(study.sample_ids)):
        digest.update(hashlib.sha256(part.encode()).digest())
    for array in (study.values, *study.split, study.scaled()[1]):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _stored(made: dict[str, Any]) -> bytes:
    """``trained_model.pth``: weights, and what rebuilds the network."""
    from geneai_spark.models import torch_net

    kept = {name: made[name] for name in ("binary", "arguments", "state_dict", "center", "spread")}
    return torch_net.dump({"format": "geneai net 1", **kept})


def wanted(held: Contents) -> Wanted:
    """The variants that the model looks at."""
    if held.config["engine"] in LINEAR:
        return ridge.wanted(held)
    names = covariates.read(held.config).names
    return Wanted(inputs.read_text(held.documents[INPUTS]).keys, names)


def score(held: Contents, planes: Planes, given: Matrix) -> Matrix:
    """Probability of being a case, or the value predicted; of a missing genotype or covariate the
    training samples' mean.
    """
    if held.config["engine"] in LINEAR:
        return ridge.score(held, planes, given)
    z = covariates.standardised(given, covariates.read(held.config))
    wanted = inputs.read_text(held.documents[INPUTS])
    if held.config["engine"] == "keras":
        told = held.config["network"]
        return keras_net.score(
            held.model, held.suffix, wanted, planes, z,
            backend=keras_net.installed(told["backend"]),
            center=told["center"], spread=told["spread"],
        )  # fmt: skip
    from geneai_spark.models import torch_net

    scores: Matrix = torch_net.score(held.model, wanted, planes, z)
    return scores
