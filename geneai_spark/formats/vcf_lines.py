"""A run of VCF lines whose columns are found: texts, numbers and faults of its records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from geneai_spark.formats import text_kernels
from geneai_spark.formats import vcf_kernels as kernels

Array = NDArray[Any]


@dataclass
class Lines:
    """R lines as `vcf_kernels.scan_lines` found them.

    Attributes:
        buf: the text, uint8.
        cols: (R, 10) starts of the first ten columns; ends: (R) ends of the lines.
        top: (R) a bound of the alleles where genotypes are converted already, else -1.
        fault: (R, 3) the first fault of each record, see vcf_kernels.
        n_columns: columns of the header line.
        n_alt: (R) ALT alleles, known once ALT is read.
    """

    buf: Array
    cols: Array
    ends: Array
    top: Array
    fault: Array
    n_columns: int
    n_alt: Array

    @property
    def n(self) -> int:
        """Number of records."""
        return len(self.ends)

    def span(self, column: int) -> tuple[Array, Array]:
        """Start and end of a column in each line."""
        return self.cols[:, column], (self.cols[:, column + 1] - 1).astype(np.int32)

    def strings(self, start: Array, end: Array, valid: Array | None = None) -> pa.Array:
        """Texts as an Arrow column, null where not `valid`; other bytes than UTF-8 are replaced."""
        offsets, data = text_kernels.gather(self.buf, start, end)
        array = pa.StringArray.from_buffers(
            len(start), pa.py_buffer(offsets), pa.py_buffer(data), bits(valid)
        )
        if data.size and data.max() >= 128:
            try:
                array.validate(full=True)
            except pa.ArrowInvalid:
                raw = array.cast(pa.binary()).to_pylist()
                array = pa.array(
                    [None if v is None else v.decode("utf-8", "replace") for v in raw],
                    pa.string(),
                )
        return array

    def note(self, rows: Array, code: int, which: int = 0) -> None:
        """Note a fault of each of `rows`, unless it has one already."""
        for row in rows:
            kernels.note(self.fault, int(row), code, which, 0)

    def check_encoding(self) -> None:
        """Note lines whose site columns are not UTF-8."""
        stop = (self.cols[:, 9] if self.n_columns > 9 else self.ends).astype(np.int32)
        for row in text_kernels.not_ascii(self.buf, self.cols[:, 0], stop):
            try:
                self.buf[self.cols[row, 0] : stop[row]].tobytes().decode()
            except UnicodeDecodeError:
                kernels.note(self.fault, int(row), kernels.ENCODING, 0, 0)

    def dictionary(self, column: int, code: int, is_bad: Any) -> pa.DictionaryArray:
        """A column of few distinct values; each is checked once."""
        encoded = self.strings(*self.span(column)).dictionary_encode()
        bad = np.array([is_bad(value) for value in encoded.dictionary.to_pylist()], np.bool_)
        if bad.any():
            self.note(np.flatnonzero(bad[encoded.indices.to_numpy()]), code)
        return encoded

    def floats(self, start: Array, end: Array) -> tuple[Array, Array]:
        """Numbers, and their states as `text_kernels.parse_floats` tells them."""
        value, state = np.empty(len(start)), np.empty(len(start), np.uint8)
        text_kernels.parse_floats(self.buf, start, end, value, state)
        for i in np.flatnonzero(state == 2):  # beyond exact arithmetic: the library rounds right
            value[i] = float(self.text(start[i], end[i]))
        return value, state

    def text(self, start: int, end: int) -> str:
        """One text."""
        return self.buf[start : max(start, end)].tobytes().decode("utf-8", "replace")


def rows_of(offsets: Array, chosen: Array) -> Array:
    """Records of the chosen elements of a split column, each once."""
    elements = np.flatnonzero(chosen)
    rows: Array = np.unique(np.searchsorted(offsets, elements, side="right") - 1)
    return rows


def bits(valid: Array | None) -> pa.Buffer | None:
    """Arrow's validity bitmap."""
    if valid is None or valid.all():
        return None
    return pa.py_buffer(np.packbits(valid, bitorder="little"))


def list_array(offsets: Array, values: pa.Array, valid: Array) -> pa.ListArray:
    """A list column whose records are null where not `valid`."""
    return pa.Array.from_buffers(
        pa.list_(values.type),
        len(valid),
        [bits(valid), pa.py_buffer(offsets)],
        children=[values],
    )
