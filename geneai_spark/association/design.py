"""What is tested on whom: traits and covariates matched to samples, grouped by who has them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from geneai_spark.errors import InputError

Matrix = npt.NDArray[np.float64]

#: A covariate or trait of which less than this share is its own is explained by the others.
DEPENDENT = 1e-9


@dataclass(frozen=True)
class Design:
    """Traits that the same samples have, with those samples' covariates.

    Attributes:
        rows: positions of the samples in the packed genotypes, shape (samples,).
        names: the traits.
        traits: values, shape (samples, traits), nothing missing.
        basis: orthonormal basis of intercept and covariates, shape (samples, 1 + covariates);
            its first column is constant.
    """

    rows: npt.NDArray[np.int64]
    names: tuple[str, ...]
    traits: Matrix
    basis: Matrix

    @property
    def freedom(self) -> int:
        """Degrees of freedom that the test of one effect leaves."""
        return self.basis.shape[0] - self.basis.shape[1] - 1


def design(
    sample_ids: Sequence[str],
    phenotypes: pd.DataFrame,
    traits: Sequence[str],
    covariates: Sequence[str] = (),
    rows: npt.NDArray[np.int64] | None = None,
) -> list[Design]:
    """Match samples by id and group traits by the samples that have them.

    Args:
        sample_ids: the cohort's samples in the order of the packed genotypes.
        phenotypes: indexed by sample id; columns hold traits and covariates, NaN is missing.
        traits: columns to test.
        covariates: columns to adjust for; an intercept is always there.
        rows: positions of the samples to use; default: all.

    Raises:
        InputError: an unknown column, one that is not numeric, has one value or is a linear
            combination of the covariates; too few samples; a sample twice.
    """
    names, adjusted = list(dict.fromkeys(traits)), list(dict.fromkeys(covariates))
    if not names:
        raise InputError("no trait to test")
    for name in [*names, *adjusted]:
        if name not in phenotypes.columns:
            raise InputError(f"no trait or covariate {name!r}")
        if not pd.api.types.is_numeric_dtype(phenotypes[name]):
            raise InputError(f"{name!r} is not numeric")
    if both := [name for name in names if name in adjusted]:
        raise InputError(f"{both[0]!r} is tested and adjusted for at once")
    if phenotypes.index.has_duplicates:
        raise InputError("a sample stands more than once among the traits")
    matched = phenotypes.reindex(list(sample_ids))
    values = matched[names].to_numpy(np.float64)  # (samples, traits)
    adjust = matched[adjusted].to_numpy(np.float64)  # (samples, covariates)
    usable = np.isfinite(values) & np.isfinite(adjust).all(axis=1)[:, None]
    if rows is not None:
        chosen = np.zeros(len(usable), np.bool_)
        chosen[rows] = True
        usable &= chosen[:, None]
    groups: dict[bytes, list[int]] = {}
    for t in range(len(names)):
        groups.setdefault(usable[:, t].tobytes(), []).append(t)
    designs = []
    for members in groups.values():
        own = np.flatnonzero(usable[:, members[0]])
        named = tuple(names[t] for t in members)
        basis = _basis(adjust[own], adjusted, named)
        designs.append(Design(own, named, values[np.ix_(own, np.array(members))], basis))
        _refuse_explained(designs[-1])
    return designs


def _basis(adjust: Matrix, covariates: Sequence[str], traits: Sequence[str]) -> Matrix:
    """Give an orthonormal basis of the intercept and the covariates."""
    n, k = adjust.shape
    if n < k + 3:
        raise InputError(
            f"{', '.join(traits)}: {n} samples have genotypes, trait and covariates; "
            f"at least {k + 3} are needed"
        )
    constant = np.flatnonzero(np.ptp(adjust, axis=0) == 0)
    if len(constant):
        raise InputError(
            f"covariate {covariates[constant[0]]!r} has one value in all samples tested"
        )
    standard = (adjust - adjust.mean(axis=0)) / adjust.std(axis=0)
    basis, triangle = np.linalg.qr(np.column_stack([np.ones(n), standard]))
    dependent = np.flatnonzero(np.abs(np.diag(triangle)) < DEPENDENT * np.sqrt(n))
    if len(dependent):
        name = covariates[int(dependent[0]) - 1]
        raise InputError(f"covariate {name!r} is a linear combination of those before it")
    return np.asarray(basis)


def _refuse_explained(one: Design) -> None:
    """Raise where nothing of a trait is left to test."""
    spread = one.traits - one.traits.mean(axis=0)
    left = spread - one.basis @ (one.basis.T @ spread)
    for t, name in enumerate(one.names):
        if np.ptp(one.traits[:, t]) == 0:
            raise InputError(f"trait {name!r} has one value in all samples tested")
        if np.linalg.norm(left[:, t]) < DEPENDENT * np.linalg.norm(spread[:, t]):
            raise InputError(f"trait {name!r} is a linear combination of the covariates")


def binary(designs: Iterable[Design]) -> list[str]:
    """Name the traits that have two values: a linear test of them is an approximation."""
    return [
        name
        for one in designs
        for t, name in enumerate(one.names)
        if len(np.unique(one.traits[:, t])) == 2
    ]
