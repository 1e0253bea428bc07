"""A commit that is stored, and whose answer is an error: it counts, and its files stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from geneai_spark import commits, filesystems, store, tables
from geneai_spark.errors import StorageError, UnsettledError
from tests.faults.warehouse import data_files

ROW = {"sourceId": "s", "line": 1, "offset": 0, "reason": "r", "text": "t"}


class Deaf:
    """A transaction of Delta's whose commit is done, or not, and then fails."""

    def __init__(self, real: Any, *, done: bool) -> None:
        self.real, self.done = real, done

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def commit(self, *given: Any) -> int:
        if self.done:
            self.real.commit(*given)
        raise OSError("the answer was lost")


def deafen(monkeypatch: pytest.MonkeyPatch, *, done: bool) -> None:
    real = commits.Transaction.__init__

    def begin(self: Any, *given: Any, **named: Any) -> None:
        real(self, *given, **named)
        self._transaction = Deaf(self._transaction, done=done)

    monkeypatch.setattr(commits.Transaction, "__init__", begin)


def test_commit__that_was_written_counts(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = str(tmp_path)
    with monkeypatch.context() as patched:
        deafen(patched, done=True)
        assert store.put(spark, [ROW], tables.REJECTS, home).version == 1
        found = data_files(tmp_path, "rejects")
        deafen(patched, done=False)
        with pytest.raises(OSError, match="the answer was lost"):
            store.put(spark, [ROW], tables.REJECTS, home)
    assert data_files(tmp_path, "rejects") == found and len(found) == 1
    assert store.read(spark, tables.REJECTS, home).count() == 1


def test_commit__of_which_nothing_is_known_keeps_its_files(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = str(tmp_path)
    store.prepare(spark, tables.REJECTS, home)

    def unreachable(uri: str) -> Any:
        raise StorageError(f"{uri}: unreachable")

    with monkeypatch.context() as patched:
        deafen(patched, done=True)
        patched.setattr(filesystems, "walk", unreachable)
        with pytest.raises(UnsettledError, match="whether it is stored is not known"):
            store.put(spark, [ROW], tables.REJECTS, home)
    (row,) = store.read(spark, tables.REJECTS, home).collect()  # a count needs no file
    assert row.asDict() == ROW
