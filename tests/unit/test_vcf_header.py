from __future__ import annotations

import gzip
import pickle
from pathlib import Path

import pysam
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geneai_spark.errors import FormatError, SchemaConflictError
from geneai_spark.formats import vcf_reserved
from geneai_spark.formats.vcf_header import (
    COLUMNS,
    Field,
    Header,
    column_names,
    header_end,
    merge_fields,
    parse_header,
)

CHROM = "\t".join(COLUMNS)
GT = CHROM + "\tFORMAT\t"


def head(*meta: str, version: str = "4.2", chrom: str = CHROM) -> str:
    return "\n".join((f"##fileformat=VCFv{version}", *(f"##{m}" for m in meta), chrom)) + "\n"


def parse(*meta: str, version: str = "4.2", chrom: str = CHROM) -> Header:
    return parse_header(head(*meta, version=version, chrom=chrom), "mem.vcf")


# --- what real writers write ------------------------------------------------------------

REAL = r"""
##fileformat=VCFv4.2
##FILTER=<ID=PASS,Description="All filters passed">
##FILTER=<ID=VQSRTrancheSNP99.95to100.00+,Description="VQS Lod < -2.5 at VQS 'x', y">
##ALT=<ID=NON_REF,Description="Represents any possible alternative allele at this location">
##ALT=<ID=CN0,Description="Copy number allele: 0 copies">
##ALT=<ID=INS:ME:ALU,Description="Insertion of ALU element">
##ALT=<ID=*,Description="Represents allele(s) other than observed.">
##INFO=<ID=X,Number=.,Type=String,Description="a, \"b\" <c>=d;e">
##INFO=<ID=DP4,Number=4,Type=Integer,Description="# high-quality ref-forward, ...">
##INFO=<ID=1000g2015aug_all,Number=.,Type=String,Description="annotation provided by ANNOVAR">
##INFO=<ID=M-CAP_score,Number=.,Type=String,Description="back\\slash \"q\"">
##INFO=<ID=CSQ,Number=.,Type=String,Description="Consequence. Format: Allele|SYMBOL|HGVSc">
##INFO=<ID=AS_SB,Number=A,Type=Float,Description="x",Source="dbSNP",Version="138",Extra=1>
##INFO=<ID=OLD,Number=1,Type=String,Description="">
##INFO=<ID=NODESC,Number=1,Type=Integer>
##INFO=<ID=spaced, Number=1, Type=Float, Description="spaces, after commas">
##INFO=<Description="any order",Type=Integer,ID=ORDER,Number=R>
##INFO=<ID=FLAGGED,Number=1,Type=Flag,Description="clinvar-like">
##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">
##FORMAT=<ID=PL,Number=-1,Type=Integer,Description="samtools 0.1">
##FORMAT=<ID=AD,Number=R,Type=Integer,Description="GATK">
##contig=<ID=chr1,length=248956422,assembly=GRCh38,md5=6aef897c3d6ff0c78aff06ac189178dd>
##contig=<ID=HLA-A*01:01:01:01,length=3503>
##contig=<ID=GL000207.1,length=4262,species="Homo sapiens, modern",URL=ftp://a/b?c=d>
##contig=<ID=1>
##SAMPLE=<ID=NORMAL,SampleName=x,Description="Wild type",File=>
##PEDIGREE=<Child=A,Mother=B,Father=C>
##pedigreeDB=<http://x>
##META=<ID=Tissue,Type=String,Number=.,Values=[Blood, Breast]>
##GATKCommandLine=<ID=HaplotypeCaller,CommandLine="--a "[b]" --c",Date="Mon Jan 1">
##GATKCommandLine.HaplotypeCaller=<ID=x,CommandLineOptions="a=[] b=null",Epoch=1>
##GVCFBlock0-1=minGQ=0(inclusive),maxGQ=1(exclusive)
##bcftools_viewCommand=view -i 'INFO/AC>1 && FILTER="PASS"' <in.vcf>; Date=Tue May 7
##SnpEffVersion="4.3t (build 2017-11-24 10:18), by Pablo Cingolani"
##AnalysisTitle=<"no keys, only text">
##reference=
##source_20130015.4=vcf-annotate(r810) -c CHROM,POS
"""


