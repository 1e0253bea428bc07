"""The second engine, to check the first by: the kernel of Glow's Python layer (glow.py 2.1).

It needs no JVM jar. Glow approximates where traits are missing; ``design`` leaves it nothing
missing. Missing genotypes take the mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from geneai_spark import genotypes
from geneai_spark.association.design import Design, Matrix
from geneai_spark.association.least_squares import Integers, Tests


def test(
    decoded: npt.NDArray[Any], record: Integers, allele: Integers, designs: Sequence[Design]
) -> Tests:
    """Test alleles against every trait; arguments and result as in ``least_squares.test``."""
    dosages = np.empty((len(record), decoded.shape[1]), np.float32)  # (tests, samples)
    for number in np.unique(allele):
        own = np.flatnonzero(allele == number)
        dosages[own] = genotypes.dosages(decoded[record[own]], int(number))
    parts = [_test(dosages[:, one.rows], decoded[record][:, one.rows], one) for one in designs]
    columns: list[Any] = [np.concatenate(part, axis=1) for part in zip(*parts, strict=True)]
    return Tests(*columns)


def _test(dosages: npt.NDArray[np.float32], calls: npt.NDArray[Any], one: Design) -> Tests:
    """Test one design: dosages (tests, samples), calls (tests, samples, ploidy)."""
    x = dosages.T.astype(np.float64)  # (samples, tests)
    missing = np.isnan(x)
    x[missing] = 0
    known = (~missing).sum(axis=0)
    alleles = ((calls != genotypes.ABSENT).sum(axis=2).T * ~missing).sum(axis=0)
    with np.errstate(invalid="ignore"):  # no genotype at all: NaN
        frequency = x.sum(axis=0) / alleles
        x += missing * (x.sum(axis=0) / known)
    total = np.einsum("sg,sg->g", x, x)
    explained = np.square(one.basis.T @ x).sum(axis=0)
    untestable = ~(total - explained > 1e-10 * total)
    effect, error, t, p = (np.where(untestable, np.nan, part).T for part in kernel(x, one))
    count = np.full(p.shape, len(one.rows), np.int32)
    return Tests(effect, error, t, p, count, np.broadcast_to(frequency[:, None], p.shape))


def kernel(x: Matrix, one: Design) -> tuple[Matrix, Matrix, Matrix, Matrix]:
    """Give Glow's effect, standard error, t and p-value, each of shape (traits, variants).

    Args:
        x: dosages, shape (samples, variants), nothing missing.
        one: traits and covariates of the same samples.
    """
    from glow.gwas import lin_reg  # heavy: only where tests run

    y = one.traits - one.traits.mean(axis=0)
    y -= one.basis @ (one.basis.T @ y)
    scale = np.sqrt(np.square(y).sum(axis=0) / (y.shape[0] - one.basis.shape[1]))
    mask = np.ones_like(y)
    with np.errstate(all="ignore"):
        y = y / scale
        frame = pd.DataFrame({lin_reg._VALUES_COLUMN_NAME: list(x.T)})
        out = lin_reg._linear_regression_inner(
            frame,
            lin_reg.YState(y, np.square(y).sum(axis=0)),
            mask,
            scale,
            one.basis,
            one.freedom,
            pd.Series(one.names),
            None,
            False,
            None,
        )
    shape = (len(one.names), x.shape[1])
    effect, error, t, p = (
        out[name].to_numpy(np.float64).reshape(shape)
        for name in ("effect", "stderror", "tvalue", "pvalue")
    )
    return effect, error, t, p
