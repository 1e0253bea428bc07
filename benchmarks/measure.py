"""Measure a command: wall time, CPU seconds of its whole process tree, peak memory of each process.

A Spark job is a tree: a Python driver, a JVM, a ``pyspark.daemon`` and its forked workers, some of
which outlive the JVM. No single count of the kernel covers it, so two are put together:

1. What is charged to reaped children (`getrusage(RUSAGE_CHILDREN)`). This process declares itself
   the reaper of orphans (`PR_SET_CHILD_SUBREAPER`, Linux), so that they come back to it and are
   counted, and waits until none is left. Exact, but for the children of a process that ignores
   SIGCHLD, which are charged to nobody: ``pyspark.daemon`` does.
2. For those, their last seen times in ``/proc``, sampled five times a second. A worker mostly
   waits before it ends, so little is missed.

`sampled_cpu` is an independent check: the last seen times of every process. It misses what happens
after each one's last sample, so it should be a little less than `cpu`; more would mean that `cpu`
lost somebody.

Standard library only; Linux only.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
TICKS = os.sysconf("SC_CLK_TCK")
SAMPLE_SECONDS = 0.2
LINGER_SECONDS = 30.0  # how long orphans may take to end before they are killed


@dataclass(frozen=True)
class Process:
    """One process of the tree as last seen: `peak_rss` in bytes, `cpu` in seconds."""

    pid: int
    parent: int
    started: int
    name: str
    command: str
    cpu: float  # its own, without its children's
    reaped_cpu: float  # that of its children that it waited for
    peak_rss: int
    ignores_children: bool  # SIGCHLD is ignored: its children's time is charged to nobody

    @property
    def kind(self) -> str:
        """`jvm`, `python` or the program's name."""
        if self.name == "java":
            return "jvm"
        return "python" if "python" in self.command.split(" ")[0] else self.name


@dataclass(frozen=True)
class Usage:
    """What a command cost. Seconds and bytes."""

    returncode: int
    wall: float
    cpu: float
    sampled_cpu: float
    others_cpu: float  # CPU seconds that the rest of the machine used meanwhile
    processes: tuple[Process, ...] = field(repr=False)

    @property
    def worker_peaks(self) -> list[int]:
        """Peak resident bytes of each Python process but the driver, largest first."""
        workers = [p for p in self.processes if p.kind == "python" and p != self.processes[0]]
        return sorted((p.peak_rss for p in workers), reverse=True)

    @property
    def jvm_peak(self) -> int:
        """Peak resident bytes of the largest JVM, 0 where there was none."""
        return max((p.peak_rss for p in self.processes if p.kind == "jvm"), default=0)

    def summary(self) -> dict[str, object]:
        """The figures as plain values, for JSON."""
        figures = asdict(self)
        del figures["processes"]
        by_kind: dict[str, float] = {}
        for process in self.processes:
            by_kind[process.kind] = round(by_kind.get(process.kind, 0.0) + process.cpu, 2)
        return {
            **figures,
            "sampled_cpu_by_kind": by_kind,
            "worker_peak_rss": self.worker_peaks,
            "jvm_peak_rss": self.jvm_peak,
        }


def run(command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> Usage:
    """Run `command`, its output appended to `log`, and measure it until its last process ended."""
    become_reaper()
    seen: dict[tuple[int, int], Process] = {}
    busy, charged, began = machine_cpu(), children_cpu(), time.monotonic()
    with log.open("ab") as sink:
        child = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
        )
        while child.poll() is None:
            sample(seen)
            time.sleep(SAMPLE_SECONDS)
        wall = time.monotonic() - began
    reaped = {child.pid} | reap_orphans(seen)
    cpu = children_cpu() - charged + uncharged_cpu(seen, reaped)
    # The driver is the process that was started: it stands first.
    processes = sorted(seen.values(), key=lambda p: (p.pid != child.pid, p.started, p.pid))
    return Usage(
        returncode=child.returncode,
        wall=wall,
        cpu=cpu,
        sampled_cpu=sum(p.cpu for p in processes),
        others_cpu=max(0.0, machine_cpu() - busy - cpu),
        processes=tuple(processes),
    )


