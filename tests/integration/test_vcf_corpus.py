"""The conformance corpus of the VCF specification (samtools/hts-specs, test/vcf).

Every file in `passed` is stored whole. Every file in `failed` raises a FormatError, or has a line
in the rejects, or stands in docs/vcf-leniency.md, which says how each one ends; the lists there
and what the reader does are compared in both directions. After a change of a rule, print the new
lists with ``python -m tests.integration.test_vcf_corpus FOLDER``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pysam
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from geneai_spark import genotypes
from geneai_spark.errors import FormatError
from geneai_spark.filesystems import source_id
from geneai_spark.formats import vcf
from tests.conftest import ROOT, SHARED_DATA

CORPUS = SHARED_DATA / "hts-specs-vcf"
LENIENCY = ROOT / "docs" / "vcf-leniency.md"
PASSED = sorted(CORPUS.glob("4.*/passed/*.vcf"))
FAILED = sorted(CORPUS.glob("4.*/failed/*.vcf"))
OUTCOMES = ("accepted", "error", "reject")

pytestmark = pytest.mark.skipif(not PASSED, reason=f"no conformance corpus at {CORPUS}")


def name(path: Path) -> str:
    """``4.1/body_alt_000`` or ``4.1/meta_alt``."""
    stem = re.sub(r"failed_|passed_", "", path.stem)
    return f"{path.parent.parent.name}/{stem}"


def data_lines(path: Path) -> list[list[str]]:
    """The columns of each data line, read as plain text."""
    lines = path.read_text(encoding="utf-8").split("\n")
    return [line.rstrip("\r").split("\t") for line in lines if line and line[0] != "#"]


def read(path: Path) -> tuple[pa.Table, list[str]]:
    """Good records and the reasons of the rejected lines, without Spark."""
    batches = list(vcf.read_batches(str(path), emit="all"))
    rows = pa.concat_tables(pa.Table.from_batches([b]) for b in batches) if batches else None
    n_lines = len(data_lines(path))
    if rows is None:
        assert n_lines == 0
        return pa.table({}), []
    reasons = [reject["reason"] for reject in rows["reject"].to_pylist() if reject]
    assert rows.num_rows == n_lines, "records in are not stored + rejected"
    assert sum(rows["lines"].to_pylist()) == n_lines
    return rows.filter(pc.is_null(rows["reject"])), reasons


def outcome(path: Path) -> tuple[str, str]:
    """How a file ends: accepted, error or reject; and why."""
    try:
        _, reasons = read(path)
    except FormatError as error:
        return "error", str(error)
    return ("reject", reasons[0]) if reasons else ("accepted", "")


# --- passed -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stored() -> dict[str, pa.Table]:
    tables = {}
    for path in PASSED:
        tables[name(path)], reasons = read(path)
        assert reasons == [], name(path)
    return tables


def test_the_corpus_is_whole() -> None:
    assert (len(PASSED), len(FAILED)) == (50, 383)


@pytest.mark.parametrize("path", PASSED, ids=name)
def test_passed__sites_are_those_of_the_text(path: Path, stored: dict[str, pa.Table]) -> None:
    rows = stored[name(path)].to_pylist()
    for line, row in zip(data_lines(path), rows, strict=True):
        chrom, pos, ids, ref, alt, qual, filters, info = line[:8]
        assert (row["contigName"], row["start"]) == (chrom, int(pos) - 1)
        assert row["referenceAllele"] == ref
        assert ";".join(row["names"] or ["."]) == ids
        assert ",".join(row["alternateAlleles"] or ["."]) == alt
        assert row["qual"] == (None if qual == "." else pytest.approx(float(qual), nan_ok=True))
        assert row["filters"] == (None if filters == "." else filters.split(";"))
        expected = {} if info == "." else dict(i.partition("=")[::2] for i in info.split(";") if i)
        end = int(expected["END"]) if "END" in expected else row["start"] + len(ref)
        assert row["end"] == end
        others = dict(row["INFO_undeclared"] or [])
        for key, text in expected.items():
            column = f"INFO_{key}"
            if column not in row or isinstance(row[column], bool):
                assert others.pop(key, "") == text
            if column in row:
                assert row[column] == value_of(text, row[column])
        assert others == {}
        held = {c for c, v in row.items() if c.startswith("INFO_") and v not in (None, False)}
        assert held <= {f"INFO_{key}" for key in expected} | {"INFO_undeclared"}


def value_of(text: str, like: object) -> object:
    """The text of an INFO value as Python has it, of the same kind as `like`."""
    if isinstance(like, bool):
        return text != "0"
    if isinstance(like, list):
        kinds = [v for v in like if v is not None]
        return [value_of(t, kinds[0] if kinds else None) for t in text.split(",")]
    if text == ".":
        return None
    return type(like)(text)


@pytest.mark.parametrize("path", PASSED, ids=name)
def test_passed__samples_are_those_of_the_text(path: Path, stored: dict[str, pa.Table]) -> None:
    lines, table = data_lines(path), stored[name(path)]
    if not lines or len(lines[0]) < 10:
        return
    n = len(lines[0]) - 9
    decoded = genotypes.calls(table["call_genotype"], n, table["call_ploidy"])
    phase = genotypes.phased(table["call_genotype_phased"], n, table["call_ploidy"])
    spelt = genotypes.gt_strings(decoded, phase)
    others = [dict(m or []) for m in table["call_undeclared"].to_pylist()]
    for r, line in enumerate(lines):
        keys = line[8].split(":")
        texts = [dict(zip(keys, sample.split(":"), strict=False)) for sample in line[9:]]
        assert (table["call_genotype"][r].as_py() is not None) == ("GT" in keys)
        if "GT" in keys:
            assert spelt[r] == [t["GT"] for t in texts]
        for key in set(keys) - {"GT"}:
            mine = [t.get(key, ".") for t in texts]
            if f"call_{key}" not in table.column_names:
                assert others[r].pop(key).split("\t") == mine
            else:
                values = genotypes.values(table[f"call_{key}"].slice(r, 1), n)[0]
                assert [tuple(v) for v in trimmed(values)] == [
                    tuple(converted(t, values.dtype.kind)) for t in mine
                ]
        assert others[r] == {}


def trimmed(values: genotypes.Array) -> Iterator[list[object]]:
    """Each sample's values without the end of the vector; None is missing."""
    for sample in values:
        if values.dtype.kind == "O":
            yield list(sample)
        elif values.dtype.kind == "f":
            bits = sample.view("u4")
            yield [None if b == 0x7F800001 else float(v) for v, b in zip(sample, bits, strict=True)
                   if b != 0x7F800002]  # fmt: skip
        else:
            absent = genotypes.INT_ABSENT
            yield [None if v == genotypes.INT_MISSING else int(v) for v in sample if v != absent]


