"""FASTQ files as a Spark DataFrame: ``read(spark, paths)`` gives rows of the ``reads`` table.

The files are cut where records begin (see `fastq_plan`), and each task parses its ranges (see
`fastq_parts`). To keep reads, take them in (``ingest_reads``): that accounts for every record.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import to_arrow_schema

from geneai_spark import filesystems, tables
from geneai_spark.errors import ConfigError
from geneai_spark.formats import fastq_mates, fastq_parts, fastq_plan
from geneai_spark.formats.fastq_lines import FastqFile
from geneai_spark.tasks import Batches

__all__ = ["read", "rows"]

LAYOUTS = ("auto", "single", "paired", "interleaved")
PARTITION_BYTES = 32 << 20
_CHOICES = {
    "layout": LAYOUTS,
    "on_malformed": ("fail", "reject"),
    "emit": ("reads", "rejects"),
    "phred": (None, 33, 64),
}


def read(
    spark: SparkSession,
    paths: str | Sequence[str],
    *,
    cohort: str = "default",
    sample: str | None = None,
    layout: str = "auto",
    phred: int | None = None,
    on_malformed: str = "fail",
    partition_bytes: int | None = None,
    emit: str = "reads",
) -> DataFrame:
    """Read FASTQ files (plain, gzip or BGZF, told from their bytes) into one DataFrame.

    Mates are told by the files' names, and join by ``pairKey`` and ``readName``; that two files
    hold them in one order is not looked at.

    Args:
        paths: files, folders and globs, on any storage that `filesystems` knows.
        cohort: name of the set of samples that the reads belong to.
        sample: the sample of all the files; None: by each file's name.
        layout: ``auto`` pairs files by name and takes others as single, ``paired`` refuses a file
            without its mate's; ``single``; ``interleaved`` has the mates in turn.
        phred: 33 or 64, added to quality scores; None: found in each file.
        on_malformed: ``fail`` raises FormatError for the first malformed record, ``reject`` leaves
            malformed ones out.
        partition_bytes: stored bytes a task reads; default: a core's share, 2 to 32 MiB.
        emit: ``reads``; or ``rejects``, rows of that table: the malformed records alone.

    Raises:
        StorageError, FormatError, BgzfError: a file cannot be read, or is no FASTQ.
        InputError: the file of the mates is not among the inputs.
        ConfigError: an argument asks for what does not exist.
    """
    given = {"layout": layout, "on_malformed": on_malformed, "emit": emit, "phred": phred}
    for name, value in given.items():
        if value not in _CHOICES[name]:
            expected = " or ".join(map(str, _CHOICES[name]))
            raise ConfigError(f"fastq: {name}={value!r}: expected {expected}")
    uris = [info.uri for info in filesystems.list_files(paths)]
    units, lone = fastq_mates.units(uris, layout)
    if lone:
        raise fastq_mates.missing(lone[0])
    paired = layout in ("auto", "paired")
    files, samples = [], {}
    for unit in units:
        for uri, mate in unit:
            file = fastq_plan.inspect(uri, phred)
            files.append(replace(file, mate=mate, seed=fastq_mates.seed(unit[0].uri)))
            samples[file.source_id] = sample or fastq_mates.sample_name(uri, paired=paired)
    share = sum(file.size for file in files) // spark.sparkContext.defaultParallelism + 1
    share = partition_bytes or min(max(share, 2 << 20), PARTITION_BYTES)
    work = list(fastq_plan.shares(files, share))
    table = tables.READS if emit == "reads" else tables.REJECTS
    policy = "reject" if emit == "rejects" else on_malformed

    def parsed(batches: Batches) -> Iterator[pa.RecordBatch]:
        for number in (i for batch in batches for i in batch.column("id").to_pylist()):
            for part in work[number]:
                for one in fastq_parts.parse_part(part, policy):
                    named = cohort, samples[part.file.source_id]
                    yield one.rejects if emit == "rejects" else rows(one, part.file, *named)

    numbers = spark.range(0, len(work), 1, max(1, len(work)))
    return table.conform(numbers.mapInArrow(parsed, table.schema))


def rows(one: fastq_parts.Parsed, file: FastqFile, cohort: str, sample: str) -> pa.RecordBatch:
    """Good records as rows of ``reads``."""
    schema = to_arrow_schema(tables.READS.schema)
    texts = {"sourceId": file.source_id, "cohort": cohort, "sampleId": sample}
    n = one.records.num_rows
    columns = [
        pa.repeat(pa.scalar(texts[name]), n) if name in texts else one.records.column(name)
        for name in schema.names
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
