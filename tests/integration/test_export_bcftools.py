"""VCF in, VCF out: what bcftools reads of both is the same, record by record, key by key."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests import exported
from tests.conftest import SHARED_DATA, requires

CORPUS = sorted(SHARED_DATA.glob("hts-specs-vcf/4.*/passed/*.vcf"))
HISEQ = SHARED_DATA / "cohort" / "HiSeq.10000.vcf"
pytestmark = [
    requires("bcftools"),
    pytest.mark.skipif(not CORPUS, reason=f"no shared data at {SHARED_DATA}"),
]


def meta(path: Path) -> set[str]:
    """Header lines as bcftools writes them; those of one ID and meaning are one."""
    told = exported.bcftools("view", "-h", "--no-version", str(path)) or ""
    people = ("##SAMPLE", "##PEDIGREE")
    lines = [one for one in told.splitlines() if not one.startswith(people)]
    # Of two lines of one contig we keep the one that tells its length, bcftools the first.
    return {one.partition(",")[0].rstrip(">") if "##contig" in one else one for one in lines}


def test_corpus__comes_out_as_it_went_in(tmp_path: Path) -> None:
    out, compared, lines = tmp_path / "out.vcf", 0, 0
    for path in CORPUS:
        before = exported.records(path)
        if before is None:
            continue  # bcftools refuses the input
        out.write_text(exported.text(path))
        assert list(map(told, exported.records(out) or [])) == list(map(told, before)), path.name
        # Reserved keys without a definition get one, contigs without a line likewise.
        assert meta(path) <= meta(out) | undefined(path), path.name
        compared, lines = compared + 1, lines + len(before)
    assert compared >= 40
    assert lines > 40


def undefined(path: Path) -> set[str]:
    """What bcftools adds to a header itself: dummy definitions of what has none."""
    own = set(path.read_text().splitlines())
    return {line for line in meta(path) if "Dummy" in line or line not in own}


def test_hail_sample__comes_out_as_it_went_in(tmp_path: Path) -> None:
    path = SHARED_DATA / "cohort" / "hail_sample.vcf"
    (out := tmp_path / "out.vcf").write_text(exported.text(path))
    before = exported.records(path)
    assert before and exported.records(out) == before
    assert meta(path) <= meta(out)


def test_hiseq__text_is_the_same_but_for_numbers_spelt_otherwise() -> None:
    """htslib refuses this header, so lines are compared with the input's, as text."""
    before = [line for line in HISEQ.read_text().splitlines() if line[0] != "#"]
    made = [line for line in exported.text(HISEQ, rows=999).splitlines() if line[0] != "#"]
    assert len(before) == 9_965
    assert [told(exported.canonical(x)) for x in made] == [
        told(exported.canonical(x)) for x in before
    ]


def told(line: str) -> list[object]:
    """A line's columns, numbers as such: bcftools keeps the text of keys without a definition."""
    columns = line.split("\t")
    items = (item.partition("=") for item in columns[7].split(";"))
    # A key whose value is missing says what its absence says.
    info = [(key, *spelt(value)) for key, _, value in items if "." not in (key, value)]
    samples = [spelt(value) for column in columns[9:] for value in column.split(":")]
    return [*columns[:5], spelt(columns[5]), columns[6], info, columns[8:9], samples]


def spelt(text: str) -> list[object]:
    """``0.50,x`` -> [0.5, x], of floats what 32 bits hold."""
    out: list[object] = []
    for one in text.split(","):
        try:
            out.append(one if "nan" in one.lower() else float(f"{np.float32(one):.6g}"))
        except ValueError:
            out.append(one)
    return out
