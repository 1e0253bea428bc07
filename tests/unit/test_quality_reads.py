"""Quality of reads: what FastQC tells of the same files, and the same whatever the partitions."""

from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from geneai_spark.jobs import check_reads
from pyspark.sql import SparkSession

from geneai_spark import config, store, tables
from geneai_spark.errors import ConfigError, TableError
from geneai_spark.filesystems import source_id
from geneai_spark.ingest.reads import ingest_reads
from geneai_spark.quality import read_kernels, read_sums, reads
from tests import fastq_files
from tests.conftest import requires
from tests.fastq_files import Read

#: Module of FastQC -> our checks that together stand for it.
MODULES = {
    "Per base sequence quality": ("base_quality_median", "base_quality_lower_quartile"),
    "Per sequence quality scores": ("read_quality",),
    "Per base sequence content": ("base_content",),
    "Per sequence GC content": ("gc_content",),
    "Per base N content": ("n_content",),
    "Sequence Length Distribution": ("lengths",),
    "Sequence Duplication Levels": ("duplication",),
    "Overrepresented sequences": ("overrepresented",),
    "Adapter Content": ("adapters",),
}


class Module(NamedTuple):
    """A module of FastQC's output: pass, warn or fail; rows of numbers and words."""

    status: str
    rows: list[list[str]]
    total: float | None  # a number in a heading

    def column(self, i: int) -> list[float]:
        return [float(row[i]) for row in self.rows]


def fastqc(files: list[Path], folder: Path) -> list[dict[str, Module]]:
    listed = folder / "adapters.txt"
    listed.write_text("".join(f"{n}\t{text}\n" for n, text in read_kernels.ADAPTERS.items()))
    command = ["fastqc", "--nogroup", "--extract", "--quiet", "--adapters", listed, "-o", folder]
    subprocess.run([*command, *files], check=True, capture_output=True)
    told = []
    for file in files:
        text = (folder / f"{file.stem}_fastqc" / "fastqc_data.txt").read_text()
        modules = {}
        for part in text.split(">>END_MODULE\n")[:-1]:
            lines = part[part.index(">>") + 2 :].splitlines()
            name, status = lines[0].split("\t")
            heads = [line for line in lines[1:] if line[0] == "#"]
            total = float(heads[0].split("\t")[1]) if "Total Dedup" in heads[0] else None
            rows = [line.split("\t") for line in lines[1:] if line[0] != "#"]
            modules[name] = Module(status, rows, total)
        told.append(modules)
    return told


