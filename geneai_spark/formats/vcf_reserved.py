"""Reserved INFO and FORMAT keys of VCF 4.0 to 4.5, for files whose header lacks them.

Source: tables of reserved keys in the VCF specifications 4.0-4.5 (samtools/hts-specs). A row
is ``KEY Number Type``; later versions override what earlier ones said (``CN`` was an Integer
until 4.3) and keys are known to every version: AD is reserved since 4.3, and what older
files put under that key is the same. Left out: the base modification keys of 4.5 (``M5mC`` …).
LGL and LGP are Floats as the GL and GP that they stand for, although the table of 4.5 says Integer.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

Version = tuple[int, int]


@dataclass(frozen=True)
class Field:
    """A declared INFO or FORMAT key.

    Attributes:
        key: the key as it stands in the file.
        number: values per record or sample: digits, or a code ``A R G . P LA LR LG M``.
        type: Integer, Float, Flag, Character or String.
        description: the header's text.
        origin: who declared it: header, reserved, user, seen (found by a scan of the body).
    """

    key: str
    number: str
    type: str
    description: str = ""
    origin: str = "header"

    def declaration(self) -> str:
        """Number and Type as a header writes them."""
        return f"Number={self.number},Type={self.type}"


_INFO = """
AA 1 String|AC A Integer|AD R Integer|ADF R Integer|ADR R Integer|AF A Float|AN 1 Integer
BQ 1 Float|CIGAR A String|DB 0 Flag|DP 1 Integer|END 1 Integer|H2 0 Flag|H3 0 Flag|MQ 1 Float
MQ0 1 Integer|NS 1 Integer|SOMATIC 0 Flag|VALIDATED 0 Flag|1000G 0 Flag
IMPRECISE 0 Flag|NOVEL 0 Flag|SVTYPE 1 String|SVLEN . Integer|CIPOS 2 Integer|CIEND 2 Integer
HOMLEN . Integer|HOMSEQ . String|BKPTID . String|MEINFO 4 String|METRANS 4 String
DGVID 1 String|DBVARID 1 String|DBRIPID 1 String|MATEID . String|PARID 1 String|EVENT 1 String
CILEN 2 Integer|DPADJ . Integer|CN 1 Integer|CNADJ . Integer|CICN 2 Integer|CICNADJ . Integer
"""
_INFO_4_3 = "SB 4 Integer"
_INFO_4_4 = """
SVLEN A Integer|CIPOS . Integer|CIEND . Integer|HOMLEN A Integer|HOMSEQ A String
BKPTID A String|MEINFO . String|METRANS . String|DGVID A String|DBVARID A String
DBRIPID A String|MATEID A String|PARID A String|EVENT A String|EVENTTYPE A String
CILEN . Integer|CN A Float|CICN . Float|SVCLAIM A String|RN A Integer|RUS . String
RUL . Integer|RUC . Float|RB . Integer|CIRUC . Float|CIRB . Integer|RUB . Integer
"""
_FORMAT = """
GT 1 String|AD R Integer|ADF R Integer|ADR R Integer|DP 1 Integer|EC A Integer|FT 1 String
GL G Float|GLE . String|GP G Float|GQ 1 Integer|HQ 2 Integer|MQ 1 Integer|PL G Integer
PP G Integer|PQ 1 Integer|PS 1 Integer|CN 1 Integer|CNQ 1 Float|CNL . Float|CNP G Float
NQ 1 Integer|HAP 1 Integer|AHAP 1 Integer
"""
_FORMAT_4_3 = "CNL G Float"
_FORMAT_4_4 = "CN 1 Float|CICN 2 Float|PSL P String|PSO P Integer|PSQ P Integer"
_FORMAT_4_5 = """
LAA . Integer|LAD LR Integer|LADF LR Integer|LADR LR Integer|LEC LA Integer|LEN 1 Integer
LGL LG Float|LGP LG Float|LPL LG Integer|LPP LG Integer
"""


def _rows(*tables: str) -> dict[str, Field]:
    rows = (row.split() for table in tables for row in table.replace("\n", "|").split("|") if row)
    return {key: Field(key, number, type_, "", "reserved") for key, number, type_ in rows}


@cache
def reserved_info(version: Version) -> dict[str, Field]:
    """Reserved INFO keys as VCF `version` declares them, by key."""
    return _rows(
        _INFO, _INFO_4_3 if version >= (4, 3) else "", _INFO_4_4 if version >= (4, 4) else ""
    )


@cache
def reserved_format(version: Version) -> dict[str, Field]:
    """Reserved FORMAT keys as VCF `version` declares them, by key."""
    return _rows(
        _FORMAT,
        _FORMAT_4_3 if version >= (4, 3) else "",
        _FORMAT_4_4 if version >= (4, 4) else "",
        _FORMAT_4_5 if version >= (4, 5) else "",
    )
