"""What the servers have in common: ports, processes, waiting, and a server in the foreground."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

HOST = "127.0.0.1"
PATIENCE = 120  # seconds for a server to be ready, on a machine that is busy


class ServerError(Exception):
    """A server does not start."""


def free_ports(number: int) -> list[int]:
    """Ports that nobody uses now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind((HOST, 0))
        return [int(one.getsockname()[1]) for one in sockets]


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One process at a time puts what a server needs into ``folder``; the others wait."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def running(
    command: Sequence[str], log: Path, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process, with its output in ``log``; killed at the end, its children too."""
    with log.open("ab") as out:
        process = subprocess.Popen(
            [str(word) for word in command],
            stdout=out,
            stderr=out,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
    try:
        yield process
    finally:
        kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL to a process of :func:`running` and its children; does no harm twice."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def wait_for(ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until ``ready``; OSError means not yet.

    Raises:
        ServerError: with the end of the log, where the process ends before or time is up.
    """
    limit = time.monotonic() + PATIENCE
    while True:
        try:
            if ready():
                return
        except OSError:
            pass
        if process.poll() is not None or time.monotonic() > limit:
            what = "is not ready" if process.poll() is None else f"left with {process.returncode}"
            raise ServerError(f"{process.args!r:.80} {what}: {log.read_text()[-3000:]}")
        time.sleep(0.1)


def foreground(start: Callable[[Path], AbstractContextManager[str]]) -> None:
    """Start a server for a person: print how to use it, stop it with Ctrl-C."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with tempfile.TemporaryDirectory(prefix="geneai-server-") as folder:
        try:
            with start(Path(folder)) as told:
                print(f"{told}\n\nlogs: {folder}\nCtrl-C stops it; what it stores goes with it.")
                sys.stdout.flush()
                signal.pause()
        except KeyboardInterrupt:
            print("stopped")
