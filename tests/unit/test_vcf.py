"""The VCF reader on small files whose right answers are worked out by hand."""

from __future__ import annotations

import gzip
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from geneai_spark import filesystems, genotypes
from geneai_spark.errors import (
    BgzfError,
    ConfigError,
    FormatError,
    SampleMismatchError,
    SchemaConflictError,
)
from geneai_spark.formats import vcf, vcf_plan
from geneai_spark.formats.vcf_reserved import Field
from tests.conftest import requires
from tests.unit.test_bgzf import compress

HEADER = """##fileformat=VCFv4.3
##INFO=<ID=AC,Number=A,Type=Integer,Description="Count">
##INFO=<ID=AF,Number=A,Type=Float,Description="Frequency">
##INFO=<ID=NOTE,Number=1,Type=String,Description="Text">
##INFO=<ID=TAGS,Number=.,Type=String,Description="Texts">
##INFO=<ID=HM,Number=0,Type=Flag,Description="Flag">
##INFO=<ID=CSQ,Number=.,Type=String,Description="From VEP. Format: Allele|Consequence|SYMBOL">
##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">
##FORMAT=<ID=AD,Number=R,Type=Integer,Description="Depths">
##FORMAT=<ID=GL,Number=G,Type=Float,Description="Likelihoods">
##FORMAT=<ID=FT,Number=1,Type=String,Description="Filter">
"""
COLUMNS = ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT"]


def write(path: Path, *lines: str, samples: str = "A B C", header: str = HEADER) -> str:
    """A VCF file; the lines' columns are separated by spaces here, by TABs in the file."""
    head = "\t".join([*COLUMNS, *samples.split()] if samples else COLUMNS[:8])
    body = "".join(line.replace(" ", "\t") + "\n" for line in lines)
    path.write_text(header + head + "\n" + body)
    return str(path)


def table(path: str, **arguments: object) -> pa.Table:
    """The good rows, read without Spark."""
    found = list(vcf.read_batches(path, **arguments))
    rows = pa.concat_tables([pa.Table.from_batches([one]) for one in found])
    return rows.filter(rows["reject"].is_null()) if "reject" in rows.column_names else rows


def reasons(path: str, **arguments: object) -> list[str]:
    found = vcf.read_batches(path, emit="rejects", **arguments)
    return [row["reason"] for batch in found for row in batch.to_pylist()]


def gt(rows: pa.Table, n: int = 3) -> list[list[str]]:
    ploidy = rows["call_ploidy"].combine_chunks()
    calls = genotypes.calls(rows["call_genotype"].combine_chunks(), n, ploidy)
    return genotypes.gt_strings(
        calls, genotypes.phased(rows["call_genotype_phased"].combine_chunks(), n, ploidy)
    )


@pytest.mark.parametrize(
    "calls",
    [
        "0/0 0/1 1|1",
        "0|1 1|0 2|2",
        "./. .|. 0/.",
        ". ./1 1|.",
        "0 1 .",
        "0/1/2 1|1|0 0|1/2",
        "0/1/2/1 0 ./.",
        "0/9 1/8 7|9",
        "10/11 0|12 ./11",
    ],
)
def test_genotypes__as_in_the_file(tmp_path: Path, calls: str) -> None:
    alts = ",".join("ACGT"[i % 4] * (2 + i) for i in range(12))
    rows = table(write(tmp_path / "a.vcf", f"1 5 . A {alts} . . . GT {calls}"))
    assert gt(rows) == [calls.split()]
    # the same among other values, in records of other shapes
    mixed = [f"{call}:1" + ",0" * 12 for call in calls.split()]
    path = write(
        tmp_path / "b.vcf",
        f"1 5 . A {alts} . . . GT {calls}",
        f"1 6 . A {alts} . . . GT:AD {' '.join(mixed)}",
        "1 7 . A C . . . GT 0/0 0|1 1/1",
    )
    assert gt(table(path)) == [calls.split(), calls.split(), ["0/0", "0|1", "1/1"]]


