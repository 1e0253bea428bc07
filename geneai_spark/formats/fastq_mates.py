"""Which FASTQ files belong together by their names, and whose reads they hold.

The two files of paired reads differ in one number of their names and hold the mates in one order.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import NamedTuple

from geneai_spark import filesystems
from geneai_spark.errors import InputError
from geneai_spark.formats.fastq_lines import INTERLEAVED

_ENDING = re.compile(r"\.(fastq|fq|txt)?(\.(gz|bgz|bgzf))?$", re.IGNORECASE)
_MATE = re.compile(r"^(?P<before>.+[_.-][rR]?)(?P<mate>[12])(?P<after>(_\d{3})?)$")
_ILLUMINA = re.compile(r"(_S\d+)?(_L\d{3})?$")  # sample number and lane, as bcl2fastq names files


class Member(NamedTuple):
    """A file and which mates it holds: 0 none, 1, 2, or INTERLEAVED."""

    uri: str
    mate: int


def units(uris: Sequence[str], layout: str) -> tuple[list[list[Member]], list[str]]:
    """Put files that belong together side by side.

    Args:
        uris: the files.
        layout: see `options.ReadOptions`.

    Returns:
        Files alone and pairs (mate 1 first), in the order given; and the files whose mate is not
        there: with ``auto`` those of second mates (a first one alone may be a single read).
    """
    if layout in ("single", "interleaved"):
        mate = INTERLEAVED if layout == "interleaved" else 0
        return [[Member(uri, mate)] for uri in uris], []
    here = {key: uri for uri in uris if (key := _key(uri))}
    found: list[list[Member]] = []
    lone: list[str] = []
    for uri in uris:
        key = _key(uri)
        other = here.get((key[0], 3 - key[1], key[2])) if key else None
        if key and other:
            if key[1] == 1:
                found.append([Member(uri, 1), Member(other, 2)])
        elif layout == "paired" or (key and key[1] == 2):
            lone.append(uri)
        else:
            found.append([Member(uri, 0)])
    return found, lone


def sample_name(uri: str, *, paired: bool = True) -> str:
    """The sample by a file's name: without mate, lane, sample number and endings."""
    stem = _ENDING.sub("", os.path.basename(uri))
    if paired and (found := _MATE.match(stem)):
        stem = re.sub(r"[_.-][rR]?$", "", found["before"])
    return _ILLUMINA.sub("", stem) or stem


def _key(uri: str) -> tuple[str, int, str] | None:
    """What the names of two mates share, with the mate; None where the name tells none."""
    folder, _, name = uri.rpartition("/")
    stem = _ENDING.sub("", name)
    found = _MATE.match(stem)
    if found is None:
        return None
    ending = name[len(stem) :]
    return f"{folder}/{found['before']}", int(found["mate"]), f"{found['after']}{ending}"


def missing(uri: str) -> InputError:
    """The error of a file whose mate is not among the inputs."""
    return InputError(
        f"{uri}: no file of its mates among the inputs: expected the same name with the other of "
        "1 and 2; layout=single takes files one by one"
    )


def seed(uri: str) -> int:
    """What a pair's keys are mixed with, so that equal names of other files give others."""
    return int(filesystems.source_id(uri), 16)
