"""One point of the scaling benchmark, in processes of its own: see README.md.

python run_scaling.py prepare WAREHOUSE SAMPLES VARIANTS   # simulated tables
python run_scaling.py STAGE WAREHOUSE                      # quality, pca or linear
python run_scaling.py empty WAREHOUSE
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the checkout, installed or not

import numpy as np
import pyarrow as pa
from pyspark.sql import SparkSession
from pyspark.sql.pandas.types import from_arrow_schema

from geneai_spark import store, tables
from geneai_spark.session import get_session
from geneai_spark.staging import FileWriter

MASTER = "local[2]"
CONF = {"spark.driver.memory": "1536m"}
BLOCK = 512  # variants simulated at once
FILE_VARIANTS = 8192
DIVERGENCE = 0.05  # of three populations: Fst in the model of Balding and Nichols


def prepare(spark: SparkSession, warehouse: str, samples: int, variants: int) -> None:
    """Three populations of unrelated people, a trait that is noise, tables as ingestion makes."""
    rng = np.random.default_rng(46)
    population = np.arange(samples) % 3
    folder = store.prepare(spark, tables.VARIANTS, warehouse)
    staged, schema, writer = [], None, None
    for first in range(0, variants, BLOCK):
        n = min(BLOCK, variants - first)
        common = rng.uniform(0.02, 0.5, n)
        shape = (1 - DIVERGENCE) / DIVERGENCE
        own = rng.beta(common * shape, (1 - common) * shape, (3, n)).astype(np.float32)
        chance = own.T[:, population]  # (variants, samples)
        calls = np.empty((n, samples, 2), np.int8)
        for side in range(2):
            calls[:, :, side] = rng.random((n, samples), np.float32) < chance
        batch = records(calls, np.arange(first, first + n) * 1000)
        if writer is None:
            writer = FileWriter(folder, tables.VARIANTS.statistics)
            schema = from_arrow_schema(batch.schema)
        writer.add(batch)
        if (first + n) % FILE_VARIANTS == 0 or first + n == variants:
            staged.append(writer.close())
            writer = None
    assert schema is not None
    store.adopt(spark, [s for s in staged if s], schema, tables.VARIANTS, warehouse)
    ids = [f"s{i:06}" for i in range(samples)]
    rows = [
        {"cohort": "default", "sampleIndex": i, "sampleId": s, "sourceId": "simulated"}
        for i, s in enumerate(ids)
    ]
    store.put(spark, rows, tables.SAMPLES, warehouse)
    traits = [
        {"cohort": "default", "sampleId": s, "trait": "simulated_trait", "value": v}
        for s, v in zip(ids, rng.normal(size=samples).tolist(), strict=True)
    ]
    store.put(spark, traits, tables.TRAITS, warehouse)


def records(calls: np.ndarray, starts: np.ndarray) -> pa.RecordBatch:
    """Records of chromosome 1 with packed ``calls``, shape (records, samples, 2)."""
    n, size = len(calls), calls.shape[1] * 2
    offsets = pa.py_buffer(np.arange(n + 1, dtype=np.int32) * size)
    packed = pa.Array.from_buffers(pa.binary(), n, [None, offsets, pa.py_buffer(calls.tobytes())])
    texts = pa.list_(pa.string())
    return pa.RecordBatch.from_pydict(
        {
            "contigName": pa.array(["1"] * n),
            "start": pa.array(starts, pa.int64()),
            "end": pa.array(starts + 1, pa.int64()),
            "sourceId": pa.array(["simulated"] * n),
            "cohort": pa.array(["default"] * n),
            "names": pa.array([[]] * n, texts),
            "referenceAllele": pa.array(["A"] * n),
            "alternateAlleles": pa.array([["C"]] * n, texts),
            "qual": pa.nulls(n, pa.float64()),
            "filters": pa.nulls(n, texts),
            "call_ploidy": pa.array([2] * n, pa.int32()),
            "call_genotype": packed,
        }
    )


def main() -> None:
    """Do what the command line says."""
    stage, warehouse, *sizes = sys.argv[1:]
    spark = get_session("scaling", CONF, MASTER)
    if stage == "prepare":
        prepare(spark, warehouse, *map(int, sizes))
    elif stage != "empty":
        from geneai_spark.jobs import check_quality, extract_features, run_gwas

        if stage == "quality":
            check_quality.run(spark, check_quality.Config(warehouse=warehouse))
        elif stage == "pca":
            config = extract_features.Config(warehouse=warehouse, features=["pca"], pruned=False)
            extract_features.run(spark, config)
        else:
            config = run_gwas.Config(traits=["simulated_trait"], components=10, warehouse=warehouse)
            run_gwas.run(spark, config)
    spark.stop()


if __name__ == "__main__":
    main()
