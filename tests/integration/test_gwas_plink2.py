"""The job run_gwas on real genotypes against plink2 --glm, to the digits that plink2 prints."""

from __future__ import annotations

import json
import re
import subprocess

import numpy as np
import pandas as pd
import pytest
from geneai_spark.jobs import ingest_traits, ingest_variants, make_report, run_gwas

from geneai_spark import store, tables
from geneai_spark.association import summary
from tests import browser, packed
from tests.conftest import requires

KEYS = ["contigName", "start", "referenceAllele"]
PLANTED = [("2", 223034082), ("4", 54511913), ("5", 126626044), ("7", 17284577)]  # 1-based


def plink(folder, vcf, frame, traits, covariates, *options):
    """Run plink2 on complete cases, one degree of freedom: {(variant id, trait): row}."""
    for name, columns in (("traits", traits), ("covariates", covariates)):
        table = frame[columns].rename_axis("#IID")
        table.to_csv(folder / name, sep="\t", na_rep="NA", float_format="%.17g")
    command = ["plink2", "--vcf", str(vcf), "--vcf-half-call", "missing", "--threads", "1"]
    command += ["--pheno", str(folder / "traits"), "--covar", str(folder / "covariates")]
    command += ["--covar-variance-standardize", "--max-alleles", "2", *options]
    command += ["--glm", "omit-ref", "hide-covar", "--out", str(folder / "plink")]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    found = {}
    for trait in traits:
        rows = pd.read_csv(folder / f"plink.{trait}.glm.linear", sep="\t")
        rows["trait"] = trait
        found |= {(row["ID"], trait): row for row in rows.to_dict("records")}
    return found


def call_text(call, allele=None):
    """A genotype; of one allele against all others, where half calls are missing."""
    if allele is None:
        return "/".join("." if a is None else str(a) for a in call)
    return "./." if None in call else "/".join(str(int(a == allele)) for a in call)


def write_vcf(path, ids, lines):
    """Write ((contig, 0-based start, REF, ALTs), genotypes), the alleles spelt in the ID too."""
    head = ["##fileformat=VCFv4.2", "##contig=<ID=20>"]
    head += ['##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">']
    columns = ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT", *ids]
    body = []
    for (contig, start, ref, alts), texts in lines:
        fixed = [contig, str(start + 1), f"{start}:{ref}:{alts[-1]}", ref, ",".join(alts)]
        body.append([*fixed, ".", ".", ".", "GT", *texts])
    path.write_text("\n".join([*head, *map("\t".join, [columns, *body])]) + "\n")


def compare(ours, theirs):
    """Compare {(variant id, trait): row of associations} with plink2's rows."""
    assert ours.keys() == theirs.keys()
    tested = 0
    for key, row in ours.items():
        other = theirs[key]
        assert row.sampleCount == other["OBS_CT"], key
        if row.pValue is None or np.isnan(other["P"]):
            assert row.pValue is None and np.isnan(other["P"]), (key, other["ERRCODE"])
            continue
        tested += 1
        numbers = (row.effect, row.standardError, row.statistic, row.pValue)
        expected = [other[name] for name in ("BETA", "SE", "T_STAT", "P")]
        assert numbers == pytest.approx(expected, rel=6e-6, abs=1e-300), key
    return tested


@requires("plink2")
def test_run_gwas__as_plink2_with_missing_genotypes_and_multi_allelic(spark, shared_data, tmp_path):
    """hail_sample.vcf, a third of it made multi-allelic; plink2 gets a line for each ALT allele."""
    source = shared_data / "cohort" / "hail_sample.vcf"
    warehouse = str(tmp_path / "tables")
    ids, sites, calls = packed.read(source)
    rng = np.random.default_rng(6)
    frame = pd.DataFrame(rng.normal(size=(100, 5)), ids, ["y1", "y2", "y3", "age", "pc1"])
    frame.iloc[:9, 0] = frame.iloc[5:30, 1] = frame.iloc[77, 3] = np.nan
    traits, covariates = ["y1", "y2", "y3"], ["age", "pc1"]
    frame.rename_axis("sample").to_csv(tmp_path / "traits.csv", float_format="%.17g")
    assert sum(None in call for record in calls for call in record) > 100
    for r in range(0, len(sites), 3):  # the file has no multi-allelic record
        sites[r][3].append("T" * 9)
        calls[r] = [tuple(2 if a == 1 and rng.random() < 0.4 else a for a in c) for c in calls[r]]
    lines = [
        (site, [call_text(call) for call in record])
        for site, record in zip(sites, calls, strict=True)
    ]
    write_vcf(tmp_path / "multi.vcf", ids, lines)
    lines = [
        ((*site[:3], [alt]), [call_text(call, allele) for call in record])
        for site, record in zip(sites, calls, strict=True)
        for allele, alt in enumerate(site[3], 1)
    ]
    write_vcf(tmp_path / "split.vcf", ids, lines)
    theirs = plink(tmp_path, tmp_path / "split.vcf", frame, traits, covariates)

    config = {"warehouse": warehouse}
    vcf = str(tmp_path / "multi.vcf")
    ingest_variants.run(spark, ingest_variants.Config(inputs=(vcf,), **config))
    csv = (str(tmp_path / "traits.csv"),)
    ingest_traits.run(spark, ingest_traits.Config(inputs=csv, **config))
    run_gwas.run(spark, run_gwas.Config(traits=traits, covariates=covariates, **config))
    rows = store.read(spark, tables.ASSOCIATIONS, warehouse).collect()
    ours = {
        (f"{row.start}:{row.referenceAllele}:{row.alternateAllele}", row.trait): row for row in rows
    }
    assert compare(ours, theirs) > 800