def test_genotypes__of_more_than_126_alleles(tmp_path: Path) -> None:
    alts = ",".join("A" * (2 + i) for i in range(300))
    rows = table(write(tmp_path / "a.vcf", f"1 5 . A {alts} . . . GT 0/300 299|1 ./127"))
    assert gt(rows) == [["0/300", "299|1", "./127"]]


def test_genotypes__record_without_gt(tmp_path: Path) -> None:
    rows = table(
        write(tmp_path / "a.vcf", "1 5 . A C . . . AD 1,2 3,4 .", "1 6 . A C . . . GT 0/1 . 1/1")
    )
    assert rows["call_genotype"].is_null().to_pylist() == [True, False]
    assert rows["call_AD"].is_null().to_pylist() == [False, True]


def test_leading_phase__of_vcf_44(tmp_path: Path) -> None:
    newer = HEADER.replace("VCFv4.3", "VCFv4.4")
    path = write(tmp_path / "a.vcf", "1 5 . A C . . . GT |0|1 /0/1 |1", header=newer)
    assert gt(table(path)) == [["0|1", "0/1", "1"]]
    path = write(tmp_path / "b.vcf", "1 5 . A C . . . GT /0|1 0/1 1", header=newer)
    assert reasons(path) == [
        "FORMAT GT: expected a first phase that the others imply, found another text in "
        "sample column 10"
    ]
    assert len(reasons(write(tmp_path / "c.vcf", "1 5 . A C . . . GT |0|1 0/1 1"))) == 1


def test_format_values__typed_missing_and_short(tmp_path: Path) -> None:
    rows = table(
        write(
            tmp_path / "a.vcf",
            "1 5 . A C . . . GT:AD:GL:FT 0/1:1,2:-0.0,-1.5,-3e2:PASS 1/1:300,.:.:q10;s50 ./.",
            "1 6 . A C . . . GT:AD 0:70000,-5 1/1:.,. .:.",
        )
    )
    depths = genotypes.values(rows["call_AD"].combine_chunks(), 3)
    missing, pad = genotypes.INT_MISSING, genotypes.INT_ABSENT
    assert depths.tolist() == [
        [[1, 2], [300, missing], [missing, pad]],
        [[70000, -5], [missing, missing], [missing, pad]],
    ]
    packed = rows["call_AD"].to_pylist()
    assert [value[0] for value in packed] == [2, 3]  # int16, int32: the narrowest that fits
    likelihoods = genotypes.values(rows["call_GL"].combine_chunks(), 3)[0]
    assert likelihoods[0].tolist() == [0.0, -1.5, -300.0]
    assert np.signbit(likelihoods[0][0])
    bits = likelihoods.view(np.uint32)
    assert bits[1].tolist() == [0x7F800001, 0x7F800002, 0x7F800002]
    texts = genotypes.values(rows["call_FT"].combine_chunks(), 3)
    assert [cell for (cell,) in texts[0]] == ["PASS", "q10;s50", "."]


def test_format__key_without_declaration_is_kept(tmp_path: Path) -> None:
    rows = table(write(tmp_path / "a.vcf", "1 5 . A C . . . GT:ZZ:DP 0/1:x:7 1/1:y 0/0:.:."))
    assert rows["call_undeclared"].to_pylist() == [[("ZZ", "x\ty\t.")]]
    assert genotypes.values(rows["call_DP"].combine_chunks(), 3)[0, 0, 0] == 7  # reserved: typed


