"""The JVM's classes, kept ready: an archive from which sessions on one machine start.

A cold Spark spends most of its first seconds on loading and checking some 20,000 classes. Java
keeps them in an archive (class data sharing, JEP 350) that every later JVM maps into its memory.
An archive is of one Java and one class path; any other Java leaves it alone and loads as before.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from geneai_spark import ingest, runtime, session
from geneai_spark.errors import SetupError

SECONDS = 600  # a JVM that has not ended by then is stuck
VCF = """##fileformat=VCFv4.3
##contig=<ID=1,length=1000>
##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">
#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tA\tB
1\t10\t.\tA\tC\t.\tPASS\t.\tGT\t0/1\t1/1
"""


def make() -> Path:
    """Make the archive of this machine's Java and class path, unless it is there.

    Raises:
        SetupError: no Java, no jars, or no place to write to.
    """
    target = runtime.class_archive()
    if target.is_file():
        return target
    for old in target.parent.glob("classes-*.jsa"):
        old.unlink()
    with tempfile.TemporaryDirectory(prefix=".classes-", dir=target.parent) as scratch:
        new = Path(scratch) / "classes.jsa"
        run = subprocess.run(
            [sys.executable, "-m", "geneai_spark.class_data", str(new)],
            capture_output=True, text=True, check=False, timeout=SECONDS,
        )  # fmt: skip
        if not new.is_file():
            raise SetupError(f"no archive of classes was made: {run.stderr[-500:]}")
        new.rename(target)
    return target


def _load(archive: Path) -> None:
    """Have a JVM load what a job loads, and write it down at its end."""
    quick = session.LOCAL_DEFAULTS["spark.driver.extraJavaOptions"]
    options = f"{quick} -XX:ArchiveClassesAtExit={archive}"
    with tempfile.TemporaryDirectory(prefix="geneai-classes-") as folder:
        file = Path(folder) / "two.vcf"
        file.write_text(VCF)
        spark = session.get_session("geneai classes", {"spark.driver.extraJavaOptions": options})
        gateway = spark.sparkContext._gateway
        for _ in range(2):  # added, then replaced
            ingest.ingest_variants(spark, f"{folder}/tables", str(file))
            file.write_text(VCF.replace("0/1", "0/0"))
        spark.stop()
        assert gateway is not None
        process = gateway.proc
        process.stdin.close()  # Spark's gateway ends with it
        process.wait(SECONDS)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        _load(Path(sys.argv[1]))
    else:
        try:
            print(f"classes kept in {make()}")
        except SetupError as error:
            sys.exit(f"geneai: {error}")
