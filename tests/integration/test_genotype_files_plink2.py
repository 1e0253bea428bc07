"""Real genotypes as PLINK and BGEN files made by plink2: every genotype as plink2 sees it."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pysam
import pytest
from pyspark.sql import SparkSession

from geneai_spark import genotypes, store, tables
from geneai_spark.formats import bgen, bgen_records, plink, plink_records
from geneai_spark.formats.packed_records import Reading
from geneai_spark.ingest import ingest_variants
from tests.conftest import requires
from tests.genotype_files import Variant
from tests.genotype_files import bgen as bgen_bytes

pytestmark = requires("plink2", "bcftools")
SOME = 1500  # variants: chromosome 15 has more


def run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stderr[-500:] + done.stdout[-500:]
    return done.stdout


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Path:
    """The first biallelic variants of the cohort's chromosome 15 in every format."""
    home = tmp_path_factory.mktemp("study")
    whole = str(home / "whole.bcf")
    source = str(shared_data / "cohort" / "hipster.vcf.bgz")
    run("bcftools", "view", "-t", "15", "-m2", "-M2", "-Ou", "-o", whole, source)
    with (
        pysam.VariantFile(whole) as file,
        pysam.VariantFile(str(home / "some.vcf"), "w", header=file.header) as out,
    ):
        for record, _ in zip(file, range(SOME), strict=False):
            out.write(record)
    base = ["plink2", "--vcf", str(home / "some.vcf"), "--threads", "1"]
    run(*base, "--double-id", "--make-bed", "--out", str(home / "p"))
    for version, *more in (("1.1",), ("1.2", "bits=8"), ("1.3", "ref-first")):
        out = str(home / f"v{version}")
        run(*base, "--const-fid", "0", "--export", f"bgen-{version}", *more, "--out", out)
    return home