class Meter:
    """Wall and CPU seconds of this process and all below it, since the last question.

    Of those that have ended since, it counts what their parents were charged for them, and for the
    children of ``pyspark.daemon`` what they had used when it was asked last.
    """

    def __init__(self) -> None:
        self._seen: dict[tuple[int, int], Process] = {}
        self._cpu = self._wall = 0.0
        self.lap()

    def lap(self) -> dict[str, float]:
        """Seconds since it was asked last: ``cpu`` and ``wall``."""
        living = set(sample(self._seen))
        cpu = time.process_time() + children_cpu() + uncharged_cpu(self._seen, living)
        cpu += sum(p.cpu + p.reaped_cpu for p in self._seen.values() if p.pid in living)
        wall = time.monotonic()
        found = {"cpu": cpu - self._cpu, "wall": wall - self._wall}
        self._cpu, self._wall = cpu, wall
        return found


def become_reaper() -> None:
    """Have orphans among our descendants handed to this process instead of to init."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER) failed")


def reap_orphans(seen: dict[tuple[int, int], Process]) -> set[int]:
    """Wait for every child this process has, so that its time is charged; kill stragglers.

    Returns:
        The pids of those children.
    """
    reaped: set[int] = set()
    deadline = time.monotonic() + LINGER_SECONDS
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return reaped
        if pid == 0:
            left = sample(seen)
            if time.monotonic() > deadline:
                for orphan in left:
                    os.kill(orphan, signal.SIGKILL)
            time.sleep(SAMPLE_SECONDS)
        else:
            reaped.add(pid)


def uncharged_cpu(seen: dict[tuple[int, int], Process], reaped: set[int]) -> float:
    """CPU seconds of the processes whose parent ignored their end and that did not come to us."""
    deaf = {process.pid for process in seen.values() if process.ignores_children}
    return sum(
        process.cpu + process.reaped_cpu
        for process in seen.values()
        if process.parent in deaf and process.pid not in reaped
    )


def sample(seen: dict[tuple[int, int], Process]) -> list[int]:
    """Note every descendant of this process in `seen`, keyed by (pid, start time); their pids."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (stat := read_stat(int(name))) is not None:
            parents[int(name)] = int(stat[1][1])
    found: list[int] = []
    frontier = {os.getpid()}
    while frontier:
        frontier = {pid for pid, parent in parents.items() if parent in frontier}
        found += frontier
    for pid in found:
        if (process := read_process(pid)) is not None:
            seen[pid, process.started] = process
    return found


def read_stat(pid: int) -> tuple[str, list[str]] | None:
    """A process's name and the fields of /proc/PID/stat from `state` on; None when it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    start, end = text.index("("), text.rindex(")")  # a name may hold spaces and parentheses
    return text[start + 1 : end], text[end + 2 :].split()


def read_process(pid: int) -> Process | None:
    """The process `pid` as /proc shows it now; None when it is gone or has no memory any more."""
    stat = read_stat(pid)
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return None
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    if stat is None or "VmHWM" not in fields:
        return None
    name, values = stat
    user, system, children_user, children_system = (int(v) / TICKS for v in values[11:15])
    return Process(
        pid=pid,
        parent=int(values[1]),
        started=int(values[19]),
        name=name,
        command=command.replace(b"\0", b" ").decode(errors="replace").strip(),
        cpu=user + system,
        reaped_cpu=children_user + children_system,
        peak_rss=int(fields["VmHWM"].split()[0]) * 1024,
        ignores_children=bool(int(fields["SigIgn"], 16) >> (signal.SIGCHLD - 1) & 1),
    )


def children_cpu() -> float:
    """CPU seconds charged so far to children that were waited for, and to theirs."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def machine_cpu() -> float:
    """CPU seconds that all processors together were busy since the machine started."""
    values = [int(v) for v in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    idle = values[3] + values[4]
    return (sum(values[:8]) - idle) / TICKS
