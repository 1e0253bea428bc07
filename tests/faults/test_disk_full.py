"""No space left, at the Parquet files of tasks and at Delta's log: told, and nothing changed; once
there is space, the run again reaches the tables of an undisturbed one.

Two ways, both of the system: a small file system (needs root, to mount it), and a limit on the
size of files that a process may write, which is set and lifted while it runs.
"""

from __future__ import annotations

import contextlib
import os
import random
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from geneai_spark import commits, tables
from geneai_spark.errors import InputError
from geneai_spark.ingest import ingest_variants
from tests.faults.warehouse import Contents, contents, data_files
from tests.vcf_files import text, write

pytestmark = pytest.mark.slow

SPACE = 16 << 20  # bytes of the file system
ROOM = 200 << 10  # bytes that are left of it where it is too full for the tasks' files
LIMIT = 1 << 16  # bytes of a file, which those of the tasks exceed
LOG_LIMIT = 200  # bytes of a file, which a commit exceeds
NAMES = [f"S{i}" for i in range(600)]


def children(pid: int) -> list[int]:
    """The processes below a process."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, task.read_text().split()):
                found += [child, *children(child)]
    return found


@contextmanager
def limited(processes: list[int], size: int) -> Iterator[None]:
    """A limit on the size of the files that processes write."""
    before = {}
    for pid in processes:  # some may have ended meanwhile
        with contextlib.suppress(ProcessLookupError):
            before[pid] = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    for pid, (_, hard) in before.items():
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        limits = next(iter(before.values()))
        for pid in {*processes, *(child for one in processes for child in children(one))}:
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """A small file system."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SPACE}", "tmpfs", str(place)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.fixture(scope="module")
def study(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Contents]:
    """Two files, the first small, and what an undisturbed run makes of both."""
    folder = tmp_path_factory.mktemp("study")
    write(folder / "a.vcf", text(NAMES, records=20, bad=[3]))
    write(folder / "b.vcf", text(NAMES, records=2500, first=5000, bad=[50], seed=8))
    ingest_variants(spark, str(folder / "wh"), str(folder / "*.vcf"))
    return folder, contents(spark, str(folder / "wh"))


def check(
    spark: SparkSession, folder: Path, wanted: Contents, home: Path, full: Any, match: str
) -> None:
    """Take the second file in while ``full`` holds: an error; then again."""
    ingest_variants(spark, str(home), str(folder / "a.vcf"))
    before, files = contents(spark, str(home)), data_files(home)
    with full(), pytest.raises(InputError, match=match):
        ingest_variants(spark, str(home), str(folder / "*.vcf"))
    found = contents(spark, str(home))
    # The ledger may have a row more, of the file that failed, where there was space for it.
    assert {**found, "ingests": 0} == {**before, "ingests": 0}
    assert data_files(home) == files  # nothing is left that would take space
    ingest_variants(spark, str(home), str(folder / "*.vcf"))
    assert contents(spark, str(home)) == wanted


def at_commit(full: Callable[[], Any]) -> Callable[[], Any]:
    """As ``full``, from the commit to ``variants`` on."""

    @contextmanager
    def late() -> Iterator[None]:
        real = commits.Transaction.commit

        def commit(self: commits.Transaction, *given: Any) -> int:
            if not self._uri.endswith(tables.VARIANTS.name):
                return real(self, *given)
            with full():
                return real(self, *given)

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(commits.Transaction, "commit", commit)
            yield

    return late


def test_limit__at_the_tasks_files(
    spark: SparkSession, study: tuple[Path, Contents], tmp_path: Path
) -> None:
    jvm = spark.sparkContext._gateway.proc.pid  # type: ignore[union-attr]

    @contextmanager
    def full() -> Iterator[None]:
        with limited([pid for pid in children(jvm) if pid != jvm], LIMIT):
            yield

    check(spark, *study, tmp_path / "wh", full, r"b\.vcf: .*\.parquet: .*File too large")


def test_limit__at_deltas_log(
    spark: SparkSession, study: tuple[Path, Contents], tmp_path: Path
) -> None:
    jvm = spark.sparkContext._gateway.proc.pid  # type: ignore[union-attr]
    processes = [jvm, *children(jvm)]
    full = at_commit(lambda: limited(processes, LOG_LIMIT))
    check(spark, *study, tmp_path / "wh", full, r"b\.vcf: .*variants: .*File too large")


@contextmanager
def filled(place: Path, room: int) -> Iterator[None]:
    """A file system with so many bytes left."""
    with (place / "ballast").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        status = os.statvfs(place)
        file.write(b"\0" * max(0, status.f_bavail * status.f_frsize - room))
        while not room and file.write(b"\0" * 4096):
            pass
    try:
        yield
    finally:
        (place / "ballast").unlink()


def test_file_system__at_the_tasks_files(
    spark: SparkSession, study: tuple[Path, Contents], mounted: Path
) -> None:
    match = r"b\.vcf: .*\.parquet: .*No space left on device"
    check(spark, *study, mounted / "wh", lambda: filled(mounted, ROOM), match)


def test_file_system__at_deltas_log(
    spark: SparkSession, study: tuple[Path, Contents], mounted: Path
) -> None:
    match = r"b\.vcf: .*variants: .*No space left on device"
    check(spark, *study, mounted / "wh", at_commit(lambda: filled(mounted, 0)), match)


def test_writer__leaves_no_file_where_it_cannot_go_on(tmp_path: Path) -> None:
    """What a task does when its file cannot be closed."""
    import pyarrow as pa

    from geneai_spark import staging
    from geneai_spark.errors import StorageError

    table = pa.table({"x": [random.Random(1).randbytes(100_000)]})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(StorageError, match=r"\.parquet: .*File too large"):
            staging.stage(table, str(tmp_path), [])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())
