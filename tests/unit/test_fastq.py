"""FASTQ: every record once whatever the ranges, rejects with their reason, pairs by name."""

from __future__ import annotations

from pathlib import Path

import pysam
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geneai_spark import filesystems
from geneai_spark.errors import BgzfError, FormatError
from geneai_spark.formats import bgzf, fastq_parts, fastq_plan
from geneai_spark.formats.fastq_lines import INTERLEAVED, REST, FastqFile
from geneai_spark.formats.fastq_plan import Part
from tests import fastq_files
from tests.fastq_files import Read

#: Qualities that look like headers and separators, empty reads, lower case, N, dots.
NASTY = [
    Read("a", "ACGT", "@@@@"),
    Read("b", "ac.NN", "+@+@+"),
    Read("c", "", ""),
    Read("d", "A", "@"),
    Read("e", "C", "+"),
    Read("@f@", "GT", "@a"),
    Read("+g", "NNN", "@+@"),
    Read("h", "", ""),
    Read("i/1", "ACGTACGTAC", "+IIII@III!"),
    Read("j", "TT", "~!"),
]
#: Records that break a rule, each between good ones, and the start of the reason.
BROKEN = {
    b"r0\nAC\n+\nII\n": "header: expected a line that begins with @",
    b"@\nAC\n+\nII\n": "header: expected a read name",
    b"@r\x80\nAC\n+\nII\n": "header: expected a read name",
    b"@r\nA C\n+\nIII\n": "sequence: expected letters",
    b"@r\n@@\n+\n@@\n": "sequence: expected letters",
    b"@r\nAC\nII\n": "record: expected 4 lines, found 3",
    b"@r\nAC\n-\nII\n": "separator: expected a line that begins with +",
    b"@r\nAC\n+\nI\n": "quality: expected 2 characters, one a base, found 1",
    b"@r\nAC\n+\n@@@\n": "quality: expected 2 characters, one a base, found 3",
    b"@r\nAC\n+\nI \n": "quality: expected characters of Phred+33, ! to ~",
    b"@r\nACGT\nACGT\n+\nIIII\nIIII\n": "separator: expected a line that begins with +",
    b"@r\n": "record: expected 4 lines, found 1",
}


def one_range(uri: str, mate: int = 0) -> list[Part]:
    file = FastqFile(**{**vars(fastq_plan.inspect(uri)), "mate": mate})
    return [Part(file, bgzf.Range(0, REST, at_line=True))]


def cut_at(uri: str, edge: int, mate: int = 0) -> list[Part]:
    """The ranges before and after the first record from `edge` on."""
    file = FastqFile(**{**vars(fastq_plan.inspect(uri)), "mate": mate})
    source = filesystems.open_input(uri)
    try:
        start = fastq_plan.find_record(source, file, edge)
    finally:
        source.close()
    ranges = [bgzf.Range(0, start, at_line=True, closed=True)]
    if start < REST:
        ranges.append(bgzf.Range(start, REST, at_line=True, closed=True))
    return [Part(file, one) for one in ranges]


def every_edge(uri: str) -> list[int]:
    """Each byte of a plain file; each byte of the text of each block of a BGZF file."""
    source = filesystems.open_input(uri)
    try:
        if bgzf.detect(source.read_at(18, 0)) == bgzf.PLAIN:
            return list(range(source.size() + 1))
        blocks = list(bgzf.inflate_blocks(source, uri))
        return [at << 16 | inside for text, at in blocks for inside in range(len(text))]
    finally:
        source.close()


