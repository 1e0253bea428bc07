"""Cohorts with known structure: packed variants and a VCF for plink2 of the same doses."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from geneai_spark import genotypes
from geneai_spark.models.directory import Contents
from geneai_spark.models.family import Trained
from tests.packed import SCHEMA


def populations(sizes: list[int], m: int, *, fst: float, seed: int) -> np.ndarray:
    """Draw doses (m, samples) of populations that drifted apart (Balding and Nichols 1995)."""
    rng = np.random.default_rng(seed)
    ancestral = rng.uniform(0.1, 0.9, m)
    drift = (1 - fst) / fst
    columns = []
    for size in sizes:
        p = rng.beta(ancestral * drift, (1 - ancestral) * drift)
        columns.append(rng.binomial(2, p[:, None], (m, size)))
    return np.hstack(columns).astype(float)


def families(m: int, seed: int) -> np.ndarray:
    """Draw doses (m, 8): two founders, their three children, a twin of the last, a half-sib of
    the first (by founder 0 and a stranger), and the stranger.
    """
    rng = np.random.default_rng(seed)
    p = rng.uniform(0.2, 0.8, m)

    def founder() -> np.ndarray:
        return rng.binomial(1, p[:, None], (m, 2))

    def child(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        gametes = [parent[np.arange(m), rng.integers(0, 2, m)] for parent in (one, other)]
        return np.column_stack(gametes)

    mother, father, stranger = founder(), founder(), founder()
    children = [child(mother, father) for _ in range(3)]
    half = child(mother, stranger)
    people = [mother, father, *children, children[2], half, stranger]
    return np.column_stack([person.sum(axis=1) for person in people]).astype(float)


def linked(m: int, n: int, *, seed: int, memory: float = 0.95) -> np.ndarray:
    """Draw doses (m, n) whose neighbours correlate: haplotypes that switch at random."""
    rng = np.random.default_rng(seed)
    haplotypes = np.empty((m, 2 * n))
    level = rng.normal(size=2 * n)
    cuts = rng.uniform(-1.2, 1.2, m)
    for v in range(m):
        level = memory * level + np.sqrt(1 - memory**2) * rng.normal(size=2 * n)
        haplotypes[v] = level > cuts[v]
    return haplotypes[:, :n] + haplotypes[:, n:]


def blank(doses: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Make a share of the doses missing."""
    return np.where(np.random.default_rng(seed).random(doses.shape) < share, np.nan, doses)


def variants(
    spark: SparkSession,
    doses: np.ndarray,
    *,
    contig: str | list[str] = "1",
    starts: np.ndarray | None = None,
    cohort: str = "default",
) -> DataFrame:
    """Give bi-allelic ``variants`` with these doses (m, samples), NaN missing."""
    m = len(doses)
    calls = np.stack([doses >= 2, doses >= 1], axis=2).astype(np.int8)  # (m, samples, 2)
    calls[np.isnan(doses)] = genotypes.MISSING
    packed, ploidy = genotypes.pack_calls(calls)
    phased = genotypes.pack_phased(np.zeros((m, doses.shape[1], 1), bool))
    starts = np.arange(m) * 1000 if starts is None else starts
    columns = {
        "contigName": pa.array([contig] * m if isinstance(contig, str) else contig),
        "start": pa.array(starts, pa.int64()),
        "end": pa.array(starts + 1, pa.int64()),
        "sourceId": pa.array(["source"] * m),
        "cohort": pa.array([cohort] * m),
        "names": pa.array([[]] * m, pa.list_(pa.string())),
        "referenceAllele": pa.array(["A"] * m),
        "alternateAlleles": pa.array([["C"]] * m),
        "qual": pa.nulls(m, pa.float64()),
        "filters": pa.nulls(m, pa.list_(pa.string())),
        "call_ploidy": ploidy,
        "call_genotype": packed,
        "call_genotype_phased": phased,
    }
    return spark.createDataFrame(pa.table(columns), SCHEMA)


def write_vcf(path: Path, doses: np.ndarray, starts: np.ndarray | None = None) -> Path:
    """Write doses (m, samples) as a VCF of contig 1, samples s0, s1 ..."""
    starts = np.arange(len(doses)) * 1000 if starts is None else starts
    words = np.array(["0/0", "0/1", "1/1", "./."])
    cells = words[np.where(np.isnan(doses), 3, doses).astype(int)]
    samples = "\t".join(f"s{i}" for i in range(doses.shape[1]))
    lines = [
        "##fileformat=VCFv4.2",
        "##contig=<ID=1>",
        '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">',
        f"#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\t{samples}",
    ]
    for start, row in zip(starts, cells, strict=True):
        fixed = f"1\t{start + 1}\t1:{start}\tA\tC\t.\t.\t.\tGT\t"
        lines.append(fixed + "\t".join(row))
    path.write_text("\n".join(lines) + "\n")
    return path


def plink2(folder: Path, *arguments: object) -> Path:
    """Run plink2; returns the prefix of what it wrote."""
    out = folder / "plink"
    command = ["plink2", "--out", out, "--threads", "1", "--memory", "1000", *arguments]
    done = subprocess.run([str(a) for a in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return out


def table(path: Path) -> pd.DataFrame:
    """Read a table of plink2's, ids as text."""
    frame = pd.read_csv(path, sep="\t", dtype={"#IID1": str, "IID2": str, "#IID": str})
    return frame.rename(columns=lambda name: name.lstrip("#"))


def genotype_matrix(path: Path) -> tuple[pd.DataFrame, np.ndarray]:
    """Read bi-allelic records with bcftools: sites (contig, start, ref, alt), doses (m, n)."""
    query = ["bcftools", "query", "-i", "N_ALT=1", "-f"]
    sites = subprocess.run(
        [*query, "%CHROM\t%POS\t%REF\t%ALT\n", path], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    text = subprocess.run([*query, "[%GT]\n", path], check=True, capture_output=True).stdout
    cells = np.frombuffer(text, np.uint8).reshape(len(sites), -1)[:, :-1]  # d/d for each sample
    cells = cells.reshape(len(sites), -1, 3)[:, :, [0, 2]].astype(int)
    doses = (cells - ord("0")).sum(axis=2).astype(float)
    doses[(cells == ord(".")).any(axis=2)] = np.nan
    frame = pd.DataFrame([line.split("\t") for line in sites], columns=["contig", "pos", "r", "a"])
    return frame.assign(start=frame["pos"].astype(int) - 1), doses


def stored(trained: Trained) -> Contents:
    """A trained model as it comes out of a model directory."""
    return Contents(trained.model, trained.suffix, trained.config, "", trained.documents)
