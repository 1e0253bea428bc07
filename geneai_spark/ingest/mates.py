"""Whether the reads of two files are each other's mates, in one order."""

from __future__ import annotations

import numpy as np

from geneai_spark.errors import FormatError
from geneai_spark.formats import fastq_parts
from geneai_spark.formats.fastq_lines import FastqFile


def check_order(first: FastqFile, second: FastqFile) -> None:
    """Raise FormatError at the first record whose mate has another name, or is not there.

    Reads both files through, a chunk at a time: called where their digests differ. A malformed
    record, which is in ``rejects``, is taken for the mate of what stands at its place.
    """
    waiting = [np.empty((0, 2), np.int64)] * 2
    streams = [fastq_parts.keys(first), fastq_parts.keys(second)]
    at = 0
    while True:
        for i, stream in enumerate(streams):
            if not len(waiting[i]):
                waiting[i] = next(stream, waiting[i])
        n = min(map(len, waiting))
        if not n:
            break
        one, other = (held[:n] for held in waiting)
        wrong = (one[:, 0] != other[:, 0]) & (one[:, 1] & other[:, 1] == 1)
        if wrong.any():
            number = at + int(np.argmax(wrong)) + 1
            raise FormatError(
                second.uri, f"the read name of record {number:,} of {first.uri}", "another one",
                field=f"record {number:,}",
            )  # fmt: skip
        at, waiting = at + n, [held[n:] for held in waiting]
    short, long = (first, second) if len(waiting[1]) else (second, first)
    if any(map(len, waiting)):
        raise FormatError(
            short.uri, f"as many records as {long.uri}", f"the end after {at:,}",
            field=f"record {at + 1:,}",
        )  # fmt: skip
