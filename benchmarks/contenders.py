"""Who takes part in the ingest benchmark: the command of each, and how its rows are counted.

Rows are counted after the measured run, from the metadata of what was stored.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pyarrow.parquet

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Contender:
    """A way to store a VCF.

    Attributes:
        name: name in the table.
        command: arguments that store the file `source` at each of `targets`, one after the other
            in one session.
        empty: arguments that start and stop its session only; None where it has no session and
            takes one target.
        rows: how many records are stored at `target`.
        version: its version; None where it cannot run here, which `missing` explains.
    """

    name: str
    command: Callable[[Path, Sequence[Path]], list[str]]
    empty: list[str] | None
    rows: Callable[[Path], int]
    version: str | None
    missing: str = ""


def geneai(mode: str) -> Contender:
    """This project: `mode` is one of run_geneai.py."""
    script = [sys.executable, str(HERE / "run_geneai.py")]
    return Contender(
        f"geneai {mode}",
        lambda source, targets: [*script, mode, str(source), *map(str, targets)],
        [*script, "empty"],
        delta_rows,
        f"pyspark {version('pyspark')}, delta-spark {version('delta-spark')}",
    )


def hail(python: Path) -> Contender:
    """Hail's import_vcf and write, in the Python environment that `python` belongs to."""
    script = [str(python), str(HERE / "run_hail.py")]
    found = None
    if python.exists():
        ask = "from importlib.metadata import version as v; print(v('hail'), v('pyspark'))"
        said = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=False)
        if said.returncode == 0:
            found = "hail {}, pyspark {}".format(*said.stdout.split())
    return Contender(
        "hail",
        lambda source, targets: [*script, "write", str(source), *map(str, targets)],
        [*script, "empty"],
        hail_rows,
        found,
        f"no Hail in {python}: run `make bench-peers`",
    )


def bcftools(flag: str) -> Contender:
    """`bcftools view`: `-Ou` writes plain BCF, `-Ob` compressed BCF."""
    found = None
    if program := shutil.which("bcftools"):
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
        found = said.stdout.splitlines()[0]
    return Contender(
        f"bcftools view {flag}",
        lambda source, targets: ["bcftools", "view", flag, "-o", str(targets[0]), str(source)],
        None,
        bcf_rows,
        found,
        "no bcftools on the path: apt-get install bcftools",
    )


def delta_rows(target: Path) -> int:
    """Rows of the Delta table at `target`, or of the table `variants` of the warehouse there."""
    table = target / "variants" if (target / "variants").exists() else target
    files: set[str] = set()
    for commit in sorted((table / "_delta_log").glob("*.json")):
        for action in map(json.loads, commit.read_text().splitlines()):
            if "add" in action:
                files.add(action["add"]["path"])
            elif "remove" in action:
                files.discard(action["remove"]["path"])
    return sum(pyarrow.parquet.read_metadata(table / path).num_rows for path in files)


def hail_rows(target: Path) -> int:
    """Rows of the MatrixTable at `target`."""
    with gzip.open(target / "metadata.json.gz") as file:
        return int(sum(json.load(file)["components"]["partition_counts"]["counts"]))


def bcf_rows(target: Path) -> int:
    """Records of the BCF at `target`."""
    command = ["bcftools", "query", "-f", "\\n", str(target)]
    return subprocess.run(command, capture_output=True, check=True).stdout.count(b"\n")


def machine() -> dict[str, object]:
    """What the figures were taken on."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())
    java = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False)
    return {
        "cpu": model[1] if model else "unknown",
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(int(memory[1]) / 1e6) if memory else None,
        "java": java.stderr.splitlines()[0] if java.stderr else "none",
        "python": sys.version.split()[0],
    }
