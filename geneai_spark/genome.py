"""Genome coordinates: builds, contig names, intervals and pseudo-autosomal regions.

Positions inside the project are 0-based half-open; text for people (``chr20:1-100``) is
1-based inclusive, as samtools writes it, and is converted here. A VCF's POS 0 (the telomere
before the first base) is position -1.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache

from geneai_spark.errors import ConfigError

#: End of an interval that runs to the end of its contig (VCF positions are 32-bit).
CONTIG_END = 2**31 - 1


@dataclass(frozen=True, order=True)
class Interval:
    """A stretch of a contig, 0-based half-open; `start` -1 takes in a VCF's POS 0."""

    contig: str
    start: int = -1
    end: int = CONTIG_END

    def __post_init__(self) -> None:
        if not self.contig or not -1 <= self.start <= self.end:
            raise ConfigError(
                f"interval {self.contig}:{self.start}-{self.end}: expected a contig and "
                "-1 <= start <= end (0-based half-open)"
            )

    def overlaps(self, contig: str, start: int, end: int) -> bool:
        """Whether the 0-based half-open stretch shares a base with this interval."""
        return contig == self.contig and start < self.end and end > self.start

    def __str__(self) -> str:
        """As samtools writes it: 1-based inclusive, braces where the name holds a colon."""
        name = f"{{{self.contig}}}" if ":" in self.contig else self.contig
        if self.end == CONTIG_END:
            return name if self.start == -1 else f"{name}:{self.start + 1}-"
        return f"{name}:{self.start + 1}-{self.end}"


@dataclass(frozen=True)
class Build:
    """A genome build.

    Attributes:
        name: how we call it.
        assembly: the assembly it is a naming of (hg38 and GRCh38 are one assembly).
        contigs: length in bases of the primary contigs, by this build's names.
        accessions: RefSeq accession of the primary contigs, by this build's names.
        par: pseudo-autosomal regions of X and Y.
    """

    name: str
    assembly: str
    contigs: Mapping[str, int]
    accessions: Mapping[str, str]
    par: tuple[Interval, ...]


_NAMES = (*(str(i) for i in range(1, 23)), "X", "Y", "MT")
_CHR_NAMES = (*(f"chr{n}" for n in _NAMES[:-1]), "chrM")

# Lengths in base pairs of 1..22, X, Y, MT, from the assembly reports of the Genome Reference
# Consortium (GRCh37, GRCh38) and the T2T consortium (T2T-CHM13v2.0).
# fmt: off
_GRCH37 = (
    249250621, 243199373, 198022430, 191154276, 180915260, 171115067, 159138663, 146364022,
    141213431, 135534747, 135006516, 133851895, 115169878, 107349540, 102531392, 90354753,
    81195210, 78077248, 59128983, 63025520, 48129895, 51304566, 155270560, 59373566, 16569,
)
_GRCH38 = (
    248956422, 242193529, 198295559, 190214555, 181538259, 170805979, 159345973, 145138636,
    138394717, 133797422, 135086622, 133275309, 114364328, 107043718, 101991189, 90338345,
    83257441, 80373285, 58617616, 64444167, 46709983, 50818468, 156040895, 57227415, 16569,
)
_CHM13 = (
    248387328, 242696752, 201105948, 193574945, 182045439, 172126628, 160567428, 146259331,
    150617247, 134758134, 135127769, 133324548, 113566686, 101161492, 99753195, 96330374,
    84276897, 80542538, 61707364, 66210255, 45090682, 51324926, 154259566, 62460029, 16569,
)
_VERSIONS37 = (10, 11, 11, 11, 9, 11, 13, 10, 11, 10, 9, 11, 10, 8, 9, 9, 10, 9, 9, 10, 8, 10,
               10, 9)
_VERSIONS38 = (11, 12, 12, 12, 10, 12, 14, 11, 12, 11, 10, 12, 11, 9, 10, 10, 11, 10, 10, 11, 9,
               11, 11, 10)
