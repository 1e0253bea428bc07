"""Rules for the lines of a VCF, one line each: what is stored, what is rejected and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from geneai_spark.errors import ConfigError, FormatError
from geneai_spark.formats.vcf import read_batches

HEADER = """##fileformat=VCFv4.3
##INFO=<ID=N1,Number=1,Type=Integer,Description="">
##INFO=<ID=N2,Number=2,Type=Float,Description="">
##INFO=<ID=A,Number=A,Type=Integer,Description="">
##INFO=<ID=R,Number=R,Type=Integer,Description="">
##INFO=<ID=G,Number=G,Type=Integer,Description="">
##INFO=<ID=S,Number=1,Type=String,Description="">
##INFO=<ID=F,Number=0,Type=Flag,Description="">
##FORMAT=<ID=GT,Number=1,Type=String,Description="">
##FORMAT=<ID=X,Number=A,Type=Integer,Description="">
##FORMAT=<ID=Y,Number=G,Type=Float,Description="">
#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\ts1\ts2
"""
GOOD = ["1", "10", "rs1", "A", "C", "5", "PASS", ".", "GT", "0/1", "1|1"]
NAMES = ("CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT", "s1", "s2")


def rows(tmp_path: Path, *lines: list[str], **arguments: Any) -> list[dict[str, Any]]:
    path = tmp_path / "rules.vcf"
    path.write_text(HEADER + "".join("\t".join(line) + "\n" for line in lines), encoding="utf-8")
    batches = read_batches(str(path), **arguments)
    return [row for batch in batches for row in batch.to_pylist()]


def line(**changed: str) -> list[str]:
    columns = list(GOOD)
    for name, text in changed.items():
        columns[NAMES.index(name)] = text
    return columns


@pytest.mark.parametrize(
    "changed",
    [
        {"CHROM": "HLA-A*01:01:01:01"},
        {"CHROM": "<ctg>"},
        {"POS": "0"},
        {"POS": "2147483647"},
        {"ID": "."},
        {"ID": "rs1;rs2"},
        {"REF": "acgtn"},
        {"REF": "R"},
        {"ALT": "*"},
        {"ALT": "<DUP:TANDEM>"},
        {"ALT": "<NON_REF>"},
        {"ALT": "A[chr2:321681["},
        {"ALT": "]chr2:321681]A"},
        {"ALT": "A]<ctg>:7]"},
        {"ALT": ".A"},
        {"ALT": ".", "s2": "0|0"},
        {"ALT": ".", "INFO": "A=1;R=1"},
        {"ALT": ".", "INFO": "A=.;R=1,2"},
        {"QUAL": "."},
        {"QUAL": "1e-5"},
        {"QUAL": "Inf"},
        {"FILTER": "."},
        {"FILTER": "q10;s50"},
        {"INFO": "N1=.;N2=.;A=.;S=a b"},
        {"INFO": "N2=.,1e300"},
        {"INFO": "F"},
        {"INFO": "F=0;other=x"},
        {"INFO": "G=1,2,3,4,5"},
        {"INFO": "S=a,b,c"},
        {"FORMAT": "X", "s1": "1", "s2": "."},
        {"FORMAT": "GT:X:Y", "s1": "0/1:7:1,2,3", "s2": "."},
        {"FORMAT": "GT:Y", "s1": "0/0/1:1,2,3,4", "s2": "1:0.5,nan"},
        {"s1": "./1", "s2": "."},
        {"s1": "0|1|1", "s2": "0/1|1"},
    ],
    ids=str,
)
def test_stored(tmp_path: Path, changed: dict[str, str]) -> None:
    assert [row["reject"] for row in rows(tmp_path, GOOD, line(**changed), GOOD)] == [None] * 3


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"CHROM": ""}, "CHROM"),
        ({"CHROM": "chr 1"}, "CHROM"),
        ({"CHROM": "<a"}, "CHROM"),
        ({"POS": "1.5"}, "POS"),
        ({"POS": ""}, "POS"),
        ({"POS": "2147483648"}, "POS"),
        ({"ID": ""}, "ID"),
        ({"ID": "a;"}, "ID"),
        ({"REF": "."}, "REF"),
        ({"REF": "AXC"}, "REF"),
        ({"REF": "<DEL>"}, "REF"),
        ({"ALT": ""}, "ALT"),
        ({"ALT": "A,"}, "ALT"),
        ({"ALT": "<DEL"}, "ALT"),
        ({"ALT": "A[chr2:1]"}, "ALT"),
        ({"QUAL": "-1"}, "QUAL"),
        ({"QUAL": "high"}, "QUAL"),
        ({"FILTER": ""}, "FILTER"),
        ({"FILTER": "0"}, "FILTER"),
        ({"FILTER": "q10;."}, "FILTER"),
        ({"INFO": ""}, "INFO"),
        ({"INFO": "=1"}, "INFO"),
        ({"INFO": "a b=1"}, "INFO"),
        ({"INFO": "N1=x"}, "INFO N1"),
        ({"INFO": "N1=1.0"}, "INFO N1"),
        ({"INFO": "N1=1,2"}, "INFO N1"),
        ({"INFO": "N1"}, "INFO N1"),
        ({"INFO": "N2=1"}, "INFO N2"),
        ({"INFO": "N2=1,x"}, "INFO N2"),
        ({"INFO": "A=1,2"}, "INFO A"),
        ({"INFO": "R=1"}, "INFO R"),
        ({"INFO": "F=yes"}, "INFO F"),
        ({"INFO": "DP=-1"}, "INFO DP"),
        ({"INFO": "END=x"}, "INFO END"),
        ({"FORMAT": "GT:"}, "FORMAT"),
        ({"FORMAT": "X:GT", "s1": "1:0/1"}, "FORMAT"),
        ({"FORMAT": "GT:X:X"}, "FORMAT"),
        ({"s1": "0/2"}, "FORMAT GT"),
        ({"s1": "0/a"}, "FORMAT GT"),
        ({"s1": "0/"}, "FORMAT GT"),
        ({"s1": "0/1:7"}, "FORMAT"),
        ({"s2": ""}, "FORMAT"),
        ({"FORMAT": "GT:X", "s1": "0/1:x"}, "FORMAT X"),
        ({"FORMAT": "GT:X", "s1": "0/1:1,2"}, "FORMAT X"),
        ({"FORMAT": "GT:Y", "s1": "0/1:1,2"}, "FORMAT Y"),
        ({"FORMAT": "GT:Y", "s1": "1:1,2,3"}, "FORMAT Y"),
    ],
    ids=str,
)
def test_rejected(tmp_path: Path, changed: dict[str, str], field: str) -> None:
    bad = line(**changed)
    found = rows(tmp_path, GOOD, bad, GOOD)
    rejects = [row["reject"] for row in found if row["reject"]]
    assert len(found) == 3 and len(rejects) == 1
    assert rejects[0]["line"] == HEADER.count("\n") + 2
    assert rejects[0]["offset"] == len(HEADER) + len("\t".join(GOOD)) + 1
    assert rejects[0]["reason"].partition(": ")[0] == field
    assert rejects[0]["text"] == "\t".join(bad)
    with pytest.raises(FormatError) as caught:
        rows(tmp_path, GOOD, bad, on_malformed="fail")
    assert (caught.value.field, caught.value.line) == (field, rejects[0]["line"])
    if "FORMAT" in field:  # what a sample column holds stays out of messages
        assert all(bad[i] not in caught.value.found for i in (9, 10) if len(bad[i]) > 2)


@pytest.mark.parametrize("n", [1, 8, 10, 12])
def test_rejected__wrong_number_of_columns(tmp_path: Path, n: int) -> None:
    bad = [*GOOD, "0/0"][:n]
    (reject,) = [row["reject"] for row in rows(tmp_path, bad, GOOD) if row["reject"]]
    assert "column" in reject["reason"]


def test_flags_with_values(tmp_path: Path) -> None:
    found = rows(tmp_path, line(INFO="F"), line(INFO="F=1"), line(INFO="F=0"), GOOD)
    assert [row["INFO_F"] for row in found] == [True, True, False, False]
    kept = [dict(row["INFO_undeclared"] or []) for row in found]
    assert kept == [{}, {"F": "1"}, {"F": "0"}, {}]


def test_undeclared_keys_are_kept_unless_keys_are_chosen(tmp_path: Path) -> None:
    rich = line(INFO="N1=7;zz=1,2;S=a", FORMAT="GT:X:qq", s1="0/1:3:u", s2=".:.:w")
    (row,) = rows(tmp_path, rich)
    assert dict(row["INFO_undeclared"]) == {"zz": "1,2"}
    assert dict(row["call_undeclared"]) == {"qq": "u\tw"}
    (row,) = rows(tmp_path, rich, info=["N1"], format=["X"])
    assert [c for c in row if c.startswith("INFO_")] == ["INFO_N1", "INFO_undeclared"]
    assert row["INFO_N1"] == 7
    assert row["INFO_undeclared"] is None and row["call_undeclared"] is None
    assert row["call_X"] is not None and "call_Y" not in row
    with pytest.raises(ConfigError, match="INFO nope"):
        rows(tmp_path, rich, info=["nope"])


@pytest.mark.parametrize(
    ("info", "end"),
    [(".", 10), ("END=20", 20), ("END=10", 10), ("END=3", 10), ("END=.", 10)],
)
def test_end(tmp_path: Path, info: str, end: int) -> None:
    (row,) = rows(tmp_path, line(INFO=info))
    assert (row["start"], row["end"]) == (9, end)
    (sites,) = rows(tmp_path, line(INFO=info), info=[], genotypes=False)
    assert sites["end"] == end and "call_genotype" not in sites