def test_info__types(tmp_path: Path) -> None:
    rows = table(
        write(
            tmp_path / "a.vcf",
            "1 5 rs1;rs2 A C,G 30.5 PASS AC=1,2;AF=0.1,.;HM;NOTE=a%3Bb;TAGS=x,.,z . . . .",
            "1 6 . A C . q10;s50 AC=.;NOTE=.;DP=9;X=1;Y . . . .",
            "1 7 . A . . . . . . . .",
        )
    ).to_pylist()
    first, second, third = rows
    assert first["names"] == ["rs1", "rs2"] and first["alternateAlleles"] == ["C", "G"]
    assert (first["INFO_AC"], first["INFO_AF"]) == ([1, 2], [0.1, None])
    assert (first["INFO_HM"], first["INFO_NOTE"]) == (True, "a;b")
    assert first["INFO_TAGS"] == ["x", None, "z"]
    assert (first["qual"], first["filters"]) == (30.5, ["PASS"])
    assert (second["INFO_AC"], second["INFO_NOTE"], second["INFO_HM"]) == ([None], None, False)
    assert second["INFO_DP"] == 9  # reserved, not declared
    assert second["INFO_undeclared"] == [("X", "1"), ("Y", "")]
    assert second["filters"] == ["q10", "s50"]
    assert (third["names"], third["alternateAlleles"], third["filters"]) == ([], [], None)
    assert third["INFO_AC"] is None and third["qual"] is None


def test_info__repeated_key_loses_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "a.vcf", "1 5 . A C . . AC=1;NOTE=p;AC=7 . . . .")
    (row,) = table(path).to_pylist()
    assert row["INFO_AC"] == [1]
    assert row["INFO_undeclared"] == [("AC", "7")]


def test_percent__only_from_43_on(tmp_path: Path) -> None:
    older = HEADER.replace("VCFv4.3", "VCFv4.2")
    path = write(tmp_path / "a.vcf", "1 5 . A C . . NOTE=a%3Bb . . . .", header=older)
    assert table(path)["INFO_NOTE"].to_pylist() == ["a%3Bb"]


@pytest.mark.parametrize(
    "value",
    [
        "0.1",
        "1e-7",
        "123456789.123456789",
        "1.7976931348623157e308",
        "4.9e-324",
        ".5",
        "3.",
        "0.30000000000000004",
        "9007199254740993",
    ],
)
def test_floats__rounded_right(tmp_path: Path, value: str) -> None:
    rows = table(write(tmp_path / "a.vcf", f"1 5 . A C . . AF={value} . . . ."))
    assert rows["INFO_AF"].to_pylist() == [[float(value)]]