def test_headers_as_real_tools_write_them() -> None:
    header = parse_header(REAL.lstrip() + GT + "s 1\tS 1\n", "real.vcf")
    assert header.version == (4, 2)
    assert header.samples == ("s 1", "S 1")
    assert header.n_lines == len(header.lines) + 1 == REAL.count("\n")
    assert header.build == "hg38"
    assert header.info["X"] == Field("X", ".", "String", 'a, "b" <c>=d;e', "header")
    assert header.info["M-CAP_score"].description == 'back\\slash "q"'
    assert header.info["ORDER"] == Field("ORDER", "R", "Integer", "any order")
    assert header.info["spaced"] == Field("spaced", "1", "Float", "spaces, after commas")
    assert header.info["NODESC"].description == header.info["OLD"].description == ""
    assert (header.info["FLAGGED"].number, header.info["FLAGGED"].type) == ("0", "Flag")
    assert header.format["PL"].number == "."
    assert set(header.alts) == {"NON_REF", "CN0", "INS:ME:ALU", "*"}
    assert header.filters["VQSRTrancheSNP99.95to100.00+"].endswith("'x', y")
    contigs = {c.id: c for c in header.contigs}
    assert contigs["chr1"].length == 248956422
    assert contigs["HLA-A*01:01:01:01"].length == 3503
    assert contigs["GL000207.1"].attributes["species"] == "Homo sapiens, modern"
    assert contigs["GL000207.1"].attributes["URL"] == "ftp://a/b?c=d"
    assert contigs["1"].length is None


@pytest.mark.parametrize(
    ("name", "build"),
    [
        ("cohort/hail_sample.vcf", None),
        ("cohort/hipster.vcf.bgz", "GRCh37"),
        ("gvcf/NA12878.prod.chr20snippet.g.vcf.gz", "GRCh37"),
    ],
)
def test_real_files_agree_with_htslib(shared_data: Path, name: str, build: str | None) -> None:
    path = shared_data / name
    data = read_start(path)
    end = header_end(data)
    assert end is not None
    header = parse_header(data[:end], name)
    assert data[:end].count(b"\n") == header.n_lines
    assert data[end : end + 1] not in (b"#", b"")
    assert header.build == build
    with pysam.VariantFile(str(path)) as peer:
        assert header.samples == tuple(peer.header.samples)
        for ours, theirs in ((header.info, peer.header.info), (header.format, peer.header.formats)):
            declared = {k: (str(v.number), v.type, v.description) for k, v in theirs.items()}
            assert {k: (f.number, f.type, f.description) for k, f in ours.items()} == declared
        assert {"PASS", *header.filters} == set(peer.header.filters)
        # htslib adds contigs that only records name when a file lacks ##contig lines.
        known = {c.id: c.length for c in header.contigs}
        assert known == {k: v.length for k, v in peer.header.contigs.items() if k in known}
        assert len(known) in (0, len(peer.header.contigs))


def read_start(path: Path) -> bytes:
    if path.suffix == ".vcf":
        return path.read_bytes()[: 1 << 20]
    with gzip.open(path) as file:
        return file.read(1 << 20)


def test_chrom_line_of_old_gatk_ends_with_a_tab(shared_data: Path) -> None:
    data = read_start(shared_data / "cohort/HiSeq.10000.vcf")  # htslib refuses this file
    header = parse_header(data[: header_end(data)], "HiSeq.10000.vcf")
    assert header.version == (4, 0)
    assert header.samples == ("NA12878",)
    assert header.info["Dels"].type == "Float"


# --- round trips ------------------------------------------------------------------------

