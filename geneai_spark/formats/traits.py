"""Tables of traits (CSV, TSV, PLINK's pheno files) as rows of the table ``traits``.

One line is a sample, one column a trait; the first line names the columns. The file is parsed in
the driver by pyarrow and must fit into its memory (a million values take about 50 MB).
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from geneai_spark import filesystems
from geneai_spark.errors import FormatError

MISSING = ("", "NA", "N/A", "NaN", "nan", "null", "None", ".", "-9")
SAMPLE_COLUMNS = ("sampleid", "sample_id", "sample", "samples", "iid", "id", "s")
DELIMITERS = "\t,;"
_GZIP = b"\x1f\x8b"
_SHOWN = 200  # characters of a rejected line that are kept


@dataclass(frozen=True)
class Rejected:
    """A line that is no sample: 1-based line number, why, its first characters."""

    line: int
    reason: str
    text: str


@dataclass(frozen=True)
class Traits:
    """A file of traits.

    Attributes:
        values: one row a value that is not missing: sampleId, trait, value (number) or text.
        samples: lines that are samples, whether or not any of their values is there.
        traits: names of the columns, in the file's order.
        rejected: the other lines that are not empty.
    """

    values: pa.Table
    samples: int
    traits: tuple[str, ...]
    rejected: tuple[Rejected, ...]


def read(
    uri: str,
    *,
    sample_column: str | None = None,
    delimiter: str | None = None,
    columns: Sequence[str] | None = None,
    text: Sequence[str] = (),
    missing: Sequence[str] = MISSING,
) -> Traits:
    """Read a file of traits, plain or gzipped.

    Args:
        sample_column: the column of sample ids; default: the only one named like
            :data:`SAMPLE_COLUMNS` in any case (``FID`` beside ``IID`` is left out), else the first.
        delimiter: one character; default: the one of tab, comma and semicolon that is most often
            in the first line, else runs of blanks.
        columns: traits to keep; default: all.
        text: traits to take as text though some or all of their values are numbers.
        missing: what stands for a missing value, beside nothing at all.

    Raises:
        StorageError: the file cannot be read.
        FormatError: no columns, an unknown or repeated column, a sample on two lines, or a trait
            that is neither all numbers nor all text. Lines are named, ids and values never.
    """
    content = _decoded(uri)
    header, _, _ = content.partition("\n")
    if not header.strip():
        raise FormatError(uri, "a first line that names the columns", "nothing", line=1)
    if delimiter is None:
        counts = {d: header.count(d) for d in DELIMITERS}
        delimiter = max(counts, key=lambda d: counts[d])
        if not counts[delimiter]:
            delimiter, content = "\t", _blanks_to_tabs(content)
    table, rejected, skipped = _parse(uri, content, delimiter)
    names = [name.strip() for name in table.column_names]
    names[0] = names[0].lstrip("#")
    table = table.rename_columns(names)
    for name in names:
        if names.count(name) > 1 or not name:
            what = f"{name!r} {names.count(name)} times" if name else "a column without a name"
            raise FormatError(uri, "column names, each once", what, line=1)
    sample_column = _sample_column(uri, names, sample_column)
    chosen = _chosen(uri, names, sample_column, columns, text)
    every = range(2, content.count("\n") + 2)  # the header is line 1
    lines = [line for line in every if line not in skipped][: table.num_rows]
    ids = pc.utf8_trim_whitespace(table[sample_column])
    keep, no_id = _with_ids(table, ids, lines)
    table = table.filter(pa.array(keep, pa.bool_())).combine_chunks()
    lines = [line for line, kept in zip(lines, keep, strict=True) if kept]
    ids = pc.utf8_trim_whitespace(table[sample_column])
    _check_unique(uri, ids, lines)
    parts = [_long(uri, name, table[name], ids, lines, name in text, missing) for name in chosen]
    return Traits(
        pa.concat_tables(parts) if parts else _empty(),
        table.num_rows,
        tuple(chosen),
        tuple(sorted([*rejected, *no_id], key=lambda one: one.line)),
    )


def _decoded(uri: str) -> str:
    data = filesystems.read(uri)
    try:
        if data.startswith(_GZIP):
            data = gzip.decompress(data)
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise FormatError(uri, "UTF-8 text", "another byte", offset=error.start) from None
    except (OSError, EOFError) as error:
        raise FormatError(uri, "whole gzip data", str(error)) from None


def _blanks_to_tabs(content: str) -> str:
    return "\n".join(re.sub(r"[ \t]+", "\t", line.strip()) for line in content.split("\n"))


def _parse(uri: str, content: str, delimiter: str) -> tuple[pa.Table, list[Rejected], set[int]]:
    """Every column as text; lines with another number of fields, and which lines gave no row.

    A line without any character gives a row of empty values.
    """
    rejected: list[Rejected] = []
    skipped: set[int] = set()

    def bad(row: csv.InvalidRow) -> str:
        skipped.add(row.number)
        if row.text.strip():
            reason = f"expected {row.expected_columns} fields, found {row.actual_columns}"
            rejected.append(Rejected(row.number, reason, row.text[:_SHOWN]))
        return "skip"

    data = content.encode()
    if not data.endswith(b"\n"):
        data += b"\n"
    header = csv.open_csv(
        pa.BufferReader(data.partition(b"\n")[0] + b"\n"),
        parse_options=csv.ParseOptions(delimiter=delimiter),
    ).schema.names
    try:
        table = csv.read_csv(
            pa.BufferReader(data),
            # one thread and one block: line numbers are told for rejected lines
            read_options=csv.ReadOptions(
                use_threads=False,
                block_size=len(data) + 1,
                column_names=[str(i) for i in range(len(header))],
                skip_rows=1,
            ),
            parse_options=csv.ParseOptions(
                delimiter=delimiter, ignore_empty_lines=False, invalid_row_handler=bad
            ),
            convert_options=csv.ConvertOptions(
                column_types={str(i): pa.string() for i in range(len(header))},
                strings_can_be_null=False,
                quoted_strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid as error:
        if "Empty CSV" in str(error):
            empty = pa.schema([(str(i), pa.string()) for i in range(len(header))])
            return empty.empty_table().rename_columns(header), rejected, skipped
        raise FormatError(uri, "delimited text", str(error).splitlines()[0]) from None
    return table.rename_columns(header), rejected, skipped


def _sample_column(uri: str, names: Sequence[str], given: str | None) -> str:
    if given is not None:
        if given not in names:
            listed = ", ".join(names[:20])
            raise FormatError(uri, f"a column {given!r}", f"only {listed}", line=1)
        return given
    for wanted in SAMPLE_COLUMNS:
        for name in names:
            if name.lower() == wanted:
                return name
    return names[0]


def _chosen(
    uri: str,
    names: Sequence[str],
    sample_column: str,
    columns: Sequence[str] | None,
    text: Sequence[str],
) -> list[str]:
    for name in [*(columns or ()), *text]:
        if name not in names:
            listed = ", ".join(names[:20])
            raise FormatError(uri, f"a column {name!r}", f"only {listed}", line=1)
    family = {"fid"} if sample_column.lower() == "iid" else set()
    every = [n for n in names if n != sample_column and n.lower() not in family]
    return every if columns is None else [n for n in every if n in columns]


def _with_ids(table: pa.Table, ids: Any, lines: Sequence[int]) -> tuple[list[bool], list[Rejected]]:
    keep = [bool(one) for one in ids.to_pylist()]
    rejected = []
    for i, kept in enumerate(keep):
        if not kept:
            row = ",".join(str(column[i].as_py()) for column in table.columns)
            if row.strip(", "):
                rejected.append(Rejected(lines[i], "no sample id", row[:_SHOWN]))
    return keep, rejected


def _check_unique(uri: str, ids: Any, lines: Sequence[int]) -> None:
    first: dict[str, int] = {}
    twice = []
    for sample, line in zip(ids.to_pylist(), lines, strict=True):
        if first.setdefault(sample, line) != line:
            twice.append(f"{first[sample]} and {line}")
    if twice:
        more = f" and {len(twice) - 5} more pairs" if len(twice) > 5 else ""
        found = f"one on lines {'; '.join(twice[:5])}{more}"
        raise FormatError(uri, "each sample on one line", found)


def _long(
    uri: str,
    name: str,
    column: Any,
    ids: Any,
    lines: Sequence[int],
    as_text: bool,
    missing: Sequence[str],
) -> pa.Table:
    """The values of one trait that are not missing: rows of (sampleId, trait, value, text)."""
    column = pc.utf8_trim_whitespace(column)
    there = pc.invert(pc.is_in(column, value_set=pa.array(["", *missing], pa.string())))
    column, ids = column.filter(there), ids.filter(there)
    numbers = None if as_text else _numbers(uri, name, column, lines, there)
    n = len(column)
    value = pa.nulls(n, pa.float64()) if numbers is None else numbers
    words = column if numbers is None else pa.nulls(n, pa.string())
    return pa.table([ids, pa.repeat(pa.scalar(name), n), value, words], schema=_schema())


def _numbers(uri: str, name: str, column: Any, lines: Sequence[int], there: Any) -> Any:
    """The column as numbers; None if no value is one; an error if some are and some are not."""
    try:
        numbers = pc.cast(column, pa.float64())
        if len(column) == 0 or pc.all(pc.is_finite(numbers)).as_py():
            return numbers
    except pa.ArrowInvalid:
        pass
    fits = [_is_number(one) for one in column.to_pylist()]
    if not any(fits):
        return None
    places = [line for line, kept in zip(lines, there.to_pylist(), strict=True) if kept]
    odd = [line for line, fit in zip(places, fits, strict=True) if not fit]
    if not odd:
        return pa.array([float(one) for one in column.to_pylist()], pa.float64())
    shown = ", ".join(map(str, odd[:5])) + (", ..." if len(odd) > 5 else "")
    raise FormatError(
        uri,
        "all numbers or all text (a code for missing values is told by missing=, "
        f"a trait of codes by text={name})",
        f"{len(odd)} of {len(fits)} values that are no numbers, on lines {shown}",
        field=name,
    )


def _is_number(text: str) -> bool:
    try:
        return float(text) not in (float("inf"), float("-inf")) and float(text) == float(text)
    except ValueError:
        return False


def _schema() -> pa.Schema:
    return pa.schema(
        [
            ("sampleId", pa.string()),
            ("trait", pa.string()),
            ("value", pa.float64()),
            ("text", pa.string()),
        ]
    )


def _empty() -> pa.Table:
    return _schema().empty_table()
