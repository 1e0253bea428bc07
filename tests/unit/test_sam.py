"""SAM and BAM: what pysam reads, every record once whatever the ranges, rejects with a reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pysam
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from geneai_spark import filesystems
from geneai_spark.errors import BgzfError, ConfigError, FormatError
from geneai_spark.formats import bam_records, bgzf, sam, sam_header, sam_parts
from geneai_spark.formats.sam_header import REST
from geneai_spark.formats.sam_parts import Outcome, Part
from tests import sam_files
from tests.sam_files import HEADER, RECORDS

COMPRESSIONS = [bgzf.PLAIN, bgzf.GZIP, bgzf.BGZF]
#: Records that break a rule, and the start of the reason.
BROKEN = {
    "r\t4\t*\t0\t0\t*\t*\t0\t0\tA": "record: expected 11 fields",
    "r\t4\t*\t0\t0\t*\t*\t0\t0\tA\t": "record: expected 11 fields",
    "@r\t4\t*\t0\t0\t*\t*\t0\t0\tA\tI": "QNAME: ",
    "@CO\tlate": "record: expected an alignment",
    "n" * 255 + "\t4\t*\t0\t0\t*\t*\t0\t0\tA\tI": "QNAME: expected 1 to 254",
    "r\x80\t4\t*\t0\t0\t*\t*\t0\t0\tA\tI": "QNAME: ",
    "r\t65536\t*\t0\t0\t*\t*\t0\t0\tA\tI": "FLAG: ",
    "r\t0x4\t*\t0\t0\t*\t*\t0\t0\tA\tI": "FLAG: ",
    "r\t4\tchrX\t1\t0\t*\t*\t0\t0\tA\tI": "RNAME: expected a reference sequence of the header",
    "r\t4\tchr1\t-1\t0\t*\t*\t0\t0\tA\tI": "POS: ",
    "r\t4\tchr1\t2147483648\t0\t*\t*\t0\t0\tA\tI": "POS: ",
    "r\t4\tchr1\t1\t256\t*\t*\t0\t0\tA\tI": "MAPQ: ",
    "r\t0\tchr1\t1\t0\tM\t*\t0\t0\tA\tI": "CIGAR: expected * or lengths",
    "r\t0\tchr1\t1\t0\t1\t*\t0\t0\tA\tI": "CIGAR: expected * or lengths",
    "r\t0\tchr1\t1\t0\t1m\t*\t0\t0\tA\tI": "CIGAR: expected * or lengths",
    "r\t0\tchr1\t1\t0\t2M\t*\t0\t0\tA\tI": "CIGAR: expected as many bases",
    "r\t4\t*\t0\t0\t*\tchrX\t0\t0\tA\tI": "RNEXT: ",
    "r\t4\t*\t0\t0\t*\t*\tx\t0\tA\tI": "PNEXT: ",
    "r\t4\t*\t0\t0\t*\t*\t0\t1.5\tA\tI": "TLEN: ",
    "r\t4\t*\t0\t0\t*\t*\t0\t0\tA-\tII": "SEQ: ",
    "r\t4\t*\t0\t0\t*\t*\t0\t0\tAC\tI ": "QUAL: expected * or Phred+33",
    "r\t4\t*\t0\t0\t*\t*\t0\t0\tAC\tI": "QUAL: expected a character a base",
    "r\t4\t*\t0\t0\t*\t*\t0\t0\t*\tI": "QUAL: expected a character a base",
    **{
        f"r\t4\t*\t0\t0\t*\t*\t0\t0\tA\tI\t{tag}": "tags: expected XX:TYPE:value"
        for tag in (
            "NM:i:", "NM:i:1.5", "N:i:1", "NM:x:1", "1M:i:1", "NM:A:ab", "NM:A:", "NM:f:1e",
            "NM:f:.", "NM:H:1A2", "NM:H:1G", "NM:B:", "NM:B:x,1", "NM:B:c1", "NM:B:c,1,",
            "NM:B:c,1.5", "NM:Z:\x7f", "", "NM",
        )
    },
    "r\t4\t*\t0\t0\t*\t*\t0\t0\tA\tI\tNM:i:1\tNM:i:1": "tags: expected each tag once",
}  # fmt: skip


@pytest.fixture(scope="module")
def bam(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The nasty records as BAM, uncompressed."""
    return sam_files.to_bam(tmp_path_factory.mktemp("bam") / "a.sam", sam_files.text(RECORDS))


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory, bam: bytes) -> list[dict[str, Any]]:
    """What pysam makes of them."""
    path = tmp_path_factory.mktemp("bam") / "a.bam"
    return sam_files.expected(sam_files.write(path, bam, bgzf.BGZF))


