"""Aligned reads as Arrow has them, whatever the file was: columns, and what a record may break."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from geneai_spark.formats import sam_kernels as kernels
from geneai_spark.formats import text_kernels

Array = NDArray[Any]

RECORDS = pa.schema(
    [
        ("contigName", pa.string()),
        ("start", pa.int64()),
        ("end", pa.int64()),
        ("sampleId", pa.string()),
        ("readGroup", pa.string()),
        ("offset", pa.int64()),
        ("readName", pa.string()),
        ("flags", pa.int32()),
        ("mappingQuality", pa.int32()),
        ("cigar", pa.string()),
        ("mateContigName", pa.string()),
        ("mateStart", pa.int64()),
        ("templateLength", pa.int32()),
        ("sequence", pa.string()),
        ("quality", pa.string()),
        ("attributes", pa.map_(pa.string(), pa.string())),
    ]
)
#: Field, expected and found of a record that breaks a rule.
EXPECTED = {
    kernels.FIELDS: ("record", "11 fields or more, none empty", "fewer, or an empty one"),
    kernels.HEADER: ("record", "an alignment: the header has ended", "a header line"),
    kernels.RECORD: ("record", "a size that holds its fields", "a smaller one"),
    kernels.NAME: ("QNAME", "1 to 254 printable characters", "none, more, or others"),
    kernels.FLAGS: ("FLAG", "a number from 0 to 65535", "another value"),
    kernels.CONTIG: ("RNAME", "a reference sequence of the header", "another"),
    kernels.POSITION: ("POS", "a number from 0 to 2147483647", "another value"),
    kernels.MAPQ: ("MAPQ", "a number from 0 to 255", "another value"),
    kernels.CIGAR: ("CIGAR", "* or lengths, each with one of MIDNSHP=X", "other text"),
    kernels.MATE_CONTIG: ("RNEXT", "=, * or a reference sequence of the header", "another"),
    kernels.MATE_POSITION: ("PNEXT", "a number from 0 to 2147483647", "another value"),
    kernels.TEMPLATE: ("TLEN", "a number of 32 bits", "another value"),
    kernels.SEQUENCE: ("SEQ", "* or letters", "other characters"),
    kernels.QUALITY: ("QUAL", "* or Phred+33, ! to ~", "other characters"),
    kernels.QUALITY_LENGTH: ("QUAL", "a character a base", "more or fewer"),
    kernels.CIGAR_LENGTH: ("CIGAR", "as many bases as SEQ has", "more or fewer"),
    kernels.TAG: ("tags", "XX:TYPE:value, each value of its type", "another"),
    kernels.TAG_TWICE: ("tags", "each tag once", "one twice"),
}


class Cut(NamedTuple):
    """Some text of a file, cut into records.

    Attributes:
        rule: of each record what it breaks, GOOD if nothing (n).
        offset: where each is in the file (n).
        line: number of each in the range, from 0 on (n); None in BAM, which has no lines.
        records: the good ones, of schema `RECORDS`.
        text: the first characters of the record of a number.
    """

    rule: Array
    offset: Array
    line: Array | None
    records: pa.RecordBatch
    text: Callable[[int], str]


def strings(offsets: Array, data: Array, there: Array | None = None) -> pa.Array:
    """Texts, known to be ASCII, laid one after another, as an Arrow column.

    Args:
        offsets: int32 (n + 1).
        there: which are not null (n); None: all.
    """
    bits = None
    if there is not None and not there.all():
        bits = pa.py_buffer(np.packbits(there, bitorder="little"))
    return pa.StringArray.from_buffers(
        len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(data), bits
    )


def gathered(buf: Array, start: Array, end: Array, there: Array | None = None) -> pa.Array:
    """Texts that stand at some places (n) of `buf`, as `strings` has them."""
    offsets, data = text_kernels.gather(buf, start, end)
    return strings(offsets, data, there)


def attributes(count: Array, keys: pa.Array, values: pa.Array) -> pa.MapArray:
    """Tags of records, `count` (n) of each, as a column of maps."""
    offsets = np.zeros(len(count) + 1, np.int32)
    np.cumsum(count, out=offsets[1:])
    return pa.MapArray.from_arrays(pa.array(offsets), keys, values)


def batch(
    columns: Mapping[str, pa.Array], numbers: Array, offset: Array, samples: Samples
) -> pa.RecordBatch:
    """Columns of schema `RECORDS`.

    Args:
        columns: those of text, and attributes.
        numbers: the others by FLAG … END (n, 6), NONE is null.
        offset: where each record is (n).
    """

    def number(which: int, kind: pa.DataType) -> pa.Array:
        values = numbers[:, which]
        if which in (kernels.START, kernels.MATE_START, kernels.END):
            return pa.array(values, kind, mask=values == kernels.NONE)
        return pa.array(values, kind)

    whole = {
        **columns,
        "start": number(kernels.START, pa.int64()),
        "end": number(kernels.END, pa.int64()),
        "sampleId": samples.of(columns["readGroup"]),
        "offset": pa.array(offset, pa.int64()),
        "flags": number(kernels.FLAG, pa.int32()),
        "mappingQuality": number(kernels.MAPPING, pa.int32()),
        "mateStart": number(kernels.MATE_START, pa.int64()),
        "templateLength": number(kernels.LENGTH, pa.int32()),
    }
    return pa.RecordBatch.from_arrays([whole[name] for name in RECORDS.names], schema=RECORDS)


class Samples:
    """Whose reads they are: by read group as the header tells, else one name for all."""

    def __init__(self, groups: Sequence[tuple[str, str]], other: str) -> None:
        self._groups, self._other = dict(groups), other

    def of(self, group: pa.StringArray) -> pa.Array:
        """The sample of each read by its read group, which may be null."""
        found = group.dictionary_encode()
        names = [self._groups.get(name, self._other) for name in found.dictionary.to_pylist()]
        return pa.array(names, pa.string()).take(found.indices).fill_null(self._other)
