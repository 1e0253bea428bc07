"""Stored Parquet files in parts: row groups that a task, or the driver, reads. No Spark here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from geneai_spark import filesystems

BATCH_BYTES = 4_000_000  # fits the processor's cache
SMALL_BYTES, SMALL_ROWS, SMALL_FILES = 8 << 20, 100_000, 64  # of a table that the driver may hold


class Part(NamedTuple):
    """Row groups of a file that a task reads; None: all of them."""

    uri: str
    groups: tuple[int, ...] | None


def read(part: Part, schema: pa.Schema, equal: Mapping[str, str]) -> Iterator[pa.RecordBatch]:
    """Batches of some row groups with the columns of ``schema``; absent ones are null."""
    source = filesystems.open_arrow(part.uri)
    try:
        file = pq.ParquetFile(source)
        found = set(file.schema_arrow.names)
        names = [*dict.fromkeys([*schema.names, *equal])]
        here = [name for name in names if name in found]
        groups = range(file.num_row_groups) if part.groups is None else part.groups
        sizes = [file.metadata.row_group(g) for g in groups]
        rows = sum(size.num_rows for size in sizes)
        each = sum(size.total_byte_size for size in sizes) / max(rows, 1)
        step = max(16, int(BATCH_BYTES / max(each, 1)))
        for batch in file.iter_batches(step, row_groups=list(groups), columns=here):
            for name, value in equal.items():
                same = pc.equal(batch.column(name), value)
                if not pc.all(same).as_py():
                    batch = batch.filter(same)
            if batch.num_rows:
                yield pa.RecordBatch.from_arrays(
                    [_column(batch, field, found) for field in schema], schema=schema
                )
    finally:
        source.close()


class Group(NamedTuple):
    """A row group of a stored file: its bytes when read, all columns, its rows, and some columns of
    those rows that are equal to what was asked for.
    """

    part: Part
    size: int
    rows: int
    table: pa.Table


def groups(part: Part, schema: pa.Schema, equal: Mapping[str, str]) -> Iterator[Group]:
    """Row group by row group, the columns of ``schema``: for those that are small."""
    source = filesystems.open_arrow(part.uri)
    try:
        file = pq.ParquetFile(source)
        numbers = range(file.num_row_groups) if part.groups is None else part.groups
    finally:
        source.close()
    for number in numbers:
        told = file.metadata.row_group(number)
        one = Part(part.uri, (number,))
        table = pa.Table.from_batches(list(read(one, schema, equal)), schema)
        yield Group(one, told.total_byte_size, told.num_rows, table)


def _column(batch: pa.RecordBatch, field: pa.Field, found: set[str]) -> pa.Array:
    if field.name not in found:
        return pa.nulls(batch.num_rows, field.type)
    column = batch.column(field.name)
    return column if column.type == field.type else column.cast(field.type)


def are_small(uris: Sequence[str]) -> bool:
    """Whether the driver may hold the files' rows, by what they are when read: genotypes of rare
    variants are a hundredth of it stored.
    """
    if len(uris) > SMALL_FILES:
        return False
    with ThreadPoolExecutor(16) as pool:
        footers = list(pool.map(_footer, uris))
    groups = [each.row_group(i) for each in footers for i in range(each.num_row_groups)]
    size = sum(int(group.total_byte_size) for group in groups)
    rows = sum(int(group.num_rows) for group in groups)
    return size <= SMALL_BYTES and rows <= SMALL_ROWS


def _footer(uri: str) -> Any:
    source = filesystems.open_arrow(uri)
    try:
        return pq.read_metadata(source)
    finally:
        source.close()


def group_sizes(uri: str) -> list[int]:
    """Stored bytes of each row group of a file."""
    metadata = _footer(uri)
    groups = (metadata.row_group(i) for i in range(metadata.num_row_groups))
    return [
        sum(group.column(c).total_compressed_size for c in range(group.num_columns))
        for group in groups
    ]