KEYS = st.from_regex(r"[A-Za-z_][0-9A-Za-z_.+-]{0,8}", fullmatch=True)
TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\u2028\u2029"))
NUMBERS = st.one_of(st.integers(1, 30).map(str), st.sampled_from("ARG."))
FIELDS = st.builds(Field, KEYS, NUMBERS, st.sampled_from(["Integer", "Float", "String"]), TEXTS)
SAMPLES = st.lists(st.from_regex(r"[^\t\n\r\0-\x1f\ud800-\udfff]{0,5}[a-z0-9]", fullmatch=True),
                   unique=True)  # fmt: skip


def quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@given(
    st.lists(FIELDS, unique_by=lambda f: f.key),
    st.lists(FIELDS, unique_by=lambda f: f.key),
    SAMPLES,
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
    st.booleans(),
)
def test_round_trip(
    info: list[Field], format_: list[Field], samples: list[str], end: str, bom: bool, body: bool
) -> None:
    info = [f for f in info if f.key != "END"]
    format_ = [f for f in format_ if f.key != "GT"]
    meta = [
        f"{kind}=<ID={f.key},Number={f.number},Type={f.type},Description={quote(f.description)}>"
        for kind, fields in (("INFO", info), ("FORMAT", format_))
        for f in fields
    ]
    chrom = "\t".join((CHROM, "FORMAT", *samples)) if samples else CHROM
    text = head(*meta, chrom=chrom).replace("\n", end)
    data = ("\ufeff" * bom + text).encode()
    assert header_end(data + b"1\t5\t.\tA\tC\t.\t.\t.\n" * body) == len(data)
    header = parse_header(data, "f.vcf")
    assert header == parse_header(text, "f.vcf")
    assert list(header.info.values()) == info
    assert list(header.format.values()) == format_
    assert header.samples == tuple(samples)
    assert header.n_lines == len(meta) + 2
    assert pickle.loads(pickle.dumps(header)) == header


@given(st.binary(max_size=300), st.integers(0, 300), st.integers(0, 10))
def test_damaged_headers_end_in_a_format_error_or_a_header(noise: bytes, at: int, cut: int) -> None:
    sound = head('INFO=<ID=A,Number=1,Type=Float,Description="x">', chrom=GT + "s").encode()
    damaged = sound[:at] + noise + sound[at + cut :]
    end = header_end(damaged)
    assert end is None or 0 < end <= len(damaged)
    try:
        assert parse_header(damaged[:end], "f").n_lines >= 2
    except FormatError as error:
        assert error.file == "f" and error.line is not None and error.line >= 1


@given(st.integers(0, 400))
def test_header_end_needs_the_whole_chrom_line(n: int) -> None:
    text = head('INFO=<ID=A,Number=1,Type=Float,Description="x">', chrom=GT + "s").encode()
    assert header_end(text[:n]) == (len(text) if n >= len(text) else None)


def test_header_end_stops_at_the_first_line_that_is_no_header() -> None:
    broken = b"##fileformat=VCFv4.2\noops\n" + CHROM.encode() + b"\n"
    assert header_end(broken) == broken.index(b"#CHROM")
    assert header_end(b"@SRR1\nACGT\n") == 6
    assert header_end(b"\x1f\x8b" + b"\0" * 5000) == 1000
    assert header_end(b"") is None
    assert header_end(b"\xef\xbb\xbf") is None
    assert header_end(b"#CHR") is None


# --- breaches ---------------------------------------------------------------------------

