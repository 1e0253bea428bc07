"""Doses in bit planes against the one decoder, counted sample by sample."""

from __future__ import annotations

import hypothesis.extra.numpy as hnp
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geneai_spark import genome, genotypes
from geneai_spark.errors import TableError
from geneai_spark.features import dose_kernels, doses
from tests import packed, structured

CALLS = st.tuples(st.integers(1, 4), st.integers(1, 150)).flatmap(
    lambda shape: hnp.arrays(np.int8, (*shape, 2), elements=st.integers(-2, 1))
)


def unpacked(planes: np.ndarray, n: int) -> np.ndarray:
    """Doses (records, n), read bit by bit."""
    bits = np.unpackbits(planes.view(np.uint8), axis=-1, bitorder="little")[..., :n]
    low, high = bits[:, 0].astype(float), bits[:, 1].astype(float)
    return np.where((low == 1) & (high == 1), np.nan, low + 2 * high)


@settings(deadline=None)
@given(CALLS, st.data())
def test_pack__is_what_dosages_says(calls, data):
    n = calls.shape[1]
    chosen = data.draw(st.lists(st.integers(0, n - 1), min_size=1, unique=True).map(sorted))
    rows = np.array(chosen, np.int64)
    expected = genotypes.dosages(calls)[:, rows]
    planes = dose_kernels.pack(calls, rows)
    assert planes.shape == (len(calls), 2, -(-len(rows) // 64))
    np.testing.assert_array_equal(unpacked(planes, len(rows)), expected)
    np.testing.assert_array_equal(
        doses.counts(planes, len(rows)),
        np.column_stack(
            [*((expected == d).sum(axis=1) for d in range(3)), np.isnan(expected).sum(1)]
        ),
    )
    again = doses.planes(doses.binary(planes))
    np.testing.assert_array_equal(again, planes)

    fewer = np.arange(0, len(rows), 2)
    taken = dose_kernels.take(planes, fewer)
    np.testing.assert_array_equal(unpacked(taken, len(fewer)), expected[:, fewer])
    assert (doses.counts(taken, len(fewer))[:, 3] == np.isnan(expected[:, fewer]).sum(1)).all()

    turned = dose_kernels.transpose(planes, len(rows))  # (samples, 2, words of records)
    np.testing.assert_array_equal(unpacked(turned, len(calls)), expected.T)
    assert (doses.counts(turned, len(calls))[:, 3] == np.isnan(expected.T).sum(1)).all()


def test_standardised__by_hand():
    calls = np.array([[[0, 0], [0, 1], [1, 1], [-1, -1]], [[1, 1]] * 4], np.int8)
    planes = dose_kernels.pack(calls, np.arange(4))
    mean, scale = doses.moments(doses.counts(planes, 4))
    assert mean.tolist() == [1, 2] and scale.tolist() == [pytest.approx(0.5**0.5), 0]
    x = doses.standardised(planes, 4, mean, scale)
    np.testing.assert_allclose(x[0], [-(2**0.5), 0, 2**0.5, 0], atol=1e-12)
    assert x[1].tolist() == [0, 0, 0, 0]


def test_pack__takes_usable_variants_only(spark):
    het = [(0, 1), (0, 1), (1, 1)]
    sites = [
        ("1", 1, "A", ["C"]),
        ("chr22", 2, "A", ["C"]),
        ("NC_000007.14", 3, "A", ["C"]),
        ("X", 4, "A", ["C"]),  # not an autosome
        ("1", 5, "A", ["C", "G"]),
        ("1", 6, "A", []),
        ("1", 7, "A", ["C"]),  # triploid
        ("1", 8, "A", ["C"]),  # rare
    ]
    calls = [het] * 6 + [[(0, 1, 1)] * 3, [(0, 0)] * 3]
    variants = packed.variants(spark, sites, calls)
    rows = np.array([0, 2])
    every = doses.pack(variants, 3, rows).orderBy("start").collect()
    assert [row.start for row in every] == [1, 2, 3, 8]
    common = doses.pack(variants, 3, rows, min_frequency=0.25).orderBy("start").collect()
    assert [row.start for row in common] == [1, 2, 3]
    planes = doses.planes(pa.array([bytes(row.doses) for row in every], pa.binary()))
    assert unpacked(planes, 2).tolist() == [[1, 2]] * 3 + [[0, 0]]


def test_subset__is_packing_those_samples(spark):
    made = structured.blank(structured.populations([70], 30, fst=0.1, seed=1), 0.2, 2)
    variants = structured.variants(spark, made)
    half = np.arange(1, 70, 2)
    expected = doses.pack(variants, 70, half).orderBy("start").collect()
    found = doses.subset(doses.pack(variants, 70, np.arange(70)), half).orderBy("start").collect()
    assert found == expected


def test_pack__raises_without_genotypes(spark):
    variants = packed.variants(spark, [("1", 1, "A", ["C"])], [[(0, 1)]])
    with pytest.raises(TableError, match="no column call_genotype: ingest with genotypes"):
        doses.pack(variants.drop("call_genotype"), 1, np.arange(1))


def test_planes__raises_on_mixed_lengths():
    with pytest.raises(TableError, match="different lengths"):
        doses.planes(pa.array([b"\0" * 16, b"\0" * 32], pa.binary()))
    with pytest.raises(TableError, match="null"):
        doses.planes(pa.array([b"\0" * 16, None], pa.binary()))


def test_autosomes__of_every_build():
    names = genome.autosomes()
    assert {"1", "22", "CHR1", "NC_000001.10", "NC_000001.11", "NC_060925.1"} <= names
    assert not names & {"X", "CHRX", "MT", "CHRM", "NC_000023.11", "23", "NC_060947.1"}
