"""Environments of packages that do not go together with the project's, made once in ``.cache``."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from geneai_spark.errors import SetupError
from tests.servers.processes import alone

CACHE = Path(__file__).resolve().parents[1] / ".cache"


def python(name: str, requirements: Path) -> Path:
    """The Python of ``.cache/<name>``, which is made where it is not there or of other packages.

    Args:
        name: of the environment.
        requirements: every package with its version.

    Raises:
        SetupError: it cannot be made.
    """
    folder = CACHE / name
    made, done, wanted = folder / "bin" / "python", folder / ".complete", requirements.read_bytes()
    with alone(folder):
        if not done.is_file() or done.read_bytes() != wanted:
            shutil.rmtree(folder, ignore_errors=True)
            _run(name, sys.executable, "-m", "venv", folder)
            asked = ("install", "-q", "--no-deps", "-r", requirements)
            try:
                _run(name, sys.executable, "-m", "uv", "pip", *asked, "--python", made)
            except SetupError:  # uv does not know what pip is told of indexes
                _run(name, made, "-m", "pip", "--disable-pip-version-check", *asked)
            done.write_bytes(wanted)
    return made


def _run(name: str, *words: str | Path) -> None:
    run = subprocess.run(words, capture_output=True, text=True, check=False)
    if run.returncode:
        raise SetupError(f"no environment {name} for tests: {run.stderr[-1000:]}")
