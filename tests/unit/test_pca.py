"""Principal components against scikit-learn's full decomposition, plink2, and planted structure."""

from __future__ import annotations

import numpy as np
import pytest
from pyspark.sql import functions as F
from sklearn.decomposition import PCA

from geneai_spark import tasks
from geneai_spark.errors import InputError
from geneai_spark.features import doses, pca
from geneai_spark.formats import vcf
from tests import structured
from tests.conftest import requires


def standardised(made: np.ndarray) -> np.ndarray:
    """X' (samples, variants) by the papers' formula, monomorphic variants left out."""
    made = made[[len(set(row[~np.isnan(row)])) > 1 for row in made]]
    mean = np.nanmean(made, axis=1, keepdims=True)
    p = mean / 2
    x = np.where(np.isnan(made), 0, made - mean)
    return (x / np.sqrt(2 * p * (1 - p))).T


def signed(scores: np.ndarray, like: np.ndarray) -> np.ndarray:
    return scores * np.sign((scores * like).sum(axis=0))


def packed(spark, made, **options):
    return doses.pack(
        structured.variants(spark, made, **options), made.shape[1], np.arange(made.shape[1])
    )


STRUCTURED = structured.populations([60, 50, 40], 400, fst=0.05, seed=3)
MISSING = structured.blank(STRUCTURED, 0.1, seed=4)
MONOMORPHIC = np.vstack(
    [MISSING, np.zeros((3, 150)), np.full((2, 150), 2.0), np.full((1, 150), np.nan)]
)


@pytest.mark.parametrize("most", [0, pca.MAX_GRAM], ids=["passes", "gram"])
@pytest.mark.parametrize(
    "made", [STRUCTURED, MISSING, MONOMORPHIC], ids=["full", "missing", "flat"]
)
def test_fit__as_scikit_learn(spark, monkeypatch, made, most):
    monkeypatch.setattr(pca, "MAX_GRAM", most)
    oracle = PCA(n_components=6, svd_solver="full")
    expected = oracle.fit_transform(standardised(made))
    found = pca.fit(packed(spark, made).cache(), 150, k=6)
    np.testing.assert_allclose(signed(found.scores, expected), expected, atol=1e-6)
    np.testing.assert_allclose(found.singular_values, oracle.singular_values_, rtol=1e-12)
    np.testing.assert_allclose(found.eigenvalues, oracle.explained_variance_, rtol=1e-12)
    np.testing.assert_allclose(found.explained, oracle.explained_variance_ratio_, rtol=1e-12)
    assert found.variants == 400
    assert found.residual <= 1e-7
    assert (found.passes == 1) == (most > 0)
    largest = found.scores[np.abs(found.scores).argmax(axis=0), np.arange(6)]
    assert (largest > 0).all()


def test_whole__undoes_upper(monkeypatch):
    x = np.random.default_rng(1).standard_normal((9, 11))
    for block in (4, 11, 100):
        monkeypatch.setattr(pca, "_BLOCK", block)
        upper = pca._upper(np.asfortranarray(np.triu(x.T @ x)))
        np.testing.assert_allclose(pca._whole(upper, 11), x.T @ x, rtol=1e-15)


def test_fit__planted_populations_separate(spark):
    found = pca.fit(packed(spark, STRUCTURED).cache(), 150, k=2)
    group = np.repeat([0, 1, 2], [60, 50, 40])
    centres = np.array([found.scores[group == g].mean(axis=0) for g in range(3)])
    nearest = np.linalg.norm(found.scores[:, None] - centres, axis=2).argmin(axis=1)
    assert (nearest == group).all()


