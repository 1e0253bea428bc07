"""Least squares of many traits on each allele: dense products once, the rest per variant.

Traits y and dosages x are projected off the covariates (Frisch-Waugh-Lovell), as in REGENIE's
step 2 (Mbatchou et al. 2021, Nature Genetics 53:1097). With Q an orthonormal basis of intercept
and covariates and y residual, ``Q'x`` and ``y'x`` of all traits are one matrix product a block,
and with xx = x'x - |Q'x|^2::

    effect = y'x / xx,  error^2 = (y'y - effect y'x) / xx / (n - k - 1),  t = effect / error

Traits that lack different samples have their own Q, zero outside their samples, and so share the
decoding and the product. Sums are float64 throughout; dosages are whole numbers, so x'x is exact.

Missing genotypes S of a variant:

* ``drop`` leaves them out (complete cases: what plink2 --glm does, and any textbook regression).
  With x = 0 there, Q'x and y'x are right already; Q'Q = I and Q'y = 0 lose what S added, and a
  k x k system is solved for each variant and trait: xx = x'x - (Q'x)' (I - Qs'Qs)^-1 (Q'x), and so
  on. n and the degrees of freedom are those of the variant.
* ``mean`` puts the variant's mean dosage among the samples tested (REGENIE, Hail's
  linear_regression_rows, Glow): n stays the design's, effects are a little diluted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import special

from geneai_spark.association import linear_kernels as kernels
from geneai_spark.association.design import Design, Matrix

Integers = npt.NDArray[np.int64]

BLOCK_BYTES = 512 << 10  # of dosages as float64: they stay in the cache between two passes
BLOCK_LEAST = 16  # records, however wide: a matrix product of fewer reads the weights too often


class Tests(NamedTuple):
    """Results, each of shape (tests, traits); NaN where there is no test."""

    effect: Matrix
    standard_error: Matrix
    statistic: Matrix
    p_value: Matrix
    sample_count: npt.NDArray[np.int32]
    frequency: Matrix


@dataclass(frozen=True)
class Plan:
    """Designs side by side, ready for one product with the dosages.

    Attributes:
        traits: the traits in the order of the results.
        rows: positions of the samples to decode, or None: all of them.
        weights: shape (samples, columns): an indicator of each design's samples; then, design by
            design, its basis and its residual traits at unit length. Zero outside a design.
        sizes: samples of each design, shape (designs,).
        basis_at: first column of each basis, and the end, shape (designs + 1,).
        trait_at: first column of each design's traits, shape (designs,).
        scale: length of the residual traits, shape (traits,).
    """

    traits: tuple[str, ...]
    rows: Integers | None
    weights: Matrix
    sizes: Integers
    basis_at: Integers
    trait_at: Integers
    scale: Matrix

    @property
    def design_of(self) -> Integers:
        """The design of each trait, shape (traits,)."""
        return np.repeat(np.arange(len(self.sizes)), self.basis_at[1:] - self.trait_at)


def plan(designs: Sequence[Design], n_samples: int) -> Plan:
    """Lay designs side by side.

    Args:
        designs: from ``design``.
        n_samples: samples of the cohort.
    """
    used = np.unique(np.concatenate([one.rows for one in designs]))
    rows = used if 2 * len(used) < n_samples else None  # picking costs more than a few zeros
    place = np.arange(n_samples) if rows is None else np.searchsorted(used, np.arange(n_samples))
    width = sum(1 + one.basis.shape[1] + one.traits.shape[1] for one in designs)
    weights = np.zeros((n_samples if rows is None else len(used), width))
    basis_at, trait_at, scale = [len(designs)], [], []
    for d, one in enumerate(designs):
        own = place[one.rows]
        y = one.traits - one.traits.mean(axis=0)
        for _ in range(2):  # the second takes off what rounding left of the first
            y = y - one.basis @ (one.basis.T @ y)
        length = np.sqrt(np.square(y).sum(axis=0))
        trait_at.append(basis_at[-1] + one.basis.shape[1])
        basis_at.append(trait_at[-1] + y.shape[1])
        weights[own, d] = 1
        weights[own, basis_at[-2] : trait_at[-1]] = one.basis
        weights[own, trait_at[-1] : basis_at[-1]] = y / length
        scale.append(length)
    sizes = np.array([len(one.rows) for one in designs], np.int64)
    at = (np.array(basis_at, np.int64), np.array(trait_at, np.int64))
    names = tuple(name for one in designs for name in one.names)
    return Plan(names, rows, weights, sizes, *at, np.concatenate(scale))


def test(
    decoded: npt.NDArray[Any], record: Integers, allele: Integers, plan: Plan, *, mean: bool
) -> Tests:
    """Test alleles against every trait.

    Args:
        decoded: from ``genotypes.calls``, all samples of the cohort.
        record: positions in ``decoded``, shape (tests,).
        allele: the allele of the record to test, shape (tests,).
        plan: what is tested.
        mean: put the mean for missing genotypes; else leave those samples out.
    """
    if plan.rows is not None:
        decoded = decoded[:, plan.rows]
    n, designs = len(plan.weights), len(plan.sizes)
    step = min(max(BLOCK_LEAST, BLOCK_BYTES // (8 * n)), len(record))
    dosages, squared = np.empty((step, n)), np.empty((step, n))
    parts = []
    for first in range(0, len(record), step):
        own, wanted = record[first : first + step], allele[first : first + step]
        x, xx = dosages[: len(own)], squared[: len(own)]
        missing, haploid = kernels.dosages(decoded, own, wanted, x)
        starts = np.concatenate([[0], np.cumsum(missing)])
        where = kernels.missing_samples(decoded, own, starts)
        product = x @ plan.weights  # (tests, columns)
        indicators = plan.weights[:, :designs]
        squares = np.square(x, out=xx) @ indicators  # (tests, designs)
        known, found = kernels.solve(
            product, squares, starts, where, plan.weights, plan.sizes,
            plan.basis_at, plan.trait_at, plan.scale, mean,
        )  # fmt: skip
        alleles = known * np.float64(decoded.shape[2])
        if haploid.any():
            alleles = kernels.alleles(decoded, own) @ indicators
        frequency = np.full(known.shape, np.nan)
        np.divide(product[:, :designs], alleles, out=frequency, where=alleles > 0)
        parts.append((found, known, frequency))
    effect, error, statistic, freedom = np.concatenate([part[0] for part in parts], axis=1)
    p_value = 2 * special.stdtr(freedom, -np.abs(statistic))
    known, frequency = (np.concatenate([part[i] for part in parts]) for i in (1, 2))
    count = np.broadcast_to(plan.sizes.astype(np.int32), known.shape) if mean else known
    of = plan.design_of
    return Tests(effect, error, statistic, p_value, count[:, of], frequency[:, of])


def warm_up() -> None:
    """Compile the kernels for what ``genotypes.calls`` gives: read-only int8 and int16."""
    traits = np.array([[0.0], [1], [3], [2]])
    whole = Design(np.arange(4), ("trait",), traits, np.full((4, 1), 0.5))
    for dtype in (np.int8, np.int16):
        decoded = np.array([[[0, 0], [0, 1], [1, -2], [-1, -1]]], dtype)
        decoded.flags.writeable = False
        record, allele = np.zeros(1, np.int64), np.ones(1, np.int64)
        for mean in (False, True):
            test(decoded, record, allele, plan([whole], 4), mean=mean)
