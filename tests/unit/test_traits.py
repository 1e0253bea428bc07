"""Files of traits: parsing, and what becomes of them in the tables."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

import pandas as pd
import pytest
from pyspark.sql import SparkSession

from geneai_spark import store, tables
from geneai_spark.errors import FormatError, InputError
from geneai_spark.formats import traits
from geneai_spark.ingest import ingest_traits


def parse(path: Path, content: str | bytes, **options: object) -> traits.Traits:
    file = path / "t.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return traits.read(str(file), **options)  # type: ignore[arg-type]


def values(found: traits.Traits) -> dict[tuple[str, str], float | str]:
    return {
        (row["sampleId"], row["trait"]): row["text"] if row["value"] is None else row["value"]
        for row in found.values.to_pylist()
    }


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "   ", " \t "])
def test_read__finds_the_delimiter(delimiter: str, tmp_path: Path) -> None:
    content = "#IID,age,sex\nA,31,f\nB,NA,m\n".replace(",", delimiter)
    found = parse(tmp_path, content)
    assert values(found) == {("A", "age"): 31.0, ("A", "sex"): "f", ("B", "sex"): "m"}
    assert (found.samples, found.traits, found.rejected) == (2, ("age", "sex"), ())


def test_read__quotes_blanks_crlf_bom_and_gzip(tmp_path: Path) -> None:
    content = '\ufeffage,sample,"a ""b"", c"\r\n 1e-3 , A ,"x, y"\r\n\r\n-9,B, z\r\n'
    expected = {("A", "age"): 0.001, ("A", 'a "b", c'): "x, y", ("B", 'a "b", c'): "z"}
    assert values(parse(tmp_path, content)) == expected
    assert values(parse(tmp_path, gzip.compress(content.encode()))) == expected


def test_read__missing_codes_are_an_option(tmp_path: Path) -> None:
    content = "id,x\nA,-9\nB,NA\nC,\nD,?\nE,1\n"
    with pytest.raises(FormatError) as caught:
        parse(tmp_path, content)
    assert "1 of 2 values that are no numbers, on lines 5" in str(caught.value)
    found = parse(tmp_path, content, missing=["NA", "?"])
    assert values(found) == {("A", "x"): -9.0, ("E", "x"): 1.0}
    assert values(parse(tmp_path, content, text=["x"])) == {("D", "x"): "?", ("E", "x"): "1"}


def test_read__bad_lines_are_rejected_with_their_number(tmp_path: Path) -> None:
    content = "id,x,y\nA,1,2\n\nB,1\nC,1,2,3\n   \n,7,7\nD,5,6\n"
    found = parse(tmp_path, content)
    assert [(r.line, r.reason) for r in found.rejected] == [
        (4, "expected 3 fields, found 2"),
        (5, "expected 3 fields, found 4"),
        (7, "no sample id"),
    ]
    assert found.samples == 2
    assert values(found)[("D", "y")] == 6.0


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("id,x\nSECRET,1\nB,2\nSECRET,3\n", {}, "found one on lines 2 and 4"),
        ("id,x,x\nA,1,2\n", {}, "'x' 2 times"),
        ("id,,x\nA,1,2\n", {}, "a column without a name"),
        ("", {}, "a first line that names the columns, found nothing"),
        ("id,x\nA,1\n", {"sample_column": "iid"}, "a column 'iid', found only id, x"),
        ("id,x\nA,1\n", {"columns": ["y"]}, "a column 'y', found only id, x"),
        ("id,x\nA,1\nB,SECRET\n\nC,SECRET\n", {}, "2 of 3 values that are no numbers"),
        ("id,x\nA,inf\nB,1\n", {}, "1 of 2 values that are no numbers, on lines 2"),
        (b"id,x\nA,\xff\n", {}, "UTF-8 text"),
        (gzip.compress(b"id,x\nA,1\n", mtime=0)[:-12], {}, "whole gzip data"),
    ],
)  # fmt: skip
def test_read__raise_without_ids_or_values(
    content: str | bytes, options: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(FormatError) as caught:
        parse(tmp_path, content, **options)
    assert message in str(caught.value)
    assert "SECRET" not in str(caught.value)


def test_read__sample_column_and_family_id(tmp_path: Path) -> None:
    found = parse(tmp_path, "FID IID pheno\nf1 A 1\nf1 B 2\n")
    assert values(found) == {("A", "pheno"): 1.0, ("B", "pheno"): 2.0}
    found = parse(tmp_path, "x,who\n1,A\n", sample_column="who")
    assert values(found) == {("A", "x"): 1.0}
    found = parse(tmp_path, "who,x,y\nA,1,2\n", columns=["y"])
    assert (found.traits, values(found)) == (("y",), {("A", "y"): 2.0})
    assert parse(tmp_path, "id,x\n").samples == 0


def test_read__as_pandas_does_on_a_wide_file(tmp_path: Path) -> None:
    chance = random.Random(3)
    header = ["sample", *(f"t{i}" for i in range(2000))]
    cells = ["1", "-2.5", "3e4", "NA", ""]
    lines = [[f"S{j}", *(chance.choice(cells) for _ in range(2000))] for j in range(30)]
    content = "\n".join("\t".join(line) for line in [header, *lines]) + "\n"
    found = parse(tmp_path, content)
    oracle = pd.read_csv(tmp_path / "t.csv", sep="\t", index_col=0).stack().to_dict()
    assert values(found) == oracle


def test_read__real_covariates(shared_data: Path) -> None:
    path = shared_data / "cohort" / "hipster_labels_covariates.txt"
    found = traits.read(str(path))
    oracle = pd.read_csv(path, index_col=0, float_precision="round_trip")
    assert (found.samples, list(found.traits)) == (len(oracle), list(oracle.columns))
    assert values(found) == oracle.stack().to_dict()


def test_ingest_traits__by_the_ledger(spark: SparkSession, tmp_path: Path) -> None:
    home, a, b = str(tmp_path / "wh"), tmp_path / "a.csv", tmp_path / "b.csv"
    a.write_text("id,age,site\nA,1,x\nB,2,\nC\n")
    b.write_text("id,height\nA,10\n")
    watched = (tables.TRAITS, tables.REJECTS, tables.INGESTS)

    def stored() -> set[tuple[str, str, float | None, str | None]]:
        rows = store.read(spark, tables.TRAITS, home).collect()
        return {(r.sampleId, r.trait, r.value, r.text) for r in rows}

    told = ingest_traits(spark, home, [str(a), str(b)])
    assert told == {
        "files": 2,
        "files_unchanged": 0,
        "records_in": 4,
        "records_stored": 3,
        "records_rejected": 1,
        "values": 4,
        "traits": 3,
    }
    height = ("A", "height", 10.0, None)
    assert stored() == {("A", "age", 1, None), ("B", "age", 2, None), ("A", "site", None, "x"),
                        height}  # fmt: skip
    assert [r.line for r in store.read(spark, tables.REJECTS, home).collect()] == [4]
    before = [store.version(spark, table, home) for table in watched]
    assert ingest_traits(spark, home, [str(a), str(b)])["files_unchanged"] == 2
    assert [store.version(spark, table, home) for table in watched] == before

    a.write_text("id,age\nA,5\n")
    ingest_traits(spark, home, str(a))
    assert stored() == {("A", "age", 5.0, None), height}
    assert store.read(spark, tables.REJECTS, home).count() == 0

    c = tmp_path / "c.csv"
    c.write_text("id,age\nA,6\nB,7\n")
    with pytest.raises(InputError, match=r"another file .* values of age \(1 samples\); force"):
        ingest_traits(spark, home, str(c))
    ingest_traits(spark, home, str(c), force=True)
    assert stored() == {("A", "age", 6.0, None), ("B", "age", 7.0, None), height}