def test_ends(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.vcf",
        "1 10 . ACG A . . . . . . .",
        "1 20 . A <NON_REF> . . END=29 . . . .",
        "1 30 . A <DEL> . . SVLEN=-100 . . . .",
        "1 40 . A ]2:5]A . . END=3 . . . .",  # before POS: ignored
        "1 0 . N C . . . . . . .",
        "1 101 . N . . . . . . . .",
        header=HEADER.replace("VCFv4.3", "VCFv4.4"),
    )
    rows = table(path, info=[])
    assert list(zip(rows["start"].to_pylist(), rows["end"].to_pylist(), strict=True)) == [
        (9, 12), (19, 29), (29, 130), (39, 40), (-1, 0), (100, 101),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("1 5 . A C . .", "line: expected 12 tab-separated columns, found 7"),
        ("1 5 . A C . . . GT 0/0 0/0", "line: expected 3 sample columns, found 2"),
        ("1 5 . A C . . . GT 0/0 0/0 0/0 0/0", "line: expected 3 sample columns, found 4"),
        ("1 x . A C . . . GT 0 0 0", "POS: expected an integer from 0 to 2147483647, found 'x'"),
        ("1 -5 . A C . . . GT 0 0 0", "POS: expected an integer"),
        ("1 99999999999 . A C . . . GT 0 0 0", "POS: expected an integer"),
        ("1 5 . AX C . . . GT 0 0 0", "REF: expected one or more bases, found 'AX'"),
        ("1 5 . A C,,G . . . GT 0 0 0", "ALT: "),
        ("1 5 . A <X . . . GT 0 0 0", "ALT: "),
        ("1 5 . A C high . . GT 0 0 0", "QUAL: expected a number"),
        ("1 5 . A C . a;;b . GT 0 0 0", "FILTER: "),
        ("1 5 . A C . . AC=two GT 0 0 0", "INFO AC: expected Type=Integer, found 'AC=two'"),
        ("1 5 . A C . . AC=1,2 GT 0 0 0", "INFO AC: expected Number=A values, found 'AC=1,2'"),
        ("1 5 . A C . . =5 GT 0 0 0", "INFO: "),
        ("1 5 . A C . . . AD:GT 1,2:0 1,2:0 1,2:0", "FORMAT: "),
        ("1 5 . A C . . . GT:GT 0:0 0:0 0:0", "FORMAT: "),
        ("1 5 . A C . . . GT 0/x 0/0 0/0", "FORMAT GT: expected a genotype, found another text in"
         " sample column 10"),
        ("1 5 . A C . . . GT 0/0 0/0 0/2", "FORMAT GT: expected alleles up to 1, found a greater "
         "one in sample column 12"),
        ("1 5 . A C . . . GT:AD 0/0:1,2 0/0:1,b 0/0", "FORMAT AD: expected Type=Integer, found "
         "otherwise in sample column 11"),
        ("1 5 . A C . . . GT:AD 0/0:1,2 0/0:1,2,3 0/0", "FORMAT AD: expected Number=R values"),
        ("1 5 . A C . . . GT:GL 0/0:1,2 0/0:. 0/0", "FORMAT GL: expected Number=G values"),
        ("1 5 . A C . . . GT 0/0:9 0/0 0/0", "FORMAT: expected no more values than FORMAT has"),
        ("1 5 . A C . . . GT:AD 0/0:99999999999,1 0/0 0/0", "FORMAT AD: expected Type=Integer"),
    ],
)  # fmt: skip
def test_malformed__rejected_with_its_reason(tmp_path: Path, line: str, reason: str) -> None:
    good = "1 4 . A C . . AC=1 GT:AD 0/0:1,2 0/1:3,4 1/1:5,6"
    path = write(tmp_path / "a.vcf", good, line, good.replace("1 4", "1 9"))
    assert table(path)["start"].to_pylist() == [3, 8]
    (found,) = (row for b in vcf.read_batches(path, emit="rejects") for row in b.to_pylist())
    assert found["reason"].startswith(reason)
    assert found["line"] == HEADER.count("\n") + 3
    text = Path(path).read_bytes()
    assert text[found["offset"] :].startswith(found["text"].encode())
    assert found["sourceId"] == filesystems.source_id(path)
    rows = [row for b in vcf.read_batches(path, emit="all") for row in b.to_pylist()]
    assert sum(row["lines"] for row in rows) == len(rows) == 3
    with pytest.raises(FormatError) as error:
        list(vcf.read_batches(path, on_malformed="fail"))
    assert error.value.line == found["line"] and error.value.file == path
    assert str(error.value).startswith(f"{path}, line {found['line']}, {reason.split(':')[0]}")


def test_malformed__line_numbers_in_later_ranges(tmp_path: Path) -> None:
    lines = [f"1 {i} . A {'C' if i % 7 else '?'} . . . GT 0/0 0/1 1/1" for i in range(1, 300)]
    path = write(tmp_path / "a.vcf", *lines)
    expected = [HEADER.count("\n") + 1 + i for i in range(7, 300, 7)]
    for target in (100, 1000, 10**6):
        found = vcf.read_batches(path, emit="rejects", partition_bytes=target)
        assert [row["line"] for b in found for row in b.to_pylist()] == expected


def test_messages__tell_no_genotype_and_no_sample(tmp_path: Path) -> None:
    path = write(tmp_path / "a.vcf", "1 5 . A C . . . GT 7/7 0/0 0/0", samples="NA1 NA2 NA3")
    (reason,) = reasons(path)
    assert "NA1" not in reason and "7" not in reason.removeprefix("FORMAT GT")


