"""PLINK 1 filesets: every code, odd numbers of samples, and what is wrong with a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from geneai_spark import genotypes
from geneai_spark.errors import FormatError, SampleMismatchError, StorageError
from geneai_spark.formats import plink, plink_records
from geneai_spark.formats.packed_records import Reading
from tests.genotype_files import A1A1, A2A2, HET, MISSING, write_bed

#: By hand, with A2 as REF.
CALLS = {A1A1: [1, 1], MISSING: [-1, -1], HET: [0, 1], A2A2: [0, 0]}


def rows(
    uri: str, reading: Reading | None = None, *, target: int = 1 << 20, ref: str = "a2"
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Stored and rejected records of a fileset."""
    reading = reading or Reading()
    work, _ = plink.plan([plink.inspect(uri)], ["c"], reading, target, ref)
    parsed = [
        one for task in work for part in task for one in plink_records.parse_part(part, reading)
    ]
    good = [row for one in parsed for row in one.records.to_pylist()]
    bad = [row for one in parsed for row in one.rejects.to_pylist()]
    assert sum(one.lines for one in parsed) >= len(good) + len(bad)
    return good, bad


def calls(row: dict[str, Any], n: int) -> list[list[int]]:
    assert row["call_ploidy"] == 2
    assert row["call_genotype_phased"] == bytes((n + 7) // 8)
    return genotypes.calls([row["call_genotype"]], n)[0].tolist()


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 9])
def test_decode__every_code_at_every_place(tmp_path: Path, n: int) -> None:
    codes = [[(v + s) % 4 for s in range(n)] for v in range(4)]
    good, bad = rows(write_bed(tmp_path / "a", codes))
    assert not bad
    assert [calls(row, n) for row in good] == [[CALLS[c] for c in one] for one in codes]
    swapped, _ = rows(str(tmp_path / "a.bed"), ref="a1")
    other = {A1A1: [0, 0], MISSING: [-1, -1], HET: [0, 1], A2A2: [1, 1]}
    assert [calls(row, n) for row in swapped] == [[other[c] for c in one] for one in codes]
    assert (good[0]["referenceAllele"], good[0]["alternateAlleles"]) == ("A", ["G"])
    assert (swapped[0]["referenceAllele"], swapped[0]["alternateAlleles"]) == ("G", ["A"])


def test_site__codes_ids_positions_and_centimorgans(tmp_path: Path) -> None:
    bim = [
        "01 a 0 0 G A", "23 b 1.5 5 GT A", "chr24 . 0 7 G A", "XY c 0 8 G A", "26 d 0 9 0 A",
        "2 9 G A",  # five fields: no centimorgans, and the id is 9: too few
        "2 e 9 G A",
    ]  # fmt: skip
    good, bad = rows(write_bed(tmp_path / "a", [[A2A2]] * 7, bim=bim))
    told = [
        (r["contigName"], r["start"], r["end"], r["names"], r["alternateAlleles"], r["INFO_CM"])
        for r in good
    ]
    assert told == [
        ("1", -1, 0, ["a"], ["G"], None),
        ("X", 4, 5, ["b"], ["GT"], 1.5),
        ("chrY", 6, 7, [], ["G"], None),
        ("X", 7, 8, ["c"], ["G"], None),
        ("MT", 8, 9, ["d"], [], None),
        ("2", 8, 9, ["e"], ["G"], None),
    ]
    assert [(b["line"], b["offset"], b["reason"]) for b in bad] == [
        (6, sum(len(line) + 1 for line in bim[:5]), "line: expected 6 fields, found 4")
    ]
    named, _ = rows(str(tmp_path / "a.bed"), Reading.of(contigs="hg38", info=()))
    assert [r["contigName"] for r in named[:2]] == ["chr1", "chrX"]
    assert "INFO_CM" not in named[0]


def test_rejects__lines_that_are_no_variants_with_their_place(tmp_path: Path) -> None:
    bim = [
        "1 a 0 5 G A",
        "1 b 0 x G A",
        "1 c 0 -4 G A",
        "1 d 0 6 0 A",
        "1 e q 7 G A",
        "1 f 0 8 G 0",
    ]
    uri = write_bed(tmp_path / "a", [[HET, A1A1]] * 6, bim=bim)
    good, bad = rows(uri)
    assert [row["names"] for row in good] == [["a"]]
    place = [sum(len(line) + 1 for line in bim[:i]) for i in range(1, 6)]
    assert [(b["line"], b["offset"], b["text"]) for b in bad] == list(
        zip(range(2, 7), place, bim[1:], strict=True)
    )
    for row, word in zip(bad, ("'x'", "-4", "allele 0", "'q'", "allele 0"), strict=True):
        assert word in row["reason"]
    with pytest.raises(FormatError, match=r"a\.bim, line 2, position: expected a number"):
        rows(uri, Reading(on_malformed="fail"))


