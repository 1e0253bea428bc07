"""A small study for the report's tests: every table made by hand, with known numbers.

Sample ids are marker words, so that a test can search a file for them.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from geneai_spark import store, tables
from geneai_spark.table import ALL, Table
from tests import packed

N_SAMPLES, N_VARIANTS, REJECTED = 60, 40, 3
IDS = [f"PERSON{i:03d}" for i in range(N_SAMPLES)]
TRAIT, ODD = "simulated_height", "<script>alert('x')</script> $a$ & b"
WHEN = datetime.datetime(2026, 5, 6, 7, 8, 9, tzinfo=datetime.UTC)
COHORT = "default"


def fill(spark: SparkSession, table: Table, rows: Iterable[Mapping[str, Any]], folder: str) -> None:
    """Replace a table; columns that are not given are null."""
    full = [{name: row.get(name) for name in table.schema.names} for row in rows]
    store.put(spark, full, table, folder, ALL)


def site(i: int) -> dict[str, Any]:
    """The i-th variant: two contigs."""
    return {
        "cohort": COHORT,
        "contigName": "1" if i % 2 else "2",
        "start": 1000 * i,
        "end": 1000 * i + 1,
        "sourceId": "file1",
        "names": [f"rs{i}"] if i % 3 else [],
        "referenceAllele": "A",
    }


def inputs(spark: SparkSession, folder: str) -> None:
    """Fill variants, samples, ingests, rejects."""
    sites = [(site(i)["contigName"], 1000 * i, "A", ["C"]) for i in range(N_VARIANTS)]
    calls = [[(0, 1)] * N_SAMPLES] * N_VARIANTS
    made = packed.variants(spark, sites, calls)
    store.replace(made.withColumn("sourceId", F.lit("file1")), tables.VARIANTS, folder)
    samples = [
        {"cohort": COHORT, "sampleIndex": i, "sampleId": x, "sourceId": "file1"}
        for i, x in enumerate(IDS)
    ]
    fill(spark, tables.SAMPLES, samples, folder)
    both = {"cohort": COHORT, "status": "stored", "finishedAt": WHEN, "softwareVersion": "0.1"}
    vcf = {
        "sourceId": "file1",
        "uri": f"/data/chr1.{IDS[7]}.vcf.gz",
        "kind": "variants",
        "recordsIn": N_VARIANTS + REJECTED,
        "recordsStored": N_VARIANTS,
        "recordsRejected": REJECTED,
    }
    csv = {
        "sourceId": "file2",
        "uri": "/data/traits.csv",
        "kind": "traits",
        "recordsIn": N_SAMPLES,
        "recordsStored": N_SAMPLES,
        "recordsRejected": 0,
    }
    fill(spark, tables.INGESTS, [{**both, **vcf}, {**both, **csv}], folder)
    reasons = ["POS: expected an integer, found text"] * 2 + ["REF: expected bases, found none"]
    rejects = [
        {"sourceId": "file1", "line": 100 + i, "reason": r, "text": f"SECRETLINE{i}\tx"}
        for i, r in enumerate(reasons)
    ]
    fill(spark, tables.REJECTS, rejects, folder)


def measured(spark: SparkSession, folder: str) -> None:
    """Fill variant_quality and sample_quality: 5 variants rare, 2 of low call rate (1 both)."""
    rng = np.random.default_rng(1)
    variants = []
    for i in range(N_VARIANTS):
        p = 0.005 if i < 5 else float(rng.uniform(0.05, 0.95))
        flags = ["rare"] * (i < 5) + ["low_call_rate"] * (4 <= i < 6)
        variants.append(
            {
                **site(i),
                "alternateAlleles": ["C"],
                "callRate": 0.8 if 4 <= i < 6 else 0.99,
                "alleleFrequencies": [1 - p, p],
                "hweMidPValues": [float(rng.uniform())],
                "depthMean": 30 + float(rng.normal()),
                "flags": flags,
            }
        )
    fill(spark, tables.VARIANT_QUALITY, variants, folder)
    samples = [
        {
            "cohort": COHORT,
            "sampleIndex": i,
            "sampleId": x,
            "callRate": 0.9 if i == 3 else 0.995,
            "inbreedingCoefficient": float(rng.normal(0, 0.02)),
            "tiTvRatio": 2.1 + float(rng.normal(0, 0.02)),
            "xInbreedingCoefficient": 0.98 if i % 2 else 0.02,
            "yCallRate": 0.97 if i % 2 else 0.01,
            "inferredSex": "male" if i % 2 else "female" if i else None,
            "flags": ["low_call_rate"] if i == 3 else [],
        }
        for i, x in enumerate(IDS)
    ]
    fill(spark, tables.SAMPLE_QUALITY, samples, folder)


def reads_measured(spark: SparkSession, folder: str) -> None:
    """Fill read_quality: the two files of a pair, the second of poor quality."""
    rows = [
        {
            **dict.fromkeys(("minLength", "maxLength"), 50),
            **{f"quality{p}": [30 + p // 10 - 9 * mate] * 50 for p in (10, 25, 50, 75, 90)},
            "sourceId": f"reads{mate}",
            "mate": mate,
            "cohort": COHORT,
            "sampleId": "PERSONREADS",
            "reads": 1000 * mate,
            "gcContent": 0.41,
            "qualityMean": [35.0 - 9 * mate] * 50,
            "deduplicatedShare": 0.9,
            "warnings": ["duplication"],
            "flags": ["base_quality_median"] * (mate == 2),
        }
        for mate in (1, 2)
    ]
    fill(spark, tables.READ_QUALITY, rows, folder)


def structure(spark: SparkSession, folder: str) -> None:
    """Fill traits, principal components and kinship: 2 pairs share a sample."""
    rng = np.random.default_rng(2)
    group = [("north", "south", "east")[i % 3] for i in range(N_SAMPLES)]
    traits = [
        {"cohort": COHORT, "sampleId": x, "trait": "population", "text": group[i]}
        for i, x in enumerate(IDS)
    ] + [
        {"cohort": COHORT, "sampleId": x, "trait": "age", "value": float(20 + i)}
        for i, x in enumerate(IDS[:50])
    ]
    fill(spark, tables.TRAITS, traits, folder)
    centre = {"north": (3, 0), "south": (-3, 1), "east": (0, -3)}
    scores = [
        {
            "cohort": COHORT,
            "sampleIndex": i,
            "sampleId": x,
            "scores": [float(v) for v in np.add((*centre[group[i]], 0, 0), rng.normal(size=4))],
            "fitted": i != 59,
        }
        for i, x in enumerate(IDS)
    ]
    fill(spark, tables.PCA_SCORES, scores, folder)
    components = [
        {
            "cohort": COHORT,
            "component": k,
            "explainedVarianceRatio": 0.2 / k,
            "variants": 33,
            "samples": 59,
        }
        for k in range(1, 5)
    ]
    fill(spark, tables.PCA_COMPONENTS, components, folder)
    pairs = [(1, 2, 0.49, "duplicate"), (2, 5, 0.25, "first"), (8, 9, 0.24, "first")]
    related = [
        {
            "cohort": COHORT,
            "sampleIndex1": a,
            "sampleIndex2": b,
            "sampleId1": IDS[a],
            "sampleId2": IDS[b],
            "ibs0": 0.5 - k,
            "kinship": k,
            "relationship": name,
        }
        for a, b, k, name in pairs
    ]
    fill(spark, tables.KINSHIP, related, folder)


def tests(trait: str, n: int = 400, seed: int = 3) -> list[dict[str, Any]]:
    """A scan of n tests, uniform but for three strong neighbours and one on the other contig."""
    p = np.random.default_rng(seed).uniform(size=n)
    p[[10, 12, 14, 101]] = [1e-20, 1e-12, 1e-9, 4e-10]
    return [
        {
            **site(i),
            "alternateAllele": "C",
            "trait": trait,
            "test": "linear",
            "effect": 0.5,
            "standardError": 0.1,
            "statistic": 5.0,
            "pValue": None if i == n - 1 else float(p[i]),
            "sampleCount": N_SAMPLES - 2,
            "alleleFrequency": 0.25,
        }
        for i in range(n)
    ]


def associations(spark: SparkSession, folder: str) -> None:
    """Fill associations for two traits, and runs."""
    fill(spark, tables.ASSOCIATIONS, [*tests(TRAIT), *tests(ODD, seed=5)], folder)
    gwas = {
        "cohort": COHORT,
        "traits": [TRAIT, ODD],
        "covariates": ["age", "PC1"],
        "keep_samples": f"sampleId != '{IDS[4]}'",
        "keep_variants": "size(flags) = 0",
    }
    kept = {"samples": N_SAMPLES, "samples_kept": N_SAMPLES - 1, "variants_kept": 34}
    both = {"startedAt": WHEN, "softwareVersion": "0.1", "tablesRead": {}}
    runs = [
        {
            **both,
            "runId": "b",
            "job": "run_gwas",
            "status": "succeeded",
            "seconds": 83.0,
            "config": json.dumps(gwas),
            "metrics": json.dumps(kept),
            "tablesWritten": {"associations": 7},
        },
        {
            **both,
            "runId": "a",
            "job": "check_quality",
            "status": "failed",
            "seconds": 1.5,
            "config": json.dumps({"cohort": COHORT}),
            "metrics": "{}",
            "error": "TableError",
            "message": "no such table",
        },
    ]
    fill(spark, tables.RUNS, runs, folder)


def evaluations() -> list[dict[str, Any]]:
    """Two families, of which the forest has seen the labels; the curve rises from 0.6 to 0.8."""
    made = []

    def add(family: str, kind: str, part: str, value: float, **more: Any) -> None:
        row = {"cohort": COHORT, "trait": ODD, "family": family, "kind": kind, "part": part}
        row |= {"trainSamples": 45, "samples": 15, "cases": 6, "metric": "roc_auc", "flags": []}
        made.append({**row, "value": value, "low": value - 0.1, "high": value + 0.1, **more})

    for family, shift in (("forest", 0.0), ("ridge", 0.1)):
        for fold in range(1, 6):
            add(family, "fold", str(fold), 0.7 + fold / 100 - shift)
        add(family, "pooled", "all", 0.72 - shift, samples=60, cases=25)
        add(family, "pooled", "all", 0.2, metric="brier")
        for group, samples in (("north", 32), ("south", 28)):
            add(family, "group", group, 0.75 - shift, samples=samples)
        for share, train in ((0.25, 11), (0.5, 22), (1, 45)):
            value = 0.6 + 0.2 * (train - 11) / 34 - shift
            add(family, "learning", f"{share:g}", value, trainSamples=train)
        for seed in range(43, 53):
            add(family, "null", str(seed), 0.6 - shift + (seed - 47) / 50)
        leak = ["leak"] if family == "forest" else []
        at = {"low": 0.56, "high": 0.66} if leak else {"low": 0.48, "high": 0.52}
        add(family, "chance", "all", 0.61 if leak else 0.5, pValue=1 / 11, flags=leak, **at)
    add("forest", "compare", "ridge", 0.1, low=-0.02, high=0.22)
    return made


def modelled(spark: SparkSession, folder: str) -> None:
    """Fill predictions of two models, importances of one (two loci), and evaluations."""
    both = {"cohort": COHORT, "trait": ODD, "version": 2}
    forest = {**both, "model": "forest"}
    split = ["train"] * 40 + ["test"] * 15 + [None] * 5
    scored = [
        {
            **forest,
            "sampleId": x,
            "split": split[i],
            "score": i / N_SAMPLES,
            "predicted": int(i > 30),
            "missingVariants": None if split[i] else 0.02,
        }
        for i, x in enumerate(IDS)
    ]
    scored += [{**both, "model": "ridge", "sampleId": x, "split": "test"} for x in IDS[:7]]
    fill(spark, tables.PREDICTIONS, scored, folder)
    important = [
        {
            **forest,
            **{k: v for k, v in site(i).items() if k not in ("end", "names")},
            "alternateAllele": "C",
            "importance": 0.5 - i / 100,
            "splits": 30 - i,
            "falseDiscoveryRate": 1e-4 * (i + 1),
            "rank": i + 1,
            "locus": (1, 1, 2, None)[i],
            "isLead": i in (0, 2),
        }
        for i in range(4)
    ]
    fill(spark, tables.IMPORTANCES, important, folder)
    fill(spark, tables.EVALUATIONS, evaluations(), folder)


def whole(spark: SparkSession, folder: str) -> str:
    """Fill every table; give the warehouse."""
    for part in (inputs, measured, reads_measured, structure, associations, modelled):
        part(spark, folder)
    return folder