@pytest.fixture(scope="module")
def hipster(spark, shared_data, tmp_path_factory):
    """Hipster, ingested: (folder, warehouse, frame of traits and covariates)."""
    folder = tmp_path_factory.mktemp("hipster")
    warehouse = str(folder / "tables")
    frame = pd.read_csv(shared_data / "cohort" / "hipster_labels_covariates.txt", index_col=0)
    rng = np.random.default_rng(1)
    for i, share in enumerate((0.02, 0.3), 1):
        frame[f"noise{i}"] = frame["score"] + rng.normal(size=len(frame))
        frame.loc[rng.random(len(frame)) < share, f"noise{i}"] = np.nan
    frame.rename_axis("sample").to_csv(folder / "traits.csv", float_format="%.17g")
    vcf = str(shared_data / "cohort" / "hipster.vcf.bgz")
    config = {"warehouse": warehouse}
    ingest_variants.run(spark, ingest_variants.Config(inputs=(vcf,), **config))
    csv = (str(folder / "traits.csv"),)
    ingest_traits.run(spark, ingest_traits.Config(inputs=csv, **config))
    traits, covariates = ["score", "noise1", "noise2"], ["age", "PC0", "PC1", "PC2"]
    told = run_gwas.run(spark, run_gwas.Config(traits=traits, covariates=covariates, **config))
    return folder, warehouse, frame, traits, covariates, told


@requires("plink2")
def test_run_gwas__as_plink2_on_hipster(spark, shared_data, hipster):
    folder, warehouse, frame, traits, covariates, _ = hipster
    vcf = shared_data / "cohort" / "hipster.vcf.bgz"
    ids = ("--set-all-var-ids", "@:#:$r:$a", "--new-id-max-allele-len", "9999")
    theirs = plink(folder, vcf, frame, traits, covariates, *ids)
    single = store.read(spark, tables.VARIANTS, warehouse).where("size(alternateAlleles) = 1")
    single = single.selectExpr(*KEYS, "alternateAlleles[0] AS alternateAllele")
    stored = store.read(spark, tables.ASSOCIATIONS, warehouse)
    rows = stored.join(single, [*KEYS, "alternateAllele"], "semi")
    place = "{0.contigName}:{1}:{0.referenceAllele}:{0.alternateAllele}"
    ours = {(place.format(row, row.start + 1), row.trait): row for row in rows.collect()}
    assert compare(ours, theirs) > 3 * 16_000


def test_run_gwas__finds_the_four_planted_loci(spark, hipster):
    _, warehouse, frame, _, _, told = hipster
    assert told["samples_kept"] == len(frame) == 2504
    stored = store.read(spark, tables.ASSOCIATIONS, warehouse).where("trait = 'score'")
    assert told["tests"] + told["untestable"] == 3 * stored.count() > 3 * 17_000
    significant = {
        (row.contigName, row.start + 1) for row in stored.where("pValue < 5e-8").collect()
    }
    assert set(PLANTED) <= significant
    found = summary.loci(stored, threshold=5e-8)
    for contig, position in PLANTED:
        own = found[found["contigName"] == contig]
        inside = own[(own["first"] < position) & (position <= own["last"] + 1)]
        assert len(inside) == 1, f"{contig}:{position} lies in {len(inside)} loci"


@requires("chromium")
def test_report__the_four_planted_loci_are_seen_in_a_browser(spark, hipster, tmp_path):
    warehouse, file = hipster[1], tmp_path / "report.html"
    config = make_report.Config(warehouse=warehouse, traits=["score"], output=str(file))
    assert make_report.run(spark, config)["traits"] == 1
    with browser.chromium(tmp_path / "profile") as shown:
        shown.size(1280)
        shown.open(file)
        cells = '[...document.querySelectorAll("#t1-loci tbody tr")].map(r => r.cells[0].innerText)'
        spans = [re.fullmatch(r"(\w+):([\d,]+)–([\d,]+)", text) for text in shown.tell(cells)]
        seen = [(m[1], int(m[2].replace(",", "")), int(m[3].replace(",", ""))) for m in spans]
        for contig, position in PLANTED:
            assert sum(c == contig and a <= position <= b for c, a, b in seen) == 1
        box = shown.tell(
            "JSON.stringify((b => [b.x, b.y + scrollY, b.width, b.height])"
            '(document.querySelector("#t1-manhattan svg").getBoundingClientRect()))'
        )
        x, y, width, height = (round(v) for v in json.loads(box))
        part = shown.picture(tmp_path / "page.png")[y : y + height, x : x + width].astype(int)
    assert width > 800 and height > 250
    # the upper half, where the strongest locus alone reaches, holds coloured points too
    coloured = part.max(axis=2) - part.min(axis=2) > 60
    assert coloured[: height // 2].sum() > 20 and coloured[height // 2 :].sum() > 300