def whole(uri: str) -> list[Part]:
    return sam_parts.split(sam_header.inspect(uri), None)


def without(rows: list[dict[str, Any]], *names: str) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k not in names} for row in rows]


def landed(outcomes: list[Outcome]) -> bool:
    return sam_parts.first_wrong(outcomes) is None


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("kind", ["sam", "bam"])
def test_sam__every_column_is_what_pysam_reads(
    tmp_path: Path, bam: bytes, wanted: list[Any], kind: str, compression: str
) -> None:
    data = bam if kind == "bam" else sam_files.text(RECORDS)
    uri = sam_files.write(tmp_path / "x", data, compression, block=77)
    file = sam_header.inspect(uri)
    assert (file.kind, file.compression) == (kind.upper(), compression)
    assert file.contigs == ("chr1", "chr2", "HLA:01*2")
    assert file.groups == (("a", "one"), ("b", "two"))
    for chunk_bytes in (1 << 24, 50):
        good, bad, outcomes = sam_files.rows(whole(uri), chunk_bytes)
        assert bad == [] and landed(outcomes)
        offsets = [row["offset"] for row in good]
        assert offsets == sorted(set(offsets)) and offsets[0] == file.body
        assert without(good, "offset") == wanted


def test_sam__text_without_a_header_or_last_newline_or_with_crlf(tmp_path: Path) -> None:
    line = RECORDS[0]
    for data in (f"{line}\n{line}", f"{line}\r\n\r\n{line}\r\n\n", f"{HEADER}{line}\n{line}"):
        uri = sam_files.write(tmp_path / "x.sam", data.encode())
        good, bad, _ = sam_files.rows(whole(uri))
        assert [(r["readName"], r["contigName"], r["quality"]) for r in good] == [
            ("r1", "chr1", "II!~")
        ] * 2
        assert bad == []


def test_sam__what_samtools_would_mend_stays_as_it_is(tmp_path: Path) -> None:
    lines = ["x\t0\tchr1\t0\t0\t4M\t=\t0\t0\tacgt\tIIII\tFx:f:1.50"]
    uri = sam_files.write(tmp_path / "x.sam", sam_files.text(lines))
    ((row,), _, _) = sam_files.rows(whole(uri))
    assert (row["contigName"], row["start"], row["end"], row["flags"]) == ("chr1", None, None, 0)
    assert (row["sequence"], row["cigar"], row["mateContigName"]) == ("acgt", "4M", "chr1")
    assert row["attributes"] == [("Fx", "f:1.50")]


def test_bam__a_cigar_of_more_operations_than_fit_and_a_float_of_more_digits(
    tmp_path: Path,
) -> None:
    cigar = "1M1D" * 40_000
    bases = "A" * 40_000
    lines = [f"r\t0\tchr1\t8\t1\t{cigar}\t*\t0\t0\t{bases}\t*\tNM:i:1\tXf:f:0.12345678"]
    data = sam_files.to_bam(tmp_path / "a.sam", sam_files.text(lines))
    assert b"CGBI" in data
    ((row,), _, _) = sam_files.rows(whole(sam_files.write(tmp_path / "x.bam", data)))
    assert (row["cigar"], row["start"], row["end"]) == (cigar, 7, 80_007)
    (_, nm), (_, number) = row["attributes"]
    assert nm == "i:1"
    assert np.float32(number[2:]) == np.float32(0.12345678)  # samtools: 0.123457