def theirs(path: Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Sites, alleles (records, samples, 2) and phase of a VCF of plain diploid calls."""
    sites = run("bcftools", "query", "-f", "%CHROM %POS %ID %REF %ALT\n", str(path)).split("\n")
    text = np.frombuffer(run("bcftools", "query", "-f", "[%GT]\n", str(path)).encode(), np.uint8)
    cells = text.reshape(len(sites) - 1, -1)[:, :-1].reshape(len(sites) - 1, -1, 3)
    alleles = np.where(cells[..., ::2] == ord("."), -1, cells[..., ::2].astype(int) - ord("0"))
    return sites[:-1], alleles, cells[..., 1] == ord("|")


def ours(module: Any, parse: Any, uri: str, **named: Any) -> tuple[Any, ...]:
    """The same of a file, by our reader in parts for several tasks; and its probabilities."""
    reading, names, found = Reading(), [], []
    work, _ = module.plan([module.inspect(uri)], ["c"], reading, 20_000, **named)
    assert len(work) > 2
    for batch in (one for task in work for part in task for one in parse(part, reading)):
        assert batch.rejects.num_rows == 0
        rows, n = batch.records, 2504
        names += [
            f"{r['contigName']} {r['start'] + 1} {r['names'][0]} {r['referenceAllele']} "
            f"{','.join(r['alternateAlleles'])}"
            for r in rows.drop_columns([c for c in rows.schema.names if "call" in c]).to_pylist()
        ]
        found.append(
            (
                genotypes.calls(rows["call_genotype"], n, rows["call_ploidy"]),
                genotypes.phased(rows["call_genotype_phased"], n, rows["call_ploidy"])[..., 0],
                genotypes.values(rows["call_GP"], n) if "call_GP" in rows.schema.names else None,
            )
        )
    calls, bars, gp = zip(*found, strict=True)
    return names, np.concatenate(calls), np.concatenate(bars), gp


def test_plink__every_genotype_as_plink2_exports_it(study: Path) -> None:
    stem = str(study / "p")
    run("plink2", "--bfile", stem, "--export", "vcf", "--out", stem, "--threads", "1")
    sites, alleles, _ = theirs(study / "p.vcf")
    names, calls, bars, _ = ours(plink, plink_records.parse_part, f"{stem}.bed")
    assert names == sites
    assert (calls == alleles).all()
    assert not bars.any()
    with pysam.VariantFile(f"{stem}.vcf") as file:
        assert plink.inspect(f"{stem}.bed").samples == tuple(file.header.samples)


@pytest.mark.parametrize(
    ("version", "ref", "phased"),
    [("1.1", "last", False), ("1.2", "last", True), ("1.3", "first", True)],
)
def test_bgen__every_genotype_as_in_the_vcf(
    study: Path, version: str, ref: str, phased: bool
) -> None:
    sites, alleles, _ = theirs(study / "some.vcf")
    uri = str(study / f"v{version}.bgen")
    names, calls, bars, gp = ours(bgen, bgen_records.parse_part, uri, ref=ref)
    assert names == sites
    if phased:  # the order of haplotypes, too
        assert (calls == alleles).all()
        assert bars[alleles[..., 0] != alleles[..., 1]].all()
    else:
        assert (calls == np.sort(alleles, axis=2)).all()
        assert not bars.any()
    copies = np.maximum(alleles, 0).sum(axis=2)
    probabilities = np.concatenate(gp)
    assert (probabilities == np.eye(3)[copies]).all()


@pytest.mark.parametrize("phased", [False, True])
def test_bgen__uncertain_genotypes_are_called_as_plink2_calls_them(
    tmp_path: Path, phased: bool
) -> None:
    chance, people = random.Random(5), [f"S{i}" for i in range(200)]
    variants = []
    for v in range(60):
        stored = []
        for _ in people:
            first = chance.choice([0, 255, chance.randint(0, 60), chance.randint(0, 255)])
            second = chance.choice([0, chance.randint(0, 40), 255])
            stored.append([first, second if phased else min(second, 255 - first)])
        missing = [chance.random() < 0.1 for _ in people]
        stored = [[0, 0] if m else s for s, m in zip(stored, missing, strict=True)]
        variants.append(
            Variant(stored, [2] * 200, missing, phased, position=v + 1, rsid=f"rs{v}", own="")
        )
    path = tmp_path / "a.bgen"
    path.write_bytes(bgen_bytes(variants, ids=people))
    (tmp_path / "a.sample").write_text(
        "ID_1 ID_2 missing\n0 0 0\n" + "".join(f"0 {s} 0\n" for s in people)
    )
    stem = str(tmp_path / "a")
    run(
        "plink2", "--bgen", str(path), "ref-last", "--sample", f"{stem}.sample",
        "--export", "vcf", "vcf-dosage=DS-force", "--out", stem, "--threads", "1",
    )  # fmt: skip
    # Not ref-first: there plink2 2.00a3.5 swaps the haplotypes, those of its own files, too.
    _, alleles, bars = theirs(tmp_path / "a.vcf")
    reading = Reading()
    work, _ = bgen.plan([bgen.inspect(str(path))], ["c"], reading, 1 << 20, "last")
    (batch,) = [one for part in work[0] for one in bgen_records.parse_part(part, reading)]
    calls = genotypes.calls(batch.records["call_genotype"], 200, [2] * 60)
    assert (calls < 0).any() and (calls == 1).any()
    assert (np.sort(calls, axis=2) == np.sort(alleles, axis=2)).all()
    if phased:  # where plink2 knows the phase of a heterozygote, so do we, and the same
        het = (alleles[..., 0] != alleles[..., 1]) & bars
        assert het.any() and (calls == alleles)[het].all()
    text = run("bcftools", "query", "-f", "[%DS ]\n", f"{stem}.vcf").split("\n")[:-1]
    dosage = np.array([[np.nan if d == "." else float(d) for d in t.split()] for t in text])
    gp = genotypes.values(batch.records["call_GP"], 200)
    with np.errstate(invalid="ignore"):  # arithmetic with the NaN of missing values
        np.testing.assert_allclose(gp[..., 1] + 2 * gp[..., 2], dosage, atol=1e-4)


def test_ingest__counts_of_plink_and_bgen_are_those_of_the_vcf(
    spark: SparkSession, study: Path, tmp_path: Path
) -> None:
    found = []
    for name, options in (
        ("some.vcf", {}), ("p.bed", {"plink_ids": "iid"}), ("v1.2.bgen", {"bgen_ref": "last"}),
    ):  # fmt: skip
        home = str(tmp_path / name)
        told = ingest_variants(spark, home, str(study / name), checksum=False, **options)
        assert (told["records_stored"], told["records_rejected"]) == (SOME, 0)
        rows = store.read(spark, tables.VARIANTS, home).orderBy("start", "names").toArrow()
        samples = store.read(spark, tables.SAMPLES, home).orderBy("sampleIndex").toArrow()
        calls = genotypes.calls(rows["call_genotype"], 2504, rows["call_ploidy"])
        found.append(
            (
                samples["sampleId"].to_pylist(),
                rows["referenceAllele"].to_pylist(),
                genotypes.allele_counts(calls, 2).tolist(),
                genotypes.genotype_counts(calls).tolist(),
            )
        )
    assert found[0] == found[1] == found[2]