# fmt: on
_ACC37 = (*(f"NC_{i:06d}.{v}" for i, v in enumerate(_VERSIONS37, 1)), "NC_012920.1")
_ACC38 = (*(f"NC_{i:06d}.{v}" for i, v in enumerate(_VERSIONS38, 1)), "NC_012920.1")
_ACC_CHM13 = tuple(f"NC_{i:06d}.1" for i in range(60925, 60949))  # no RefSeq record of its MT

# Pseudo-autosomal regions, 1-based inclusive as published: (X, Y) x (PAR1, PAR2).
_PAR37 = ((60001, 2699520), (154931044, 155260560), (10001, 2649520), (59034050, 59363566))
_PAR38 = ((10001, 2781479), (155701383, 156030895), (10001, 2781479), (56887903, 57217415))
_PAR_CHM13 = ((1, 2394410), (153925835, 154259566), (1, 2458320), (62122810, 62460029))


def _build(
    name: str,
    assembly: str,
    names: tuple[str, ...],
    lengths: tuple[int, ...],
    accessions: tuple[str, ...],
    par: tuple[tuple[int, int], ...],
) -> Build:
    x, y = names[22], names[23]
    regions = (Interval(c, s - 1, e) for c, (s, e) in zip((x, x, y, y), par, strict=True))
    return Build(
        name,
        assembly,
        dict(zip(names, lengths, strict=True)),
        dict(zip(names, accessions, strict=False)),
        tuple(regions),
    )


#: Builds by name. GRCh37 and GRCh38 name contigs ``1 … MT``, the others ``chr1 … chrM``.
#: hg19's chrM is an older sequence (16,571 bases) than the MT of GRCh37.
BUILDS: dict[str, Build] = {
    b.name: b
    for b in (
        _build("GRCh37", "GRCh37", _NAMES, _GRCH37, _ACC37, _PAR37),
        _build("GRCh38", "GRCh38", _NAMES, _GRCH38, _ACC38, _PAR38),
        _build("hg19", "GRCh37", _CHR_NAMES, (*_GRCH37[:-1], 16571),
               (*_ACC37[:-1], "NC_001807.4"), _PAR37),
        _build("hg38", "GRCh38", _CHR_NAMES, _GRCH38, _ACC38, _PAR38),
        _build("T2T-CHM13", "T2T-CHM13", _CHR_NAMES, _CHM13, _ACC_CHM13, _PAR_CHM13),
    )
}  # fmt: skip

_BUILD_WORDS = (
    ("T2T-CHM13", re.compile(r"chm13|t2t|\bhs1\b", re.IGNORECASE)),
    ("GRCh38", re.compile(r"grch38|hg38|hs38|b38\b|assembly38|_v38", re.IGNORECASE)),
    ("GRCh37", re.compile(r"grch37|hg19|hs37|b37\b|assembly19|_v37|ncbi37", re.IGNORECASE)),
)


@cache
def contig_aliases(build: str) -> dict[str, str]:
    """Every known name of `build`'s primary contigs -> the build's own name.

    Names: with and without ``chr``, M and MT, RefSeq accessions; upper case (look up
    ``name.upper()``). Raises ConfigError for an unknown build.
    """
    if build not in BUILDS:
        raise ConfigError(f"unknown genome build {build!r}: expected one of {', '.join(BUILDS)}")
    aliases: dict[str, str] = {}
    for name, bare in zip(BUILDS[build].contigs, _NAMES, strict=True):
        for alias in {bare, bare.replace("MT", "M")}:
            aliases[alias] = aliases[f"CHR{alias}"] = name
    for name, accession in BUILDS[build].accessions.items():
        aliases[accession] = name
    return aliases


@cache
def autosomes() -> frozenset[str]:
    """Every known name of chromosomes 1 to 22 in any build, upper case.

    >>> "CHR7" in autosomes(), "NC_000022.11" in autosomes(), "X" in autosomes()
    (True, True, False)
    """
    names = {name for i in range(1, 23) for name in (str(i), f"chr{i}")}
    every = (pair for build in BUILDS for pair in contig_aliases(build).items())
    return frozenset(alias for alias, name in every if name in names)