@pytest.mark.parametrize("block", [60, 333, 1 << 15])
def test_bam__cut_at_every_block_gives_the_same(
    tmp_path: Path, bam: bytes, wanted: list[Any], block: int
) -> None:
    uri = sam_files.write(tmp_path / "x.bam", bam, bgzf.BGZF, block)
    file = sam_header.inspect(uri)
    source = filesystems.open_input(uri)
    try:
        blocks = [at for _, at in bgzf.inflate_blocks(source, uri)]
        edges = {bam_records.find_record(source, file, at << 16) for at in blocks}
    finally:
        source.close()
    found = sorted(edge for edge in edges if edge is not None and edge > file.body)
    assert block > 1000 or len(found) >= 3
    starts = [file.body, *found]
    parts = [
        Part(file, bgzf.Range(start, end, at_line=True, closed=True))
        for start, end in zip(starts, [*found, REST], strict=True)
    ]
    good, bad, outcomes = sam_files.rows(parts, 100)
    assert landed(outcomes) and bad == []
    assert without(good, "offset") == wanted


@pytest.mark.parametrize("compression", [bgzf.PLAIN, bgzf.BGZF])
def test_bam__a_cut_where_no_record_begins_is_told(
    tmp_path: Path, bam: bytes, compression: str
) -> None:
    uri = sam_files.write(tmp_path / "x.bam", bam, compression, 400)
    file = sam_header.inspect(uri)
    good, _, _ = sam_files.rows(whole(uri))
    right = {row["offset"] for row in good}
    first = file.body
    for wrong in range(first + 1, first + 60):
        parts = [
            Part(file, bgzf.Range(a, b, at_line=True, closed=True))
            for a, b in ((first, wrong), (wrong, REST))
        ]
        told = sam_parts.first_wrong(sam_files.rows(parts)[2])
        assert wrong not in right
        assert told == Outcome(first, False, None)


