"""PLINK and BGEN files into the tables of VCF: the same ledger, cohorts, rejects."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from geneai_spark import genotypes, store, tables
from geneai_spark.errors import InputError
from geneai_spark.filesystems import source_id
from geneai_spark.formats import bgen, plink
from geneai_spark.ingest import VariantOptions, ingest_variants, ledger
from tests.genotype_files import A1A1, A2A2, HET, Variant, write_bed
from tests.genotype_files import bgen as bgen_bytes
from tests.vcf_files import write

VCF = """##fileformat=VCFv4.3
##contig=<ID=22>
##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">
#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tA\tB
22\t10\t.\tA\tG\t.\t.\t.\tGT\t0/1\t1/1
"""


def files(folder: Path) -> tuple[str, str, str]:
    """One study in three formats; the .bed has the samples in another order."""
    fam = ["0 B 0 0 0 -9", "0 A 0 0 0 -9"]
    bim = ["22 x 0 20 G A", "22 y 0 oops G A"]
    bed = write_bed(folder / "b", [[A1A1, HET], [HET, A2A2]], bim=bim, fam=fam)
    sure = Variant([[0, 255], [0, 0]], [2, 2], [False, False], position=30)
    path = folder / "c.bgen"
    path.write_bytes(bgen_bytes([sure, sure._replace(position=40)], ids=["A", "B"]))
    return write(folder / "a.vcf", VCF), bed, str(path)


def stored(spark: SparkSession, home: str) -> dict[int, list[list[int]]]:
    """Genotypes by place."""
    rows = store.read(spark, tables.VARIANTS, home).collect()
    return {row.start: genotypes.calls([row.call_genotype], 2)[0].tolist() for row in rows}


def test_ingest__three_formats_into_one_cohort(spark: SparkSession, tmp_path: Path) -> None:
    home, data = str(tmp_path / "wh"), tmp_path / "data"
    data.mkdir()
    vcf, bed, other = files(data)
    told = ingest_variants(spark, home, str(data))  # the folder: companions are no inputs
    counts = {k: told[k] for k in told if k.startswith(("files", "records"))}
    assert counts == {
        "files": 3, "files_unchanged": 0, "records_in": 5, "records_stored": 4,
        "records_rejected": 1,
    }  # fmt: skip
    expected = {9: [[0, 1], [1, 1]], 19: [[0, 1], [1, 1]], 29: [[0, 1], [1, 1]]}
    assert stored(spark, home) == expected | {39: [[0, 1], [1, 1]]}
    samples = store.read(spark, tables.SAMPLES, home).orderBy("sampleIndex").collect()
    assert [row.sampleId for row in samples] == ["A", "B"]
    (reject,) = store.read(spark, tables.REJECTS, home).collect()
    assert (reject.sourceId, reject.line) == (source_id(bed), 2)
    gp = store.read(spark, tables.VARIANTS, home).where("start = 29").collect()[0].call_GP
    assert genotypes.values([gp], 2)[0].tolist() == [[0, 1, 0], [0, 0, 1]]

    assert ingest_variants(spark, home, str(data))["files_unchanged"] == 3
    # A companion that changes is a change of the file; settings of one kind touch that kind alone.
    bim = data / "b.bim"
    bim.write_text(bim.read_text().replace(" 20 ", " 25 "))
    os.utime(bim, (1, 1))
    told = ingest_variants(spark, home, str(data), hard_call_threshold=0.2)
    assert (told["files_unchanged"], told["records_in"]) == (1, 4)
    assert sorted(stored(spark, home)) == [9, 24, 29, 39]

    with pytest.raises(InputError, match="split_info: BGEN files have no INFO keys to split"):
        ingest_variants(spark, home, other, split_info=("CSQ",))
    (data / "b.fam").unlink()
    with pytest.raises(InputError, match=r"b\.fam: No such file"):
        ingest_variants(spark, home, bed)
    entries = ledger.load(spark, home)
    assert entries[source_id(bed)].status == "failed"
    assert entries[source_id(vcf)].options == VariantOptions().fingerprint()


def test_ingest__other_samples_and_changing_companions_are_refused(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = str(tmp_path / "wh")
    _, bed, other = files(tmp_path)
    real, times = plink.plan, itertools.count(5)

    def slow(*given, **named):
        now = next(times)
        os.utime(tmp_path / "b.fam", (now, now))
        return real(*given, **named)

    for tasks_write in (True, False):  # where tasks cannot write, Spark does
        with monkeypatch.context() as patched:
            if not tasks_write:
                patched.setattr(store, "can_adopt", lambda *_, **__: False)
            with monkeypatch.context() as meanwhile:
                meanwhile.setattr(plink, "plan", slow)
                with pytest.raises(InputError, match=r"b\.fam: changed while it was read"):
                    ingest_variants(spark, home, bed)
            assert store.read(spark, tables.VARIANTS, home).count() == 0
            if not tasks_write:
                ingest_variants(spark, home, bed)
    assert stored(spark, home) == {19: [[1, 1], [0, 1]]}
    assert store.read(spark, tables.REJECTS, home).count() == 1
    (tmp_path / "c.bgen").write_bytes(
        bgen_bytes([Variant([[0, 0], [0, 0]], [2, 2], [False] * 2)], ids=["A", "SECRET"])
    )
    with pytest.raises(InputError, match="it lacks 1 of the cohort") as caught:
        ingest_variants(spark, home, other)
    assert "SECRET" not in str(caught.value)
    told = ingest_variants(spark, home, other, per_file_cohort=True)
    assert told["records_stored"] == 1
    cohorts = store.read(spark, tables.SAMPLES, home).select("cohort").distinct().collect()
    assert sorted(row.cohort for row in cohorts) == ["c", "default"]


@pytest.mark.parametrize("force", [False, True])
def test_ingest__companions_that_change_once_they_are_inspected_are_told(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, force: bool
) -> None:
    home = str(tmp_path / "wh")
    _, bed, _ = files(tmp_path)
    real = plink.inspect

    def slow(*given):
        found = real(*given)
        os.utime(tmp_path / "b.fam", (5, 5))
        return found

    monkeypatch.setattr(plink, "inspect", slow)
    with pytest.raises(InputError, match=r"b\.fam: changed while it was read"):
        ingest_variants(spark, home, bed, force=force)
    assert store.read(spark, tables.VARIANTS, home).count() == 0


def test_read__a_data_frame_of_files(spark: SparkSession, tmp_path: Path) -> None:
    _, bed, other = files(tmp_path)
    with pytest.raises(Exception, match=r"b\.bim, line 2, position: expected a number"):
        plink.read(spark, bed).collect()
    rows = plink.read(spark, bed, regions=["22:1-25"], samples=["A", "B"], genotypes=False)
    assert "call_genotype" not in rows.columns
    table = bgen.read(spark, other, samples=["B"]).orderBy("start").toArrow()
    assert table["start"].to_pylist() == [29, 39]
    assert genotypes.calls(table["call_genotype"], 1, table["call_ploidy"]).tolist() == [
        [[1, 1]], [[1, 1]],
    ]  # fmt: skip