def test_line_ends__crlf_and_no_last_newline(tmp_path: Path) -> None:
    path = write(tmp_path / "a.vcf", "1 5 . A C . . . GT 0/0 0/1 1|1", "1 6 . A C . . . GT 0 1 .")
    text = Path(path).read_text()
    Path(path).write_bytes(text.rstrip("\n").replace("\n", "\r\n").encode())
    assert gt(table(path)) == [["0/0", "0/1", "1|1"], ["0", "1", "."]]


def test_compression__told_from_bytes(tmp_path: Path) -> None:
    path = write(tmp_path / "a.vcf", *(f"1 {i} . A C . . . GT 0/0 0/1 1/1" for i in range(1, 90)))
    text = Path(path).read_bytes()
    (tmp_path / "gzip.vcf.bgz").write_bytes(gzip.compress(text))
    blocks = compress(text[i : i + 100] for i in range(0, len(text), 100))
    (tmp_path / "bgzf.vcf.gz").write_bytes(blocks)
    plain = table(path).drop_columns(["sourceId"])
    for name, kind in (("gzip.vcf.bgz", "gzip"), ("bgzf.vcf.gz", "bgzf")):
        file = str(tmp_path / name)
        assert vcf.inspect(file)[0].compression == kind
        for target in (50, 500, 10**6):
            assert table(file, partition_bytes=target).drop_columns(["sourceId"]) == plain
    (tmp_path / "cut.vcf.gz").write_bytes(blocks[:-28])
    with pytest.raises(BgzfError, match="truncated"):
        vcf.inspect(str(tmp_path / "cut.vcf.gz"))


def test_choice__of_fields_and_samples(tmp_path: Path) -> None:
    path = write(tmp_path / "a.vcf", "1 5 . A C . . AC=1;AF=0.5 GT:AD 0/0:1,2 0|1:3,4 1/1:5,6")
    rows = table(path, info=["AF"], format=["AD"], samples=["C", "A"])
    assert [name for name in rows.column_names if name.startswith(("INFO", "call_"))] == [
        "INFO_AF", "INFO_undeclared", "call_ploidy", "call_genotype", "call_genotype_phased",
        "call_AD", "call_undeclared",
    ]  # fmt: skip
    assert gt(rows, 2) == [["1/1", "0/0"]]
    assert genotypes.values(rows["call_AD"].combine_chunks(), 2).tolist() == [[[5, 6], [1, 2]]]
    sites = table(path, genotypes=False)
    assert not [name for name in sites.column_names if name.startswith("call_")]
    with pytest.raises(ConfigError, match="INFO XY: no header declares it"):
        table(path, info=["XY"])
    with pytest.raises(SampleMismatchError, match=r"1 of the 2 samples asked for") as error:
        table(path, samples=["A", "Nobody"])
    assert "Nobody" not in str(error.value)


def test_sites_only__never_looks_at_genotypes(tmp_path: Path) -> None:
    path = write(tmp_path / "a.vcf", "1 5 . A C . . AC=1 GT rubbish rubbish rubbish")
    assert table(path, genotypes=False)["start"].to_pylist() == [4]
    assert len(reasons(path)) == 1


def test_merge__union_of_fields(tmp_path: Path) -> None:
    other = HEADER.replace("ID=NOTE", "ID=REMARK")
    write(tmp_path / "a.vcf", "1 5 . A C . . NOTE=x GT 0/0 0/1 1/1")
    write(tmp_path / "b.vcf", "1 6 . A C . . REMARK=y GT 1/1 0/0 0/0", header=other)
    rows = table(str(tmp_path / "*.vcf"))
    assert rows["INFO_NOTE"].to_pylist() == ["x", None]
    assert rows["INFO_REMARK"].to_pylist() == [None, "y"]
    assert len(set(rows["sourceId"].to_pylist())) == 2
    clash = HEADER.replace("ID=AC,Number=A,Type=Integer", "ID=AC,Number=A,Type=String")
    write(tmp_path / "c.vcf", header=clash)
    with pytest.raises(SchemaConflictError, match=r"INFO AC .*Integer.*a\.vcf.*String.*c\.vcf"):
        table(str(tmp_path / "*.vcf"))