def converted(text: str, kind: str) -> list[object]:
    if kind == "O":
        return [text]
    to = (lambda v: float(np.float32(v))) if kind == "f" else int
    return [None if v == "." else to(v) for v in text.split(",")]


@pytest.mark.parametrize("path", PASSED, ids=name)
def test_passed__genotypes_agree_with_htslib(path: Path, stored: dict[str, pa.Table]) -> None:
    table = stored[name(path)]
    pysam.set_verbosity(0)
    with pysam.VariantFile(str(path)) as peer:
        n = len(peer.header.samples)
        if not n or not table.num_rows:
            assert len(list(peer)) == table.num_rows
            return
        decoded = genotypes.calls(table["call_genotype"], n, table["call_ploidy"])
        phase = genotypes.phased(table["call_genotype_phased"], n, table["call_ploidy"])
        count = 0
        for r, record in enumerate(peer):
            count += 1
            for s, call in enumerate(record.samples.values()):
                if "GT" not in record.format:
                    continue
                alleles = decoded[r, s][decoded[r, s] != genotypes.ABSENT].tolist()
                # pysam has no index for an allele 1 where ALT is `.`
                mine = [a if 0 <= a < len(record.alleles) else None for a in alleles]
                assert tuple(mine) == call.allele_indices
                if len(alleles) > 1:
                    assert bool(phase[r, s, : len(alleles) - 1].all()) == call.phased
        assert count == table.num_rows


def test_passed__all_at_once_through_spark(spark: SparkSession) -> None:
    folders = [str(CORPUS / version / "passed") for version in ("4.1", "4.2")]
    rows = vcf.read(spark, folders, per_file_cohort=True, emit="all")
    counts = {
        row["sourceId"]: (row["rows"], row["lines"], row["rejects"])
        for row in rows.groupBy("sourceId")
        .agg(
            F.count("*").alias("rows"),
            F.sum("lines").alias("lines"),
            F.count("reject").alias("rejects"),
        )
        .collect()
    }
    expected = {source_id(path.as_uri()): len(data_lines(path)) for path in PASSED}
    assert counts == {k: (n, n, 0) for k, n in expected.items() if n}


# --- failed -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def outcomes() -> dict[str, tuple[str, str]]:
    return {name(path): outcome(path) for path in FAILED}


def documented() -> dict[str, str]:
    """File -> outcome, as docs/vcf-leniency.md lists them."""
    text = LENIENCY.read_text(encoding="utf-8")
    found = {}
    for kind in OUTCOMES:
        section = re.search(f"<!-- {kind} -->(.*?)<!-- end -->", text, re.DOTALL)
        assert section, kind
        for row in re.findall(r"^\| ([^|]*) \|", section[1], re.MULTILINE):
            for version, files in re.findall(r"(4\.\d): ([^;]*)", row):
                for file in files.split():
                    assert f"{version}/{file}" not in found, f"{version}/{file} stands twice"
                    found[f"{version}/{file}"] = kind
    return found


def test_failed__each_ends_as_the_document_says(outcomes: dict[str, tuple[str, str]]) -> None:
    told = documented()
    wrong = {
        file: f"documented {told.get(file, 'not at all')}, found {kind} {why}"
        for file, (kind, why) in outcomes.items()
        if told.get(file) != kind
    }
    assert wrong == {}
    assert sorted(told) == sorted(outcomes)


def test_failed__reasons_name_the_place(outcomes: dict[str, tuple[str, str]]) -> None:
    for file, (kind, why) in outcomes.items():
        if kind != "accepted":
            assert "expected" in why and "found" in why, file
        if kind == "error":
            assert ", line " in why, file


def test_failed__policy_fail_raises_where_reject_rejects(
    outcomes: dict[str, tuple[str, str]],
) -> None:
    for path in FAILED:
        kind, why = outcomes[name(path)]
        if kind != "reject":
            continue
        with pytest.raises(FormatError) as caught:
            list(vcf.read_batches(str(path), on_malformed="fail"))
        assert str(caught.value).endswith(why.partition(": ")[2])
        assert caught.value.line is not None


def main(folder: str) -> None:
    """Print file, outcome, the corpus's complaint and the reader's, TAB-separated."""
    for path in sorted(Path(folder).glob("4.*/failed/*.vcf")):
        cause = re.search(r"CauseOfFailure=(.*)", path.read_text(encoding="utf-8"))
        print(name(path), *outcome(path), cause[1] if cause else "", sep="\t")


if __name__ == "__main__":
    main(sys.argv[1])