def test_sam__partitions_do_not_matter(spark: SparkSession, tmp_path: Path) -> None:
    once = [one for one in RECORDS if len(one) < 200]
    lines = [one.replace("\t", f"{i}\t", 1) for i in range(30) for one in once]
    text = sam_files.text(lines)
    sam_files.write(tmp_path / "x.sam.gz", text, bgzf.BGZF, 500)
    data = sam_files.to_bam(tmp_path / "scratch", text)
    size = sam_header.inspect(sam_files.write(tmp_path / "x.bam", data, bgzf.BGZF, 500)).size
    one = sam.read(spark, str(tmp_path / "x.*"), whole=True, partition_bytes=1 << 20)
    seven = sam.read(spark, str(tmp_path / "x.*"), partition_bytes=size // 4 + 1)
    assert one.rdd.getNumPartitions() == 1 and seven.rdd.getNumPartitions() >= 7
    rows = one.collect()
    assert rows == seven.collect()
    assert len(rows) == 2 * len(lines)
    assert {row.reject for row in rows} == {None}
    assert {row.sampleId for row in rows} == {"one", "two", "x"}
    assert rows[0].attributes == {"NM": "i:0", "RG": "Z:a", "MD": "Z:4"}


def test_sam__broken_lines_are_rejected_and_others_stay(tmp_path: Path) -> None:
    lines, reasons = [], []
    for broken, reason in BROKEN.items():
        lines += [RECORDS[0], broken]
        reasons.append(reason)
    text = "".join(f"{one}\n" for one in lines)
    data = HEADER.encode() + text.encode("latin-1")
    for compression, block in ((bgzf.PLAIN, 0), (bgzf.BGZF, 300)):
        uri = sam_files.write(tmp_path / "x.sam", data, compression, block)
        parts = sam_parts.split(sam_header.inspect(uri), 400)
        assert len(parts) > 3
        good, bad, _ = sam_files.rows(parts, 1000)
        assert len(good) == len(reasons)
        for row, reason in zip(bad, reasons, strict=True):
            assert row["reason"].startswith(reason), (row, reason)
        first = HEADER.count("\n") + 2
        assert [row["line"] for row in bad] == list(range(first, first + 2 * len(bad), 2))
        assert bad[0]["text"] == next(iter(BROKEN))


def bam_faults(bam: bytes, start: int) -> dict[str, bytes]:
    """The file with one fault each in its first record, whose size says the same."""

    def changed(at: int, new: bytes) -> bytes:
        return bam[: start + at] + new + bam[start + at + len(new) :]

    name = start + 36
    assert bam[name : name + 3] == b"r1\0"
    return {
        "record: ": changed(20, (9999).to_bytes(4, "little")),  # l_seq
        "QNAME: ": changed(38, b"x"),  # no NUL
        "RNAME: ": changed(4, b"\3\0\0\0"),
        "POS: ": changed(8, b"\xfe\xff\xff\xff"),
        "RNEXT: ": changed(24, b"\3\0\0\0"),
        "PNEXT: ": changed(28, b"\xfe\xff\xff\xff"),
        "CIGAR: expected * or": changed(39, b"\x49\0\0\0"),
        "CIGAR: expected as many": changed(39, b"\x30\0\0\0"),
        "QUAL: ": changed(45, b"\x5e"),
        "tags: ": changed(51, b"x"),
    }


def test_bam__broken_records_are_rejected_and_others_stay(tmp_path: Path, bam: bytes) -> None:
    start = sam_header.inspect(sam_files.write(tmp_path / "x.bam", bam)).body
    for reason, data in bam_faults(bam, start).items():
        good, bad, outcomes = sam_files.rows(whole(sam_files.write(tmp_path / "x.bam", data)))
        assert landed(outcomes)
        assert len(good) == len(RECORDS) - 1, reason
        ((offset, line, told),) = [(r["offset"], r["line"], r["reason"]) for r in bad]
        assert told.startswith(reason), told
        assert (offset, line) == (start, None)


@pytest.mark.parametrize("size", [31, 1 << 29])
def test_bam__a_size_that_cannot_be_ends_the_file(tmp_path: Path, bam: bytes, size: int) -> None:
    start = sam_header.inspect(sam_files.write(tmp_path / "x.bam", bam)).body
    data = bam[:start] + size.to_bytes(4, "little") + bam[start + 4 :]
    _, _, (outcome,) = sam_files.rows(whole(sam_files.write(tmp_path / "x.bam", data)))
    assert f"byte {start}, block_size: expected a record of 32 to" in str(outcome.fault)


def test_sam__a_file_that_is_cut_short_is_told(tmp_path: Path, bam: bytes) -> None:
    uri = sam_files.write(tmp_path / "x.bam", bam[:-7])
    _, _, (outcome,) = sam_files.rows(whole(uri))
    assert "record: expected a whole record, found the file's end" in str(outcome.fault)
    uri = sam_files.write(tmp_path / "x.bam", bam, bgzf.BGZF, 500)
    data = Path(uri).read_bytes()
    Path(uri).write_bytes(data[: -len(bgzf.EOF_BLOCK)])
    with pytest.raises(BgzfError, match="the file is truncated"):
        sam_header.inspect(uri)
    Path(uri).write_bytes(data[:700] + bytes([data[700] ^ 1]) + data[701:])
    _, _, (outcome,) = sam_files.rows(whole(uri))
    assert isinstance(outcome.fault, BgzfError)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"CRAM\3\0", "expected SAM or BAM, found CRAM: convert it, samtools view"),
        (b"@r\nACGT\n+\nIIII\n", None),
        (b">chr1\nACGT\n", "line 1: expected a SAM header, or records of 11 fields"),
        (b"BAM\1\xff\xff\xff\xff", "l_text: expected a length from 0 on, found -1"),
        (b"BAM\1\x09\0\0\0@CO", "text: expected 9 bytes, found the file's end after 3"),
        (b"@SQ\tLN:3\n", "line 1, @SQ: expected a field SN, found none"),
    ],
)
def test_inspect__other_files_are_refused(tmp_path: Path, data: bytes, message: str | None) -> None:
    uri = sam_files.write(tmp_path / "x", data)
    if message is None:  # FASTQ begins as a header might: its lines are rejected
        assert len(sam_files.rows(whole(uri))[1]) == 3
        return
    with pytest.raises(FormatError) as caught:
        sam_header.inspect(uri)
    assert message in str(caught.value)


