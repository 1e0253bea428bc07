"""Progress of long steps: a bar on a terminal, one line a step when it is done."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from pyspark.sql import SparkSession

_INTERVAL = 0.2  # seconds between looks at Spark's status


class Stage:
    """A running step; what is set as :attr:`result` ends its line."""

    def __init__(self) -> None:
        self.result = ""


@contextmanager
def stage(name: str, spark: SparkSession | None = None) -> Iterator[Stage]:
    """Time a step and print one line to stderr: ``name: result (1.2 s)``.

    On a terminal, and with ``spark``, a bar shows the tasks of the Spark jobs that this thread
    starts meanwhile. An error leaves the line out; it is told where it is caught.
    """
    step, start = Stage(), time.monotonic()
    with _bar(name, spark):
        yield step
    text = f"{name}: {step.result}" if step.result else name
    print(f"{text} ({time.monotonic() - start:.1f} s)", file=sys.stderr, flush=True)


@contextmanager
def _bar(name: str, spark: SparkSession | None) -> Iterator[None]:
    if spark is None or not sys.stderr.isatty():
        yield
        return
    done = threading.Event()
    watcher = threading.Thread(target=_watch, args=(name, spark, done), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def _watch(name: str, spark: SparkSession, done: threading.Event) -> None:
    from tqdm import tqdm

    tracker = spark.sparkContext.statusTracker()
    with tqdm(desc=name, unit="task", leave=False, file=sys.stderr, dynamic_ncols=True) as bar:
        tasks: dict[int, tuple[int, int]] = {}  # stage id -> (tasks, finished)
        while not done.wait(_INTERVAL):
            try:
                for number in tracker.getActiveStageIds():
                    if (info := tracker.getStageInfo(number)) is not None:
                        tasks[number] = (info.numTasks, info.numCompletedTasks)
            except Exception:  # the session has gone: nothing to show
                return
            bar.total = sum(total for total, _ in tasks.values()) or None
            bar.n = sum(finished for _, finished in tasks.values())
            bar.refresh()
