"""The accounts of an ingestion: lines read = rows stored + lines rejected, file by file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from geneai_spark import filesystems
from geneai_spark.errors import InputError, ReconciliationError, StorageError
from geneai_spark.filesystems import FileInfo
from geneai_spark.formats.vcf_plan import few

_WEIGHT_DIGITS = 5  # hex digits of the source id: sums of weighted lines stay far below 2**63


def weight(source_id: Column) -> Column:
    """A number that differs from file to file. The sum of lines times weight tells whether each
    line was counted for its own file, at the price of one sum instead of one a file.
    """
    return F.conv(F.substring(source_id, 1, _WEIGHT_DIGITS), 16, 10).cast("long")


def reconcile(
    seen: Mapping[str, int],
    stored: Mapping[str, int],
    rejected: Mapping[str, int],
    *,
    whole: bool,
) -> None:
    """Compare what passed through the read with what is in the tables.

    Args:
        seen: sums over the rows read: ``lines``, ``weighted`` (lines times weight of their
            file), ``rows``, ``rejected``.
        stored: rows in the committed version, by source id; rejected: likewise in rejects.
        whole: whether all lines were asked for; with regions some are rightly in neither.

    Raises:
        ReconciliationError: the two differ; says all the numbers.
    """
    in_tables, in_rejects = sum(stored.values()), sum(rejected.values())
    ids = {*stored, *rejected}
    weighted = sum(
        int(i[:_WEIGHT_DIGITS], 16) * (stored.get(i, 0) + rejected.get(i, 0)) for i in ids
    )
    lines = in_tables + in_rejects
    fits = seen["rows"] == lines and seen["rejected"] == in_rejects
    if whole:
        fits = fits and (seen["lines"], seen["weighted"]) == (lines, weighted)
    else:
        fits = fits and seen["lines"] >= lines
    if not fits:
        raise ReconciliationError(
            f"{seen['lines']} lines and {seen['rows']} rows read, of them {seen['rejected']} "
            f"rejected, but {in_tables} stored and {in_rejects} in rejects"
        )


def balance(
    lines: Mapping[str, int], stored: Mapping[str, int], rejected: Mapping[str, int], *, whole: bool
) -> None:
    """Compare the lines of each file with the rows made of them; counts are by source id.

    Args:
        whole: whether all lines were asked for; with regions some are rightly in neither.

    Raises:
        ReconciliationError: the two differ; says the numbers.
    """
    for source in {*lines, *stored, *rejected}:
        made = stored.get(source, 0) + rejected.get(source, 0)
        read = lines.get(source, 0)
        if made != read if whole else made > read:
            raise ReconciliationError(
                f"source {source}: {read} lines read, but {stored.get(source, 0)} to store and "
                f"{rejected.get(source, 0)} rejected"
            )


def all_written(table: str, counted: Mapping[str, int], rows: Sequence[int]) -> None:
    """Raise ReconciliationError where files hold other rows than those that were made."""
    if sum(counted.values()) != sum(rows):
        raise ReconciliationError(
            f"{sum(counted.values())} rows made for {table}, but its files hold {sum(rows)}"
        )


def count_by_source(rows: DataFrame) -> dict[str, int]:
    """Rows of each file, by source id."""
    return {row[0]: row[1] for row in rows.groupBy("sourceId").count().collect()}


def is_same(before: FileInfo) -> bool:
    """Whether the file is what it was when its mark was taken (see `filesystems.stat`)."""
    try:
        now = filesystems.stat(before.uri)
    except StorageError:  # gone, or out of reach
        return False
    return (now if before.etag else replace(now, etag=None)) == before  # a listing has none of S3


def same_file(before: FileInfo) -> None:
    """Raise InputError if the file is not what it was when its mark was taken."""
    if not is_same(before):
        raise changed(before)


def changed(file: FileInfo) -> InputError:
    """The error that says so."""
    return InputError(f"{file.uri}: changed while it was read; nothing of it was kept")


def sample_difference(mine: Sequence[str], order: Sequence[str], cohort: str) -> str:
    """How a file's samples differ from the cohort's, by column number, never by id."""
    ours, theirs = set(mine), set(order)
    lacking = [i for i, sample in enumerate(order, 1) if sample not in ours]
    extra = [i for i, sample in enumerate(mine, 1) if sample not in theirs]
    if not lacking and not extra:
        return f"the samples of cohort {cohort!r} are in another order than asked for"
    return (
        f"cohort {cohort!r} has {len(order)} samples, this file {len(mine)}: it lacks "
        f"{len(lacking)} of the cohort (numbers {few(lacking)}) and has {len(extra)} others "
        f"(its columns {few(extra)}); give it another cohort, or per_file_cohort=true"
    )
