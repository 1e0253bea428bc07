"""Progress: one line a step; a bar only on a terminal."""

from __future__ import annotations

import io
import re
import sys
import time
from types import SimpleNamespace
from typing import Any

import pytest

from geneai_spark import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Tracker:
    """Spark's status tracker: one stage of four tasks, one finished at each look."""

    def __init__(self) -> None:
        self.looks = 0

    def getActiveStageIds(self) -> list[int]:  # noqa: N802 - Spark's name
        return [7, 8]

    def getStageInfo(self, stage: int) -> Any:  # noqa: N802 - Spark's name
        if stage == 8:
            return None  # gone between the two calls
        self.looks += 1
        return SimpleNamespace(numTasks=4, numCompletedTasks=min(self.looks, 4))


def session() -> tuple[Any, Tracker]:
    tracker = Tracker()
    return SimpleNamespace(sparkContext=SimpleNamespace(statusTracker=lambda: tracker)), tracker


def test_stage__one_line_with_result_and_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    spark, tracker = session()
    with progress.stage("read", spark) as step:
        step.result = "3 rows"
    with progress.stage("write"):
        pass
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"read: 3 rows \(0\.\d s\)\nwrite \(0\.\d s\)\n", err)
    assert tracker.looks == 0  # no terminal, no thread


def test_stage__no_line_after_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyError), progress.stage("read"):
        raise KeyError
    assert capsys.readouterr().err == ""


def test_stage__a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(progress, "_INTERVAL", 0.01)
    spark, tracker = session()
    with progress.stage("read", spark):
        limit = time.monotonic() + 30
        while tracker.looks < 6:
            assert time.monotonic() < limit
            time.sleep(0.01)
    drawn = terminal.getvalue()
    assert "read: 100%" in drawn
    assert "4/4" in drawn
    assert drawn.splitlines()[-1].lstrip("\r ").startswith("read (")
