"""What Spark needs on the machine beyond Python: a Java runtime and a folder of jars.

``python -m geneai_spark.runtime FOLDER`` resolves the jars into a folder (``make setup`` calls
it). PySpark brings Ivy, so neither Maven nor a running Spark is needed for it.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from geneai_spark.errors import SetupError

JAVA_VERSIONS = (17, 21)
JAVA_HINT = (
    "install Java 17 or 21 (Debian, Ubuntu: apt-get install openjdk-17-jre-headless; "
    "macOS: brew install openjdk@17) or point JAVA_HOME to it"
)
JARS_HINT = "run `make jars` in the project, or `python -m geneai_spark.runtime FOLDER` and set "
JARS_HINT += "GENEAI_JARS=FOLDER"


class Java(NamedTuple):
    """A Java runtime: its home folder and its major version."""

    home: Path
    major: int


def _java_homes() -> Iterator[Path]:
    if home := os.environ.get("JAVA_HOME"):
        yield Path(home)
    if on_path := shutil.which("java"):
        yield Path(on_path).resolve().parent.parent
    for folder in ("/usr/lib/jvm", "/opt/homebrew/opt", "/usr/local/opt"):
        yield from sorted(Path(folder).glob("*java-*")) + sorted(Path(folder).glob("openjdk*"))


@lru_cache(maxsize=32)
def java_version(home: Path) -> int | None:
    """Major version of the Java runtime in ``home``, or None where there is none that runs."""
    executable = home / "bin" / "java"
    if not executable.exists():
        return None
    try:
        said = subprocess.run(
            [executable, "-version"], capture_output=True, text=True, timeout=60, check=True
        ).stderr
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r'version "(?:1\.)?(\d+)', said)
    return int(found[1]) if found else None


def find_java() -> Java | None:
    """The first fit Java (17 or 21) of JAVA_HOME, PATH and the usual folders; else None."""
    for home in _java_homes():
        major = java_version(home)
        if major in JAVA_VERSIONS:
            return Java(home, major)
    return None


def require_java() -> Java:
    """As `find_java`; raises SetupError, naming the versions found, where none is fit."""
    if java := find_java():
        return java
    found = sorted({v for home in _java_homes() if (v := java_version(home)) is not None})
    what = f"found only Java {', '.join(map(str, found))}" if found else "no Java found"
    raise SetupError(f"{what}: {JAVA_HINT}")


def locked_jars() -> dict[str, str]:
    """Name -> sha256 of every jar that Spark needs beside its own."""
    return read_lock(
        resources.files("geneai_spark.conf").joinpath("jars.sha256").read_text("ascii")
    )


def read_lock(text: str) -> dict[str, str]:
    """Name -> sha256, of lines as ``sha256sum`` writes them."""
    return {name: digest for digest, name in map(str.split, text.splitlines())}


def jars_folder() -> Path:
    """Where the jars are looked for: GENEAI_JARS, the checkout's ``.jars``, the user's cache."""
    if given := os.environ.get("GENEAI_JARS"):
        return Path(given)
    root = Path(__file__).resolve().parent.parent
    if (root / ".jars").is_dir() or (root / "pyproject.toml").is_file():
        return root / ".jars"
    return user_cache() / "jars"


def user_cache() -> Path:
    """Folder of what can be made again, for an installation that has no checkout."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "geneai"


def find_jars() -> list[Path]:
    """The jars for Spark's class path; empty where any of the locked ones is missing."""
    jars = [jars_folder() / name for name in sorted(locked_jars())]
    return jars if all(jar.is_file() for jar in jars) else []


def class_archive() -> Path:
    """Where the JVM's classes are kept ready (see `class_data`): beside the jars.

    The name tells Java and class path apart: an archive fits one of each.
    """
    java = require_java()
    known = [f"{java.home}", (java.home / "release").read_text("utf-8", "replace")]
    for jar in (*sorted(_spark_jars().glob("*.jar")), *find_jars()):
        known.append(f"{jar} {jar.stat().st_size} {jar.stat().st_mtime_ns}")
    digest = hashlib.sha256("\n".join(known).encode()).hexdigest()
    return jars_folder() / f"classes-{digest[:16]}.jsa"


def resolve_jars(folder: Path) -> list[Path]:
    """Download the jars of ``conf/jars.xml`` into ``folder``, checked against their sha256.

    The folder appears complete or not at all; a complete one is left as it is, offline.

    Raises:
        SetupError: no Java, no network, or a jar that is not the locked one.
    """
    with resources.as_file(resources.files("geneai_spark.conf").joinpath("jars.xml")) as wanted:
        return resolve(wanted, locked_jars(), folder)


def resolve(wanted: Path, locked: Mapping[str, str], folder: Path) -> list[Path]:
    """As :func:`resolve_jars`, of any Ivy file and lock.

    Args:
        wanted: Ivy's list of modules.
        locked: name -> sha256 of every jar that they come to.
        folder: where the jars go.
    """
    if all(_sha256(folder / name) == digest for name, digest in locked.items()):
        return [folder / name for name in sorted(locked)]
    java = require_java()
    spark_jars = _pyspark_jars()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".jars-", dir=folder.parent) as scratch:
        new = Path(scratch) / "jars"
        conf = resources.files("geneai_spark.conf")
        with resources.as_file(conf.joinpath("ivysettings.xml")) as settings:
            command = [f"{java.home}/bin/java", "-cp", os.pathsep.join(map(str, spark_jars))]
            command += ["org.apache.ivy.Main", "-settings", f"{settings}", "-ivy", f"{wanted}"]
            command += ["-cache", f"{scratch}/ivy", "-types", "jar", "bundle", "-warn"]
            command += ["-retrieve", f"{new}/[artifact]-[revision](-[classifier]).[ext]"]
            run = subprocess.run(command, capture_output=True, text=True, check=False)
        _check(new, locked, run.stdout + run.stderr)
        if folder.exists():
            shutil.rmtree(folder)
        new.rename(folder)
    return [folder / name for name in sorted(locked)]


def _spark_jars() -> Path:
    """The folder of Spark's own jars."""
    spec = find_spec("pyspark")
    if spec is None or spec.origin is None:
        raise SetupError("pyspark is not installed: run `make setup`")
    folder = Path(spec.origin).parent / "jars"
    if not folder.is_dir():  # spark-submit imports pyspark from a zip inside SPARK_HOME
        folder = Path(os.environ.get("SPARK_HOME", "")) / "jars"
    return folder


def _pyspark_jars() -> list[Path]:
    return [
        jar
        for part in ("ivy-2", "commons-cli", "commons-lang3")
        for jar in _spark_jars().glob(f"{part}*.jar")
    ]


def _sha256(file: Path) -> str | None:
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else None


def _check(folder: Path, locked: Mapping[str, str], log: str) -> None:
    """Compare the jars in ``folder`` with the lock, by name and by content."""
    found = {jar.name: _sha256(jar) for jar in folder.glob("*")}
    if missing := sorted(set(locked) - set(found)):
        raise SetupError(f"jars not resolved: {', '.join(missing)}\n{log[-2000:]}")
    if wrong := sorted(name for name in found if found[name] != locked.get(name)):
        raise SetupError(f"jars that differ from the lock of sha256: {', '.join(wrong)}")


if __name__ == "__main__":
    try:
        jars = resolve_jars(Path(sys.argv[1]) if len(sys.argv) > 1 else jars_folder())
    except SetupError as error:
        sys.exit(f"geneai: {error}")
    print(f"{len(jars)} jars in {jars[0].parent}")