@pytest.mark.parametrize("compression", [bgzf.PLAIN, bgzf.BGZF])
@pytest.mark.parametrize("last", [True, False], ids=["newline", "no-newline"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize("run_up", [0, 7, 1 << 16])
def test_ranges__cut_at_every_byte_give_each_record_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compression: str, last: bool, newline: str,
    run_up: int,
) -> None:  # fmt: skip
    monkeypatch.setattr(fastq_plan, "RUN_UP", run_up)
    reads = [*NASTY, Read("z", "", "")] if not last else NASTY
    data = fastq_files.text(reads, newline, " a comment", last)
    uri = fastq_files.write(tmp_path / "a.fq", data, compression, block=23)
    edges = every_edge(uri)
    assert len(edges) >= len(data)
    for edge in edges:
        parts = cut_at(uri, edge)
        good, bad = fastq_files.rows(parts, chunk_bytes=11)
        assert (fastq_files.reads(good), bad) == (reads, []), edge
        if 0 < edge < edges[-1] // 2:
            assert len(parts) == 2 and parts[1].range.start >= edge


@pytest.mark.parametrize("compression", [bgzf.PLAIN, bgzf.BGZF])
def test_ranges__of_a_broken_file_give_what_one_range_gives(
    tmp_path: Path, compression: str
) -> None:
    good_text = fastq_files.text(NASTY)
    data = good_text + b"".join(bad + good_text for bad in BROKEN) + b"@cut\nACGT\n+\nII"
    uri = fastq_files.write(tmp_path / "a.fq", data, compression, block=37)
    good, bad = fastq_files.rows(one_range(uri))
    assert fastq_files.reads(good) == NASTY * (len(BROKEN) + 1)
    assert len(bad) == len(BROKEN) + 1
    for found, reason in zip(bad, [*BROKEN.values(), "quality: expected 4"], strict=True):
        assert found["reason"].startswith(reason)
    lines, at = data.split(b"\n"), 0
    for found in bad:  # line and offset lead to the record
        assert lines[found["line"] - 1].decode("utf-8", "replace") == found["text"].split("\n")[0]
        assert found["line"] > at
        at = found["line"]
    if compression == bgzf.PLAIN:
        assert data[bad[3]["offset"] :].startswith(b"@r\nA C\n")
    step = 1 if compression == bgzf.PLAIN else 5  # BGZF takes its time: blocks of 37 bytes
    for edge in every_edge(uri)[::step]:
        assert fastq_files.rows(cut_at(uri, edge), chunk_bytes=50) == (good, bad), edge


names = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=6)


@st.composite
def some_reads(draw: st.DrawFn) -> list[Read]:
    out = []
    for name in draw(st.lists(names, max_size=12)):
        size = draw(st.integers(0, 9))
        sequence = draw(st.text("ACGTNacgtn.", min_size=size, max_size=size))
        out.append(Read(name, sequence, draw(st.text("!@+AIJ~", min_size=size, max_size=size))))
    return out


@given(
    reads=some_reads(),
    newline=st.sampled_from(["\n", "\r\n"]),
    last=st.booleans(),
    compression=st.sampled_from([bgzf.PLAIN, bgzf.GZIP, bgzf.BGZF]),
    target=st.sampled_from([20, 60, 10**6]),
    chunk_bytes=st.sampled_from([1, 40, 10**6]),
    block=st.integers(5, 80),
)
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_parse__as_a_naive_reader(
    tmp_path: Path, reads: list[Read], newline: str, last: bool, compression: str, target: int,
    chunk_bytes: int, block: int,
) -> None:  # fmt: skip
    data = fastq_files.text(reads, newline, "", last)
    uri = fastq_files.write(tmp_path / "a.fq", data, compression, block)
    parts = fastq_plan.split(fastq_plan.inspect(uri, 33), target)
    good, bad = fastq_files.rows(parts, chunk_bytes)
    assert fastq_files.reads(good) == fastq_files.naive(data) == reads
    assert bad == []
    assert len({row["offset"] for row in good}) == len(good)


def test_parse__real_reads_as_pysam(shared_data: Path) -> None:
    uri = str(shared_data / "reads" / "5k-30BB2AAXX.fastq")
    parts = fastq_plan.split(fastq_plan.inspect(uri), 50_000)
    assert len(parts) > 10
    good, bad = fastq_files.rows(parts)
    with pysam.FastxFile(uri) as file:
        expected = [Read(one.name, one.sequence, one.quality) for one in file]
    assert fastq_files.reads(good) == expected
    assert (len(expected), bad) == (4952, [])


def test_inspect__qualities_of_phred_64_are_told_and_stored_as_33(tmp_path: Path) -> None:
    old = [Read("a", "ACGT", "hhB@"), Read("b", "AC", "ef")]
    uri = fastq_files.write(tmp_path / "a.fq", fastq_files.text(old))
    assert fastq_plan.inspect(uri).phred == 64
    good, _ = fastq_files.rows([Part(fastq_plan.inspect(uri), bgzf.Range(0, REST, True))])
    assert [row["quality"] for row in good] == ["II#!", "FG"]
    good, _ = fastq_files.rows([Part(fastq_plan.inspect(uri, 33), bgzf.Range(0, REST, True))])
    assert [row["quality"] for row in good] == ["hhB@", "ef"]
    for quality in ("IIII", "FFFF", "FF:h", "!~~~"):
        uri = fastq_files.write(tmp_path / "b.fq", fastq_files.text([Read("a", "ACGT", quality)]))
        assert fastq_plan.inspect(uri).phred == 33, quality
    uri = fastq_files.write(tmp_path / "c.fq", fastq_files.text([Read("a", "AC", "h;")]))
    _, bad = fastq_files.rows([Part(fastq_plan.inspect(uri), bgzf.Range(0, REST, True))])
    assert bad[0]["reason"] == "quality: expected characters of Phred+64, @ to ~, found others"


