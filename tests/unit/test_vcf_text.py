"""Lines of VCF from rows: every kind of value, as a file would have it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geneai_spark import genotypes
from geneai_spark.errors import TableError
from geneai_spark.formats import vcf_text
from geneai_spark.formats.vcf_text import TextLayout
from tests import exported

HEADER = """##fileformat=VCFv4.3
##contig=<ID=1>
##FILTER=<ID=q10,Description="low">
##INFO=<ID=I,Number=1,Type=Integer,Description="i">
##INFO=<ID=L,Number=.,Type=Integer,Description="l">
##INFO=<ID=A,Number=A,Type=Float,Description="a">
##INFO=<ID=T,Number=1,Type=String,Description="t">
##INFO=<ID=TS,Number=.,Type=String,Description="ts">
##INFO=<ID=H,Number=0,Type=Flag,Description="h">
##INFO=<ID=CSQ,Number=.,Type=String,Description="Format: X|Y">
##FORMAT=<ID=GT,Number=1,Type=String,Description="g">
##FORMAT=<ID=N,Number=.,Type=Integer,Description="n">
##FORMAT=<ID=F,Number=.,Type=Float,Description="f">
##FORMAT=<ID=S,Number=1,Type=String,Description="s">
#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tP\tQ\tR
"""
#: Lines that come out letter by letter.
EXACT = [
    "1\t0\t.\tA\t.\t.\t.\t.\tGT\t.\t./.\t0",
    "1\t1\ta;b\tA\tC,<X>\t29.5\tPASS\tI=-5;L=1,.,3;A=0.25,.\tGT\t0|1\t1/2\t.|2",
    "1\t2\t.\tA\tC\t30\tq10;s5\tT=x%3By%25;TS=a,.,b%2Cc;H\tGT:N:F:S\t0/1:1,2:0.5:x\t1:.,.\t0|1|1",
    "1\t3\t.\tA\tC\t1e+22\t.\tCSQ=a|b%3D,c|d&e\tN:S\t-7,128\t.:z\t40000",
    "1\t4\t.\tAC\tA\t.\t.\tI=3;I=4;H=1;ZZ;YY=5\tGT:N:F\t0|0:.:nan\t0|0:-2147483646:1e-7,inf\t1",
    "1\t5\t.\tA\tC\t.\t.\tL=.\tGT:F:Q9\t0/0\t0/1:1,2\t0/0:.:k%3Av",
    "1\t6\t.\tA\tC\t.\t.\t.\t.\t.\t.\t.",
]


def test_lines__come_out_letter_by_letter(tmp_path: Path) -> None:
    (path := tmp_path / "in.vcf").write_text(HEADER + "\n".join(EXACT) + "\n")
    made = exported.text(path, rows=3)
    assert made.splitlines()[len(HEADER.splitlines()) :] == EXACT
    assert made.startswith(HEADER)


def row(**columns: object) -> pa.RecordBatch:
    """A record of contig 1 with more columns."""
    site = {
        "contigName": ["1"], "start": [9], "names": pa.array([[]], pa.list_(pa.string())),
        "referenceAllele": ["A"],
        "alternateAlleles": [["C", "G"]], "qual": pa.array([None], pa.float64()),
        "filters": pa.array([None], pa.list_(pa.string())),
    }  # fmt: skip
    return pa.record_batch(site | columns)


def columns_of(text: vcf_text.Text) -> list[str]:
    return text.data[: int(text.ends[-1])].tobytes().decode().rstrip("\n").split("\t")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_genotypes__of_any_ploidy_and_allele_are_spelt(data: st.DataObject) -> None:
    samples, ploidy = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 4))
    one = st.integers(-1, data.draw(st.sampled_from([1, 9, 10, 126, 300])))
    call = st.lists(one, min_size=1, max_size=ploidy)
    calls = data.draw(st.lists(call, min_size=samples, max_size=samples))
    bars = data.draw(st.lists(st.booleans(), min_size=4 * samples, max_size=4 * samples))
    matrix = np.full((1, samples, max(2, ploidy)), genotypes.ABSENT, np.int16)
    phase = np.zeros((1, samples, max(2, ploidy) - 1), bool)
    spelt = []
    for s, alleles in enumerate(calls):
        matrix[0, s, : len(alleles)] = alleles
        phase[0, s, : len(alleles) - 1] = bars[4 * s : 4 * s + len(alleles) - 1]
        text = "." if alleles[0] < 0 else str(alleles[0])
        for allele, bar in zip(alleles[1:], phase[0, s], strict=False):
            text += ("|" if bar else "/") + ("." if allele < 0 else str(allele))
        spelt.append(text)
    packed, widths = genotypes.pack_calls(matrix)
    mask = genotypes.pack_phased(phase, widths)
    batch = row(call_genotype=packed, call_ploidy=widths, call_genotype_phased=mask)
    chosen = data.draw(st.sets(st.integers(0, samples - 1), min_size=1).map(sorted))
    made = columns_of(vcf_text.lines(batch, TextLayout((), (), samples, tuple(chosen))))
    assert made[8:] == ["GT", *(spelt[s] for s in chosen)]


def test_lines__of_other_samples_are_refused() -> None:
    packed, widths = genotypes.pack_calls(np.zeros((1, 3, 2), np.int8))
    mask = genotypes.pack_phased(np.zeros((1, 3, 1), bool), widths)
    batch = row(call_genotype=packed, call_ploidy=widths, call_genotype_phased=mask)
    with pytest.raises(TableError, match="call_genotype: record 0 of the batch holds 6 bytes"):
        vcf_text.lines(batch, TextLayout((), (), 4))


def test_counts__are_those_of_the_chosen_samples() -> None:
    calls = np.array([[[0, 1], [2, 2], [1, -1]]], np.int8)
    packed, widths = genotypes.pack_calls(calls)
    mask = genotypes.pack_phased(np.zeros((1, 3, 1), bool), widths)
    batch = row(
        INFO_AC=[[2, 2]], INFO_AN=pa.array([5], pa.int32()), call_genotype=packed,
        call_ploidy=widths, call_genotype_phased=mask,
    )  # fmt: skip
    info = (vcf_text.Column("INFO_AC", "AC"), vcf_text.Column("INFO_AN", "AN"))
    made = columns_of(vcf_text.lines(batch, TextLayout(info, (), 3, (0, 2))))
    assert made[7] == "AC=2,0;AN=3"
    assert columns_of(vcf_text.lines(batch, TextLayout(info, (), 3)))[7] == "AC=2,2;AN=5"
