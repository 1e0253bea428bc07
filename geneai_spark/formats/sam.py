"""SAM and BAM files as Spark DataFrames: ``read(spark, path)``.

The files are cut into ranges (see `sam_parts`); each task parses its ranges and hands Spark Arrow
batches. The rows are those of the `alignments` table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import StructField, StructType

from geneai_spark import filesystems, tables
from geneai_spark.errors import ConfigError, FormatError
from geneai_spark.formats import sam_header, sam_parts
from geneai_spark.formats.vcf import ON_MALFORMED, REJECT

__all__ = ["read"]

PARTITION_BYTES = 32 << 20


def read(
    spark: SparkSession,
    paths: str | Sequence[str],
    *,
    cohort: str = "default",
    sample: str | None = None,
    on_malformed: str = "reject",
    partition_bytes: int | None = None,
    whole: bool = False,
) -> DataFrame:
    """Read SAM and BAM files (plain, gzip or BGZF, told from their bytes) into one DataFrame.

    Args:
        paths: files, folders and globs, on any storage that `filesystems` knows.
        cohort: name of the set of samples that the reads belong to.
        sample: the sample of reads whose group names none; None: by each file's name.
        on_malformed: ``reject`` adds a struct column `reject` (line, offset, reason, text), null in
            good rows; malformed records are rows in which only it and the file are set. ``fail``
            raises FormatError for the first such record.
        partition_bytes: stored bytes a task reads; default: a core's share, 2 to 32 MiB.
        whole: read each file in one piece.

    Returns:
        Rows of table `alignments`. When they are computed, FormatError, BgzfError or StorageError
        is raised where a file cannot be read.

    Raises:
        StorageError, FormatError, BgzfError: a file cannot be read, its header is broken, or it is
            CRAM.
        ConfigError: an argument asks for what does not exist.
    """
    if on_malformed not in ON_MALFORMED:
        raise ConfigError(f"on_malformed={on_malformed!r}: expected {' or '.join(ON_MALFORMED)}")
    with ThreadPoolExecutor(8) as pool:
        uris = [info.uri for info in filesystems.list_files(paths)]
        files = list(pool.map(sam_header.inspect, uris))
    share = sum(file.size for file in files) // spark.sparkContext.defaultParallelism + 1
    target = partition_bytes or min(max(share, 2 << 20), PARTITION_BYTES)
    uncut = {file.source_id for file in files} if whole else set()
    work = list(sam_parts.shares(files, target, uncut))
    schema = tables.ALIGNMENTS.schema
    if on_malformed == "reject":
        schema = StructType([*schema.fields, StructField("reject", REJECT)])
    arrow = to_arrow_schema(schema)

    def each(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for number in (i for batch in batches for i in batch.column("id").to_pylist()):
            for part in work[number]:
                name = sample or sam_header.sample_name(part.file.uri)
                for one in sam_parts.parse_part(part, name, on_malformed):
                    _raise_if_wrong(one.outcome, part)
                    yield _rows(one, part.file.source_id, cohort, arrow)

    return spark.range(0, len(work), 1, max(1, len(work))).mapInArrow(each, schema)


def _raise_if_wrong(outcome: sam_parts.Outcome | None, part: sam_parts.Part) -> None:
    """Raise what kept a range from being read, and where it was not cut between records."""
    if outcome is None or outcome.landed:
        return
    if outcome.fault is not None:
        raise outcome.fault
    raise FormatError(
        part.file.uri, "a record where a range ends", "none: read it with whole=True",
        offset=part.range.end,
    )  # fmt: skip


def _rows(one: sam_parts.Parsed, source: str, cohort: str, schema: pa.Schema) -> pa.RecordBatch:
    """Good rows, then rejected ones."""
    good, bad = one.records.num_rows, one.rejects.num_rows
    columns = {
        "sourceId": pa.repeat(pa.scalar(source), good + bad),
        "cohort": pa.repeat(pa.scalar(cohort), good + bad),
    }
    if "reject" in schema.names:
        kind = schema.field("reject").type
        told = pa.StructArray.from_arrays(one.rejects.columns[1:], fields=list(kind))
        columns["reject"] = pa.concat_arrays([pa.nulls(good, kind), told])
    for name in one.records.schema.names:
        column = one.records.column(name)
        columns[name] = pa.concat_arrays([column, pa.nulls(bad, column.type)]) if bad else column
    return pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)
