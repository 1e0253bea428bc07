"""KING-robust kinship against plink2 and families whose relations are known."""

from __future__ import annotations

import numpy as np
import pytest
from pyspark.sql import functions as F

from geneai_spark.errors import InputError
from geneai_spark.features import doses, kinship
from geneai_spark.formats import vcf
from tests import structured
from tests.conftest import requires

EVERY = -1e9  # below any coefficient


def ids_of(n: int) -> list[str]:
    return [f"s{i}" for i in range(n)]


def king(spark, made: np.ndarray, **options):
    n = made.shape[1]
    own = doses.pack(structured.variants(spark, made), n, np.arange(n))
    return kinship.king(own, ids_of(n), np.arange(n), cohort="default", **options)


def textbook(one: np.ndarray, other: np.ndarray) -> tuple[int, float, float]:
    """Variants, ibs0 and the coefficient of a pair, as equation 11 of the paper has it."""
    both = ~np.isnan(one) & ~np.isnan(other)
    one, other = one[both], other[both]
    het = sorted([(one == 1).sum(), (other == 1).sum()])
    opposite = (np.abs(one - other) == 2).sum()
    shared = ((one == 1) & (other == 1)).sum()
    coefficient = (shared - 2 * opposite) / (2 * het[0]) + 0.5 - (het[0] + het[1]) / (4 * het[0])
    return both.sum(), opposite / both.sum(), coefficient


@pytest.mark.parametrize("tile", [16, 256])
def test_king__every_pair_by_the_paper(spark, monkeypatch, tile):
    monkeypatch.setattr(kinship, "tile_size", lambda n: tile)
    made = structured.blank(structured.populations([25, 12], 333, fst=0.1, seed=1), 0.1, seed=2)
    rows = king(spark, made, min_kinship=EVERY).collect()
    pairs = {(row.sampleIndex1, row.sampleIndex2): row for row in rows}
    assert len(rows) == len(pairs) == 37 * 36 // 2
    for (i, j), row in pairs.items():
        assert i < j and (row.sampleId1, row.sampleId2) == (f"s{i}", f"s{j}")
        variants, ibs0, coefficient = textbook(made[:, i], made[:, j])
        assert row.variants == variants
        assert (row.ibs0, row.kinship) == pytest.approx((ibs0, coefficient), abs=1e-12)


def test_king__families(spark):
    made = np.hstack([structured.families(20_000, seed=3), structured.families(20_000, seed=4)])
    rows = king(spark, made).collect()
    found = {(row.sampleIndex1, row.sampleIndex2): row.relationship for row in rows}
    one = {
        (0, 2): "first", (0, 3): "first", (0, 4): "first", (0, 5): "first",
        (1, 2): "first", (1, 3): "first", (1, 4): "first", (1, 5): "first",
        (2, 3): "first", (2, 4): "first", (2, 5): "first", (3, 4): "first", (3, 5): "first",
        (4, 5): "duplicate",
        (0, 6): "first", (6, 7): "first",
        (2, 6): "second", (3, 6): "second", (4, 6): "second", (5, 6): "second",
    }  # fmt: skip
    other = {(i + 8, j + 8): relation for (i, j), relation in one.items()}
    assert found == one | other


def test_king__does_not_depend_on_partitions(spark, monkeypatch):
    monkeypatch.setattr(kinship, "tile_size", lambda n: 20)
    made = structured.blank(structured.populations([50], 500, fst=0.1, seed=5), 0.1, seed=6)
    own = doses.pack(structured.variants(spark, made), 50, np.arange(50))
    found = [
        kinship.king(own.repartition(parts), ids_of(50), np.arange(50), cohort="c", min_kinship=-9)
        .orderBy("sampleIndex1", "sampleIndex2")
        .collect()
        for parts in (1, 7)
    ]
    assert found[0] == found[1] and len(found[0]) == 1225


def test_king__only_pairs_above_and_with_a_coefficient(spark):
    made = np.array([[0, 0, 0], [2, 2, 1], [0, 0, 1]], float)  # the first two have no het
    assert king(spark, made, min_kinship=EVERY).collect() == []
    related = king(spark, structured.families(5000, seed=7), min_kinship=0.2).collect()
    assert {row.relationship for row in related} == {"first", "duplicate"}


def test_king__raises_on_too_many_samples(spark):
    with pytest.raises(InputError, match=r"kinship of 8 samples is 28 pairs.*\(7\)"):
        king(spark, structured.families(10, seed=1), max_samples=7)


def test_degree__cut_offs_of_king():
    named = [kinship.degree(k) for k in (0.5, 0.354, 0.25, 0.177, 0.1, 0.0884, 0.05, 0.0442, -1)]
    expected = ["duplicate", "first", "first", "second", "second", "third", "third", None, None]
    assert named == expected


@requires("plink2")
@pytest.mark.parametrize(("name", "every"), [("hail_sample.vcf", 1), ("hipster.vcf.bgz", 5)])
def test_king__real_files_as_plink2(spark, shared_data, tmp_path, name, every):
    import pysam

    path = shared_data / "cohort" / name
    with pysam.VariantFile(str(path)) as file:
        ids = list(file.header.samples)
    rows = np.arange(0, len(ids), every)
    variants = vcf.read(spark, str(path)).withColumn("cohort", F.lit("default"))
    own = doses.pack(variants, len(ids), rows)
    found = kinship.king(own, ids, rows, cohort="default", min_kinship=EVERY).toPandas()

    listed = tmp_path / "samples.txt"
    listed.write_text("".join(f"{ids[row]}\n" for row in rows))
    columns = "cols=id,nsnp,hethet,ibs0,kinship"
    out = structured.plink2(
        tmp_path, "--vcf", path, "--keep", listed, "--max-alleles", 2, "--make-king-table", columns
    )
    theirs = structured.table(out.with_suffix(".kin0")).rename(columns={"#IID1": "IID1"})
    # plink2 names the later sample first
    both = found.merge(theirs, left_on=["sampleId2", "sampleId1"], right_on=["IID1", "IID2"])
    assert len(both) == len(found) and len(theirs) - len(found) == theirs["KINSHIP"].isna().sum()
    assert (both["variants"] == both["NSNP"]).all()
    np.testing.assert_allclose(both["ibs0"], both["IBS0"], rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(both["kinship"], both["KINSHIP"], rtol=1e-5, atol=1e-6)


@requires("plink2")
def test_king__simulated_as_plink2(spark, tmp_path):
    made = structured.blank(structured.families(3000, seed=8), 0.05, seed=9)
    path = structured.write_vcf(tmp_path / "families.vcf", made)
    out = structured.plink2(tmp_path, "--vcf", path, "--make-king-table")
    theirs = structured.table(out.with_suffix(".kin0"))
    found = king(spark, made, min_kinship=EVERY).toPandas()
    both = found.merge(theirs, left_on=["sampleId2", "sampleId1"], right_on=["IID1", "IID2"])
    assert len(both) == len(found) == 28
    np.testing.assert_allclose(both["kinship"], both["KINSHIP"], rtol=1e-5, atol=1e-6)
