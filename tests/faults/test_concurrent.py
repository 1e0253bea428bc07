"""Two runs into one warehouse at once: both are stored as one after the other, or one says why not.

The second run is put, whole, between the moment when the first looks at a table and its commit.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from geneai_spark.jobs import check_quality
from pyspark.sql import SparkSession

from geneai_spark import commits, config, conflicts, store, tables
from geneai_spark.errors import ConflictError, InputError
from geneai_spark.ingest import ingest_traits, ingest_variants, variants
from tests.faults.warehouse import Contents, contents, data_files
from tests.vcf_files import text, write

pytestmark = pytest.mark.slow


def overtake(monkeypatch: pytest.MonkeyPatch, table: str, other: Callable[[], object]) -> list[str]:
    """Have ``other`` run before the next commit to a table; the errors that the commits meet."""
    real, met = commits.Transaction.commit, list[str]()

    def commit(self: commits.Transaction, *given: Any) -> int:
        if self._uri.endswith(f"/{table}") and not met:
            met.append("overtaken")
            other()
        try:
            return real(self, *given)
        except Exception as error:
            met.append(type(error).__name__)
            raise

    monkeypatch.setattr(commits.Transaction, "commit", commit)
    return met


Files = tuple[str, str]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Two files of the same people, each with a line that is refused."""
    place = tmp_path_factory.mktemp("files")
    a = write(place / "a.vcf", text(records=5, bad=[2]))
    return a, write(place / "b.vcf", text(records=4, first=500, bad=[1], seed=2))


@pytest.fixture(scope="module")
def in_turn(
    spark: SparkSession, files: Files, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[Contents]]:
    """By the second's cohort: what comes of one after the other, in both orders. (A cohort's
    samples name the file that brought them first.)
    """
    a, b = files
    found: dict[str, list[Contents]] = {}
    for cohort in ("default", "another"):
        runs = [(a, "default"), (b, cohort)]
        for order in (runs, runs[::-1]):
            home = str(tmp_path_factory.mktemp("wh"))
            for file, its in order:
                ingest_variants(spark, home, file, cohort=its)
            found.setdefault(cohort, []).append(contents(spark, home))
    return found


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conflicts, "_CALM", (0.01, 0.05))


@pytest.mark.parametrize(
    ("table", "cohort"),
    [
        ("variants", "default"),
        ("rejects", "default"),
        ("samples", "default"),
        ("samples", "another"),
        ("ingests", "default"),
    ],
)
def test_ingests__of_different_files_are_both_stored(
    spark: SparkSession,
    tmp_path: Path,
    files: Files,
    in_turn: dict[str, list[Contents]],
    monkeypatch: pytest.MonkeyPatch,
    table: str,
    cohort: str,
) -> None:
    a, b = files
    home = str(tmp_path / "at once")
    met = overtake(monkeypatch, table, lambda: ingest_variants(spark, home, b, cohort=cohort))
    ingest_variants(spark, home, a)
    assert met == ["overtaken", "ConflictError"]  # and it was tried again
    assert contents(spark, home) in in_turn[cohort]


