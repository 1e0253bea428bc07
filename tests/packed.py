"""Packed variants made with pysam: what the reader gives, without the reader."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pysam
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import BinaryType, IntegerType, StructField, StructType

from geneai_spark import genotypes, tables

SCHEMA = StructType(
    [
        *tables.VARIANTS.schema.fields,
        StructField("call_ploidy", IntegerType()),
        StructField("call_genotype", BinaryType()),
        StructField("call_genotype_phased", BinaryType()),
    ]
)


def matrix(calls: list[list[tuple[int | None, ...]]]) -> np.ndarray:
    """Write calls[record][sample] = alleles as a padded (records, samples, ploidy) matrix."""
    width = max([2] + [len(call) for record in calls for call in record])
    out = np.full((len(calls), len(calls[0]), width), genotypes.ABSENT, np.int16)
    for r, record in enumerate(calls):
        for s, call in enumerate(record):
            for p, allele in enumerate(call):
                out[r, s, p] = genotypes.MISSING if allele is None else allele
    return out


def variants(
    spark: SparkSession,
    sites: list[tuple[str, int, str, list[str]]],
    calls: list[list[tuple[int | None, ...]]],
    cohort: str = "default",
    bars: list[list[list[bool]]] | None = None,
) -> DataFrame:
    """Make a ``variants`` DataFrame of (contig, 0-based start, REF, ALTs) and their calls."""
    packed, ploidy = genotypes.pack_calls(matrix(calls))
    decoded = genotypes.calls(packed, len(calls[0]), ploidy)
    mask = np.zeros((*decoded.shape[:2], decoded.shape[2] - 1), bool)
    phased = genotypes.pack_phased(mask if bars is None else np.array(bars), ploidy)
    rows = [
        (
            *(contig, start, start + len(ref), "source", cohort, [], ref, alts, None, None),
            *(width.as_py(), value.as_py(), bar.as_py()),
        )
        for (contig, start, ref, alts), value, width, bar in zip(
            sites, packed, ploidy, phased, strict=True
        )
    ]
    return spark.createDataFrame(rows, SCHEMA)


def read(path: Path, limit: int | None = None):
    """Read a VCF with pysam: (sample ids, sites, calls) for ``variants``."""
    sites, calls = [], []
    with pysam.VariantFile(str(path)) as file:
        ids = list(file.header.samples)
        for i, record in enumerate(file):
            if i == limit:
                break
            sites.append((record.contig, record.start, record.ref, list(record.alts or ())))
            calls.append([tuple(v["GT"]) or (None,) for v in record.samples.values()])
    return ids, sites, calls