def test_inspect__what_is_no_fastq_is_told(tmp_path: Path) -> None:
    fasta = fastq_files.write(tmp_path / "a.fq", b">chr1\nACGT\n" * 5)
    with pytest.raises(FormatError, match=r"a\.fq, line 1: expected FASTQ records"):
        fastq_plan.inspect(fasta)
    cut = tmp_path / "b.fq.gz"
    data = Path(fastq_files.write(cut, fastq_files.text(NASTY), bgzf.BGZF)).read_bytes()
    cut.write_bytes(data[: -len(bgzf.EOF_BLOCK)])
    with pytest.raises(BgzfError, match="truncated"):
        fastq_plan.inspect(str(cut))
    empty = fastq_files.write(tmp_path / "c.fq", b"")
    assert fastq_files.rows(fastq_plan.split(fastq_plan.inspect(empty), 10)) == ([], [])


def test_parse__fails_at_the_first_malformed_record_if_asked(tmp_path: Path) -> None:
    data = fastq_files.text(NASTY[:2]) + b"@secret\nACGT\n+\nII\n"
    uri = fastq_files.write(tmp_path / "a.fq", data)
    with pytest.raises(FormatError) as caught:
        list(fastq_parts.parse_part(one_range(uri)[0], "fail"))
    assert str(caught.value) == (
        f"{uri}, line 9, quality: expected 4 characters, one a base, found 2"
    )


def test_interleaved__mates_are_neighbours_at_every_cut(tmp_path: Path) -> None:
    reads = []
    for i, one in enumerate(NASTY):
        reads += [Read(f"p{i}/1", *one[1:]), Read(f"p{i}/2", *one[1:])]
    reads.insert(6, Read("alone", "ACGT", "@III"))
    uri = fastq_files.write(tmp_path / "a.fq", fastq_files.text(reads))
    good, bad = fastq_files.rows(one_range(uri, INTERLEAVED))
    assert [(r["readName"], r["mate"]) for r in good] == [
        (f"p{i}", mate) for i in range(len(NASTY)) for mate in (1, 2)
    ]
    assert len({r["pairKey"] for r in good}) == len(NASTY)
    assert [row["text"].split("\n")[0] for row in bad] == ["@alone"]
    assert bad[0]["reason"].startswith("header: expected the read's mate")
    for edge in every_edge(uri):
        assert fastq_files.rows(cut_at(uri, edge, INTERLEAVED), chunk_bytes=30) == (good, bad)


def test_names__lose_the_mate_only_where_it_is_the_files(tmp_path: Path) -> None:
    reads = [Read("x/1", "A", "I"), Read("y/2", "A", "I"), Read("/1", "A", "I")]
    uri = fastq_files.write(tmp_path / "a.fq", fastq_files.text(reads))
    for mate, expected in ((0, ["x/1", "y/2", "/1"]), (1, ["x", "y/2", "/1"])):
        good, _ = fastq_files.rows(one_range(uri, mate))
        assert [row["readName"] for row in good] == expected


def test_joined__digest_of_ranges_is_that_of_the_file(tmp_path: Path) -> None:
    reads = [Read(f"r{i}", "ACGT", "IIII") for i in range(200)]
    uri = fastq_files.write(tmp_path / "a.fq", fastq_files.text(reads))
    swapped = [*reads[:50], reads[51], reads[50], *reads[52:]]
    other = fastq_files.write(tmp_path / "b.fq", fastq_files.text(swapped))

    def told(uri: str, target: int, chunk_bytes: int) -> fastq_parts.Digest:
        parts = fastq_plan.split(fastq_plan.inspect(uri), target)
        found = [o.digest for p in parts for o in fastq_parts.parse_part(p, "fail", chunk_bytes)]
        return fastq_parts.joined(reversed(found))

    whole = told(uri, 10**6, 10**6)
    assert whole.records == 200
    assert told(uri, 500, 90) == told(uri, 900, 10**6) == whole
    assert told(other, 500, 90).records == 200 and told(other, 500, 90) != whole