INFO = 'INFO=<ID=A,Number=1,Type=Integer,Description="d">'
BREACHES = [  # meta line, words of the message
    ("no equals sign", "##key=value"),
    ("=value", "##key=value"),
    ('INFO=<ID=A,Number=1,Type=Integer,Description="d"', "no closing bracket"),
    ("INFO=ID=A,Number=1,Type=Integer", "no bracket"),
    ("INFO=", "no bracket"),
    ("INFO=<>", "key=value pairs"),
    ('INFO=<Number=1,Type=Integer,Description="d">', "an ID"),
    ('INFO=<ID=,Number=1,Type=Integer,Description="d">', "an ID"),
    ('INFO=<ID=A B,Number=1,Type=Integer,Description="d">', "whitespace"),
    ('INFO=<ID=A;B,Number=1,Type=Integer,Description="d">', "punctuation"),
    ('INFO=<ID=A,Type=Integer,Description="d">', "Number"),
    ('INFO=<ID=A,Number=N,Type=Integer,Description="d">', "found 'N'"),
    ('INFO=<ID=A,Number=-2,Type=Integer,Description="d">', "found '-2'"),
    ('INFO=<ID=A,Number=1.5,Type=Integer,Description="d">', "Number"),
    ('INFO=<ID=A,Number=LA,Type=Integer,Description="d">', "Number"),
    ('INFO=<ID=A,Number=0,Type=Integer,Description="d">', "Number=0,Type=Integer"),
    ('INFO=<ID=A,Number=1,Description="d">', "Type"),
    ('INFO=<ID=A,Number=1,Type=integer,Description="d">', "found 'integer'"),
    ('FORMAT=<ID=A,Number=0,Type=Flag,Description="d">', "found 'Flag'"),
    ("INFO=<ID=A,Number=1,Type=Integer,Description=d>", "double quotes"),
    ('INFO=<ID=A,Number=1,Type=Integer,Description="d>', "double quotes"),
    ('INFO=<ID=A,Number=1,Type=Integer,Description="d\\">', "double quotes"),
    ('INFO=<ID=A,Number=1,Type=Integer,Description="a "b" c">', "double quotes"),
    ('INFO=<ID=A,Number=1,Type=Integer,Description="a" b>', "double quotes"),
    ('INFO=<ID=A,Number=1"2,Type=Integer,Description="a">', "quotes around"),
    ('INFO=<ID=A,Number=1,Type=Integer,Description="a",>', "key=value pairs"),
    ("FILTER=<ID=q10,Description=low>", "double quotes"),
    ('FILTER=<ID=q 10,Description="low">', "whitespace"),
    ('ALT=<ID=DEL:A>B,Description="d">', "punctuation"),
    ("contig=<length=5>", "an ID"),
    ("contig=<ID=1 A>", "whitespace"),
    ("contig=<ID=1,A,length=5>", "key=value pairs"),
    ("contig=<ID=1,length=five>", "number of bases"),
    ("fileformat=VCFv4.3", "second one"),
    ("source=a\0b", "0x00"),
]


@pytest.mark.parametrize(("meta", "words"), BREACHES)
def test_breaches_name_the_line(meta: str, words: str) -> None:
    with pytest.raises(FormatError) as caught:
        parse(INFO.replace("ID=A", "ID=OK"), meta)
    assert words in str(caught.value)
    assert caught.value.line == 3
    assert str(caught.value).startswith("mem.vcf, line 3")


@pytest.mark.parametrize(
    ("first", "words"),
    [
        ("", "an empty file"),
        ("##fileformat=", "VCFv4.0"),
        ("##fileformat=VCFv3.3", "'VCFv3.3'"),
        ("##fileformat=VCFv4.6", "'VCFv4.6'"),
        ("##fileformat=VCF v4.2", "'VCF v4.2'"),
        ("##source=x", "begins with ##fileformat"),
        ("@SRR001", "begins with ##fileformat"),
        ("\x1f\x8b\x08", "control character 0x1f"),
    ],
)
def test_first_line(first: str, words: str) -> None:
    with pytest.raises(FormatError) as caught:
        parse_header(f"{first}\n{CHROM}\n" if first else "", "f.vcf")
    assert words in str(caught.value)
    assert caught.value.line == 1


