"""Numbers as people write them; sample ids masked."""

from __future__ import annotations

import pytest

from geneai_spark.report import blocks

IDS = {"NA12878", "HG-001.b", "22", "10007", "Ann Lee"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/data/NA12878.vcf.gz", "/data/•••.vcf.gz"),
        ("/data/NA12878_S1.vcf", "/data/•••_S1.vcf"),
        ("NA128789 xNA12878", "NA128789 xNA12878"),
        ("sampleId NOT IN ('22', 'HG-001.b')", "sampleId NOT IN ('•••', '•••')"),
        ("chromosome 22, sample 10007", "chromosome 22, sample •••"),
        ("of Ann Lee and Ann", "of ••• and Ann"),
        ("", ""),
    ],
)
def test_mask__ids_as_whole_words(text, shown):
    assert blocks.mask(text, IDS) == shown
    assert blocks.mask(text, set()) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.05, "0.05"), (3.4e-9, "3.4 × 10⁻⁹"), (0.0, "< 10⁻³⁰⁰"), (None, "–"), (float("nan"), "–")],
)
def test_p_value(value, text):
    assert blocks.p_value(value).replace("\u00a0", " ") == text


def test_numbers():
    written = [blocks.number(x) for x in (0.0, -0.25, 1234567.0, 2e-7, None, 12345.6)]
    assert [text.replace("\u00a0", " ") for text in written] == [
        "0", "−0.25", "1.23 × 10⁶", "2.00 × 10⁻⁷", "–", "12,346",
    ]  # fmt: skip
    assert [blocks.seconds(x) for x in (1.24, 200, 7500)] == ["1.2 s", "3 min 20 s", "2 h 5 min"]
    assert blocks.percent(1, 8) == "12.5 %" and blocks.percent(0, 0) == "–"
    assert blocks.threshold(5e-8).split() == ["5", "×", "10⁻⁸"] and blocks.threshold(0.01) == "0.01"
    assert blocks.counted(1, "file") == "1 file" and blocks.counted(2000, "file") == "2,000 files"
    assert blocks.count(12345) == "12,345" and blocks.place("X", 99) == "X:100"
    assert blocks.allele("ACGT") == "ACGT" and blocks.allele("A" * 2000) == "AAAAAA… (2,000)"
