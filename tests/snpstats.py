"""The exercise of snpStats as PLINK files and a table of traits, without R: a disease of which
genotypes tell little. On a machine of Debian's or Ubuntu's:

    .venv/bin/python -m tests.snpstats FOLDER

1,000 people and 28,501 SNPs of chromosome 10, resampled from HapMap by Clayton and Wallace, with
three causal loci of odds 1.3 to 1.5 and a confounder: more of the cases are of European ancestry.
The data lie in the package r-bioc-snpstats (GPL-3), which is fetched once and unpacked into
``.cache/snpstats``, not installed: neither R nor root is needed.
"""

from __future__ import annotations

import lzma
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tests.genotype_files import A1A1, A2A2, HET, MISSING, write_bed

PACKAGE = "r-bioc-snpstats"
CACHE = Path(__file__).resolve().parents[1] / ".cache" / "snpstats"
DATA, TERMS = "for.exercise.RData", "copyright"
#: .bed codes by snpStats' codes (missing, A/A, A/B, B/B): its second allele B becomes A1, our ALT.
CODES = np.array([MISSING, A2A2, HET, A1A1], np.uint8)


class Exercise(NamedTuple):
    """What snpStats has.

    Attributes:
        codes: .bed codes, (variants, samples).
        variants: a row each, by id: chromosome, position, A1, A2.
        people: a row each, by id: cc (1 is a case), stratum (ancestry).
    """

    codes: np.ndarray
    variants: pd.DataFrame
    people: pd.DataFrame


def fetch() -> Path:
    """The file of the data, out of the package unless it is there.

    Raises:
        OSError: it cannot be had here.
    """
    if not (CACHE / DATA).exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
            _download(scratch)
            (package,) = Path(scratch).glob("*.deb")
            _run(scratch, "dpkg", "-x", package.name, "unpacked")
            for name in (TERMS, DATA):  # the data last: once they are there, all is
                (found,) = Path(scratch, "unpacked").rglob(name)
                found.replace(CACHE / name)
    return CACHE / DATA


def _download(folder: str) -> None:
    try:
        _run(folder, "apt-get", "download", "-qq", PACKAGE)
    except OSError:  # lists of packages that are none, or old
        _run(folder, "apt-get", "update", "-qq")
        _run(folder, "apt-get", "download", "-qq", PACKAGE)


def _run(folder: str, *words: str) -> None:
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise OSError(f"{' '.join(words[:2])}: {reason}")


def read() -> Exercise:
    """The data as numbers.

    Raises:
        OSError: they cannot be had here.
    """
    found = _R(lzma.decompress(fetch().read_bytes())).pairs()
    snps, variants, people = (found[name] for name in ("snps.10", "snp.support", "subject.support"))
    n, m = snps.attributes["dim"].value
    codes = CODES[snps.value.reshape(m, n)]  # R's columns, the SNPs, lie one after another
    ids, names = (one.value for one in snps.attributes["dimnames"].value)
    exercise = Exercise(codes, _frame(variants), _frame(people))
    assert list(exercise.variants.index) == names and list(exercise.people.index) == ids
    return exercise


def write(folder: Path) -> tuple[str, str]:
    """Write ``exercise.bed`` (``.bim``, ``.fam``) and ``traits.tsv``; their paths.

    REF is snpStats' allele A, the first in the alphabet, not that of a reference genome.
    """
    codes, variants, people = read()
    bim = [
        f"{row.chromosome:.0f} {name} 0 {row.position:.0f} {row.A2} {row.A1}"
        for name, row in zip(variants.index, variants.itertuples(), strict=True)
    ]
    fam = [f"0 {name} 0 0 0 -9" for name in people.index]
    bed = write_bed(folder / "exercise", codes, bim=bim, fam=fam)
    traits = people.assign(asian=(people["stratum"] != "CEU").astype(int))
    traits.to_csv(folder / "traits.tsv", sep="\t", index_label="sample", float_format="%g")
    return bed, str(folder / "traits.tsv")


# ------------------------------------------------------------------------- R's serialization


class _Vector(NamedTuple):
    value: Any
    attributes: dict[str, Any]


def _frame(data: _Vector) -> pd.DataFrame:
    """A data.frame; factors by the names of their levels."""
    columns = {}
    for name, column in zip(data.attributes["names"].value, data.value, strict=True):
        levels = column.attributes.get("levels")
        columns[name] = column.value if levels is None else np.array(levels.value)[column.value - 1]
    return pd.DataFrame(columns, index=data.attributes["row.names"].value)


#: Types of R's objects.
NIL, REFERENCE, SYMBOL, PAIRS, CHARS = 254, 255, 1, 2, 9
NUMBERS = {10: ">i4", 13: ">i4", 14: ">f8", 24: "u1"}  # logical, integer, real, raw
LISTS = (16, 19)  # of strings, of anything


class _R:
    """What R's ``save`` writes, big-endian, format 2: as much of it as data of plain vectors need.

    Not the package rdata: it knows no vectors of bytes, which the genotypes are. Source: the manual
    R Internals, Serialization Formats.
    """

    def __init__(self, data: bytes) -> None:
        head = b"RDX2\nX\n\0\0\0\2"
        assert data.startswith(head), data[:20]
        self.data, self.at, self.symbols = data, len(head) + 8, list[Any]()

    def integer(self) -> int:
        self.at += 4
        return int.from_bytes(self.data[self.at - 4 : self.at], "big", signed=True)

    def pairs(self) -> dict[str, Any]:
        """Of a pairlist, values by their tags."""
        found = {}
        while (flags := self.integer()) != NIL:
            assert flags & 0xFF == PAIRS, flags
            if flags & 0x200:
                self.pairs()  # attributes, of no use here
            tag = self.item()
            found[tag] = self.item()
        return found

    def item(self) -> Any:
        flags = self.integer()
        kind = flags & 0xFF
        if kind == NIL:
            return None
        if kind == REFERENCE:
            return self.symbols[(flags >> 8) - 1]
        if kind == SYMBOL:
            self.symbols.append(self.item())
            return self.symbols[-1]
        n = self.integer()
        if kind == CHARS:
            self.at += max(n, 0)
            return None if n < 0 else self.data[self.at - n : self.at].decode()
        if kind in NUMBERS:
            value: Any = np.frombuffer(self.data, NUMBERS[kind], n, self.at)
            self.at += value.nbytes
            value = value.astype(value.dtype.newbyteorder("="))
        else:
            assert kind in LISTS, kind
            value = [self.item() for _ in range(n)]
        return _Vector(value, self.pairs() if flags & 0x200 else {})


if __name__ == "__main__":
    to = Path(sys.argv[1])
    to.mkdir(parents=True, exist_ok=True)
    print(*write(to), sep="\n")
