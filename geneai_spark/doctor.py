"""`geneai doctor`: is this machine fit, and if not, how to mend it."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pkgutil
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib import metadata
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlparse

import numpy as np
from packaging.requirements import Requirement

import geneai_spark
from geneai_spark import genotypes, runtime
from geneai_spark.errors import SetupError
from geneai_spark.features import doses, kmers
from geneai_spark.formats import bgen_records, fastq_parts, sam_parts, vcf_records, vcf_text
from geneai_spark.quality import measures, read_sums

MIN_PYTHON = (3, 11)
MIN_FREE_GB = 5
TOOLS = ("bcftools", "plink2", "samtools", "tabix")


class Check(NamedTuple):
    """One finding. ``ok`` is None where it is good to know and nothing depends on it."""

    name: str
    ok: bool | None
    detail: str
    mend: str = ""


def checks(warehouse: str = "warehouse") -> list[Check]:
    """Every check, cheap ones first; a check that raises is a failed check.

    Args:
        warehouse: folder or URI where the tables are, or will be.
    """
    plan: list[tuple[str, Callable[[], Check]]] = [
        ("python", check_python),
        ("packages", check_packages),
        ("java", check_java),
        ("jars", check_jars),
        ("kernel cache", check_kernel_cache),
        ("classes", check_classes),
        ("tools", check_tools),
        ("spark", check_spark),
        ("delta", check_delta),
        ("warehouse", partial(check_warehouse, warehouse)),
    ]
    return [_guarded(name, check) for name, check in plan]


def _guarded(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except Exception as error:
        java = getattr(error, "java_exception", None)  # py4j's own text has no reason in it
        text = java.toString() if java is not None else f"{type(error).__name__}: {error}"
        return Check(name, False, text.splitlines()[0][:300], "see the checks above")


def check_python() -> Check:
    """Python 3.11 or newer."""
    found = ".".join(map(str, sys.version_info[:3]))
    ok = sys.version_info >= MIN_PYTHON
    return Check("python", ok, f"{found} ({sys.executable})", "install Python 3.11 or newer")


def required() -> tuple[str, list[Requirement]]:
    """What should be installed here, and where that is written: the lock, else our metadata."""
    lock = Path(geneai_spark.__file__).resolve().parent.parent / "requirements" / "core.txt"
    if lock.is_file():
        lines = [line for line in lock.read_text("utf-8").splitlines() if line[:1] != "#"]
        source = "requirements/core.txt"
    else:
        lines = metadata.requires("geneai-spark") or []
        source = "the installed package"
    wanted = [Requirement(line) for line in lines if line.strip()]
    return source, [r for r in wanted if r.marker is None or r.marker.evaluate({"extra": ""})]


def check_packages() -> Check:
    """Installed versions are the locked ones."""
    source, wanted = required()
    wrong = []
    for requirement in wanted:
        try:
            found = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            wrong.append(f"{requirement.name} {found} is not {requirement.specifier}")
    detail = "; ".join(wrong) or f"{len(wanted)} as in {source}"
    mend = "pip install -r requirements/core.txt (`make setup` does it)"
    return Check("packages", not wrong, detail, mend)


def check_java() -> Check:
    """Java 17 or 21 is found."""
    try:
        java = runtime.require_java()
    except SetupError as error:
        return Check("java", False, str(error).partition(":")[0], runtime.JAVA_HINT)
    return Check("java", True, f"{java.major} ({java.home})")


def check_jars() -> Check:
    """The jars for Delta and S3A are there, all of them."""
    folder, locked = runtime.jars_folder(), runtime.locked_jars()
    missing = [name for name in locked if not (folder / name).is_file()]
    detail = f"{len(locked) - len(missing)} of {len(locked)} in {folder}"
    return Check("jars", not missing, detail, runtime.JARS_HINT)


def check_kernel_cache() -> Check:
    """Compiled kernels can be kept, so that a process need not compile them again."""
    from geneai_spark.session import kernel_cache

    folder = kernel_cache()
    detail = str(folder) if folder else "neither beside the sources nor in the user's cache"
    mend = "set NUMBA_CACHE_DIR to a writable folder"
    return Check("kernel cache", folder is not None, detail, mend)


def check_classes() -> Check:
    """The JVM's classes are kept ready, so that commands start sooner."""
    made = runtime.class_archive().is_file()
    detail = "kept ready" if made else "not kept ready: `make classes` makes commands start sooner"
    return Check("classes", None, detail)


