"""The kernel of the linear test against statsmodels, on genotypes made to be difficult."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from geneai_spark.association import least_squares
from geneai_spark.association.design import design

COVARIATES = ["age", "pc1", "rare"]
TRAITS = ["a", "b", "c", "d"]


@pytest.fixture(scope="module")
def phenotypes():
    """Four traits, three missing patterns; a covariate that few samples have."""
    rng = np.random.default_rng(11)
    n = 150
    values = rng.normal(size=(n, 7)) * [1, 40, 1e-3, 2, 12, 0.02, 0] + [0, 170, 0, 5, 50, 0, 0]
    frame = pd.DataFrame(values, [f"s{i}" for i in range(n)], [*TRAITS, *COVARIATES])
    frame.iloc[:4, 6] = [1, 2, 1, 3]
    frame.iloc[20:50, 1] = np.nan
    frame.iloc[120:, 2] = np.nan
    frame.iloc[7, 4] = np.nan
    return frame


def genotypes(dtype, ploidy):
    """Rates of missing genotypes from none to nearly all; half calls, haploids, one value."""
    rng = np.random.default_rng(ploidy)
    frequency = rng.uniform(0.02, 0.98, (40, 1, 1))
    calls = rng.binomial(1, frequency, (40, 150, ploidy)).astype(dtype)
    calls[rng.random(calls.shape) < 0.05] = 2
    gone = rng.random((40, 150)) < np.repeat([0, 0, 0.01, 0.2, 0.9], 8)[:, None]
    calls[gone, rng.integers(0, ploidy)] = -1
    calls[1, 30:90, 1:], calls[9, ::2, 1:] = -2, -2  # haploids
    calls[2], calls[3], calls[4] = 0, 1, -1
    calls[5, :4] = -1  # no sample that has a value of `rare` is left
    calls[6, :3] = -1  # one is
    calls[7] = 0
    calls[7, 99, 0] = 1  # a singleton
    calls.flags.writeable = False
    return calls


def expected(calls, allele, phenotypes, trait, missing):
    whole = (calls != -1).all(axis=1)
    x = np.where(whole, (calls == allele).sum(axis=1), np.nan)
    used = phenotypes[[trait, *COVARIATES]].notna().all(axis=1).to_numpy()
    if missing == "drop":
        used &= whole
    x = x[used]
    if np.isfinite(x).any():
        x[np.isnan(x)] = np.nanmean(x)
    given = np.column_stack([x, np.ones(len(x)), phenotypes.loc[used, COVARIATES]])
    scale = np.maximum(np.abs(given).max(axis=0, initial=0), 1e-9)
    if len(x) < 6 or not np.isfinite(x).all() or np.linalg.matrix_rank(given / scale) < 5:
        return (np.nan,) * 4, used.sum()
    fit = sm.OLS(phenotypes.loc[used, trait].to_numpy(), given).fit()
    return (fit.params[0], fit.bse[0], fit.tvalues[0], fit.pvalues[0]), used.sum()


@pytest.mark.filterwarnings("ignore:invalid value encountered in divide")
@pytest.mark.parametrize("missing", ["drop", "mean"])
@pytest.mark.parametrize(("dtype", "ploidy"), [(np.int8, 2), (np.int16, 2), (np.int8, 3)])
def test_test__as_statsmodels(phenotypes, missing, dtype, ploidy):
    calls = genotypes(dtype, ploidy)
    plan = least_squares.plan(design(phenotypes.index, phenotypes, TRAITS, COVARIATES), 150)
    assert plan.traits == ("a", "d", "b", "c") and len(plan.sizes) == 3
    record, allele = np.repeat(np.arange(40), 2), np.tile([1, 2], 40)
    found = least_squares.test(calls, record, allele, plan, mean=missing == "mean")
    tested = 0
    for i in range(80):
        for t, trait in enumerate(plan.traits):
            numbers, n = expected(calls[record[i]], allele[i], phenotypes, trait, missing)
            assert found.sample_count[i, t] == n
            ours = [part[i, t] for part in found[:4]]
            np.testing.assert_allclose(ours, numbers, rtol=1e-8, err_msg=f"{i} {trait}")
            tested += np.isfinite(numbers).all()
    assert tested > 150


def test_test__samples_that_no_trait_uses_change_nothing(phenotypes):
    """Few of the cohort: they are picked before decoding; the same as without the others."""
    calls = genotypes(np.int8, 2)
    few = np.arange(10, 70)
    record, allele = np.arange(40), np.ones(40, np.int64)
    ids = list(phenotypes.index)
    picked = least_squares.plan(design(ids, phenotypes, TRAITS, ["age"], few), 150)
    assert picked.rows is not None
    alone = least_squares.plan(design(ids[10:70], phenotypes, TRAITS, ["age"]), 60)
    assert alone.rows is None
    ours = least_squares.test(calls, record, allele, picked, mean=False)
    theirs = least_squares.test(
        np.ascontiguousarray(calls[:, few]), record, allele, alone, mean=False
    )
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


def test_test__far_tails_and_perfect_fits():
    """p-values to 1e-300 (mpmath, 60 digits: df 2490), 0 below; a wholly explained trait."""
    from scipy import special

    for t, p in ((6, 2.260574425e-9), (20, 1.209234234e-82), (40, 1.20225424e-270), (60, 0)):
        assert 2 * special.stdtr(2490.0, -t) == pytest.approx(p, rel=1e-8)
    dose = np.array([0, 1, 2, 1, 0, 2, 1, 1])
    calls = np.stack([dose > 0, dose > 1], axis=1).astype(np.int8)[None]
    frame = pd.DataFrame({"y": 3.0 * dose + 1}, index=[f"s{i}" for i in range(8)])
    plan = least_squares.plan(design(frame.index, frame, ["y"]), 8)
    found = least_squares.test(calls, np.zeros(1, int), np.ones(1, int), plan, mean=False)
    assert found.effect[0, 0] == pytest.approx(3) and found.p_value[0, 0] < 1e-40
