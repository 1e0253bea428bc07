"""What is tried again where storage fails in passing, and what is not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from geneai_spark import conflicts
from geneai_spark.errors import StorageError

LISTING = ["java.io.UncheckedIOException", "java.net.SocketException"]
TRANSLATED = ["org.apache.hadoop.fs.s3a.AWSClientIOException", "java.net.SocketException"]
TASK = ["org.apache.spark.SparkException", *LISTING]  # on one machine a task is tried once
JOB = ["org.apache.spark.SparkException", "java.net.SocketException"]


class Java:
    """An exception of the JVM, with its causes."""

    def __init__(self, kinds: list[str]) -> None:
        self.kinds = kinds

    def getClass(self) -> Java:  # noqa: N802 - Java's names
        return self

    def getName(self) -> str:  # noqa: N802
        return self.kinds[0]

    def getCause(self) -> Java | None:  # noqa: N802
        return Java(self.kinds[1:]) if self.kinds[1:] else None


def fault(kinds: list[str]) -> Exception:
    """As `conflicts.explained` raises what Py4J does."""
    behind, ours = Exception(kinds[0]), StorageError("table 'x'")
    behind.java_exception = Java(kinds)  # type: ignore[attr-defined]
    ours.__cause__ = behind
    return ours


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conflicts, "_CALM", (0.0, 0.0))


def storing(held: list[int], faults: list[str]) -> Callable[[], None]:
    """Store, but meet a fault ``before`` or ``after``, or a task that does; or be ``fine``."""

    def store() -> None:
        when = faults.pop(0)
        if when in ("after", "fine"):
            held.append(1)
        if when != "fine":
            raise fault(TASK if when == "task" else LISTING)

    return store


@pytest.mark.parametrize(
    ("faults", "times"),
    [
        (["fine"], 1),
        (["before", "before", "fine"], 3),
        (["before", "after"], 2),
        (["task", "fine"], 2),
        ([*["before"] * (conflicts.STEADY - 1), "after"], conflicts.STEADY),
    ],
)
def test_surely__once_whatever_was_heard(faults: list[str], times: int) -> None:
    held: list[int] = []
    given = len(faults)
    conflicts.surely(storing(held, faults), lambda: bool(held))
    assert held == [1] and given - len(faults) == times


def test_surely__gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    faults = ["before"] * 20
    with pytest.raises(StorageError):
        conflicts.surely(storing([], faults), lambda: False)
    assert len(faults) == 20 - conflicts.STEADY


@pytest.mark.parametrize("kinds", [TRANSLATED, JOB], ids=["a request", "a job"])
def test_surely__what_others_have_tried_is_not_tried_again(kinds: list[str]) -> None:
    """A commit that Hadoop sent in vain may arrive yet; a job's tasks were tried by Spark."""
    tries = []

    def store() -> None:
        tries.append(1)
        raise fault(kinds)

    with pytest.raises(StorageError):
        conflicts.surely(store, lambda: False)
    assert len(tries) == 1 and conflicts.is_cut(fault(kinds))
