"""One point of the scaling benchmark, in processes of its own: see README.md.

python run_scaling.py prepare WAREHOUSE SAMPLES VARIANTS   # simulated tables
python run_scaling.py files WAREHOUSE SAMPLES VARIANTS     # a VCF file and traits beside it
python run_scaling.py STAGE WAREHOUSE                      # ingest, quality, pca or linear
python run_scaling.py empty WAREHOUSE

SCALING_MASTER is the master (local[2]); ``cluster`` starts one of two executors of one core, which
the figures then include.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the checkout, installed or not

import numpy as np
import pyarrow as pa
from pyspark.sql import SparkSession
from pyspark.sql.pandas.types import from_arrow_schema

from geneai_spark import store, tables
from geneai_spark.session import get_session
from geneai_spark.staging import FileWriter

MASTER = os.environ.get("SCALING_MASTER", "local[2]")
CONF = {"spark.driver.memory": "1536m"}
EXECUTOR_HEAP = "1536m"  # the rest of 4 GB is Python's and the JVM's own
BLOCK, BLOCK_CELLS = 512, 12_800_000  # variants, and genotypes, simulated at once
FILE_VARIANTS = int(os.environ.get("SCALING_FILE_VARIANTS", "8192"))  # a task each, at least
DIVERGENCE = 0.05  # of three populations: Fst in the model of Balding and Nichols


def prepare(spark: SparkSession, warehouse: str, samples: int, variants: int) -> None:
    """Three populations of unrelated people, a trait that is noise, tables as ingestion makes."""
    folder = store.prepare(spark, tables.VARIANTS, warehouse)
    staged, schema, writer, held = [], None, None, 0
    for first, calls in simulate(samples, variants):
        n = len(calls)
        batch = records(calls, np.arange(first, first + n) * 1000)
        if writer is None:
            writer = FileWriter(folder, tables.VARIANTS.statistics)
            schema = from_arrow_schema(batch.schema)
        writer.add(batch)
        held += n
        if held >= FILE_VARIANTS or first + n == variants:
            staged.append(writer.close())
            writer, held = None, 0
    assert schema is not None
    store.adopt(spark, [s for s in staged if s], schema, tables.VARIANTS, warehouse)
    ids = sample_ids(samples)
    rows = [
        {"cohort": "default", "sampleIndex": i, "sampleId": s, "sourceId": "simulated"}
        for i, s in enumerate(ids)
    ]
    store.put(spark, rows, tables.SAMPLES, warehouse)
    traits = [
        {"cohort": "default", "sampleId": s, "trait": "simulated_trait", "value": v}
        for s, v in zip(ids, noise(samples), strict=True)
    ]
    store.put(spark, traits, tables.TRAITS, warehouse)


def files(warehouse: str, samples: int, variants: int) -> None:
    """The same genotypes as VCF in BGZF, and the trait as CSV, for ingestion."""
    folder = Path(warehouse)
    folder.mkdir(parents=True)
    ids = sample_ids(samples)
    with (folder / "many.vcf.bgz").open("wb") as sink:
        command = ["bgzip", "-c", "-l", "1"]
        zipped = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=sink)
        assert zipped.stdin is not None
        with zipped.stdin as out:
            fixed = ["CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT"]
            meta = [
                "##fileformat=VCFv4.2",
                "##contig=<ID=1,length=248956422>",
                '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">',
            ]
            out.write("\n".join([*meta, "#" + "\t".join([*fixed, *ids])]).encode() + b"\n")
            cells = np.tile(np.frombuffer(b"0|0\t", np.uint8), (samples, 1))  # (samples, 4)
            cells[-1, 3] = ord("\n")
            for first, calls in simulate(samples, variants):
                for i, alleles in enumerate(calls, first):
                    cells[:, 0], cells[:, 2] = (alleles + ord("0")).T
                    out.write(f"1\t{i * 1000 + 1}\t.\tA\tC\t.\tPASS\t.\tGT\t".encode())
                    out.write(cells.tobytes())
        if zipped.wait():
            raise SystemExit("bgzip failed")
    rows = [f"{s},{v!r}" for s, v in zip(ids, noise(samples), strict=True)]
    (folder / "traits.csv").write_text("\n".join(["sample,simulated_trait", *rows]) + "\n")


def sample_ids(samples: int) -> list[str]:
    """Names of so many people."""
    return [f"s{i:06}" for i in range(samples)]


def noise(samples: int) -> list[float]:
    """A trait that nothing explains."""
    return np.random.default_rng(47).normal(size=samples).tolist()


def simulate(samples: int, variants: int) -> Iterator[tuple[int, np.ndarray]]:
    """Blocks of calls, int8 of shape (records, samples, 2), each with its first record's number."""
    rng = np.random.default_rng(46)
    population = np.arange(samples) % 3
    block = min(BLOCK, max(1, BLOCK_CELLS // samples))
    for first in range(0, variants, block):
        n = min(block, variants - first)
        common = rng.uniform(0.02, 0.5, n)
        shape = (1 - DIVERGENCE) / DIVERGENCE
        own = rng.beta(common * shape, (1 - common) * shape, (3, n)).astype(np.float32)
        chance = own.T[:, population]  # (variants, samples)
        calls = np.empty((n, samples, 2), np.int8)
        for side in range(2):
            calls[:, :, side] = rng.random((n, samples), np.float32) < chance
        yield first, calls


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
    if stage == "files":
        return files(warehouse, *map(int, sizes))
    with ExitStack() as stack:
        master, conf = on_cluster(stack) if MASTER == "cluster" else (MASTER, {})
        spark = get_session("scaling", CONF | conf, master)
        do(spark, stage, warehouse, sizes)
        spark.stop()


def on_cluster(stack: ExitStack) -> tuple[str, dict[str, str]]:
    """Start a cluster of two workers; its master and what the session needs."""
    from tests.servers import cluster

    os.environ["PYSPARK_PYTHON"] = sys.executable
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    started = stack.enter_context(cluster.start(folder, "2g"))
    return started.master, {
        "spark.executor.memory": EXECUTOR_HEAP,
        "spark.executorEnv.PYTHONPATH": str(Path(__file__).resolve().parent.parent),
        "spark.driver.host": cluster.HOST,
        "spark.driver.bindAddress": cluster.HOST,
    }


def do(spark: SparkSession, stage: str, warehouse: str, sizes: list[str]) -> None:
    """One stage."""
    if stage == "prepare":
        prepare(spark, warehouse, *map(int, sizes))
    elif stage != "empty":
        from geneai_spark.jobs import (
            check_quality,
            extract_features,
            ingest_traits,
            ingest_variants,
            run_gwas,
        )

        if stage == "ingest":
            config = ingest_variants.Config(inputs=[f"{warehouse}/*.bgz"], warehouse=warehouse)
            print(ingest_variants.run(spark, config))
            config = ingest_traits.Config(inputs=[f"{warehouse}/traits.csv"], warehouse=warehouse)
            ingest_traits.run(spark, config)
        elif stage == "quality":
            check_quality.run(spark, check_quality.Config(warehouse=warehouse))
        elif stage == "pca":
            config = extract_features.Config(warehouse=warehouse, features=["pca"], pruned=False)
            extract_features.run(spark, config)
        else:
            config = run_gwas.Config(traits=["simulated_trait"], components=10, warehouse=warehouse)
            run_gwas.run(spark, config)


if __name__ == "__main__":
    main()
