"""Genomic prediction: GBLUP, which is ridge regression on all variants at once.

y = covariates + sum of standardised doses x effects + noise, effects normal and alike. Its
predictions need only the relationship of samples K = X'X / variants (VanRaden 2008, J Dairy Sci
91, 4414), so a pass over the doses makes all that the driver needs; how much the genotypes explain
(h2) is fitted by REML on K's eigenvectors (Kang et al. 2008, Genetics 178, 1709). A second pass
gives each variant's effect, by which new samples are scored. Means and scales are of the training
samples alone.

It is the baseline that any network must beat to be worth its cost.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from scipy import linalg, optimize
from scipy.linalg import blas
from threadpoolctl import threadpool_limits

from geneai_spark.config import option
from geneai_spark.errors import InputError
from geneai_spark.features import dose_kernels
from geneai_spark.features import doses as packing
from geneai_spark.features.doses import Planes
from geneai_spark.models import covariates, directory
from geneai_spark.models.directory import Contents
from geneai_spark.models.family import KEYS, Study, Trained, Wanted
from geneai_spark.tasks import Batches, fold

Matrix: TypeAlias = npt.NDArray[np.float64]

FORMAT = "geneai ridge 2"
REFERENCES = (
    "VanRaden 2008, J Dairy Sci 91, 4414: GBLUP and the relationship of samples",
    "Kang et al. 2008, Genetics 178, 1709: REML on eigenvectors",
    "Daetwyler et al. 2008, PLoS ONE 3, e3395, and Goddard et al. 2011, J Anim Breed Genet 128, "
    "409: what can be predicted",
)
MAX_SAMPLES = 20_000  # K of so many has 3.2 GB
CHUNK_BYTES = 16 << 20  # of standardised doses at once


@dataclass(frozen=True)
class RidgeOptions:
    """How much of the trait the genotypes are taken to explain."""

    heritability: float | None = option(
        "genomic_prediction: share that genotypes explain, 0..1; null: fitted by REML", None
    )

    def __post_init__(self) -> None:
        """Refuse a share outside its range."""
        if self.heritability is not None and not 0 < self.heritability < 1:
            raise ValueError("heritability must lie between 0 and 1")


Options = RidgeOptions


class Fit(NamedTuple):
    """A fitted mixed model.

    Attributes:
        fixed: effects of the columns of W, by generalised least squares, (q,).
        heritability: h2, of what W does not explain.
        weights: (K + (1 - h2) / h2)^-1 (y - W fixed), (training samples,).
    """

    fixed: Matrix
    heritability: float
    weights: Matrix


def train(study: Study, options: RidgeOptions) -> Trained:
    """Fit GBLUP on the training samples."""
    n, training = len(study.sample_ids), study.split.train
    if n > MAX_SAMPLES:
        raise InputError(f"{n:,} samples: genomic_prediction takes {MAX_SAMPLES:,} at most")
    named = study.doses.withColumn("alternateAllele", F.element_at("alternateAlleles", 1))
    count, total = _relationship(named, n, training)
    if not count:
        raise InputError("no variant varies among the training samples")
    K = total / count
    scale, z = study.scaled()
    W = np.column_stack([np.ones(n), z])
    own = K[np.ix_(training, training)]
    found = fit(own, study.values[training], options.heritability, W[training])
    scores = W @ found.fixed + K[:, training] @ found.weights
    scores[training] = np.nan  # those were fitted on the samples themselves
    weights = np.zeros(n)
    weights[training] = found.weights / count
    held = _effects(named, n, training, weights)
    held["fixed"] = found.fixed
    numbers: dict[str, int | float | str] = {
        "variants": count,
        "heritability": found.heritability,
        **expected(own, found.heritability),
    }
    return Trained(
        model=directory.dumps_arrays({"format": FORMAT, "binary": study.binary, **held}),
        suffix="pkl",
        config={
            "family": "genomic_prediction",
            "engine": "gblup",
            **numbers,
            "covariates": scale.told(),
        },
        scores=np.clip(scores, 0, 1) if study.binary else scores,
        numbers=numbers,
        references=REFERENCES,
    )


def fit(K: Matrix, y: Matrix, heritability: float | None = None, W: Matrix | None = None) -> Fit:
    """Fit h2 and the effects of covariates.

    Args:
        K: relationship of the samples, (n, n).
        y: the trait, (n,).
        heritability: None: by REML.
        W: a column of ones, and covariates, (n, q); None: ones alone.

    Raises:
        InputError: the trait does not vary; covariates that tell each other.
    """
    W = np.ones((len(y), 1)) if W is None else W
    q = W.shape[1]
    if np.linalg.matrix_rank(W) < q:
        raise InputError("covariates: one is a sum of the others among the training samples")
    if np.ptp(y) == 0:
        raise InputError("the trait has one value among the training samples")
    with threadpool_limits(1, "blas"):
        values, vectors = linalg.eigh(K)
    values = np.maximum(values, 0)
    rotated, design = vectors.T @ y, vectors.T @ W

    def parts(h2: float) -> tuple[Matrix, Matrix, Matrix, Matrix]:
        d = h2 * values + (1 - h2)  # the covariance's eigenvalues, but for its scale
        weighed = design / d[:, None]
        inner = design.T @ weighed
        fixed = np.linalg.solve(inner, weighed.T @ rotated)
        return d, fixed, rotated - design @ fixed, inner

    def minus_reml(h2: float) -> float:
        d, _, rest, inner = parts(h2)
        free = len(y) - q
        scale = (rest * rest / d).sum() / free
        return float(free * np.log(scale) + np.log(d).sum() + np.linalg.slogdet(inner)[1])

    if heritability is None:
        grid = np.linspace(0.01, 0.99, 50)
        best = grid[int(np.argmin([minus_reml(h) for h in grid]))]
        bounds = max(1e-4, best - 0.02), min(1 - 1e-4, best + 0.02)
        heritability = float(optimize.minimize_scalar(minus_reml, bounds, bounds).x)
    d, fixed, rest, _ = parts(heritability)
    return Fit(fixed, heritability, vectors @ (heritability * rest / d))


def expected(K: Matrix, h2: float) -> dict[str, float]:
    """What theory lets GBLUP predict of new samples of the same population.

    With N training samples and Me independent segments, h2 N h2 / (N h2 + Me) of the trait's
    variance (Daetwyler et al. 2008, PLoS ONE 3, e3395); Me is one by the variance of relationships
    of different samples (Goddard et al. 2011, J Anim Breed Genet 128, 409). No model of the same
    additive effects does better than h2.

    Args:
        K: relationship of the training samples, (N, N).
        h2: share of the variance that genotypes explain.
    """
    n = len(K)
    apart = K[np.triu_indices(n, 1)]
    segments = 1 / max(float(apart.var()), 1e-12)
    return {"independent_segments": segments, "expected_r2": h2 * n * h2 / (n * h2 + segments)}


def wanted(held: Contents) -> Wanted:
    """The variants that have an effect."""
    found = directory.loads_arrays(held.model)["keys"]
    names = covariates.read(held.config).names
    return Wanted(pa.table({name: found[name].tolist() for name in KEYS}), names)


def score(held: Contents, planes: Planes, given: Matrix) -> Matrix:
    """Predicted values of n samples, between 0 and 1 if the trait has two; of a missing genotype
    or covariate the training samples' mean.
    """
    fitted, n = directory.loads_arrays(held.model), len(given)
    z = covariates.standardised(given, covariates.read(held.config))
    out = np.column_stack([np.ones(n), z]) @ fitted["fixed"]
    mean, scale = fitted["mean"], fitted["scale"]
    for own, x in packing.chunks(planes, n, mean, scale, CHUNK_BYTES):
        out += fitted["effect"][own] @ x
    scores: Matrix = np.clip(out, 0, 1) if fitted["binary"] else out
    return scores


def _standardised(
    batches: Batches, n: int, training: npt.NDArray[np.int64]
) -> Iterator[tuple[pa.RecordBatch, Matrix, Matrix, Matrix]]:
    """Batches of variants that vary in training, with X (records, n), mean and scale."""
    for block in packing.slices(batches, max(1, CHUNK_BYTES // (8 * n))):
        found = packing.planes(block.column("doses"))
        counted = packing.counts(dose_kernels.take(found, training), len(training))
        mean, scale = packing.moments(counted)
        varies = scale > 0
        if varies.any():
            found = np.ascontiguousarray(found[varies])
            mean, scale = mean[varies], scale[varies]
            x = packing.standardised(found, n, mean, scale)
            yield block.filter(pa.array(varies)), x, mean, scale


def _relationship(doses: DataFrame, n: int, training: npt.NDArray[np.int64]) -> tuple[int, Matrix]:
    """How many variants vary, and X'X, (n, n)."""

    def multiplied(batches: Batches) -> tuple[int, Matrix] | None:
        count, total = 0, np.zeros((n, n), order="F")
        with threadpool_limits(1, "blas"):
            for _, x, _, _ in _standardised(batches, n, training):
                total = blas.dsyrk(1.0, x.T, beta=1.0, c=total, overwrite_c=1)
                count += len(x)
        return (count, total) if count else None

    def added(one: tuple[int, Matrix], other: tuple[int, Matrix]) -> tuple[int, Matrix]:
        return one[0] + other[0], np.add(one[1], other[1], out=one[1])

    tasks = doses.rdd.getNumPartitions()
    found = fold(doses.select("doses"), multiplied, added, tasks=tasks)
    if found is None:
        return 0, np.zeros((n, n))
    whole = np.asarray(np.triu(found[1]) + np.triu(found[1], 1).T, np.float64)
    return found[0], whole


def _effects(
    doses: DataFrame, n: int, training: npt.NDArray[np.int64], weights: Matrix
) -> dict[str, object]:
    """Each variant's mean, scale and effect on the standardised dose, with its name, in order."""

    def computed(batches: Batches) -> list[pa.Table] | None:
        made = []
        for block, x, mean, scale in _standardised(batches, n, training):
            table = pa.Table.from_batches([block]).select(KEYS)
            for name, column in (("mean", mean), ("scale", scale), ("effect", x @ weights)):
                table = table.append_column(name, pa.array(column))
            made.append(table)
        return made or None

    def joined(one: list[pa.Table], other: list[pa.Table]) -> list[pa.Table]:
        return one + other

    told = fold(doses.select(*KEYS, "doses"), computed, joined) or []
    table = pa.concat_tables(told).sort_by([(name, "ascending") for name in KEYS])
    numbers = {name: table.column(name).to_numpy() for name in ("mean", "scale", "effect")}
    return {"keys": {name: np.array(table.column(name).to_pylist()) for name in KEYS}, **numbers}
