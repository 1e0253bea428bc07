"""What a warehouse holds, so that two can be compared row for row, and larger VCF files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import SparkSession

from geneai_spark import store, tables
from tests import vcf_files

#: What tells of the time or the number of runs, not of the data.
ASIDE = frozenset(["modified", "etag", "finishedAt", "tableVersion"])
PLACE = frozenset(["sourceId", "uri"])
#: Rows of their own runs: what ran, and sums that check_quality goes on from (how many, varies).
OWN = frozenset([tables.RUNS.name, tables.QUALITY_SUMS.name])
Contents = dict[str, tuple[int, str]]


def contents(
    spark: SparkSession, warehouse: str, aside: frozenset[str] = ASIDE, *, by_spark: bool = False
) -> Contents:
    """Of every table but `OWN`: the number of rows, and sha256 of the sorted rows; of a number its
    first nine digits, since sums depend on the order of what is added.

    Args:
        spark: reads what does not lie on this machine, or of which Python cannot tell the rows.
        by_spark: read all through Spark, whose types are not those of the files.
    """
    found: Contents = {}
    for table in tables.TABLES.values():
        if table.name in OWN:
            continue
        read = None if by_spark else live_rows(Path(warehouse) / table.name)
        if read is None:
            if not store.exists(spark, table, warehouse):
                continue
            read = store.read(spark, table, warehouse).toArrow()
        read = read.select(sorted(name for name in read.column_names if name not in aside))
        rows = sorted(str(_rounded(row)) for row in read.to_pylist())
        if rows:  # a table that was made and holds nothing is as none
            total = hashlib.sha256("\n".join(rows).encode())
            found[table.name] = (len(rows), total.hexdigest())
    return found


def live_rows(folder: Path) -> pa.Table | None:
    """The rows of a local Delta table, by its log as the protocol has it, without Spark, which
    would take a second; None where there is none, or where rows are deleted inside of files.
    """
    live: set[str] = set()
    names: list[str] = []
    logs = sorted(folder.glob("_delta_log/[0-9]*.json"))
    if not logs or logs[0].stem != f"{0:020}":
        return None
    for log in logs:
        for action in map(json.loads, log.read_text("utf-8").splitlines()):
            if (told := action.get("metaData")) is not None:
                names = [f["name"] for f in json.loads(told["schemaString"])["fields"]]
            if (gone := action.get("remove")) is not None:
                live.discard(gone["path"])
            if (added := action.get("add")) is not None:
                if added.get("deletionVector") is not None:
                    return None
                live.add(added["path"])
    files = [_read(folder / unquote(path)) for path in sorted(live)]
    read = pa.concat_tables(files, promote_options="permissive") if files else pa.table({})
    rows = len(read)
    columns = [read[name] if name in read.column_names else pa.nulls(rows) for name in names]
    return pa.table(columns, names)


def _read(path: Path) -> pa.Table:
    """A file's rows; Spark writes times in another type than we do."""
    read = pq.ParquetFile(path).read()
    for i, field in enumerate(read.schema):
        if pa.types.is_timestamp(field.type):
            time = (
                read.column(i).cast(pa.timestamp("us"), safe=False).cast(pa.timestamp("us", "UTC"))
            )
            read = read.set_column(i, field.name, time)
    return read


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return f"{value:.9g}" if isinstance(value, float) else value


def data_files(warehouse: Path, table: str = "variants") -> set[str]:
    """Names of the Parquet files in a table's folder, of whatever version or of none."""
    return {path.name for path in (warehouse / table).glob("*.parquet")}


def large(records: int, samples: int, first: int, bad: int) -> str:
    """A VCF of several megabytes; its genotypes differ from record to record."""
    names = [f"S{i}" for i in range(samples)]
    head = vcf_files.text(names, records=0)
    calls = ["0/0", "0/1", "1|1", "./.", "1|0"]
    row = [calls[i * i % 5] for i in range(samples)]
    lines = []
    for i in range(records):
        place = "nowhere" if i == bad else first + i
        genotypes = "\t".join(row[i % samples :] + row[: i % samples])
        lines.append(f"22\t{place}\t.\tA\tG\t.\tPASS\tXX={i}\tGT\t{genotypes}")
    return head + "\n".join(lines) + "\n"
