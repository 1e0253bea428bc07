"""A disease of which genotypes tell little (snpStats' exercise): read as its authors print it, and
not oversold. What they print is in the vignette "Example of genome-wide association testing" of
Clayton and Wallace, which the package holds, computed by R: numbers that nobody here has made.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from geneai_spark.jobs import (
    check_quality,
    evaluate_model,
    ingest_traits,
    ingest_variants,
    run_gwas,
    train_model,
)
from scipy import stats

from geneai_spark import genotypes, registry, store, tables
from geneai_spark.association import summary
from geneai_spark.report.blocks import Note, number
from geneai_spark.report.sections import models
from geneai_spark.report.study import Options, Study
from tests import snpstats

FAMILIES = ("disease_association", "genomic_prediction")
#: p-values of the authors' test in strata, by rs id; positions are 1-based.
PUBLISHED = {"rs870041": 2.337e-08, "rs10882596": 1.207e-06, "rs7088765": 2.179e-06}
PLACES = {"rs870041": 2075671, "rs10882596": 97190034, "rs7088765": 97191413}
#: They leave out a person without a heterozygous genotype.
KEPT = "heterozygotes > 0"


@pytest.fixture(scope="module")
def exercise() -> snpstats.Exercise:
    """The data as read from R's file."""
    try:
        return snpstats.read()
    except OSError as error:
        pytest.skip(f"{snpstats.PACKAGE} cannot be fetched: {error}")


@pytest.fixture(scope="module")
def study(spark, exercise, tmp_path_factory) -> tuple[str, str]:
    """A warehouse of it, and a folder for models; the trait `permuted` means nothing."""
    folder = tmp_path_factory.mktemp("snpstats")
    warehouse = str(folder / "tables")
    bed, traits = snpstats.write(folder)
    told = ingest_variants.run(spark, ingest_variants.Config(inputs=(bed,), warehouse=warehouse))
    assert (told["records_stored"], told["records_rejected"]) == (28501, 0)
    permuted = exercise.people["cc"].sample(frac=1, random_state=1).to_numpy()
    frame = pd.DataFrame({"permuted": permuted}, exercise.people.index)
    frame.to_csv(folder / "permuted.tsv", sep="\t", index_label="sample")
    both = (traits, str(folder / "permuted.tsv"))
    ingest_traits.run(spark, ingest_traits.Config(inputs=both, warehouse=warehouse))
    check_quality.run(spark, check_quality.Config(warehouse=warehouse))
    return warehouse, str(folder / "models")


def test_read__is_what_the_authors_print(exercise):
    codes, variants, people = exercise
    assert codes.shape == (28501, 1000)
    assert (people.index[0], people.index[-1]) == ("jpt.869", "ceu.464")
    assert (variants.index[0], variants.index[-1]) == ("rs7909677", "rs12218790")
    assert people["cc"].value_counts().to_dict() == {0: 500, 1: 500}
    assert people["stratum"].value_counts().to_dict() == {"JPT+CHB": 506, "CEU": 494}
    assert variants["A1"].value_counts().to_dict() == {"A": 14019, "C": 12166, "G": 2316}
    assert variants["A2"].value_counts().to_dict() == {"T": 13898, "G": 12254, "C": 2349}
    assert (variants["chromosome"] == 10).all()
    assert variants.loc[list(PLACES), "position"].to_dict() == PLACES


def test_check_quality__is_what_the_authors_print(spark, study):
    """As R's `summary` prints it: least, median, mean, greatest, to three digits."""
    warehouse, _ = study
    variants = store.read(spark, tables.VARIANT_QUALITY, warehouse).toPandas()
    people = store.read(spark, tables.SAMPLE_QUALITY, warehouse).toPandas()
    people["heterozygosity"] = people["heterozygotes"] / people["variantsCalled"]
    frequency = variants["alleleFrequencies"].str[1]
    for found, printed in (
        (variants["samplesCalled"], (975, 990, 990, 1000)),
        (frequency, (0, 0.503, 0.500, 1)),
        (np.minimum(frequency, 1 - frequency), (0, 0.232, 0.242, 0.5)),
        (variants["heterozygosity"], (0, 0.320, 0.307, 0.550)),
        (people["callRate"], (0.988, 0.990, 0.990, 0.992)),
        (people["heterozygosity"], (0, 0.308, 0.307, 0.339)),
    ):
        summed = (found.min(), found.median(), found.mean(), found.max())
        assert [float(f"{number:.3g}") for number in summed] == pytest.approx(printed)


def doses(spark, warehouse: str) -> pd.DataFrame:
    """Copies of allele B of the published SNPs, a row a person that is kept, NaN where missing."""
    rows = store.read(spark, tables.VARIANTS, warehouse).where(
        f"names[0] IN ({', '.join(map(repr, PUBLISHED))})"
    )
    table = rows.toArrow()
    people = store.read(spark, tables.SAMPLE_QUALITY, warehouse).orderBy("sampleIndex").toPandas()
    calls = genotypes.calls(table["call_genotype"], len(people), table["call_ploidy"])
    names = [name for (name,) in table["names"].to_pylist()]
    found = pd.DataFrame(genotypes.dosages(calls).T, people["sampleId"], names, np.float64)
    return found[(people["heterozygotes"] > 0).to_numpy()]


def stratified(dose: np.ndarray, cases: np.ndarray, strata: np.ndarray) -> float:
    """p of the score test in strata: their scores and variances by permutation add up."""
    score = variance = 0.0
    for stratum in np.unique(strata):
        g, y = dose[strata == stratum], cases[strata == stratum]
        score += ((y - y.mean()) * g).sum()
        variance += y.var() * len(y) * g.var(ddof=1)
    return float(stats.chi2.sf(score**2 / variance, 1))


