"""The job: files in, one file out; by cohort, region, sample and condition; whole or not at all."""

from __future__ import annotations

import itertools
import random
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark.sql import SparkSession

from geneai_spark import filesystems, store, tables
from geneai_spark.errors import InputError, SchemaConflictError, StorageError
from geneai_spark.export import ExportOptions, export_variants, joining, ranges, variants
from geneai_spark.formats import tabix, tabix_build, vcf_meta
from geneai_spark.ingest import ingest_variants
from geneai_spark.parquet_parts import Part
from tests.conftest import requires
from tests.vcf_files import text, write

pytestmark = requires("bcftools", "tabix")


def tool(*command: object) -> list[str]:
    """The lines that a command prints."""
    told = subprocess.run([*map(str, command)], capture_output=True, check=True, text=True)
    return told.stdout.splitlines()


def records(path: Path | str, *options: str) -> list[str]:
    return tool("bcftools", "view", "-H", *options, path)


@pytest.fixture(scope="module")
def study(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[str]]:
    """A cohort of three files whose records interleave and repeat, and one of another cohort."""
    folder = tmp_path_factory.mktemp("export")
    one = text(records=3000, first=10_000, contig="2", seed=1)
    two = text(records=3000, first=11_500, contig="2", seed=2)
    ten = text(records=50, contig="10", seed=3)
    files = [write(folder / f"{n}.vcf.bgz", t) for n, t in (("a", one), ("b", ten), ("c", two))]
    warehouse = str(folder / "tables")
    ingest_variants(spark, warehouse, files, optimize="never")
    alone = write(folder / "alone.vcf", text(("Z",), records=3))
    ingest_variants(spark, warehouse, [alone], cohort="other")
    return warehouse, files


def expected(files: list[str]) -> list[str]:
    """What stands in the files, sorted: contig 2 before 10, by POS, stable in the files' order."""
    lines = [line for file in files for line in records(file)]
    return sorted(lines, key=lambda x: (int(x.split("\t")[0]), int(x.split("\t")[1])))


def run(spark: SparkSession, warehouse: str, output: Path, **options: Any) -> dict[str, Any]:
    options = {"cohort": "default", **options}
    return export_variants(spark, warehouse, ExportOptions(output=str(output), **options))


