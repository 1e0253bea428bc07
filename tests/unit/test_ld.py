"""Pruning against correlations by brute force, and plink2."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import functions as F

from geneai_spark.errors import InputError
from geneai_spark.features import dose_kernels, doses, ld
from geneai_spark.formats import vcf
from tests import structured
from tests.conftest import requires

PLACE = ["contigName", "start", "referenceAllele"]


def correlations(made: np.ndarray) -> np.ndarray:
    """Squared correlations of all pairs (m, m), over samples called in both; 0 if undefined."""
    if not np.isnan(made).any():
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.nan_to_num(np.corrcoef(made) ** 2)
    return pd.DataFrame(made.T).corr(min_periods=2).fillna(0).to_numpy() ** 2


def check(made: np.ndarray, starts: np.ndarray, kept: np.ndarray, window: int, r2: float) -> None:
    """No two kept ones correlate; each dropped one varies not, or correlates with a neighbour."""
    near = np.abs(np.subtract.outer(starts, starts)) <= window
    np.fill_diagonal(near, False)
    squared = np.where(near, correlations(made), 0)
    assert squared[np.ix_(kept, kept)].max(initial=0) <= r2 + 1e-12
    varies = np.array([len(set(row[~np.isnan(row)])) > 1 for row in made])
    assert not kept[~varies].any()
    assert (squared[varies & ~kept].max(axis=1, initial=0) > r2 - 1e-12).all()


@pytest.mark.parametrize("share", [0, 0.15])
def test_squared_correlation__as_numpy_and_pandas(share):
    made = structured.blank(structured.linked(40, 130, seed=5), share, seed=6)
    calls = np.stack([made >= 2, made >= 1], axis=2).astype(np.int8)
    calls[np.isnan(made)] = -1
    planes = dose_kernels.pack(calls, np.arange(130))
    expected = correlations(made)
    found = [[dose_kernels.squared_correlation(a, b) for a in planes] for b in planes]
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("window", [3_000, 20_000, 10_000_000])
@pytest.mark.parametrize("share", [0, 0.1])
def test_prune__brute_force(spark, window, share):
    made = structured.blank(structured.linked(300, 100, seed=7), share, seed=8)
    made[10], made[11], made[12] = 0, np.nan, 1  # do not vary
    made[50] = made[49]
    starts = np.cumsum(np.random.default_rng(9).integers(1, 900, 300))
    own = doses.pack(structured.variants(spark, made, starts=starts), 100, np.arange(100))
    found = [row.start for row in ld.prune(own, 100, window=window, r2=0.3).collect()]
    kept = np.isin(starts, found)
    assert kept.sum() == len(found) and 10 < len(found) < 290
    check(made, starts, kept, window, 0.3)


def test_prune__keeps_the_more_frequent_and_then_the_first(spark):
    rng = np.random.default_rng(2)
    base = rng.binomial(2, 0.3, 200).astype(float)
    rarer = np.where(rng.random(200) < 0.1, 0, base)
    other = rng.binomial(2, 0.5, 200).astype(float)
    made = np.vstack([rarer, base, base, 2 - base, other])
    own = doses.pack(structured.variants(spark, made), 200, np.arange(200))
    kept = ld.prune(own, 200, window=10_000, r2=0.2).collect()
    assert sorted(row.start for row in kept) == [1000, 4000]
    apart = ld.prune(own, 200, window=999, r2=0.2)
    assert apart.count() == 5


def test_prune__across_the_edges_of_bins(spark):
    # equal variants in pairs, window apart or one more, at every offset to the bins' edges
    rng = np.random.default_rng(3)
    window, pairs = 100, 60
    made = np.repeat(rng.binomial(2, 0.4, (pairs, 400)).astype(float), 2, axis=0)
    starts = np.repeat(np.arange(pairs) * 1007, 2)
    starts[1::2] += np.where(np.arange(pairs) % 2, window, window + 1)
    own = doses.pack(structured.variants(spark, made, starts=starts), 400, np.arange(400))
    kept = {row.start for row in ld.prune(own, 400, window=window, r2=0.5).collect()}
    both = [starts[2 * i] in kept and starts[2 * i + 1] in kept for i in range(pairs)]
    assert both == [i % 2 == 0 for i in range(pairs)]


def test_prune__does_not_depend_on_partitions(spark):
    made = structured.blank(structured.linked(400, 80, seed=11), 0.05, seed=12)
    contigs = ["1"] * 200 + ["2"] * 200
    variants = structured.variants(spark, made, contig=contigs)
    own = doses.pack(variants, 80, np.arange(80))
    found = [
        ld.prune(own.repartition(parts), 80, window=7_000, r2=0.2).orderBy(*PLACE).collect()
        for parts in (1, 7)
    ]
    assert found[0] == found[1]
    assert 20 < len(found[0]) < 200


def test_prune__raises_on_what_a_worker_cannot_hold(spark, monkeypatch):
    own = doses.pack(structured.variants(spark, np.ones((50, 10))), 10, np.arange(10))
    monkeypatch.setattr(ld, "BIN_BYTES", 300)
    with pytest.raises(
        InputError, match="window 500,000: 50 variants within twice of it, 16 bytes"
    ):
        ld.prune(own, 10)
    assert ld.prune(own, 10, window=5000).count() == 0  # all het
    with pytest.raises(InputError, match="r2 2"):
        ld.prune(own, 10, r2=2)


@requires("plink2", "bcftools")
@pytest.mark.parametrize("name", ["hail_sample.vcf", "hipster.vcf.bgz"])
def test_prune__real_files_as_brute_force_and_plink2(spark, shared_data, tmp_path, name):
    path = shared_data / "cohort" / name
    sites, made = structured.genotype_matrix(path)
    n = made.shape[1]
    p = np.nanmean(made, axis=1) / 2
    common = np.minimum(p, 1 - p) >= 0.01
    sites, made = sites[common].reset_index(drop=True), made[common]
    variants = vcf.read(spark, str(path)).withColumn("cohort", F.lit("default"))
    own = doses.pack(variants, n, np.arange(n), min_frequency=0.01)
    rows = ld.prune(own, n, window=500_000, r2=0.2).collect()
    names = {(r.contigName, r.start, r.referenceAllele, r.alternateAlleles[0]) for r in rows}
    keys = zip(sites["contig"], sites["start"], sites["r"], sites["a"], strict=True)
    kept = np.array([key in names for key in keys])
    assert kept.sum() == len(rows)
    for contig in sites["contig"].unique():
        own_rows = (sites["contig"] == contig).to_numpy()
        starts = sites["start"].to_numpy()[own_rows]
        check(made[own_rows], starts, kept[own_rows], 500_000, 0.2)

    select = ["--vcf", path, "--double-id", "--max-alleles", 2, "--maf", 0.01]
    select += ["--set-all-var-ids", "@:#:$r:$a", "--new-id-max-allele-len", 500]
    pruning = ["--indep-pairwise", "500kb", "0.2"]
    out = structured.plink2(tmp_path, *select, *pruning)
    theirs = len(out.with_suffix(".prune.in").read_text().split())
    # from left to right, plink2 also drops what only a variant that it drops later speaks against
    assert theirs <= len(rows) <= 1.35 * theirs
    listed = tmp_path / "kept.txt"
    listed.write_text("".join(f"{c}:{s + 1}:{r}:{a}\n" for c, s, r, a in names))
    out = structured.plink2(tmp_path, *select, "--extract", listed, *pruning)
    assert len(out.with_suffix(".prune.in").read_text().split()) == len(rows)
    assert out.with_suffix(".prune.out").read_text().split() == []
