"""Lines of SAM text to Arrow: each a record, good or malformed; blank ones are passed over."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from geneai_spark.formats import bgzf
from geneai_spark.formats import sam_kernels as kernels
from geneai_spark.formats.sam_header import AlignmentFile
from geneai_spark.formats.sam_records import Array, Cut, Samples, attributes, batch, gathered

_SHOWN = 200  # characters of a rejected record
_COLUMNS = {
    "readName": kernels.READ_NAME,
    "cigar": kernels.CIGAR_TEXT,
    "sequence": kernels.BASES,
    "quality": kernels.SCORES,
    "readGroup": kernels.GROUP,
}


def cuts(
    source: bgzf.Input, file: AlignmentFile, part: bgzf.Range, samples: Samples, chunk_bytes: int
) -> Iterator[Cut]:
    """The records of a range."""
    contigs = pa.array(file.contigs, pa.string())
    passed = 0
    for chunk in bgzf.chunks(source, file.uri, file.compression, part, chunk_bytes):
        cut, lines = _cut(chunk, contigs, samples, passed)
        passed += lines
        yield cut


def _cut(
    chunk: bgzf.Chunk, contigs: pa.StringArray, samples: Samples, passed: int
) -> tuple[Cut, int]:
    """The records of a chunk, and its number of lines; `passed` lines of the range are before."""
    buf = np.frombuffer(chunk.text, np.uint8)
    newline = np.flatnonzero(buf == 10)
    spans, numbers, tags, rule = kernels.read_lines(buf, newline)
    good = np.flatnonzero(rule == kernels.GOOD)
    names = []
    for which, broken in (
        (kernels.CONTIG_NAME, kernels.CONTIG),
        (kernels.MATE_NAME, kernels.MATE_CONTIG),
    ):
        name = _texts(buf, spans[good, which])
        if len(contigs):  # a file may have no header; one that has names all
            unknown = pc.and_(pc.is_valid(name), pc.invert(pc.is_in(name, contigs)))
            rule[good[np.asarray(unknown)]] = broken
        names.append(name)
    kept = rule[good] == kernels.GOOD
    good = good[kept]
    starts = np.concatenate([[0], newline[:-1] + 1])
    offset = _offsets(chunk, starts)
    tag = kernels.split_tags(
        buf, spans[good, kernels.TAGS, 0], spans[good, kernels.TAGS, 1], tags[good].sum()
    )
    columns = {name: _texts(buf, spans[good, which]) for name, which in _COLUMNS.items()}
    columns["contigName"], columns["mateContigName"] = (n.filter(pa.array(kept)) for n in names)
    columns["attributes"] = attributes(
        tags[good],
        gathered(buf, tag[:, 0], tag[:, 0] + 2),
        gathered(buf, tag[:, 1], tag[:, 2]),
    )
    records = batch(columns, numbers[good], offset[good], samples)
    line = np.flatnonzero(rule != kernels.BLANK)

    def text(i: int) -> str:
        start, end = int(starts[line[i]]), int(newline[line[i]])
        return chunk.text[start : min(end, start + _SHOWN)].decode("utf-8", "replace")

    return Cut(rule[line], offset[line], line + passed, records, text), len(newline)


def _texts(buf: Array, span: Array) -> pa.StringArray:
    """Texts by start and end (n, 2); a start of NONE is null."""
    there = span[:, 0] != kernels.NONE
    start = np.where(there, span[:, 0], 0)
    return gathered(buf, start, np.where(there, span[:, 1], 0), there)


def _offsets(chunk: bgzf.Chunk, starts: Array) -> Array:
    """Offset in the file of each position in the text."""
    at, origin = np.array(chunk.marks, np.int64).T
    mark = np.searchsorted(at, starts, side="right") - 1
    return np.asarray(origin[mark] + starts - at[mark])