def test_export__several_files_become_one_sorted_and_indexed(
    spark: SparkSession, study: tuple[str, list[str]], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    warehouse, files = study
    monkeypatch.setattr(ranges, "LEAST_BYTES", 1 << 14)  # many tasks
    out = tmp_path / "all.vcf.gz"
    told = run(spark, warehouse, out)
    want = expected(files)
    assert told["records"] == len(want) == 6050 and told["samples"] == 2
    assert told["tasks"] > 1
    assert records(out) == want
    assert sorted(p.name for p in tmp_path.iterdir()) == ["all.vcf.gz", "all.vcf.gz.tbi"]
    assert tool("bcftools", "index", "--stats", out) == ["2\t.\t6000", "10\t.\t50"]
    # The same file whatever the tasks: Spark's own sort, and one task.
    monkeypatch.setattr(ranges, "cut", lambda *_: None)
    plain = tmp_path / "spark.vcf"
    run(spark, warehouse, plain)
    assert plain.read_text() == "\n".join(tool("bgzip", "-dc", out)) + "\n"
    chance = random.Random(5)
    for _ in range(40):
        start = chance.randrange(9_900, 14_600)
        region = f"2:{start}-{start + chance.choice([1, 30, 900])}"
        low, high = map(int, region.partition(":")[2].split("-"))
        inside = [x for x in want if x[0] == "2" and low <= int(x.split("\t")[1]) <= high]
        assert tool("tabix", out, region) == inside
    # The target stays as it was: it is there, and a run that fails in the middle.
    before = out.read_bytes()
    with pytest.raises(StorageError, match="overwrite=true"):
        run(spark, warehouse, out)
    made = variants._through_spark

    def cut_short(*given: Any) -> Any:
        parts = made(*given)
        Path(parts[-1].uri).write_bytes(b"half")
        return parts

    monkeypatch.setattr(variants, "_through_spark", cut_short)
    with pytest.raises(StorageError, match="bytes written, 4 there"):
        run(spark, warehouse, out, overwrite=True)
    assert out.read_bytes() == before
    assert {p.name for p in tmp_path.iterdir()} <= {"all.vcf.gz", "all.vcf.gz.tbi", "spark.vcf"}


def test_export__a_part_of_it(
    spark: SparkSession, study: tuple[str, list[str]], tmp_path: Path
) -> None:
    warehouse, files = study
    out = tmp_path / "part.vcf.bgz"
    measured = [
        {"cohort": "default", "sampleId": name, "sampleIndex": i, "callRate": float(i)}
        for i, name in enumerate("AB")
    ]
    rows = store.from_rows(spark, measured, tables.SAMPLE_QUALITY)
    store.replace(rows, tables.SAMPLE_QUALITY, warehouse)
    told = run(spark, warehouse, out, regions=("2:10100-10200", "10"), keep_samples="callRate > 0")
    near = [x for f in files for x in records(f, "-s", "B", "-I", "-t", "2:10100-10200,10")]
    assert records(out) == sorted(
        near, key=lambda x: (int(x.split("\t")[0]), int(x.split("\t")[1]))
    )
    assert told["records"] == 151 and tool("bcftools", "query", "-l", out) == ["B"]
    run(spark, warehouse, sites := tmp_path / "sites.vcf", genotypes=False, regions=("10",))
    assert "FORMAT" not in sites.read_text()
    assert records(sites) == records(files[1], "-G")


def test_export__which_cohort(
    spark: SparkSession, study: tuple[str, list[str]], tmp_path: Path
) -> None:
    warehouse, _ = study
    with pytest.raises(InputError, match="which one of default, other"):
        run(spark, warehouse, tmp_path / "x.vcf", cohort=None)
    with pytest.raises(InputError, match="no 'third' in the tables, only default, other"):
        run(spark, warehouse, tmp_path / "x.vcf", cohort="third")
    with pytest.raises(ValueError, match="must end in one of"):
        ExportOptions(output="x.bcf")
    assert not list(tmp_path.iterdir())


# --- index ------------------------------------------------------------------------------


@pytest.mark.parametrize("longest", [1 << 20, 3 << 29], ids=["tbi", "csi"])
def test_index__finds_what_a_scan_finds(tmp_path: Path, longest: int) -> None:
    """Long and short records, in three parts, by bcftools and by our own reader of indexes."""
    chance = np.random.default_rng(7)
    starts = np.sort(chance.integers(0, longest, 900))
    lengths = chance.choice([1, 5, 40_000, longest // 9], 900, p=[0.6, 0.3, 0.08, 0.02])
    ends = starts + lengths
    depth = tabix_build.depth_of(longest)
    head = ["##fileformat=VCFv4.2", f"##contig=<ID=c1,length={longest * 2}>", "##contig=<ID=c2>",
            '##INFO=<ID=END,Number=1,Type=Integer,Description="end">']  # fmt: skip
    header = "\n".join([*head, "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"]) + "\n"
    parts = []
    from geneai_spark.export.parts import Written
    from geneai_spark.formats.bgzf_writer import BgzfWriter

    for number, rows in enumerate(np.array_split(np.arange(900), 3)):
        lines = [
            f"c{1 + (i >= 800)}\t{starts[i] + 1}\t{'x' * 150}\tA\t<DEL>\t.\t.\tEND={ends[i]}\n"
            for i in rows
        ]
        with (tmp_path / str(number)).open("wb") as sink:
            writer = BgzfWriter(sink, 1)
            for line in lines:
                writer.write(line.encode())
            writer.close()
        at = np.concatenate([[0], np.cumsum([len(line) for line in lines])])
        made = tabix_build.index_part(
            (rows >= 800).astype(np.int64), starts[rows], ends[rows], writer.offsets(at), depth
        )
        uri = str(tmp_path / str(number))
        parts.append(Written(number, uri, writer.size, int(at[-1]), len(rows), made))
    target = str(tmp_path / "x.vcf.gz")
    _, bases = joining.join(target, header.encode(), parts, 6)
    index = joining.write_index(target, parts, bases, ["c1", "c2"], depth)
    assert index.endswith(".csi" if longest > 1 << 29 else ".tbi")
    ours = tabix.find(target)
    assert ours is not None and set(ours.bins) == {"c1", "c2"}
    for _ in range(60):
        low = int(chance.integers(0, longest))
        high = low + int(chance.choice([1, 1000, longest // 5]))
        want = int(((starts[:800] < high) & (ends[:800] > low)).sum())
        found = tool("bcftools", "view", "-H", "-r", f"c1:{low + 1}-{high}", target)
        assert len(found) == want


# --- headers and ranges -----------------------------------------------------------------


def test_merge__headers_of_several_files() -> None:
    one = ["##fileformat=VCFv4.1", "##source=x", '##FILTER=<ID=q,Description="a">',
           '##INFO=<ID=N,Number=1,Type=Integer,Description="n">', "##contig=<ID=10>"]  # fmt: skip
    two = ["##fileformat=VCFv4.2", "##source=x", "##source=y", '##FILTER=<ID=q,Description="b">',
           '##INFO=<ID=N,Number=2,Type=Integer,Description="n">',
           "##contig=<ID=2,length=5>"]  # fmt: skip
    made = vcf_meta.merge([("a", one), ("b", two)], {"10", "2", "X"})
    assert made.lines == (
        "##fileformat=VCFv4.2", "##source=x", '##FILTER=<ID=q,Description="a">',
        '##INFO=<ID=N,Number=.,Type=Integer,Description="n">', "##contig=<ID=2,length=5>",
        "##contig=<ID=10>", "##contig=<ID=X>", "##source=y",
    )  # fmt: skip
    assert made.contigs == ("2", "10", "X")
    assert made.conflicts == ("FILTER q", "INFO N")
    three = [two[0], "##contig=<ID=2,length=6>"]
    with pytest.raises(SchemaConflictError, match="contig 2 has 5 bases in b and 6 in c"):
        vcf_meta.merge([("b", two), ("c", three)], ())


def test_cut__every_row_has_one_task_whatever_the_order() -> None:
    chance = random.Random(3)
    pieces, place = [], 0
    for group in range(40):
        width = chance.randrange(1, 900)
        size = ranges.LEAST_BYTES / 2
        pieces.append(ranges.Piece(Part("u", (group,)), "1", place, place + width, 9, size, 0))
        place += chance.randrange(1, width + 20)
    chance.shuffle(pieces)
    tasks = ranges.cut(pieces, ["1"], 16)
    assert tasks is not None and len(tasks) > 2
    assert all(a.high == b.low for a, b in itertools.pairwise(tasks))
    for piece in pieces:
        for start in (piece.first, piece.last):
            mine = [t for t in tasks if t.low <= (0, start) < t.high]
            assert len(mine) == 1 and piece.part in mine[0].parts
    spread = [p._replace(first=0, last=10_000, size=ranges.RANGE_BYTES) for p in pieces]
    assert ranges.cut(spread, ["1"], 2) is None  # rows in no order: Spark sorts


def test_create__an_error_leaves_what_was_there(tmp_path: Path) -> None:
    (path := tmp_path / "x").write_text("old")
    with pytest.raises(RuntimeError), filesystems.create(str(path)) as out:
        out.write(b"half")
        raise RuntimeError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    with filesystems.create(str(path)) as out:
        out.write(b"new")
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]