def test_parts__make_the_rows_of_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    codes = [[(v * s + v) % 4 for s in range(5)] for v in range(23)]
    uri = write_bed(tmp_path / "a", codes)
    whole, _ = rows(uri)
    monkeypatch.setattr(plink, "STEP", 2)
    monkeypatch.setattr(plink, "_CHUNK", 37)  # lines lie across the blocks that are counted
    assert plink.inspect(uri).marks.tolist() == [
        *(sum(len(f"22\trs{i}\t0\t{100 + i}\tG\tA\n") for i in range(k)) for k in range(0, 23, 2)),
        (tmp_path / "a.bim").stat().st_size,
    ]
    for target in (1, 9, 20, 10**6):
        assert rows(uri, target=target)[0] == whole
    text = (tmp_path / "a.bim").read_text()
    (tmp_path / "a.bim").write_text(text.rstrip("\n"))  # no newline at the end
    assert rows(uri, target=9)[0] == whole


def test_reading__samples_regions_and_sites(tmp_path: Path) -> None:
    codes = [[A1A1, HET, A2A2], [A2A2, MISSING, HET]]
    uri = write_bed(tmp_path / "a", codes)
    good, _ = rows(uri, Reading.of(samples=["S2", "S0"]))
    assert [calls(row, 2) for row in good] == [
        [[0, 0], [1, 1]],
        [[0, 1], [0, 0]],
    ]
    good, _ = rows(uri, Reading.of(regions=["22:101-101"]))
    assert [(row["start"], calls(row, 3)) for row in good] == [(100, [CALLS[c] for c in codes[1]])]
    good, _ = rows(uri, Reading.of(genotypes=False))
    assert "call_genotype" not in good[0]
    with pytest.raises(SampleMismatchError, match="1 of the 2 samples asked for") as caught:
        rows(uri, Reading.of(samples=["S2", "SECRET"]))
    assert "SECRET" not in str(caught.value)


def test_samples__as_plink2_names_them(tmp_path: Path) -> None:
    uri = write_bed(tmp_path / "a", [[0, 0]], fam=["0 A 0 0 1 1", "F B 0 0 2 1"])
    assert plink.inspect(uri).samples == ("0_A", "F_B")
    assert plink.inspect(uri, "iid").samples == ("A", "B")
    uri = write_bed(tmp_path / "b", [[0, 0]], fam=["0 A 0 0 1 1", "0 B 0 0 2 1"])
    assert plink.inspect(uri).samples == ("A", "B")
    assert plink.inspect(uri, "fid_iid").samples == ("0_A", "0_B")
    uri = write_bed(tmp_path / "c", [[0, 0]], fam=["1 SECRET 0 0 1 1", "2 SECRET 0 0 2 1"])
    assert plink.inspect(uri).samples == ("1_SECRET", "2_SECRET")
    with pytest.raises(FormatError, match="lines 1 and 2 have the same") as caught:
        plink.inspect(uri, "iid")
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    ("suffix", "change", "match"),
    [
        (".bed", lambda b: b[:2] + b"\0" + b[3:], r"a\.bed, byte 0.*sample-major: plink --make"),
        (".bed", lambda b: b"chr1\t5\t6\n", r"variant-major PLINK 1 \.bed.*found 63 68 72"),
        (".bed", lambda b: b"", "found an empty file"),
        (".bed", lambda b: b[:-1], r"size: expected 7 bytes for 2 variants .* 5 samples.*found 6"),
        (".bim", lambda b: b + b, "expected 11 bytes for 4 variants"),
        (".fam", lambda b: b.replace(b"0 0 0 -9", b"0", 1), r"a\.fam, line 1: expected 6 fields"),
        (".fam", lambda b: b"", "a line a sample"),
        (".fam", None, r"a\.fam: No such file"),
        (".bim", None, r"a\.bim: No such file"),
    ],
)
def test_inspect__names_what_does_not_fit(
    tmp_path: Path, suffix: str, change: Any, match: str
) -> None:
    uri = write_bed(tmp_path / "a", [[A1A1] * 5, [HET] * 5])
    path = tmp_path / f"a{suffix}"
    if change is None:
        path.unlink()
    else:
        path.write_bytes(change(path.read_bytes()))
    with pytest.raises((FormatError, StorageError), match=match):
        plink.inspect(uri)


@pytest.mark.parametrize(
    ("suffix", "change", "match"),
    [
        (".bed", lambda b: b[:-1], r"a\.bed, byte 3: expected 4 bytes, found 3"),
        (".bim", lambda b: b[:-1], r"a\.bim, byte 0: expected 34 bytes, found 33"),
        (".bim", lambda b: b[:17], r"a\.bim, byte 0: expected 34 bytes, found 17"),  # a line
        (".bim", lambda b: b.replace(b"\n", b" "), r"a\.bim, byte 0: expected 2 lines, found 1"),
    ],
)
def test_parse__what_has_changed_since_inspection_is_told(
    tmp_path: Path, suffix: str, change: Any, match: str
) -> None:
    uri = write_bed(tmp_path / "a", [[A1A1] * 5, [HET] * 5])
    work, _ = plink.plan([plink.inspect(uri)], ["c"], Reading(), 1 << 20)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(FormatError, match=match):
        list(plink_records.parse_part(work[0][0], Reading()))
