"""Simulated traits: planted variants are found, people keep their values."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from geneai_spark import simulation
from geneai_spark.errors import InputError


def genotypes(n_variants=300, n_samples=800, seed=1):
    """Independent variants, but each tenth is a near copy of the one before."""
    rng = np.random.default_rng(seed)
    frequency = rng.uniform(0.02, 0.5, (n_variants, 1))
    x = rng.binomial(2, frequency, (n_variants, n_samples)).astype(np.float32)
    for i in range(10, n_variants, 10):
        x[i] = x[i - 1]
        x[i, :5] = 0
    variants = [("1", 100 * i, "A", "C") for i in range(n_variants)]
    return x, variants, [f"s{i}" for i in range(n_samples)]


def test_simulate_trait__planted_variants_rank_first():
    x, variants, ids = genotypes()
    trait = simulation.simulate_trait(x, variants, ids, n_causal=4)
    planted = {causal.start for causal in trait.causal}
    assert len(planted) == 4
    p = {
        v[1]: sm.OLS(trait.values, sm.add_constant(dosage)).fit().pvalues[1]
        for v, dosage in zip(variants, x, strict=True)
        if dosage.std() > 0
    }
    assert set(sorted(p, key=p.get)[:4]) == planted
    for causal in trait.causal:
        i = causal.start // 100
        assert not (i % 10 == 0 and i) and i % 10 != 9, "has a near copy"
        assert 0.1 <= x[i].mean() / 2 <= 0.9


def test_simulate_trait__a_person_has_the_same_value_in_any_order():
    x, variants, ids = genotypes()
    one = simulation.simulate_trait(x, variants, ids)
    order = np.random.default_rng(0).permutation(len(ids))
    other = simulation.simulate_trait(x[:, order], variants, [ids[i] for i in order])
    assert other.causal == one.causal
    assert dict(zip(other.sample_ids, other.values, strict=True)) == pytest.approx(
        dict(zip(ids, one.values, strict=True)), abs=2e-6
    )
    assert simulation.simulate_trait(x, variants, ids, seed=7).causal != one.causal


def test_simulate_trait__raises():
    x, variants, ids = genotypes(20)
    with pytest.raises(InputError, match="must begin with simulated_"):
        simulation.simulate_trait(x, variants, ids, name="height")
    with pytest.raises(InputError, match="of 50 variants qualify"):
        simulation.simulate_trait(x, variants, ids, n_causal=50)
    x[:, 0] = np.nan  # a missing genotype bars a variant
    with pytest.raises(InputError, match="only 0 of 4"):
        simulation.simulate_trait(x, variants, ids)


def test_write_trait__csv_and_truth(tmp_path):
    x, variants, ids = genotypes()
    trait = simulation.simulate_trait(x, variants, ids, name="simulated_height")
    path = simulation.write_trait(trait, tmp_path / "new" / "trait.csv")
    frame = pd.read_csv(path)
    assert list(frame.columns) == ["sample", "simulated_height"]
    assert frame["simulated_height"].to_numpy().tolist() == trait.values.tolist()
    truth = json.loads((tmp_path / "new" / "trait.truth.json").read_text())
    assert truth["simulated"] is True
    assert [c["start"] for c in truth["causal"]] == [c.start for c in trait.causal]
