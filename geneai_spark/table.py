"""What a stored table is: its name, key, columns with comments, and layout.

:meth:`Table.conform` compares a DataFrame with the declaration in both directions, reports every
difference at once and casts nothing. The tables themselves are declared in `tables`.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import DataType, StructField, StructType

from geneai_spark.errors import TableError


def columns(*columns: tuple[str, DataType, str]) -> StructType:
    """A schema from (name, type, comment); columns may be null, keys never are."""
    return StructType([StructField(n, t, True, {"comment": c}) for n, t, c in columns])


@dataclass(frozen=True)
class Where:
    """Rows of a table by the values of text columns, for Spark and for Python alike.

    ``Where.of(cohort="a", trait=["x", "y"]) | Where.of(sourceId="f")``

    Attributes:
        cases: a row belongs if in one of them each column has one of the values.
    """

    cases: tuple[Mapping[str, tuple[str, ...]], ...]

    @classmethod
    def of(cls, **values: str | Iterable[str]) -> Where:
        """Rows that have one of these values in each of the columns."""
        listed = {
            name: (given,) if isinstance(given, str) else tuple(sorted(set(given)))
            for name, given in values.items()
        }
        return cls((listed,))

    def __or__(self, other: Where) -> Where:
        """Rows of either."""
        return Where((*self.cases, *other.cases))

    @property
    def columns(self) -> list[str]:
        """The columns that are looked at."""
        return sorted({name for case in self.cases for name in case})

    @property
    def sql(self) -> str:
        """As a condition of Spark SQL."""
        cases = [
            " AND ".join(
                f"`{name}` IN ({', '.join(map(_literal, values))})" if values else "false"
                for name, values in case.items()
            )
            for case in self.cases
        ]
        return " OR ".join(f"({case or 'true'})" for case in cases) or "false"

    def count(self, batch: pa.RecordBatch) -> int:
        """How many rows of a batch belong; its columns may be dictionaries."""
        found = pa.array([False]).take(pa.array([0] * batch.num_rows, pa.int32()))
        for case in self.cases:
            own = pa.array([True]).take(pa.array([0] * batch.num_rows, pa.int32()))
            for name, values in case.items():
                own = pc.and_(own, _is_in(batch.column(name), values))
            found = pc.or_(found, own)
        return int(pc.sum(found).as_py() or 0)

    def may_hold(self, least: Mapping[str, str], greatest: Mapping[str, str]) -> bool:
        """Whether rows may belong whose columns lie between these values, where they are known."""
        return any(
            all(
                name not in least
                or name not in greatest
                or any(least[name] <= value <= greatest[name] for value in values)
                for name, values in case.items()
            )
            for case in self.cases
        )


ALL = Where(({},))  # every row
NONE = Where(())  # no row: what is written is added


def _literal(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _is_in(column: pa.Array, values: tuple[str, ...]) -> pa.BooleanArray:
    wanted = pa.array(values, pa.string())
    if isinstance(column, pa.DictionaryArray):
        here = pc.is_in(column.dictionary, wanted)
        return pc.fill_null(here.take(column.indices), False)
    return pc.is_in(column, wanted)


@dataclass(frozen=True)
class Table:
    """A stored table.

    Attributes:
        name: also its folder in the warehouse.
        about: what one row is.
        key: columns that together are unique.
        schema: the declared columns, in order, each with a comment.
        cluster_by: columns by which rows lie together in files.
        statistics: columns on which Delta keeps file statistics; empty: Delta's choice (the
            first 32), which is slow where rows are wide.
        open_columns: patterns of further columns that a table may have, e.g. ``INFO_*``.
        optional: columns that match a pattern and have a fixed type where they exist.
    """

    name: str
    about: str
    key: tuple[str, ...]
    schema: StructType
    cluster_by: tuple[str, ...] = ()
    statistics: tuple[str, ...] = ()
    open_columns: tuple[str, ...] = ()
    optional: StructType = StructType()

    def arrow(self, rows: Iterable[Mapping[str, Any]]) -> pa.Table:
        """A few rows, by name of the declared columns, as Arrow has them."""
        return pa.Table.from_pylist(list(rows), to_arrow_schema(self.schema))

    def is_open(self, column: str) -> bool:
        """Whether an undeclared ``column`` may be in the table."""
        return any(fnmatch.fnmatchcase(column, pattern) for pattern in self.open_columns)

    def differences(self, schema: StructType) -> list[str]:
        """Every difference between ``schema`` and the declaration, each as a sentence."""
        found = {field.name: field for field in schema.fields}
        told: list[str] = []
        for field in [*self.schema.fields, *self.optional.fields]:
            expected = field.dataType.simpleString()
            if field.name not in found:
                if field.name in self.schema.names:
                    told.append(f"{field.name}: no such column, expected {expected}")
            elif (actual := found[field.name].dataType.simpleString()) != expected:
                told.append(f"{field.name}: expected {expected}, found {actual}")
        known = {*self.schema.names, *self.optional.names}
        for name, field in found.items():
            if name not in known and not self.is_open(name):
                told.append(f"{name}: unknown column ({field.dataType.simpleString()})")
        seen: dict[str, str] = {}
        for field in schema.fields:  # Spark's names are case-insensitive, VCF's are not
            other = seen.setdefault(field.name.lower(), field.name)
            if other != field.name or schema.names.count(field.name) > 1:
                told.append(f"{field.name}: the same name as {other}, but for letter case")
        return told

    def conform(self, df: DataFrame) -> DataFrame:
        """``df`` with the declared columns first and in order, comments attached.

        Raises:
            TableError: naming every missing, unknown and differently typed column.
        """
        if told := self.differences(df.schema):
            raise TableError(f"table {self.name!r}: {'; '.join(told)}")
        schema = self.annotate(df.schema)
        columns = []
        for field in schema.fields:
            column = F.col(f"`{field.name}`")
            if field.metadata != df.schema[field.name].metadata:
                column = column.alias(field.name, metadata=field.metadata)
            columns.append(column)
        return df.select(columns)

    def annotate(self, schema: StructType) -> StructType:
        """``schema`` with the declared columns first and in order, comments attached."""
        notes = {f.name: f.metadata for f in [*self.schema.fields, *self.optional.fields]}
        others = [name for name in schema.names if name not in self.schema.names]
        return StructType(
            [
                StructField(
                    name,
                    schema[name].dataType,
                    schema[name].nullable,
                    {**notes.get(name, {}), **(schema[name].metadata or {})},
                )
                for name in [*self.schema.names, *others]
            ]
        )