@pytest.mark.parametrize(
    ("chrom", "words"),
    [
        ("1\t5\trs1\tA\tC\t.\t.\t.\tGT\t0/1", "does not begin with #"),
        ("", "a #CHROM line"),
        (CHROM.replace("\t", " "), "spaces"),
        ((GT + "NA1").replace("\t", "  "), "spaces"),
        (GT.replace("POS", "POSITION") + "NA1", "POS as column 2"),
        (CHROM.lower(), "#CHROM as column 1"),
        ("#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER", "found 7"),
        (CHROM + "\tNA1", "FORMAT as column 9"),
        (GT + "NA1\tNA2\tNA1", "columns 10 and 12"),
        (GT + "NA1\t\tNA2", "none in column 11"),
        (GT.rstrip("\t"), "a sample after FORMAT"),
        (GT + "\tNA1", "none in column 10"),
    ],
)
def test_chrom_line(chrom: str, words: str) -> None:
    with pytest.raises(FormatError) as caught:
        parse(chrom=chrom)
    assert words in str(caught.value)
    assert caught.value.line == 2
    assert "NA1" not in str(caught.value) and "0/1" not in str(caught.value)


def test_missing_chrom_line_at_the_end_of_the_text() -> None:
    with pytest.raises(FormatError, match="a #CHROM line after the ## lines"):
        parse_header("##fileformat=VCFv4.2\n##source=x", "f.vcf")


def test_encodings() -> None:
    text = head('INFO=<ID=A,Number=1,Type=Float,Description="é µ">', chrom=GT + "Zoë")
    assert parse_header(text.encode(), "f").info["A"].description == "é µ"
    latin = head('INFO=<ID=A,Number=1,Type=Float,Description="é">').encode("latin-1")
    assert parse_header(latin, "f").info["A"].description == "é"
    with pytest.raises(FormatError, match="UTF-8") as caught:
        parse_header(text.encode("latin-1"), "f")
    assert caught.value.line == 3 and "Zo" not in str(caught.value)


def test_repeated_declarations() -> None:
    again = INFO.replace('"d"', '"other"')
    assert parse(INFO, again).info["A"].description == "d"
    with pytest.raises(FormatError, match=r"as declared before.*Number=2") as caught:
        parse(INFO, INFO.replace("Number=1", "Number=2"))
    assert caught.value.line == 3
    contigs = parse("contig=<ID=1>", "contig=<ID=1,length=9>", "contig=<ID=1,length=8>").contigs
    assert [(c.id, c.length) for c in contigs] == [("1", 9)]


def test_reserved_keys_follow_the_header_but_gt_and_end_do_not() -> None:
    header = parse(
        'INFO=<ID=AC,Number=1,Type=Float,Description="">',
        'INFO=<ID=END,Number=A,Type=String,Description="">',
        'FORMAT=<ID=GT,Number=G,Type=Float,Description="">',
    )
    assert header.info["AC"].declaration() == "Number=1,Type=Float"
    assert header.info["END"].declaration() == "Number=1,Type=Integer"
    assert header.format["GT"].declaration() == "Number=1,Type=String"


def test_number_codes_of_newer_versions() -> None:
    for code in ("P", "LA", "LR", "LG", "M"):
        line = f'FORMAT=<ID=A,Number={code},Type=Integer,Description="">'
        assert parse(line, version="4.5").format["A"].number == code


def test_reserved_tables() -> None:
    old, new = vcf_reserved.reserved_info((4, 2)), vcf_reserved.reserved_info((4, 4))
    assert old["SVLEN"].number == "." and new["SVLEN"].number == "A"
    assert old["AF"] == Field("AF", "A", "Float", "", "reserved")
    assert "SB" not in old and new["SB"].number == "4"
    assert vcf_reserved.reserved_format((4, 3))["CN"].type == "Integer"
    assert vcf_reserved.reserved_format((4, 5))["CN"].type == "Float"
    assert "LAD" not in vcf_reserved.reserved_format((4, 4))
    assert vcf_reserved.reserved_format((4, 5))["LAD"].number == "LR"
    for minor in range(6):
        for table in (vcf_reserved.reserved_info, vcf_reserved.reserved_format):
            for key, field in table((4, minor)).items():
                assert field.key == key
                assert field.type in ("Integer", "Float", "Flag", "String")
                assert (field.number == "0") == (field.type == "Flag")