def made(count: int, seed: int) -> list[Read]:
    """Reads of 20 to 145 bases: duplicates, adapters, N, few and many G, bad ends."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(count):
        length = int(rng.integers(20, 75)) if i % 3 else int(rng.integers(80, 145))
        weights = (0.3, 0.2, 0.19, 0.3, 0.01) if i % 4 else (0.1, 0.4, 0.4, 0.1, 0.0)
        bases = "".join(rng.choice(list("ACGTN"), length, p=weights))
        if i % 9 == 0:
            at = int(rng.integers(0, length - 12))
            adapter = list(read_kernels.ADAPTERS.values())[i % 6]
            bases = (bases[:at] + adapter + bases)[:length]
        if i % 5 == 0 and found:
            bases = found[int(rng.integers(0, len(found) // 4 + 1))].sequence
        drop = np.arange(len(bases)) // 6
        scores = np.clip(rng.normal(37 - drop, 4), 2, 40).astype(int)
        found.append(Read(f"r{i}", bases, "".join(chr(33 + s) for s in scores)))
    return found


@pytest.fixture(scope="module")
def warehouse(
    spark: SparkSession, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, list[Path]]:
    """Two made files and, where it is there, the real one."""
    folder = tmp_path_factory.mktemp("reads")
    files = [folder / "long.fq", folder / "same.fq"]
    files[0].write_bytes(fastq_files.text(made(3000, 1)))
    even = [Read(r.name, (r.sequence * 4)[:60], (r.quality * 4)[:60]) for r in made(1500, 2)]
    files[1].write_bytes(fastq_files.text(even))
    real = Path(__file__).resolve().parents[3] / "shared/data/reads/5k-30BB2AAXX.fastq"
    files += [real] if real.exists() else []
    ingest_reads(spark, str(folder / "wh"), [str(file) for file in files])
    return str(folder / "wh"), files


@pytest.fixture(scope="module")
def measured(spark: SparkSession, warehouse: tuple[str, list[Path]]) -> list[dict[str, Any]]:
    """Rows of ``read_quality`` by the job, in the order of the files."""
    home, files = warehouse
    told = check_reads.run(spark, check_reads.Config(warehouse=home))
    rows = {r.sourceId: r.asDict() for r in store.read(spark, tables.READ_QUALITY, home).collect()}
    assert told["rows"] == len(files) == len(rows)
    return [rows[source_id(str(file))] for file in files]


def near(one: Any, other: Any) -> bool:
    return bool(np.allclose(np.array(one, float), np.array(other, float), rtol=1e-6, atol=1e-9))


@requires("fastqc")
def test_read_metrics__are_those_of_fastqc(
    warehouse: tuple[str, list[Path]], measured: list[dict[str, Any]], tmp_path: Path
) -> None:
    for ours, theirs in zip(measured, fastqc(warehouse[1], tmp_path), strict=True):
        basic = dict(theirs["Basic Statistics"].rows)
        assert ours["reads"] == int(basic["Total Sequences"])
        assert int(100 * ours["gcContent"]) == int(basic["%GC"])
        quality = theirs["Per base sequence quality"]
        assert near(ours["qualityMean"], quality.column(1))
        enough = np.array(ours["positionReads"]) > 100  # others are NaN there
        for i, percent in enumerate((50, 25, 75, 10, 90), 2):
            told = np.array(quality.column(i))
            assert (np.isnan(told) == ~enough).all()
            assert near(np.array(ours[f"quality{percent}"])[enough], told[enough])
        scores = theirs["Per sequence quality scores"]
        counts = {int(float(q)): int(float(n)) for q, n in scores.rows if float(n)}
        assert {q: n for q, n in enumerate(ours["readQualityCounts"]) if n} == counts
        content = theirs["Per base sequence content"]
        for i, base in enumerate("GATC", 1):
            assert near(100 * np.array(ours[f"content{base}"]), content.column(i)), base
        assert near(100 * np.array(ours["contentN"]), theirs["Per base N content"].column(1))
        assert near(ours["gcCounts"], theirs["Per sequence GC content"].column(1))
        lengths = theirs["Sequence Length Distribution"]
        if all("-" not in row[0] for row in lengths.rows):  # it puts lengths together
            exact = {int(row[0]): float(row[1]) for row in lengths.rows if float(row[1])}
            assert dict(zip(ours["lengths"], ours["lengthCounts"], strict=True)) == exact
        assert sum(ours["lengthCounts"]) == sum(lengths.column(1)) == ours["reads"]
        levels = theirs["Sequence Duplication Levels"]
        assert 100 * ours["deduplicatedShare"] == pytest.approx(levels.total)
        assert near(100 * np.array(ours["duplicationLevels"]), levels.column(2))
        often = {row[0]: int(row[1]) for row in theirs["Overrepresented sequences"].rows}
        found = zip(ours["overrepresentedSequences"], ours["overrepresentedCounts"], strict=True)
        assert dict(found) == {text: n for text, n in often.items() if n > 1} != {}
        for i, name in enumerate(read_kernels.ADAPTERS, 1):
            told = theirs["Adapter Content"].column(i)
            assert near(100 * np.array(ours[f"{name}Content"]), told), name
        for module, names in MODULES.items():
            failed, warned = (bool({*names} & {*ours[x]}) for x in ("flags", "warnings"))
            status = "fail" if failed else "warn" if warned else "pass"
            assert status == theirs[module].status, module


def test_read_metrics__do_not_depend_on_partitions(
    spark: SparkSession, warehouse: tuple[str, list[Path]]
) -> None:
    df = store.read(spark, tables.READS, warehouse[0])
    one, seven = (reads.read_metrics(df.repartition(n)) for n in (1, 7))
    assert one.num_rows == len(warehouse[1]) and one == seven


def batch(some: list[Read]) -> pa.RecordBatch:
    common = {"sourceId": "f", "mate": 0, "cohort": "c", "sampleId": "s"}
    rows = [{**common, "sequence": r.sequence, "quality": r.quality} for r in some]
    return pa.RecordBatch.from_pylist(rows)


def summed(some: list[Read], size: int) -> read_sums.Sums:
    """The sums over reads by tasks of so many reads, put together last to first."""
    whole: read_sums.Sums | None = None
    for at in range(0, len(some), size):
        sums, part = read_sums.Sums(), batch(some[at : at + size])
        texts = (read_sums._texts(part, name) for name in ("sequence", "quality"))
        sums.add(*texts, np.arange(part.num_rows))
        whole = sums.closed() if whole is None else sums.closed().merge(whole)
    assert whole is not None
    return whole


def test_sums__of_more_sequences_than_are_kept_are_a_sample_whatever_the_tasks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(read_sums, "SAMPLE", 500)
    some = made(3000, 1)
    one, *others = (summed(some, size) for size in (3000, 700, 90))
    for other in others:
        assert one.sequences.values.tolist() == other.sequences.values.tolist()
        assert one.sequences.counts.tolist() == other.sequences.counts.tolist()
        assert set(one.frequent) <= set(other.frequent)
    assert len(one.sequences.values) == 500
    different = {r.sequence[:50] if len(r.sequence) > 75 else r.sequence for r in some}
    told = 500 / one.sequences.counts.sum()
    assert told == pytest.approx(len(different) / 3000, abs=0.05)


def test_overrepresented__is_counted_over_all_reads_where_the_sample_lacks_it(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    often, seldom = "acgtTTAACCGGTA", "GATTACAGATTACA"
    some = [*made(2000, 3), *[Read("x", often, "I" * 14)] * 9, Read("y", seldom, "I" * 14)]
    sums = summed(some, 150)
    sums.sequences = sums.sequences.lowest(40)
    monkeypatch.setattr(read_sums, "SAMPLE", 40)
    key = read_sums.Key("f", 0, "c", "s")
    df = spark.createDataFrame(batch(some).to_pylist()).repartition(3)
    found = dict(read_sums.overrepresented(df, {key: sums})[key])
    cut = [r.sequence[:50] if len(r.sequence) > 75 else r.sequence for r in some]
    counts = Counter(text.upper() for text in cut)
    assert found == {text: n for text, n in counts.items() if n > 0.001 * len(some)}
    assert found[often.upper()] == 9 and seldom not in found


def test_flagged__each_rule_has_a_file_that_breaks_it() -> None:
    def flags(some: list[Read], **limits: str) -> tuple[list[str], list[str]]:
        key = read_sums.Key("f", 0, "c", "s")
        sums = summed(some, 1000)
        counts = Counter(r.sequence for r in some)
        frequent = [(t, n) for t, n in counts.items() if n > max(1, len(some) / 1000)]
        row = reads._row(key, sums, frequent)
        table = tables.READ_QUALITY.arrow([row]).drop_columns(["warnings", "flags"])
        (told,) = reads.flagged(table, reads.rules(limits)).to_pylist()
        return told["flags"], told["warnings"]

    rng = np.random.default_rng(8)

    def random(count: int, score: int = 37, **p: float) -> list[Read]:
        weights = [p.get(base, 0.25) for base in "ACGTN"[: 4 + ("N" in p)]]
        drawn = rng.choice(list("ACGTN"[: len(weights)]), (count, 60), p=weights)
        return [Read("r", "".join(row), chr(33 + score) * 60) for row in drawn]

    assert flags(random(3000)) == ([], [])
    bad = ["base_quality_median", "read_quality"]
    assert flags(random(3000, 19)) == (bad, [])
    assert flags(random(3000, 22)) == ([], bad)
    assert flags(random(3000, 4))[0] == [bad[0], "base_quality_lower_quartile", bad[1]]
    few = flags(random(90, 4))[0]  # too few reads to judge positions
    assert "read_quality" in few and not {bad[0], "base_quality_lower_quartile"} & {*few}
    assert flags(random(3000, A=0.4, T=0.1))[0] == ["base_content"]
    assert flags(random(3000, A=0.2275, C=0.2275, G=0.2275, T=0.2275, N=0.09))[1] == ["n_content"]
    half = random(1500, A=0.4, T=0.4, C=0.1, G=0.1) + random(1500, A=0.1, T=0.1, C=0.4, G=0.4)
    assert flags(half)[0] == ["gc_content"]
    assert flags([r for r in random(3000) for _ in range(3)]) == (["duplication"], [])
    some = random(3000)
    assert flags([*some, *some[:1] * 4]) == ([], ["overrepresented"])
    assert flags([*some, *some[:1] * 40]) == (["overrepresented"], [])
    assert flags([*random(3000), Read("r", "", "")])[0] == ["lengths"]
    assert flags([*random(3000), Read("r", "ACGT", "IIII")])[1] == ["lengths"]
    adapter = read_kernels.ADAPTERS["nextera"]
    cut = [r._replace(sequence=r.sequence[:48] + adapter) for r in random(240)]
    failed, warned = flags([*random(2760), *cut])
    assert not failed and "adapters" in warned
    assert flags([*random(2760), *cut], adapters="0.01,0.02")[0] == ["adapters"]


def test_add__refuses_qualities_that_do_not_fit() -> None:
    for wrong in (Read("r", "ACGT", "III"), Read("r", "AC", "I ")):
        with pytest.raises(TableError, match="quality: expected a character of Phred"):
            summed([Read("r", "ACGT", "IIII"), wrong], 2)


def test_config__limits_are_checked_before_spark() -> None:
    for word, match in [
        ("limits.adapter=0.1,0.2", "expected one of"),
        ("limits.adapters=0.1", "expected two numbers"),
    ]:
        with pytest.raises(ConfigError, match=match):
            config.load(check_reads.Config, None, [word])