def test_fit__all_there_is_of_few_variants(spark):
    made = structured.populations([20], 5, fst=0.1, seed=9)
    found = pca.fit(packed(spark, made), 20, k=5)
    np.testing.assert_allclose(found.explained.sum(), 1, rtol=1e-12)
    with pytest.raises(
        InputError, match=r"only 5 have variance \(5 variants that vary, 20 samples\)"
    ):
        pca.fit(packed(spark, made), 20, k=6)
    with pytest.raises(InputError, match="expected 1 to 19"):
        pca.fit(packed(spark, made), 20, k=20)
    with pytest.raises(InputError, match="no variant varies"):
        pca.fit(packed(spark, np.zeros((3, 20))), 20, k=2)


@pytest.mark.parametrize("most", [0, pca.MAX_GRAM], ids=["passes", "gram"])
def test_fit__does_not_depend_on_partitions_or_order(spark, monkeypatch, most):
    monkeypatch.setattr(pca, "MAX_GRAM", most)
    one = packed(spark, MISSING).repartition(1).cache()
    seven = packed(spark, MISSING).repartition(7, "start").orderBy(F.desc("start")).cache()
    fits = [pca.fit(df, 150, k=4) for df in (one, seven)]
    np.testing.assert_allclose(fits[0].scores, fits[1].scores, atol=1e-8)
    rows = [
        pca.loadings(df, 150, fit).frame().orderBy("start").collect()
        for df, fit in zip((one, seven), fits, strict=True)
    ]
    left, right = (np.array([row.loadings for row in part]) for part in rows)
    np.testing.assert_allclose(left, right, atol=1e-8)


@pytest.mark.parametrize("most", [0, pca.MAX_GRAM], ids=["passes", "gram"])
def test_fit__many_partitions_are_added_in_groups(spark, monkeypatch, most):
    monkeypatch.setattr(pca, "MAX_GRAM", most)
    made = packed(spark, MISSING).repartition(7, "start").cache()
    directly = pca.fit(made, 150, k=4)
    monkeypatch.setattr(tasks, "FEW", 2)
    grouped = pca.fit(made, 150, k=4)
    np.testing.assert_allclose(grouped.scores, directly.scores, atol=1e-8)
    assert grouped.variants == directly.variants


def test_project__training_samples_get_their_scores(spark):
    made = packed(spark, MONOMORPHIC).cache()
    found = pca.fit(made, 150, k=5)
    loadings = pca.loadings(made, 150, found).frame()
    assert loadings.count() == 400
    np.testing.assert_allclose(pca.project(made, 150, loadings), found.scores, atol=1e-6)


def test_project__new_samples_by_the_formula(spark):
    train, new = MISSING[:, ::2], MISSING[:, 1::2]
    mean = np.nanmean(train, axis=1, keepdims=True)
    scale = np.sqrt(mean * (1 - mean / 2))
    oracle = PCA(n_components=3, svd_solver="full").fit(standardised(train))
    expected = oracle.transform((np.where(np.isnan(new), 0, new - mean) / scale).T)
    own, n = packed(spark, train).cache(), train.shape[1]
    loadings = pca.loadings(own, n, pca.fit(own, n, k=3)).frame().cache()
    for parts in (1, 7):
        scores = pca.project(packed(spark, new).repartition(parts), new.shape[1], loadings)
        np.testing.assert_allclose(signed(scores, expected), expected, atol=1e-5)
    fewer = packed(spark, new).where("start >= 4000")
    with pytest.raises(InputError, match="396 matches of the 400 variants"):
        pca.project(fewer, new.shape[1], loadings)
    pca.project(fewer, new.shape[1], loadings, min_matched=0.9)
    with pytest.raises(InputError, match="800 matches"):
        twice = packed(spark, new)
        pca.project(twice.union(twice), new.shape[1], loadings)


def test_loadings__unit_vectors_with_mean_and_scale(spark):
    made = packed(spark, STRUCTURED).cache()
    found = pca.fit(made, 150, k=3)
    rows = pca.loadings(made, 150, found).frame().orderBy("start").collect()
    matrix = np.array([row.loadings for row in rows])
    np.testing.assert_allclose(matrix.T @ matrix, np.eye(3), atol=1e-6)
    p = STRUCTURED.mean(axis=1) / 2
    np.testing.assert_allclose([row["mean"] for row in rows], 2 * p, rtol=1e-12)
    np.testing.assert_allclose([row["scale"] for row in rows], np.sqrt(2 * p * (1 - p)), rtol=1e-12)


