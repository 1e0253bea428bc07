"""A whole study, job after job in one process, and digests of the tables it came to.

The jobs are the demo's and those of reads; two lines of the VCF are spoilt.

Run as a program, by Python or spark-submit: PLACES (folders' URIs with the inputs, by commas), OUT
(a local file for the digests of each), the jobs to run, and settings for all of them.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geneai_spark import cli, config, filesystems, session, store, tables
from geneai_spark.config import JobConfig
from tests import vcf_files

PEOPLE = [f"P{i}" for i in range(40)]
RECORDS, READS = 400, 300
BAD = (7, 250)  # data lines that are refused
#: What names a place or a time.
ASIDE = {"sourceId", "uri", "modified", "etag", "finishedAt", "tableVersion", "pairKey"}
JOBS = {
    "ingest_variants": ["inputs={place}/in/*.vcf.bgz"],
    "ingest_traits": ["inputs={place}/in/traits.csv"],
    "ingest_reads": ["inputs={place}/in/reads.fastq"],
    "ingest_alignments": ["inputs={place}/in/aligned.sam"],
    "check_quality": [],
    "check_reads": [],
    "extract_kmers": ["k=4", "sketch_k=21", "scaled=50"],
    "extract_features": ["k=2", "min_frequency=0.05"],
    "run_gwas": ["traits=height", "covariates=age", "components=2"],
    "train_model": [
        "trait=height",
        "case_above=170",
        "trees=20",
        "test=0.3",
        "models={place}/models",
        "mlflow=none",
    ],
    "score_samples": ["model=disease_association_height", "models={place}/models"],
    "make_report": ["output={place}/report.html"],
}


@dataclass(frozen=True)
class Study:
    """What a study begins with.

    Attributes:
        files: the contents of its files by name.
        people: how many there are.
        records: data lines of the VCF, with those that are spoilt.
    """

    files: dict[str, bytes]
    people: int
    records: int


def inputs() -> Study:
    """The study's files: genotypes, two lines of them bad; traits by chance; reads."""
    lines = vcf_files.text(PEOPLE, records=RECORDS, seed=3).splitlines()
    first = next(i for i, line in enumerate(lines) if not line.startswith("##"))
    people, records = lines[first].split("\t")[9:], len(lines) - first - 1
    for number in BAD:
        fields = lines[first + 1 + number].split("\t")
        lines[first + 1 + number] = "\t".join([fields[0], "nowhere", *fields[2:]])
    chance = random.Random(5)
    rows = [f"{p},{chance.gauss(170, 9):.2f},{chance.randint(20, 80)}" for p in people]
    bases = ("".join(chance.choices("ACGT", k=50)) for _ in range(READS))
    reads = [f"@r{i}\n{sequence}\n+\n{'I' * 50}\n" for i, sequence in enumerate(bases)]
    aligned = [
        f"r{i}\t0\t22\t{100 + i}\t60\t50M\t*\t0\t0\t{sequence}\t{'I' * 50}\tNM:i:{i % 3}\n"
        for i, sequence in enumerate("".join(chance.choices("ACGT", k=50)) for _ in range(READS))
    ]
    files = {
        "aligned.sam": ("@SQ\tSN:22\tLN:50818468\n" + "".join(aligned)).encode(),
        "reads.fastq": "".join(reads).encode(),
        "study.vcf.bgz": vcf_files.bgzf("\n".join([*lines, ""]).encode(), block=9000),
        "traits.csv": "\n".join(["sample,height,age", *rows, ""]).encode(),
    }
    return Study(files, len(people), records)


def run(place: str, jobs: Iterable[str], settings: Sequence[str]) -> None:
    """Run jobs as ``geneai`` does; leave with the code of the first that fails."""
    for name in jobs:
        words = [word.format(place=place) for word in JOBS[name]]
        if code := cli.main([name, *words, f"warehouse={place}/tables", *settings]):
            sys.exit(code)


def digests(place: str, settings: Sequence[str]) -> dict[str, Any]:
    """Table that is there -> number of rows, and sha256 of the sorted rows; what the report begins
    with.
    """
    loaded = config.load(JobConfig, None, list(settings))
    spark = session.get_session("digests", loaded.spark, storage=loaded.storage)
    found: dict[str, Any] = {}
    for table in tables.TABLES.values():
        if table.name == "runs" or not store.exists(spark, table, f"{place}/tables"):
            continue
        df = store.read(spark, table, f"{place}/tables")
        kept = [name for name in df.columns if name not in ASIDE]
        rows = sorted(map(repr, df.select([f"`{n}`" for n in kept]).toArrow().to_pylist()))
        total = hashlib.sha256("\n".join(rows).encode())
        found[table.name] = [len(rows), total.hexdigest()]
    found["report"] = filesystems.open_input(f"{place}/report.html").read_at(15, 0).decode()
    found["package"] = sorted(_packages(spark))
    return found


def _packages(spark: Any) -> set[str]:
    """Where executors have the package from."""

    def tell(batches: Iterable[Any]) -> Iterable[Any]:
        import pyarrow

        import geneai_spark

        for _ in batches:
            yield pyarrow.RecordBatch.from_pydict({"file": [str(geneai_spark.__file__)]})

    rows = spark.range(2, numPartitions=2).mapInArrow(tell, "file string").collect()
    return {Path(row.file).parents[1].name for row in rows}


if __name__ == "__main__":
    places, out, names, *rest = sys.argv[1:]
    told = {}
    for here in places.split(","):
        run(here, [name for name in names.split(",") if name], rest)
        told[here] = digests(here, rest)
    Path(out).write_text(json.dumps(told))
