"""What tasks of ours have in common: their number, a quick start, and sums over all of them."""

from __future__ import annotations

import gc
import pickle
import sys
import zipimport
from collections.abc import Callable, Iterable, Iterator
from functools import reduce
from typing import Any, Protocol, TypeAlias, TypeVar

import pyarrow as pa
from pyspark import TaskContext
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

T = TypeVar("T")
Batches: TypeAlias = Iterable[pa.RecordBatch]

FEW = 32  # tasks whose results the driver puts together itself
GROUPS = 8  # of tasks, where there are more

#: What a task gives: its number, and a pickled value.
RESULT_SCHEMA = pa.schema([("resultOfTask", pa.int32()), ("resultValue", pa.binary())])
_RESULT = from_arrow_schema(RESULT_SCHEMA)
_PART, _VALUE = RESULT_SCHEMA.names


class Mappable(Protocol):
    """Rows that tasks work on: a DataFrame, or `stored.StoredRows`."""

    def mapInArrow(  # noqa: N802 - as a DataFrame has it
        self, func: Any, schema: Any
    ) -> DataFrame:
        """Give what a function from batches to batches makes of each task's rows."""


def partition() -> int:
    """Number of the partition that this task is at."""
    context = TaskContext.get()
    assert context is not None
    return int(context.partitionId())


def quicken() -> None:
    """Spare each later task of this worker some fifth of a second of processor time.

    Before a task PySpark invalidates Python's import caches, for which the importer of each
    package inside ``pyspark.zip`` reads that file's whole directory again: importers that are
    forgotten are made anew when needed, from what is still known. After it PySpark collects
    garbage, in all that Numba and SciPy brought: what is here to stay need not be looked through.
    """
    for path, importer in list(sys.path_importer_cache.items()):
        if isinstance(importer, zipimport.zipimporter):
            del sys.path_importer_cache[path]
    if not gc.get_freeze_count():
        gc.collect()
        gc.freeze()


def fold(
    rows: Mappable,
    function: Callable[[Batches], T | None],
    merge: Callable[[T, T], T],
    *,
    tasks: int | None = None,
    groups: int = GROUPS,
) -> T | None:
    """Put together what ``function`` makes of the rows of each task; in the tasks' order, if their
    number is given.

    Args:
        rows: what the tasks work on.
        function: from a task's batches to something that can be pickled; None does not count.
        merge: of two results; may change the first. Must be associative, and commutative where
            ``tasks`` is not given.
        tasks: how many there are, where that is known: results of more than ``FEW``, or of an
            unknown number, are put together by tasks before the driver sees them.
        groups: as so many, of neighbours where ``tasks`` is given; the driver does the rest.

    Returns:
        None where no task gave anything.
    """

    def work(batches: Batches) -> Iterator[pa.RecordBatch]:
        value = function(batches)
        quicken()
        if value is not None:
            yield result(value)

    return gather(rows.mapInArrow(work, _RESULT), merge, tasks=tasks, groups=groups)


def gather(
    results: DataFrame,
    merge: Callable[[T, T], T],
    *,
    tasks: int | None = None,
    groups: int = GROUPS,
) -> T | None:
    """The second half of :func:`fold`, of its rows: ``RESULT_SCHEMA``."""

    def together(batches: Batches) -> Iterator[pa.RecordBatch]:
        values = (value for batch in batches for value in batch.column(_VALUE))
        loaded = (pickle.loads(value.as_buffer()) for value in values)
        if (first := next(loaded, None)) is not None:
            value = reduce(merge, loaded, first)
            quicken()
            yield result(value)

    if tasks is None or tasks > FEW:
        group = F.col(_PART) % groups
        if tasks is not None:
            group = F.floor(F.col(_PART) * groups / tasks).cast("int")
        results = results.repartitionById(groups, group)
        results = results.sortWithinPartitions(_PART).mapInArrow(together, _RESULT)
    found = results.toArrow().sort_by(_PART).column(_VALUE)
    values = [pickle.loads(value.as_buffer()) for value in found]
    return reduce(merge, values) if values else None


def result(value: Any) -> pa.RecordBatch:
    """A task's row of ``RESULT_SCHEMA``."""
    packed = pa.array([pickle.dumps(value, protocol=5)], pa.binary())
    number = pa.array([partition()], pa.int32())
    return pa.RecordBatch.from_arrays([number, packed], schema=RESULT_SCHEMA)