@requires("plink2", "bcftools")
@pytest.mark.parametrize("name", ["hail_sample.vcf", "hipster.vcf.bgz"])
def test_fit__real_files_as_scikit_learn_and_plink2(spark, shared_data, tmp_path, name):
    path = shared_data / "cohort" / name
    _, made = structured.genotype_matrix(path)
    n = made.shape[1]
    frequency = np.nanmean(made, axis=1) / 2
    made = made[np.minimum(frequency, 1 - frequency) >= 0.05]
    variants = vcf.read(spark, str(path)).withColumn("cohort", F.lit("default"))
    own = doses.pack(variants, n, np.arange(n), min_frequency=0.05).cache()
    assert own.count() == len(made)
    found = pca.fit(own, n, k=5)

    x = standardised(made)
    if len(made) > n:  # the smaller Gram matrix gives the same, exactly
        values, vectors = np.linalg.eigh(x @ x.T)
        values, vectors = values[::-1][:5], vectors[:, ::-1][:, :5]
        expected = vectors * np.sqrt(values)
    else:
        oracle = PCA(n_components=5, svd_solver="full")
        expected = oracle.fit_transform(x)
        values = np.square(oracle.singular_values_)
    np.testing.assert_allclose(found.singular_values**2, values, rtol=1e-10)
    np.testing.assert_allclose(
        signed(found.scores, expected), expected, atol=1e-4 * found.scores.std()
    )

    # plink2: unit vectors; eigenvalues of the relationship matrix X'X / variants
    select = ["--max-alleles", 2, "--maf", 0.05, "--double-id", "--vcf", path]
    out = structured.plink2(tmp_path, *select, "--pca", 5)
    eigenvalues = np.loadtxt(out.with_suffix(".eigenval"))
    vectors = structured.table(out.with_suffix(".eigenvec")).filter(like="PC").to_numpy()
    unit = signed(found.scores / found.singular_values, vectors)
    complete = not np.isnan(made).any()
    # where genotypes are missing plink2 divides a pair's product by the variants both have
    np.testing.assert_allclose(unit, vectors, atol=1e-5 if complete else 0.02)
    np.testing.assert_allclose(
        found.singular_values**2 / found.variants, eigenvalues, rtol=1e-5 if complete else 0.1
    )


def test_fit__populations_of_1000_genomes_separate(spark, shared_data):
    path = shared_data / "cohort" / "hipster.vcf.bgz"
    import pysam

    with pysam.VariantFile(str(path)) as file:
        ids = np.array(list(file.header.samples))
    group = np.full(len(ids), -1)
    # Coriell's numbers of three of the project's populations
    group[(ids >= "NA06984") & (ids <= "NA12890")] = 0  # Utah, of European ancestry
    group[(ids >= "NA18525") & (ids <= "NA18757")] = 1  # Beijing
    group[(ids >= "NA19092") & (ids <= "NA19474")] = 2  # Ibadan and Webuye
    variants = vcf.read(spark, str(path)).withColumn("cohort", F.lit("default"))
    own = doses.pack(variants, len(ids), np.arange(len(ids)), min_frequency=0.05).cache()
    scores = pca.fit(own, len(ids), k=4, tolerance=1e-4).scores
    centres = np.array([scores[group == g].mean(axis=0) for g in range(3)])
    known = group >= 0
    assert [(group == g).sum() > 80 for g in range(3)] == [True] * 3
    nearest = np.linalg.norm(scores[known][:, None] - centres, axis=2).argmin(axis=1)
    assert (nearest == group[known]).mean() > 0.9