def test_ingests__of_traits_are_both_stored(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = tmp_path / "a.csv", tmp_path / "b.csv"
    a.write_text("sample,height\nA,1.5\nB,1.7\n")
    b.write_text("sample,age\nA,30\nB,40\n")
    for file in (a, b):
        ingest_traits(spark, str(tmp_path / "in turn"), str(file))
    home = str(tmp_path / "at once")
    met = overtake(monkeypatch, "traits", lambda: ingest_traits(spark, home, str(b)))
    ingest_traits(spark, home, str(a))
    assert met == ["overtaken", "ConflictError"]
    assert contents(spark, home) == contents(spark, str(tmp_path / "in turn"))


def test_ingests__that_spark_writes_are_both_stored(
    spark: SparkSession,
    tmp_path: Path,
    files: Files,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Files share a Parquet file, so that Spark rewrites; another run commits meanwhile."""
    a, b = (shutil.copy(file, tmp_path) for file in files)
    home = str(tmp_path / "at once")
    ingest_variants(spark, home, [a, b])
    write(tmp_path / "a.vcf", text(records=7, first=40, bad=[3], seed=5))
    ingest_variants(spark, str(tmp_path / "new"), [a, b])
    real, met = store._plain_binaries, list[int]()

    def between(*given: Any) -> Any:
        if not met:
            met.append(1)
            ingest_variants(spark, home, b, force=True)
        return real(*given)

    monkeypatch.setattr(store, "_plain_binaries", between)
    ingest_variants(spark, home, a)
    assert met
    assert contents(spark, home) == contents(spark, str(tmp_path / "new"))


def test_ingests__of_other_samples_in_one_cohort_one_is_refused(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = write(tmp_path / "a.vcf", text(["A", "B"], records=3, bad=[1]))
    b = write(tmp_path / "b.vcf", text(["C", "D"], records=4, first=500, bad=[1]))
    ingest_variants(spark, str(tmp_path / "b alone"), b)
    home = str(tmp_path / "at once")
    real = variants._Ingestion._settle

    def late(self: Any, *given: Any) -> bool:
        monkeypatch.setattr(variants._Ingestion, "_settle", real)
        ingest_variants(spark, home, b)
        return real(self, *given)

    monkeypatch.setattr(variants._Ingestion, "_settle", late)
    with pytest.raises(InputError, match="has stored other samples in cohort 'default'"):
        ingest_variants(spark, home, a)
    assert contents(spark, home) == contents(spark, str(tmp_path / "b alone"))
    with pytest.raises(InputError, match="this file 2: it lacks 2 of the cohort"):
        ingest_variants(spark, home, a)


def test_ingests__an_only_file_may_not_change_its_samples_while_another_joins(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = str(tmp_path / "at once")
    a = write(tmp_path / "a.vcf", text(["A", "B"], records=3))
    b = write(tmp_path / "b.vcf", text(["A", "B"], records=4, first=500))
    ingest_variants(spark, home, a)
    ingest_variants(spark, str(tmp_path / "in turn"), [a, b])
    before = contents(spark, str(tmp_path / "in turn"))
    write(tmp_path / "a.vcf", text(["B", "A"], records=3))
    met = overtake(monkeypatch, "variants", lambda: ingest_variants(spark, home, b))
    with pytest.raises(InputError, match="has stored other samples in cohort 'default'"):
        ingest_variants(spark, home, a)
    assert met[0] == "overtaken"
    found = contents(spark, home)
    assert {n: found[n] for n in ("variants", "samples")} == {
        n: before[n] for n in ("variants", "samples")
    }


def test_ingests__of_one_file_the_second_says_so_and_leaves_the_ledger(
    spark: SparkSession,
    tmp_path: Path,
    files: Files,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first's side is in tests/unit/test_ingest.py: two_runs_at_once_do_not_store_…"""
    a, _ = files
    ingest_variants(spark, str(tmp_path / "once"), a)
    home = str(tmp_path / "at once")
    overtake(monkeypatch, "variants", lambda: ingest_variants(spark, home, a))
    with pytest.raises(InputError, match="another run changed the table at the same time"):
        ingest_variants(spark, home, a)
    assert contents(spark, home) == contents(spark, str(tmp_path / "once"))


def test_check_quality__of_two_at_once_one_adds_what_is_new(
    spark: SparkSession, tmp_path: Path, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = str(tmp_path)
    asked = config.load(check_quality.Config, overrides=[f"warehouse={home}"])
    ingest_variants(spark, home, files[0])
    check_quality.run(spark, asked)
    ingest_variants(spark, home, files[1])
    with monkeypatch.context() as patched:
        met = overtake(patched, "variant_quality", lambda: check_quality.run(spark, asked))
        with pytest.raises(ConflictError, match="another run changed the table at the same time"):
            check_quality.run(spark, asked)
    assert met[0] == "overtaken"
    found = contents(spark, home)
    assert found["variant_quality"][0] == found["variants"][0]
    assert check_quality.run(spark, asked)["measured"] == 0


def test_put__only_at_a_version(spark: SparkSession, tmp_path: Path) -> None:
    home, row = str(tmp_path), {"sourceId": "s", "line": 1, "offset": 0, "reason": "r", "text": "t"}
    store.put(spark, [row], tables.REJECTS, home, at=0)
    before = contents(spark, home), data_files(tmp_path, "rejects")
    with pytest.raises(ConflictError):
        store.put(spark, [row], tables.REJECTS, home, at=0)
    assert (contents(spark, home), data_files(tmp_path, "rejects")) == before


def test_create__where_a_run_died_while_it_made_the_table(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_CREATING", 2)
    log = tmp_path / "rejects" / "_delta_log"
    log.mkdir(parents=True)
    (log / ".00000000000000000000.json.0a1b.tmp").write_text('{"commitInfo"')
    row = {"sourceId": "s", "line": 1, "offset": 0, "reason": "r", "text": "t"}
    assert store.put(spark, [row], tables.REJECTS, str(tmp_path)).rows == 1
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "mine.parquet").write_text("somebody's")
    with pytest.raises(Exception, match=r"not a Delta table|is not empty"):
        store.prepare(spark, tables.SAMPLES, str(tmp_path))
    assert (tmp_path / "samples" / "mine.parquet").exists()


def test_commit__keeps_other_processes_out_on_local_files(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Delta's local log store takes turns within one JVM only."""
    row = {"sourceId": "s", "line": 1, "offset": 0, "reason": "r", "text": "t"}
    held = list[bool]()
    real = commits._write

    def looking(*given: Any) -> Any:
        descriptor = os.open(tmp_path / "rejects" / "_delta_log", os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held.append(False)
        except BlockingIOError:
            held.append(True)
        finally:
            os.close(descriptor)
        return real(*given)

    monkeypatch.setattr(commits, "_write", looking)
    store.put(spark, [row], tables.REJECTS, str(tmp_path))
    assert held == [True]


def test_retried__with_bounds_and_not_where_it_is_of_no_use() -> None:
    tries = list[int]()

    def refused() -> None:
        tries.append(1)
        raise ConflictError("in the way")

    with pytest.raises(ConflictError):
        conflicts.retried(refused, 4)
    assert len(tries) == 4
