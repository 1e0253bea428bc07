"""Quality: metrics per variant or sample, checks that flag, and a separate ``keep`` that drops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from geneai_spark.errors import TableError

Columns: TypeAlias = pa.Table | pa.RecordBatch
C = TypeVar("C", pa.Table, pa.RecordBatch)


class Check(NamedTuple):
    """A named condition that a good row meets.

    Attributes:
        name: what a row that fails is flagged with.
        passes: from measured rows to a boolean each; null counts as failed.
    """

    name: str
    passes: Callable[[Columns], Any]


def at_least(column: str, least: float) -> Callable[[Columns], Any]:
    """Whether a column's value is ``least`` or more, for a :class:`Check`."""
    return lambda rows: pc.greater_equal(rows.column(column), least)


def greatest_of(rows: Columns, column: str) -> pa.DoubleArray:
    """The greatest number of each list; null where there is none."""
    return _of_lists(rows.column(column), np.fmax)


def least_of(rows: Columns, column: str) -> pa.DoubleArray:
    """The least number of each list; null where there is none."""
    return _of_lists(rows.column(column), np.fmin)


def flag(rows: C, checks: Sequence[Check]) -> C:
    """Add ``flags``: the names of the failed checks, in order; null counts as failed.

    Raises:
        TableError: a check needs a column that ``rows`` does not have.
    """
    failed = np.zeros((rows.num_rows, len(checks)), np.bool_)
    for i, check in enumerate(checks):
        try:
            passes = check.passes(rows)
        except KeyError as error:
            raise TableError(
                f"check {check.name!r} cannot be computed: {error.args[0]}; there are "
                f"{', '.join(rows.schema.names)}"
            ) from error
        if isinstance(passes, np.ndarray):
            passes = pa.array(passes)
        failed[:, i] = ~np.asarray(pc.fill_null(passes, False).to_numpy(zero_copy_only=False))
    names = pa.array([check.name for check in checks], pa.string())
    offsets = np.concatenate([[0], np.cumsum(failed.sum(axis=1))]).astype(np.int32)
    named = names.take(pa.array(np.nonzero(failed)[1]))
    return rows.append_column("flags", pa.ListArray.from_arrays(pa.array(offsets), named))


def tally(flagged: Columns, checks: Sequence[Check]) -> dict[str, int]:
    """Count rows, those that passed every check, and the failures of each check."""
    flags = flagged.column("flags")
    found = pc.value_counts(pc.list_flatten(flags)).to_pylist()
    counts = {one["values"]: int(one["counts"]) for one in found}
    passed = int(pc.sum(pc.equal(pc.list_value_length(flags), 0)).as_py() or 0)
    told = {"rows": flagged.num_rows, "passed": passed}
    return told | {check.name: counts.get(check.name, 0) for check in checks}


def keep(df: DataFrame, allow: Sequence[str] = ()) -> DataFrame:
    """Drop rows that failed a check, except checks named in ``allow``.

    Raises:
        TableError: ``df`` was never flagged.
    """
    if "flags" not in df.columns:
        raise TableError("keep: no column 'flags': call flag() first")
    blocking = F.array_except("flags", F.array(*map(F.lit, allow)).cast("array<string>"))
    return df.where(F.size(blocking) == 0)


def _of_lists(column: pa.Array | pa.ChunkedArray, what: np.ufunc) -> pa.DoubleArray:
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
    values: npt.NDArray[Any] = pc.list_flatten(column).to_numpy(zero_copy_only=False)
    some = lengths > 0
    found = np.zeros(len(lengths))
    if some.any():
        found[some] = what.reduceat(values.astype(np.float64), (np.cumsum(lengths) - lengths)[some])
    return pa.array(found, pa.float64(), mask=~some)
