"""Real genotypes as PLINK and BGEN files made by plink2: every genotype as plink2 sees it, every
probability as bgen-reader does.
"""

from __future__ import annotations

import random
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pysam
import pytest
from pyspark.sql import SparkSession

from geneai_spark import genotypes, store, tables
from geneai_spark.errors import SetupError
from geneai_spark.formats import bgen, bgen_records, plink, plink_records
from geneai_spark.formats.packed_records import Reading
from geneai_spark.ingest import ingest_variants
from tests import environments
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


def uncertain_variants(people: int, variants: int, phased: bool) -> list[Variant]:
    """Probabilities of all sizes, a tenth of them missing."""
    chance, made = random.Random(5), []
    for v in range(variants):
        stored = []
        for _ in range(people):
            first = chance.choice([0, 255, chance.randint(0, 60), chance.randint(0, 255)])
            second = chance.choice([0, chance.randint(0, 40), 255])
            stored.append([first, second if phased else min(second, 255 - first)])
        missing = [chance.random() < 0.1 for _ in range(people)]
        stored = [[0, 0] if m else s for s, m in zip(stored, missing, strict=True)]
        ploidies = [2] * people
        made.append(
            Variant(stored, ploidies, missing, phased, position=v + 1, rsid=f"rs{v}", own="")
        )
    return made


@pytest.mark.parametrize("phased", [False, True])
def test_bgen__uncertain_genotypes_are_called_as_plink2_calls_them(
    tmp_path: Path, phased: bool
) -> None:
    people = [f"S{i}" for i in range(200)]
    variants = uncertain_variants(200, 60, phased)
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


#: What bgen-reader reads of files; probabilities are (samples, variants, combinations).
PEER = """
import sys
import numpy as np
from bgen_reader import open_bgen
for path in sys.argv[1:]:
    with open_bgen(path, allow_complex=True, verbose=False) as file:
        p, missing = file.read(return_missings=True, num_threads=1)
        names = ("samples", "chromosomes", "positions", "rsids", "allele_ids", "phased")
        found = {name: getattr(file, name) for name in names}
        np.savez(path + ".npz", p=p, missing=missing, **found)
"""
#: Not BGEN 1.1, which bgen-reader 4.0.9 does not read.
READ_BY_BOTH = ("v1.2", "v1.3", "unphased", "phased", "unphased16", "phased16")


@pytest.fixture(scope="module")
def uncertain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Probabilities of all sizes, some missing, unphased and phased, as plink2 writes them."""
    home = tmp_path_factory.mktemp("uncertain")
    for name, phased in (("unphased", False), ("phased", True)):
        variants = uncertain_variants(200, 60, phased)
        (home / f"{name}.bgen").write_bytes(bgen_bytes(variants, ids=[f"S{i}" for i in range(200)]))
        run(
            "plink2", "--bgen", str(home / f"{name}.bgen"), "ref-first", "--threads", "1",
            "--export", "bgen-1.3", "bits=16", "ref-first", "--out", str(home / f"{name}16"),
        )  # fmt: skip
    return home


@pytest.fixture(scope="module")
def read_by_both(study: Path, uncertain: Path) -> dict[str, Path]:
    """BGEN files, beside each what bgen-reader has read of it."""
    found = {
        name: (study if name.startswith("v") else uncertain) / f"{name}.bgen"
        for name in READ_BY_BOTH
    }
    requirements = Path(environments.__file__).with_name("requirements-bgen-reader.txt")
    try:
        python = environments.python("bgen-reader", requirements)
    except SetupError as error:
        pytest.skip(f"bgen-reader cannot be installed: {error}")
    run(str(python), "-c", PEER, *map(str, found.values()))
    return found


@pytest.mark.parametrize("name", READ_BY_BOTH)
def test_bgen__is_what_bgen_reader_reads(read_by_both: dict[str, Path], name: str) -> None:
    path = read_by_both[name]
    theirs = np.load(f"{path}.npz")
    head, reading = bgen.inspect(str(path)), Reading()
    assert list(head.samples) == theirs["samples"].tolist()
    work, _ = bgen.plan([head], ["c"], reading, 20_000)
    parsed = [
        one for task in work for part in task for one in bgen_records.parse_part(part, reading)
    ]
    rows = pa.Table.from_batches([one.records for one in parsed])
    assert rows["contigName"].to_pylist() == theirs["chromosomes"].tolist()
    assert [place + 1 for place in rows["start"].to_pylist()] == theirs["positions"].tolist()
    assert [names[0] for names in rows["names"].to_pylist()] == theirs["rsids"].tolist()
    alleles = zip(
        rows["referenceAllele"].to_pylist(), rows["alternateAlleles"].to_pylist(), strict=True
    )
    assert [",".join([ref, *alts]) for ref, alts in alleles] == theirs["allele_ids"].tolist()
    gp, missing = genotypes.values(rows["call_GP"], len(head.samples)), theirs["missing"].T
    p = theirs["p"].transpose(1, 0, 2)  # (variants, samples, combinations)
    assert theirs["phased"].any() == (name not in ("unphased", "unphased16"))
    if theirs["phased"].any():  # of haplotypes: both alleles of the first, then of the second
        a, b, c, d = np.moveaxis(p, -1, 0)
        implied = np.stack([a * c, a * d + b * c, b * d], axis=-1)
        p = np.where(theirs["phased"][:, None, None], implied, p[..., :3])
    assert (np.isnan(gp).all(axis=2) == missing).all() and not np.isnan(gp[~missing]).any()
    np.testing.assert_allclose(gp[~missing], p[~missing], rtol=0, atol=1e-7)  # ours: float32
    calls = genotypes.calls(rows["call_genotype"], len(head.samples), rows["call_ploidy"])
    sure = ~missing & (p.max(axis=2) > 0.95)
    assert sure.any() and (calls.sum(axis=2) == p.argmax(axis=2))[sure].all()


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