# --- several files ----------------------------------------------------------------------


def file(name: str, *meta: str) -> Header:
    return parse_header(head(*meta), name)


def line(key: str, number: str, type_: str, kind: str = "INFO") -> str:
    return f'{kind}=<ID={key},Number={number},Type={type_},Description="{key}">'


def test_merge_is_the_union() -> None:
    one = file("1.vcf", line("A", "1", "Float"), line("D", "1", "Integer", "FORMAT"))
    two = file("2.vcf", line("B", "A", "String"), line("A", "1", "Float"))
    info, format_ = merge_fields([one, two])
    assert list(info) == ["A", "B"]
    assert list(format_) == ["D"]
    assert merge_fields([]) == ({}, {})


def test_merge_widens_numbers_and_refuses_types() -> None:
    one = file("1.vcf", line("A", "1", "Integer"))
    assert merge_fields([one, file("2.vcf", line("A", "R", "Integer"))])[0]["A"].number == "."
    two = file("2.vcf", line("A", "1", "Float"))
    with pytest.raises(SchemaConflictError) as caught:
        merge_fields([file("0.vcf"), one, two])
    for word in ("INFO A", "1.vcf", "2.vcf", "Number=1,Type=Integer", "Number=1,Type=Float"):
        assert word in str(caught.value)
    assert merge_fields([one, two], widen=True)[0]["A"].type == "Float"
    three = file("3.vcf", line("A", "1", "String"))
    with pytest.raises(SchemaConflictError):
        merge_fields([one, three], widen=True)
    info, _ = merge_fields([one, three], {"INFO/A": Field("A", "1", "String")})
    assert info["A"] == Field("A", "1", "String", "", "user")


def test_merge_takes_characters_for_strings() -> None:
    one, two = file("1.vcf", line("A", "1", "Character")), file("2.vcf", line("A", "1", "String"))
    assert merge_fields([one, two])[0]["A"].type == "String"
    assert merge_fields([two, one])[0]["A"].type == "String"


def test_merge_names_the_file_that_declared_first() -> None:
    empty, one, two = (
        file("0.vcf"),
        file("1.vcf", line("A", "1", "Integer", "FORMAT")),
        file("2.vcf"),
    )
    with pytest.raises(SchemaConflictError, match=r"FORMAT A .* in 1\.vcf .* in 3\.vcf"):
        merge_fields([empty, one, two, file("3.vcf", line("A", "1", "Float", "FORMAT"))])


def test_column_names() -> None:
    assert column_names(["AC", "GERP++_RS", "M-CAP"]) == {
        "AC": "INFO_AC", "GERP++_RS": "INFO_GERP++_RS", "M-CAP": "INFO_M-CAP"
    }  # fmt: skip
    names = column_names(["dp", "DP", "a b", "a_b", "x.y"])
    assert names["DP"] == "INFO_DP" and names["a_b"] == "INFO_a_b"
    assert names["dp"].startswith("INFO_dp_") and names["a b"].startswith("INFO_a_b_")
    assert names["x.y"] == "INFO_x_y"
    assert column_names(["genotype"], "call_", ["call_genotype"])["genotype"] != "call_genotype"


@given(st.lists(st.text(st.sampled_from("aAbB.,;{}()=_ \t`-"), min_size=1), unique=True))
def test_column_names_are_unique_safe_and_independent_of_order(keys: list[str]) -> None:
    names = column_names(keys)
    assert list(names) == keys
    assert len({n.lower() for n in names.values()}) == len(keys)
    assert not any(set(" ,;{}()\n\t=.`") & set(n) for n in names.values())
    assert column_names(keys[::-1]) == names
