"""Arrow batches to Parquet files in a table's folder, written by the task that made them.

A staged file belongs to no table until `commits` names it in the table's log, so that a task that
fails or runs twice does no harm: what it left is never read, and VACUUM removes it. No Spark here.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from geneai_spark import filesystems
from geneai_spark.errors import StorageError
from geneai_spark.table import Where

ROW_GROUP_BYTES = 32 << 20
#: Level 3 costs two fifths more time and saves two hundredths of the bytes of packed genotypes.
ZSTD_LEVEL = 1
_SAMPLE = 1000  # values by which a column of text is judged
_LONGEST_TEXT = 1024  # longer ones are not worth their place among the file statistics


class StagedFile(NamedTuple):
    """A Parquet file that lies in a table's folder and is in no version of it yet.

    Attributes:
        name: the file's name in the folder.
        size: bytes.
        rows: as its footer tells, read back from storage.
        statistics: numRecords, and minValues, maxValues, nullCount of the columns asked for: JSON.
    """

    name: str
    size: int
    rows: int
    statistics: str


class FileWriter:
    """Writes batches of one schema to one new file of a table's folder.

    Args:
        folder: URI of the table's folder.
        statistics: columns whose least and greatest values the table's log is to hold.
    """

    def __init__(self, folder: str, statistics: Sequence[str]) -> None:
        self._folder, self._names = folder, statistics
        self._name = f"part-{uuid.uuid4()}.zstd.parquet"
        self._waiting: list[pa.RecordBatch] = []
        self._bytes = self._rows = 0
        self._writer: pq.ParquetWriter | None = None
        self._least: dict[str, Any] = {}
        self._greatest: dict[str, Any] = {}
        self._nulls = dict.fromkeys(statistics, 0)

    def add(self, batch: pa.RecordBatch) -> None:
        """Write a batch, sooner or later.

        Raises:
            StorageError: it cannot be written.
        """
        self._rows += batch.num_rows
        for name in self._names:
            column = batch.column(name)
            self._nulls[name] += column.null_count
            if column.null_count < len(column):
                found = pc.min_max(column).as_py()
                self._least[name] = min(self._least.get(name, found["min"]), found["min"])
                self._greatest[name] = max(self._greatest.get(name, found["max"]), found["max"])
        self._waiting.append(batch)
        self._bytes += batch.nbytes
        if self._bytes >= ROW_GROUP_BYTES:
            self._flush()

    def close(self) -> StagedFile | None:
        """Finish the file and look at it once more; None where no row was added.

        Raises:
            StorageError: it cannot be written, or what is stored is not what was written.
        """
        self._flush()
        if self._writer is None:
            return None
        uri = f"{self._folder}/{self._name}"
        with _told(uri):
            self._writer.close()
            self._sink.close()  # an object store shows the object only now
        size, rows = filesystems.stat(uri).size, _footer_rows(uri)
        if rows != self._rows:
            raise StorageError(f"{uri}: {self._rows} rows written, {rows} stored")
        told = {
            "numRecords": rows,
            "minValues": {k: _plain(v) for k, v in self._least.items() if _short(v)},
            "maxValues": {k: _plain(v) for k, v in self._greatest.items() if _short(v)},
            "nullCount": self._nulls,
        }
        return StagedFile(self._name, size, rows, json.dumps(told))

    def abandon(self) -> None:
        """Leave an unfinished file; what is there of it is removed."""
        if self._writer is not None:
            with contextlib.suppress(OSError, pa.ArrowException):  # where the disk is full, say
                self._writer.close()
            with contextlib.suppress(OSError):
                self._sink.close()
            filesystems.remove(f"{self._folder}/{self._name}")

    def _flush(self) -> None:
        if not self._waiting:
            return
        table = pa.Table.from_batches(self._waiting)
        if self._writer is None:
            sink = filesystems.open_output(f"{self._folder}/{self._name}")
            # Packed genotypes gain nothing from a dictionary or least and greatest values, and
            # comparing and hashing values of kilobytes costs a sixth of a write.
            # So it is with sequences, names and offsets of reads, of which no two are alike.
            different = {f.name for f in table.schema if _all_differ(table.column(f.name))}
            plain = [f for f in table.schema if not pa.types.is_binary(f.type)]
            told = [f for f in plain if f.name in self._names or f.name not in different]
            self._writer = pq.ParquetWriter(
                sink,
                table.schema,
                compression="zstd",
                compression_level=ZSTD_LEVEL,
                use_dictionary=[
                    leaf for f in plain if f.name not in different for leaf in _leaves(f)
                ],
                write_statistics=[leaf for f in told for leaf in _leaves(f)],
                # Numbers of which no two are alike: a fifth of the time, an eighth of the bytes.
                column_encoding={
                    f.name: "DELTA_BINARY_PACKED"
                    for f in plain
                    if f.name in different and pa.types.is_int64(f.type)
                },
            )
            self._sink = sink
        with _told(f"{self._folder}/{self._name}"):
            self._writer.write_table(table, row_group_size=max(1, table.num_rows))
        self._waiting, self._bytes = [], 0


@contextmanager
def _told(uri: str) -> Iterator[None]:
    """Errors of the system as ours, with the file."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or (str(error).splitlines() or [type(error).__name__])[0]
        raise StorageError(f"{uri}: {reason}") from error