def test_genotypes__have_the_associations_that_the_authors_print(spark, study, exercise):
    warehouse, _ = study
    frame = doses(spark, warehouse)
    people = exercise.people.loc[frame.index]
    asian = (people["stratum"] == "JPT+CHB").astype(float)
    fits = {}
    for name, p in PUBLISHED.items():
        known = frame[name].notna()
        y = people.loc[known, "cc"].to_numpy(float)
        found = stratified(frame.loc[known, name].to_numpy(), y, asian[known].to_numpy())
        assert found == pytest.approx(p, rel=3e-4)
        design = sm.add_constant(pd.DataFrame({"dose": frame[name], "asian": asian})[known])
        fits[name] = sm.Logit(y, design).fit(disp=False)
    assert fits["rs870041"].nobs == 989 and fits["rs10882596"].nobs == 991
    np.testing.assert_allclose(fits["rs870041"].params, (-0.405, 0.510, -0.230), atol=6e-4)
    np.testing.assert_allclose(fits["rs10882596"].params, (-0.245, 0.4575, -0.512), atol=6e-4)
    assert fits["rs10882596"].bse["dose"] == pytest.approx(0.094955, abs=6e-6)


def test_run_gwas__finds_the_loci_that_the_authors_find(spark, study, exercise):
    warehouse, _ = study
    told = {}
    for covariates in ([], ["asian"]):
        asked = run_gwas.Config(
            traits=["cc"], covariates=covariates, keep_samples=KEPT, warehouse=warehouse
        )
        told[bool(covariates)] = run_gwas.run(spark, asked)
    inflation = {adjusted: numbers["lambda_cc"] for adjusted, numbers in told.items()}
    assert inflation[False] > 1.5 and inflation[True] == pytest.approx(1.007, abs=0.05)
    best = summary.top_hits(store.read(spark, tables.ASSOCIATIONS, warehouse), 2)
    assert [row.names for row in best] == [["rs870041"], ["rs10882596"]]
    frame = doses(spark, warehouse)
    people = exercise.people.loc[frame.index]
    for row in best:
        (name,) = row.names
        known = frame[name].notna().to_numpy()
        design = sm.add_constant(
            np.column_stack([frame[name], people["stratum"] == "JPT+CHB"])[known].astype(float)
        )
        fit = sm.OLS(people["cc"].to_numpy(float)[known], design).fit()
        assert row.pValue == pytest.approx(fit.pvalues[1], rel=1e-6)
        assert row.effect == pytest.approx(fit.params[1], rel=1e-6)
        assert row.start == PLACES[name] - 1
        # A linear test of a trait of two values is close to the authors' test, not equal.
        assert abs(np.log10(row.pValue / PUBLISHED[name])) < 0.15


@pytest.fixture(scope="module")
def evaluated(spark, study) -> tuple[dict, pd.DataFrame]:
    """What evaluate_model tells, and its rows."""
    warehouse, _ = study
    asked = evaluate_model.Config(
        mlflow="none",
        trait="cc", group="stratum", folds=2, shares=(), permutations=2, trees=25,
        variants_per_split=0.02, min_frequency=0.1, warehouse=warehouse,
    )  # fmt: skip
    told = evaluate_model.run(spark, asked)
    return told, store.read(spark, tables.EVALUATIONS, warehouse).toPandas()


@pytest.mark.parametrize("family", FAMILIES)
def test_evaluate_model__does_not_oversell(evaluated, family):
    told, frame = evaluated
    value, low, high = (told[f"{family}_cv_roc_auc{end}"] for end in ("", "_low", "_high"))
    assert 0.45 < value < 0.65 and low < value < high and 0.06 < high - low < 0.09
    assert "leaks" not in told
    null = frame[(frame["family"] == family) & (frame["kind"] == "null")]
    assert len(null) == 2 and not null["flags"].str.len().any()
    assert told[f"{family}_p_value"] >= 1 / 3
    groups = frame[(frame["family"] == family) & (frame["kind"] == "group")]
    groups = groups[groups["metric"] == "roc_auc"].set_index("part")
    assert groups["samples"].to_dict() == {"CEU": 494, "JPT+CHB": 506}
    assert groups["value"].max() < 0.65


def test_report__shows_the_intervals_and_no_winner(spark, study, evaluated):
    warehouse, _ = study
    told, _ = evaluated
    assert " beats " not in told["comparison"]
    (section,) = models.models(Study(spark, warehouse, Options()))
    parts = [block for part in section.parts for block in part.blocks]
    notes = [block for block in parts if isinstance(block, Note)]
    assert [(told["comparison"] in note.text, note.warning) for note in notes] == [(True, False)]
    (grid,) = [block for block in parts if getattr(block, "name", "").startswith("families")]
    for family, row in zip(FAMILIES, grid.rows, strict=True):
        ends = ("", "_low", "_high")
        value, low, high = (number(told[f"{family}_cv_roc_auc{end}"]) for end in ends)
        assert row[0] == family and row[4] == f"{value} ({low} to {high})"


@pytest.mark.parametrize("family", FAMILIES)
def test_train_model__permuted_labels_show_no_skill(spark, study, family):
    warehouse, folder = study
    asked = train_model.Config(
        trait="permuted", family=family, trees=25, variants_per_split=0.02, null_forests=0,
        min_frequency=0.1, warehouse=warehouse, models=folder, mlflow="none",
    )  # fmt: skip
    told = train_model.run(spark, asked)
    assert told["test_roc_auc_low"] < 0.5
    held = registry.load(registry.find(folder, told["model"]))
    assert "no skill above chance" in held.metrics.lower()
    assert "no skill above chance was shown" in held.documents["model_card.md"]