def test_merge__samples_of_a_cohort(tmp_path: Path) -> None:
    write(tmp_path / "a.vcf", "1 5 . A C . . . GT 0/0 0/1 1/1", samples="P Q R")
    write(tmp_path / "b.vcf", "1 6 . A C . . . GT 0/0 0/1 1/1", samples="R P Q")
    assert gt(table(str(tmp_path / "*.vcf"))) == [["0/0", "0/1", "1/1"], ["0/1", "1/1", "0/0"]]
    write(tmp_path / "c.vcf", "1 7 . A C . . . GT 0/0 0/1", samples="P SECRET")
    with pytest.raises(SampleMismatchError) as error:
        table(str(tmp_path / "*.vcf"))
    assert "lacks 2 of the other's 3 (samples 2, 3) and has 1 that the other lacks (samples 2)" in (
        str(error.value)
    )
    assert "SECRET" not in str(error.value)
    rows = table(str(tmp_path / "*.vcf"), per_file_cohort=True)
    assert rows["cohort"].to_pylist() == ["a", "b", "c"]


def test_contigs__renamed_to_a_build(tmp_path: Path) -> None:
    path = write(tmp_path / "a.vcf", *(f"{c} 5 . A C . . . GT 0 0 0" for c in ("1", "MT", "GL1")))
    assert table(path, build="hg38")["contigName"].to_pylist() == ["chr1", "chrM", "GL1"]
    assert table(path, build="hg38", regions=["chr1:1-9"])["contigName"].to_pylist() == ["chr1"]