def normalise(contig: str, build: str) -> str:
    """`contig` as `build` names it; a name the build does not know is kept as it is.

    >>> normalise("chr1", "GRCh38"), normalise("MT", "hg38"), normalise("GL000207.1", "hg38")
    ('1', 'chrM', 'GL000207.1')
    """
    return contig_aliases(build).get(contig.upper(), contig)


@cache
def role(contig: str) -> str | None:
    """What a contig is, by any build's name of it: autosome, X, Y or MT; None where unknown.

    >>> role("chr7"), role("NC_000023.11"), role("M"), role("GL000207.1")
    ('autosome', 'X', 'MT', None)
    """
    for build, known in BUILDS.items():
        if name := contig_aliases(build).get(contig.upper()):
            bare = _NAMES[list(known.contigs).index(name)]
            return "autosome" if bare.isdigit() else bare
    return None


def guess_build(
    contigs: Mapping[str, int | None] | Collection[str] = (), reference: str | None = None
) -> str | None:
    """The build whose contig lengths match, else the one that `reference` names, else None.

    Args:
        contigs: contig names, with their lengths where known.
        reference: text that may name the build (``##reference``, ``assembly=`` of contigs).

    Of builds that share an assembly, the one that names contigs as `contigs` does.
    """
    lengths = contigs if isinstance(contigs, Mapping) else dict.fromkeys(contigs)
    chr_named = any(c.lower().startswith("chr") for c in lengths)
    best, best_score = None, 0
    for build in ("GRCh37", "GRCh38", "T2T-CHM13"):
        score = 0
        for contig, length in lengths.items():
            known = BUILDS[build].contigs.get(normalise(contig, build))
            if known and length and known != 16569:  # MT tells nothing: all but hg19 share it
                score += 1 if known == length else -1
        if score > best_score:
            best, best_score = build, score
    if best is None and reference and not any(lengths.values()):
        best = next((b for b, words in _BUILD_WORDS if words.search(reference)), None)
        chr_named = chr_named or (not lengths and bool(re.search(r"\bhg(19|38)", reference)))
    if best in ("GRCh37", "GRCh38") and chr_named:
        return "hg19" if best == "GRCh37" else "hg38"
    return best


_REGION = re.compile(r"(?P<contig>[^{}\s]+?):(?P<start>[\d,]+)(?P<dash>-(?P<end>[\d,]*))?")


def parse_region(text: str, contigs: Collection[str] = ()) -> Interval:
    """A region as samtools writes it (1-based inclusive) -> Interval.

    ``chr20`` (all of it), ``chr20:1,000-2,000``, ``chr20:1000`` and ``chr20:1000-`` (to the
    end), ``{HLA-A*01:01}:1-9`` (braces where the name itself holds a colon). A text that is
    one of `contigs` means that whole contig. Raises ConfigError for anything else.
    """
    braced = re.fullmatch(r"\{(?P<contig>[^{}]+)\}(?P<rest>:.*)?", text)
    if text in contigs or (braced and not braced["rest"]):
        return Interval(braced["contig"] if braced and text not in contigs else text)
    contig, span = (braced["contig"], "x" + braced["rest"]) if braced else ("", text)
    if re.fullmatch(r"[^{}:\s]+", text):
        return Interval(text)
    match = _REGION.fullmatch(span)
    if match:
        start = int(match["start"].replace(",", "") or -1)
        digits = (match["end"] or "").replace(",", "")
        end = int(digits) if digits else CONTIG_END
        if 0 <= start <= end <= CONTIG_END:
            return Interval(contig or match["contig"], start - 1, end)
    raise ConfigError(
        f"region {text!r}: expected CONTIG, CONTIG:START, CONTIG:START- or CONTIG:START-END "
        "(1-based inclusive, START <= END)"
    )