def stage(table: pa.Table, folder: str, statistics: Sequence[str]) -> StagedFile | None:
    """Write a whole table as one file."""
    writer = FileWriter(folder, statistics)
    try:
        for batch in table.to_batches():
            writer.add(batch)
        return writer.close()
    except BaseException:
        writer.abandon()
        raise


def count(uri: str, where: Where) -> int:
    """How many rows of a stored file belong to ``where``."""
    source = filesystems.open_arrow(uri)
    try:
        file = pq.ParquetFile(source, read_dictionary=where.columns)
        places = {file.metadata.schema.column(i).path: i for i in range(file.metadata.num_columns)}
        groups = [
            group
            for group in range(file.num_row_groups)
            if where.may_hold(*_range(file.metadata.row_group(group), places, where.columns))
        ]
        batches = file.iter_batches(1 << 17, row_groups=groups, columns=where.columns)
        return sum(where.count(batch) for batch in batches)
    finally:
        source.close()


def _range(
    group: Any, places: dict[str, int], names: Sequence[str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Least and greatest values of columns in a row group, as far as its footer tells."""
    least, greatest = {}, {}
    for name in names:
        told = group.column(places[name]).statistics
        if told is not None and told.has_min_max:
            least[name], greatest[name] = told.min, told.max
    return least, greatest


def _all_differ(column: pa.ChunkedArray) -> bool:
    """Whether a column is text or large numbers that hardly repeat, by its first values."""
    known = pa.types.is_string(column.type) or pa.types.is_int64(column.type)
    if not known or len(column) < _SAMPLE:
        return False
    first = column.slice(0, _SAMPLE)
    return bool(pc.count_distinct(first, mode="all").as_py() > 0.9 * _SAMPLE)


def _leaves(field: pa.Field) -> list[str]:
    """The Parquet columns that a field becomes; lists and maps have theirs below them."""
    if pa.types.is_map(field.type):
        return [f"{field.name}.key_value.{part}" for part in ("key", "value")]
    return [f"{field.name}.list.element" if pa.types.is_list(field.type) else str(field.name)]


def _footer_rows(uri: str) -> int:
    file = filesystems.open_arrow(uri)
    try:
        return int(pq.read_metadata(file).num_rows)
    finally:
        file.close()


def _short(value: Any) -> bool:
    return not isinstance(value, str) or len(value) <= _LONGEST_TEXT


def _plain(value: Any) -> Any:
    if isinstance(value, datetime.datetime):  # as Delta writes them: milliseconds, UTC
        return value.astimezone(datetime.UTC).isoformat(timespec="milliseconds")
    return value
