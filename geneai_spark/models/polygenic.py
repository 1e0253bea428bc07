"""Genomic prediction: a polygenic score by clumping and thresholding.

Each variant is tested by itself, by linear regression on its dose beside the covariates. The
variant of the least p leads a clump and takes those near it that correlate with it (`loci.clump`);
the leads with a p under a threshold are summed, each by its effect. Effects of the strongest of
many are too large, and which threshold is best depends on the trait: the threshold, and the one
factor by which the sum is shrunken, are those of samples that no effect was fitted on (Choi, Mak
and O'Reilly 2020, Nat Protoc 15, 2759). Those are the validation samples; where there are none a
fifth of the training samples is put aside, and effects are fitted anew on all of them once the
threshold is known.

The fitted score is a weight a variant, so it is stored and scored as GBLUP is (`ridge`), and is
told as a scoring file that other tools read as well.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy import stats

from geneai_spark.config import option
from geneai_spark.errors import InputError
from geneai_spark.features import doses as packing
from geneai_spark.features.doses import Planes
from geneai_spark.models import directory, forest, inputs, loci, ridge, scoring
from geneai_spark.models.family import KEYS, Study, Trained, Wanted
from geneai_spark.models.inputs import InputOptions, Inputs

Matrix: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]

CHUNK_BYTES = 16 << 20  # of standardised doses at once
ASIDE = 5  # one training sample in so many chooses the threshold where none validates
SCORING = "polygenic_score.txt"
REFERENCES = (
    "Choi, Mak and O'Reilly 2020, Nat Protoc 15, 2759: polygenic scores",
    "Lambert et al. 2021, Nat Genet 53, 420: the PGS Catalog and its scoring files",
)
_RESIDUAL = 1e-8  # share of a dose's variance: what covariates leave of it must be more


@dataclass(frozen=True)
class PolygenicOptions(InputOptions):
    """Which variants of ``predictor=polygenic`` count."""

    p_thresholds: tuple[float, ...] = option(
        "of polygenic: p under which leads count; the one that predicts best is taken",
        (5e-8, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.05, 0.1, 0.5, 1.0),
    )
    clump_window: int = option("of polygenic: bases to either side of a lead", 250_000)
    clump_r2: float = option("of polygenic: a lead takes variants of this r squared", 0.1)

    def __post_init__(self) -> None:
        """Refuse settings outside their range."""
        InputOptions.__post_init__(self)
        if not self.p_thresholds or not all(0 < p <= 1 for p in self.p_thresholds):
            raise ValueError("p_thresholds must be numbers above 0, up to 1")
        if self.clump_window < 0 or not 0 <= self.clump_r2 <= 1:
            raise ValueError("clump_window must be 0 or more, clump_r2 between 0 and 1")


class Marginal(NamedTuple):
    """What some samples tell of each variant by itself.

    Attributes:
        chosen: the variants.
        planes: their doses, of all samples, (variants, 2, words).
        effect: on the standardised dose, beside the covariates, (variants,).
        p: of the effect, by Student's t, (variants,).
        leads: numbers of the variants that lead a clump, by p.
        fixed: effects of ones and covariates alone, (q,).
        on_covariates: each variant's regression on ones and covariates, (variants, q).
    """

    chosen: Inputs
    planes: Planes
    effect: Matrix
    p: Matrix
    leads: Ints
    fixed: Matrix
    on_covariates: Matrix

    def under(self, threshold: float) -> Ints:
        """Leads that count."""
        return self.leads[self.p[self.leads] <= threshold]


class Score(NamedTuple):
    """The threshold, and the factor of the sum; 0 where no sum predicts anything."""

    threshold: float
    factor: float


def train(study: Study, options: PolygenicOptions) -> Trained:
    """Fit a polygenic score on the training samples."""
    n, split = len(study.sample_ids), study.split
    scale, z = study.scaled()
    W = np.column_stack([np.ones(n), z])
    if len(split.validation):
        own, tuning = split.train, split.validation
    else:
        own, tuning = put_aside(split.train, study.seed)
    marginal = marginal_effects(study, own, W, options)
    score = tuned(marginal, study.values, W, tuning, options.p_thresholds)
    if not len(split.validation):
        marginal = marginal_effects(study, split.train, W, options)
    used = np.sort(marginal.under(score.threshold)) if score.factor else np.empty(0, np.int64)
    effect = marginal.effect[used] * score.factor
    fixed = marginal.fixed - effect @ marginal.on_covariates[used]
    scores = W @ fixed + _summed(marginal, used, effect, n)
    scores[split.train] = np.nan  # those were fitted on the samples themselves
    keys = marginal.chosen.keys.take(pa.array(used))
    mean, spread = marginal.chosen.mean[used], marginal.chosen.scale[used]
    held = {
        "format": ridge.FORMAT,
        "binary": study.binary,
        "keys": {name: np.array(keys.column(name).to_pylist()) for name in KEYS},
        "mean": mean,
        "scale": spread,
        "effect": effect,
        "fixed": fixed,
    }
    numbers: dict[str, int | float | str] = {
        "variants": len(used),
        "p_threshold": score.threshold,
        "shrinkage": score.factor,
    }
    return Trained(
        model=directory.dumps_arrays(held),
        suffix="pkl",
        config={
            "family": "genomic_prediction",
            "engine": "polygenic",
            "clump_window": options.clump_window,
            "clump_r2": options.clump_r2,
            **numbers,
            "covariates": scale.told(),
        },
        scores=np.clip(scores, 0, 1) if study.binary else scores,
        numbers=numbers,
        documents={SCORING: scoring_file(study.trait, keys, effect / spread)},
        references=REFERENCES,
    )


def put_aside(training: Ints, seed: int) -> tuple[Ints, Ints]:
    """Training samples that fit effects, and the fifth that chooses the threshold."""
    if len(training) < 2 * ASIDE:
        raise InputError(
            f"{len(training)} training samples: predictor=polygenic needs {2 * ASIDE} at least"
        )
    order = np.random.default_rng(seed).permutation(training)
    cut = len(training) // ASIDE
    return np.sort(order[cut:]), np.sort(order[:cut])


def marginal_effects(study: Study, own: Ints, W: Matrix, options: PolygenicOptions) -> Marginal:
    """Test each variant by itself, and clump.

    Args:
        own: positions of the samples that it is fitted on.
        W: a column of ones, and covariates, (n, q).

    Raises:
        InputError: no variant varies among the samples, or the trait does not.
    """
    n, y = len(W), study.values[own]
    if np.ptp(y) == 0:
        raise InputError("the trait has one value among the training samples")
    if len(own) <= W.shape[1] + 1:
        raise InputError(f"{len(own)} training samples are too few for so many covariates")
    fitted = replace(study, split=study.split._replace(train=own))
    chosen = inputs.strongest(fitted, options.max_inputs)
    planes = scoring.gather(study.doses, Wanted(chosen.keys), n).planes
    design = W[own]
    solve = np.linalg.pinv(design)  # (q, samples)
    fixed = solve @ y
    rest = y - design @ fixed
    free = len(own) - np.linalg.matrix_rank(design) - 1
    effect, t = np.zeros(len(planes)), np.zeros(len(planes))
    on_covariates = np.zeros((len(planes), W.shape[1]))
    for some, x in packing.chunks(planes, n, chosen.mean, chosen.scale, CHUNK_BYTES):
        x = x[:, own]
        on_covariates[some] = x @ solve.T
        whole = np.einsum("ij,ij->i", x, x)
        x = x - on_covariates[some] @ design.T
        left = np.einsum("ij,ij->i", x, x)
        fit = left > _RESIDUAL * whole
        np.divide(x @ rest, left, out=effect[some], where=fit)
        error = np.maximum(rest @ rest - effect[some] ** 2 * left, 0) / free
        with np.errstate(divide="ignore", invalid="ignore"):
            t[some] = np.where(fit, np.abs(effect[some]) * np.sqrt(left / error), 0)
    places = loci.clump(
        chosen.keys, t, np.arange(len(planes)), forest.filled(planes, own), own,
        window=options.clump_window, r2=options.clump_r2,
    )  # fmt: skip
    leads = np.array([place.lead for place in places], np.int64)
    p = 2 * stats.t.sf(t, free)
    return Marginal(chosen, planes, effect, p, leads, fixed, on_covariates)


def tuned(
    marginal: Marginal, y: Matrix, W: Matrix, tuning: Ints, thresholds: tuple[float, ...]
) -> Score:
    """The threshold and factor whose sum leaves least of the trait, of samples that fitted none.

    Args:
        y: the trait, (n,).
        W: a column of ones, and covariates, (n, q).
        tuning: positions of the samples.
    """
    rest = y[tuning] - W[tuning] @ marginal.fixed
    best, told = 0.0, Score(min(thresholds), 0.0)
    total, counted = np.zeros(len(tuning)), np.empty(0, np.int64)
    for threshold in sorted(thresholds):
        under = marginal.under(threshold)
        added = np.setdiff1d(under, counted)
        if not len(added):
            continue
        counted = under
        effect = marginal.effect[added]
        total += _summed(marginal, added, effect, len(W))[tuning]
        total -= W[tuning] @ (effect @ marginal.on_covariates[added])
        size, product = float(total @ total), float(total @ rest)
        if product > 0 and product**2 / size > best:
            best, told = product**2 / size, Score(threshold, product / size)
    return told


def scoring_file(trait: str, keys: pa.Table, weights: Matrix) -> str:
    """The score in the columns of the PGS Catalog's scoring files: of each ALT allele its weight.

    Positions are 1-based, of the genome build of the cohort.
    """
    out = io.StringIO()
    out.write(f"#trait_reported={trait}\n#weight_type=beta\n")
    out.write("chr_name\tchr_position\teffect_allele\tother_allele\teffect_weight\n")
    columns = (keys.column(name).to_pylist() for name in KEYS)
    for contig, start, ref, alt, weight in zip(*columns, weights.tolist(), strict=True):
        out.write(f"{contig}\t{start + 1}\t{alt}\t{ref}\t{weight!r}\n")
    return out.getvalue()


def _summed(marginal: Marginal, variants: Ints, effect: Matrix, n: int) -> Matrix:
    """Standardised doses of all samples by effects, (n,)."""
    out, planes = np.zeros(n), marginal.planes[variants]
    mean, scale = marginal.chosen.mean[variants], marginal.chosen.scale[variants]
    for some, x in packing.chunks(planes, n, mean, scale, CHUNK_BYTES):
        out += effect[some] @ x
    return out