def test_schema__of_the_user_wins(tmp_path: Path) -> None:
    path = write(tmp_path / "a.vcf", "1 5 . A C . . AC=many GT 0 0 0")
    assert len(reasons(path)) == 1
    rows = table(path, fields={"INFO/AC": Field("AC", "1", "String")})
    assert rows["INFO_AC"].to_pylist() == ["many"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("##fileformat=VCFv4.2\n1\t5\t.\tA\tC\t.\t.\t.\n", "#CHROM"),
        (HEADER + "\t".join([*COLUMNS, "A", "A"]) + "\n", "sample"),
        ("", "expected"),
    ],
)
def test_header__faults_are_errors(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.vcf").write_text(text)
    with pytest.raises(FormatError, match=message):
        vcf.inspect(str(tmp_path / "a.vcf"))


def test_body__empty(tmp_path: Path) -> None:
    assert list(vcf.read_batches(write(tmp_path / "a.vcf"))) == []


def test_parts__small_files_share_a_task(tmp_path: Path) -> None:
    for i in range(20):
        write(tmp_path / f"{i}.vcf", f"1 {i + 1} . A C . . . GT 0 0 0")
    plan = vcf_plan.make_plan(vcf.inspect(str(tmp_path)))
    sizes = [len(held) for held in vcf_plan.parts(plan, 10**6)]
    assert sizes == [20]
    assert sum(len(held) for held in vcf_plan.parts(plan, 100)) == 20


# ------------------------------------------------------------------------------------ with Spark


def test_spark__reads_as_without(tmp_path: Path, spark: SparkSession) -> None:
    lines = [f"1 {i} rs{i} A C . PASS AC={i} GT:AD 0/0:1,2 0|1:3,4 ./.:." for i in range(1, 500)]
    path = write(tmp_path / "a.vcf", *lines, "1 x . A C . . . GT 0 0 0")
    expected = table(path).drop_columns(["INFO_undeclared", "call_undeclared", "reject"])
    frame = vcf.read(spark, path, partition_bytes=3000)
    assert frame.rdd.getNumPartitions() > 3
    ours = frame.filter("reject is null").orderBy("start").toArrow()
    assert ours.select(expected.column_names).equals(expected)
    assert frame.filter("reject is not null").select("reject.reason").first()[0].startswith("POS")
    again = spark.read.format("geneai.vcf").option("genotypes", "false").load(path)
    assert again.count() == 500
    assert vcf.read(spark, path, emit="all").selectExpr("sum(lines)").first()[0] == 500


def test_spark__options_are_checked(tmp_path: Path, spark: SparkSession) -> None:
    path = write(tmp_path / "a.vcf", "1 5 . A C . . . GT 0 0 0")
    vcf.register(spark)
    with pytest.raises(Exception, match="unknown option sample; did you mean samples"):
        spark.read.format("geneai.vcf").option("sample", "A").load(path).count()
    with pytest.raises(ConfigError, match="onMalformed='drop': expected reject or fail"):
        vcf.read(spark, path, on_malformed="drop")


def test_spark__error_names_file_line_and_field(tmp_path: Path, spark: SparkSession) -> None:
    path = write(tmp_path / "a.vcf", "1 5 . A C . . AC=x GT 0 0 0")
    with pytest.raises(Exception, match=rf"{path}, line 13, INFO AC: expected Type=Integer"):
        vcf.read(spark, path, on_malformed="fail").collect()


def test_spark__annotations_split(tmp_path: Path, spark: SparkSession) -> None:
    path = write(tmp_path / "a.vcf", "1 5 . A C . . CSQ=C|missense|GENE,C|intron| GT 0 0 0")
    assert vcf.read(spark, path).first()["INFO_CSQ"] == "C|missense|GENE,C|intron|"
    row = vcf.read(spark, path, split_info=["CSQ"]).first()["INFO_CSQ"]
    assert [one.asDict() for one in row] == [
        {"Allele": "C", "Consequence": "missense", "SYMBOL": "GENE"},
        {"Allele": "C", "Consequence": "intron", "SYMBOL": ""},
    ]


@requires("bcftools")
@pytest.mark.parametrize("kind", ["--tbi", "--csi", ""])
def test_regions__as_bcftools(tmp_path: Path, kind: str) -> None:
    lines = [
        f"{contig} {pos} . {'A' * (1 + pos % 9)} C . . . GT 0/0 0/1 1/1"
        for contig in ("1", "2", "X")
        for pos in range(1, 400_000, 61)
    ]
    contigs = "".join(f"##contig=<ID={c}>\n" for c in ("1", "2", "X"))
    path = write(tmp_path / "a.vcf", *lines, header=HEADER + contigs)
    subprocess.run(["bcftools", "view", "-Oz", "-o", path + ".gz", path], check=True)
    if kind:
        subprocess.run(["bcftools", "index", kind, path + ".gz"], check=True)
    indexed = tmp_path / "b.vcf.gz"
    shutil.copy(path + ".gz", indexed)
    subprocess.run(["bcftools", "index", "--tbi", str(indexed)], check=True)
    for regions in (["2:1000-2000"], ["1"], ["2:399000-", "X:1-1"], ["X:16384-16385"], ["3:1-9"],
                    ["1:150000-150100", "1:150050-150200"], ["2:999999999"]):  # fmt: skip
        told = subprocess.run(
            ["bcftools", "query", "-f", "%CHROM:%POS\n", "-r", ",".join(regions), str(indexed)],
            capture_output=True, text=True, check=True,
        ).stdout.split()  # fmt: skip
        found = list(vcf.read_batches(path + ".gz", regions=regions))
        ours = [f"{row['contigName']}:{row['start'] + 1}" for b in found for row in b.to_pylist()]
        assert ours == list(dict.fromkeys(told)), regions