def check_tools() -> Check:
    """Tools that only tests and benchmarks compare with."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    detail = f"not found: {', '.join(missing)}" if missing else f"found: {', '.join(TOOLS)}"
    return Check("tools", None, f"{detail} (only tests and benchmarks use them)")


def check_spark() -> Check:
    """Spark starts, and a Python worker answers."""
    from geneai_spark.session import get_session

    started = time.monotonic()
    spark = get_session("geneai doctor")
    answer = spark.range(3).mapInArrow(_same, "id long").count()
    seconds = time.monotonic() - started
    detail = f"{spark.version} on {spark.sparkContext.master}, {seconds:.0f} s"
    return Check("spark", answer == 3, detail, "look at the worker's error above")


def _same(batches: Iterable[Any]) -> Iterable[Any]:
    yield from batches


def check_delta() -> Check:
    """A Delta table can be written and read back."""
    from geneai_spark.session import get_session

    spark = get_session("geneai doctor")
    with tempfile.TemporaryDirectory(prefix="geneai-doctor-") as folder:
        table = f"file://{folder}/table"
        spark.range(10).write.format("delta").save(table)
        rows = spark.read.format("delta").load(table).count()
    return Check("delta", rows == 10, f"wrote 10 rows, read {rows}", runtime.JARS_HINT)


def check_warehouse(warehouse: str) -> Check:
    """The warehouse's storage answers; a local one is writable and has room."""
    uri = urlparse(warehouse)
    if uri.scheme not in ("", "file"):
        return _check_remote(warehouse)
    folder = Path(uri.path).absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 1e9
    detail = f"{warehouse}: {free:.0f} GB free"
    if not os.access(folder, os.W_OK):
        return Check("warehouse", False, f"{folder} is not writable", "choose warehouse=FOLDER")
    return Check("warehouse", free >= MIN_FREE_GB, detail, f"free {MIN_FREE_GB} GB")


def _check_remote(warehouse: str) -> Check:
    from geneai_spark.session import get_session

    spark = get_session("geneai doctor")
    jvm, session = spark._jvm, spark._jsparkSession
    assert jvm is not None
    path = jvm.org.apache.hadoop.fs.Path(warehouse)
    exists = path.getFileSystem(session.sessionState().newHadoopConf()).exists(path)
    return Check("warehouse", True, f"{warehouse}: {'there' if exists else 'not made yet'}")


def warm_up() -> None:
    """Compile the kernels into Numba's cache, so that no first job pays for it.

    What was cached goes first: Numba looks at a function's own file, not at the files of the
    functions it calls.
    """
    for module in pkgutil.walk_packages(geneai_spark.__path__, "geneai_spark."):
        if module.name.endswith("kernels"):
            file = Path(str(importlib.import_module(module.name).__file__))
            for cached in (file.parent / "__pycache__").glob(f"{file.stem}.*.nb[ci]"):
                cached.unlink()
    from geneai_spark.association import least_squares  # SciPy, pandas: no check needs them
    from geneai_spark.models import forest

    parts = [vcf_records, vcf_text, sam_parts, forest, fastq_parts, measures, bgen_records, doses]
    work = [part.warm_up for part in (*parts, read_sums, kmers, least_squares)]
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        for done in [pool.submit(one) for one in (*work, _warm_genotypes)]:
            done.result()


def _warm_genotypes() -> None:
    decoded = np.zeros((1, 1, 2), np.int8)
    genotypes.dosages(decoded)
    genotypes.allele_counts(decoded, 2)
    genotypes.genotype_counts(decoded)


def report(found: Sequence[Check]) -> str:
    """The findings as a table for people; failed checks say how to mend them."""
    words = {True: "ok", False: "FAIL", None: "info"}
    lines = []
    for check in found:
        lines.append(f"{words[check.ok]:<5} {check.name:<13} {check.detail}")
        if check.ok is False and check.mend:
            lines.append(f"      {'':<13} -> {check.mend}")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the checks and print them; 1 where one failed, else 0."""
    parser = argparse.ArgumentParser(
        prog="geneai doctor",
        description="Check Python, Java, Spark, Delta and storage, and say how to mend them.",
        epilog="example: geneai doctor --warehouse s3a://bucket/tables",
    )
    parser.add_argument("--warehouse", default="warehouse", help="folder or URI of the tables")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    parser.add_argument("--warm", action="store_true", help="only compile the kernels, once")
    options = parser.parse_args(argv)
    if options.warm:
        warm_up()
        print("kernels compiled")
        return 0
    found = checks(options.warehouse)
    if options.json:
        print(json.dumps([check._asdict() for check in found], indent=2))
    else:
        print(report(found))
    return int(any(check.ok is False for check in found))


if __name__ == "__main__":
    sys.exit(main())