def test_read__refuses_what_there_is_not_and_fails_if_asked(
    spark: SparkSession, tmp_path: Path
) -> None:
    uri = sam_files.write(tmp_path / "x.sam", sam_files.text([*RECORDS, next(iter(BROKEN))]))
    with pytest.raises(ConfigError, match="expected reject or fail"):
        sam.read(spark, uri, on_malformed="drop")
    with pytest.raises(Exception, match=f"line {HEADER.count(chr(10)) + 16}, record: expected 11"):
        sam.read(spark, uri, on_malformed="fail").collect()
    rejects = sam.read(spark, uri).where("reject is not null").collect()
    assert [(r.readName, r.reject.line) for r in rejects] == [(None, HEADER.count("\n") + 16)]


tag = st.one_of(
    st.integers(-(2**31), 2**32 - 1).map(lambda v: f"i:{v}"),
    st.from_regex(r"A:[!-~]", fullmatch=True),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=9).map("Z:{}".format),
    st.binary(max_size=4).map(lambda v: f"H:{v.hex().upper()}"),
    st.floats(width=32, allow_nan=False).map(lambda v: f"f:{v:g}"),
    st.lists(st.integers(-128, 127), min_size=1, max_size=5).map(
        lambda v: f"B:c,{','.join(map(str, v))}"
    ),
    st.lists(st.integers(0, 65535), min_size=1, max_size=5).map(
        lambda v: f"B:S,{','.join(map(str, v))}"
    ),
)


@st.composite
def record(draw: st.DrawFn) -> str:
    name = draw(st.from_regex(r"[!-?A-~]{1,20}", fullmatch=True).filter(lambda v: v != "*"))
    operations = draw(st.lists(st.tuples(st.integers(1, 5), st.sampled_from("MIDNSHP=X"))))
    query = sum(n for n, op in operations if op in "MIS=X")
    bases = draw(st.text("=ACMGRSVTWYHKDBN", min_size=query, max_size=query)) or "*"
    if not operations:
        bases = draw(st.text("ACGTN", min_size=1, max_size=9))
    scores = draw(
        st.text(
            st.characters(min_codepoint=33, max_codepoint=126),
            min_size=len(bases),
            max_size=len(bases),
        )
    )
    scores = "*" if bases == "*" or draw(st.booleans()) else scores
    flags = draw(st.integers(0, 4095)) | (0 if operations else 4)
    tags = draw(
        st.dictionaries(st.from_regex(r"[A-Za-z][A-Za-z0-9]", fullmatch=True), tag, max_size=5)
    )
    fields = [
        name, flags, draw(st.sampled_from(["chr1", "chr2"])), draw(st.integers(1, 2**28)),
        draw(st.integers(0, 255)), "".join(f"{n}{op}" for n, op in operations) or "*",
        draw(st.sampled_from(["chr1", "HLA:01*2"])), draw(st.integers(1, 2**28)),
        draw(st.integers(-(2**31) + 1, 2**31 - 1)), bases, scores,
        *(f"{key}:{value}" for key, value in tags.items()),
    ]  # fmt: skip
    return "\t".join(map(str, fields))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(records=st.lists(record(), min_size=1, max_size=12), block=st.integers(40, 400))
def test_sam__made_records_are_what_pysam_reads_in_any_parts(
    tmp_path_factory: pytest.TempPathFactory, records: list[str], block: int
) -> None:
    folder = tmp_path_factory.mktemp("made")
    data = sam_files.to_bam(folder / "a.sam", sam_files.text(records))
    uri = sam_files.write(folder / "x.bam", data, bgzf.BGZF, block)
    text = sam_files.write(folder / "x.sam", sam_files.text(records))
    wanted = sam_files.expected(uri)
    for one in (uri, text):
        good, bad, outcomes = sam_files.rows(sam_parts.split(sam_header.inspect(one), 150), 64)
        assert bad == [] and landed(outcomes)
        assert without(good, "offset") == wanted
    with pysam.AlignmentFile(uri) as file:
        assert [row["offset"] for row in sam_files.rows(whole(uri))[0]] == _tells(file)


def _tells(file: pysam.AlignmentFile) -> list[int]:
    out = [file.tell()]
    for _ in file:
        out.append(file.tell())
    return out[:-1]
