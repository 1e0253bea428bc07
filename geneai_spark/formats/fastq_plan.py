"""Which ranges of a FASTQ file a task reads, and what its first records tell.

A file is cut where records begin. Such a place cannot be told from one line, since a quality may
begin with `@`; so the reader starts a little before and goes along by whole records (see
`fastq_kernels`) until it is past the place asked for. From there on it sees what a reader of the
whole file sees: every range begins with a record that is good.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from geneai_spark import filesystems
from geneai_spark.errors import FormatError
from geneai_spark.formats import bgzf
from geneai_spark.formats import fastq_kernels as kernels
from geneai_spark.formats.fastq_lines import INTERLEAVED, REST, FastqFile, cuts, offsets_of

HEAD_BYTES = 1 << 20  # of text in which the encoding of qualities is looked for
RUN_UP = 64 << 10  # stored bytes read before the place where a record is looked for


class Part(NamedTuple):
    """A range of one file that a task reads."""

    file: FastqFile
    range: bgzf.Range


def inspect(uri: str, phred: int | None = None) -> FastqFile:
    """Look at a file's first records.

    The encoding is Phred+64 where no quality is below `;` and some is above `K`, else Phred+33:
    machines that wrote Phred+64 reached `h`, and `K` is 42 in Phred+33.

    Args:
        phred: 33 or 64 where the encoding is known.

    Raises:
        StorageError: the file cannot be read.
        FormatError: it holds something, but no FASTQ record at its start.
        BgzfError: it is cut short or damaged.
    """
    source = filesystems.open_input(uri)
    try:
        size = source.size()
        compression = bgzf.detect(source.read_at(18, 0))
        if compression == bgzf.BGZF:
            bgzf.check_eof_block(source, uri)
        file = FastqFile(uri, size, compression, 33)
        found_cuts = cuts(source, file, bgzf.Range(0, REST, at_line=True), HEAD_BYTES)
        found = next((cut for cut in found_cuts if cut.first.size), None)
    finally:
        source.close()
    if found is None:
        return file if phred is None else FastqFile(uri, size, compression, phred)
    good = found.first[found.fault == kernels.GOOD]
    if not good.size and found.chunk.text.lstrip()[:1] != b"@":
        raise FormatError(uri, "FASTQ records", "another text, or other data", line=1)
    spans = kernels.locate(found.buf, found.newline, good, 0)
    least, greatest = kernels.quality_range(found.buf, spans[:, 4], spans[:, 5])
    told = 64 if least >= ord(";") and greatest > ord("K") else 33
    return FastqFile(uri, size, compression, told if phred is None else phred)


def split(file: FastqFile, target: int) -> list[Part]:
    """Cut a file where records (interleaved: pairs) begin, about every `target` stored bytes."""
    source = filesystems.open_input(file.uri)
    try:
        edges = [r.start for r in bgzf.split(source, file.uri, file.compression, 0, target)]
        found = {0} | {find_record(source, file, edge) for edge in edges if edge}
    finally:
        source.close()
    starts = sorted(found - {REST})
    ends = [*starts[1:], REST]
    return [
        Part(file, bgzf.Range(start, end, at_line=True, closed=True))
        for start, end in zip(starts, ends, strict=True)
    ]


def find_record(source: bgzf.Input, file: FastqFile, edge: int) -> int:
    """Offset of the first good record (interleaved: pair) from `edge` on; REST if there is none."""
    if file.compression == bgzf.BGZF:
        start = max(0, (edge >> 16) - RUN_UP)
        start = bgzf.find_block(source, start) << 16 if start else 0
    else:
        start = max(0, edge - RUN_UP)
    run = bgzf.Range(min(start, edge), REST, at_line=start == 0)
    for cut in cuts(source, file, run, RUN_UP):
        offsets = offsets_of(cut)
        good = offsets[cut.fault == kernels.GOOD]
        if file.mate == INTERLEAVED:
            spans = kernels.locate(cut.buf, cut.newline, cut.first[cut.fault == 0], INTERLEAVED)
            mate, _ = kernels.pair_up(cut.buf, spans[:, 0], spans[:, 1], True)
            good = good[mate == 1]
        after = good[good >= edge]
        if after.size:
            return int(after[0])
    return REST


def shares(files: Sequence[FastqFile], target: int) -> Iterator[list[Part]]:
    """Cut files into lists of ranges, each of about `target` stored bytes: what a task reads."""
    held: list[Part] = []
    room = float(target)
    for file in files:
        for part in split(file, target):
            shift = 16 if file.compression == bgzf.BGZF else 0
            size = min(part.range.end >> shift, file.size) - (part.range.start >> shift)
            if held and size > room:
                yield held
                held, room = [], float(target)
            held.append(part)
            room -= size
    if held:
        yield held
