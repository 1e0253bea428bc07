"""The only place that builds a SparkSession: Delta, its jars, and quiet local defaults.

Where a session runs already (a Databricks or EMR notebook, a test) it is returned untouched.
Precedence of settings: what spark-submit was given, then ``conf``, then the defaults here.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

from pyspark import SparkConf, SparkContext
from pyspark.sql import SparkSession

from geneai_spark import runtime
from geneai_spark.storage import Storage

log = logging.getLogger(__name__)

# Everywhere.
DEFAULTS: Mapping[str, str] = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    # The place in the caller's code that an error of a query names: three questions to the JVM for
    # each column that is written down.
    "spark.python.sql.dataFrameDebugging.enabled": "false",
    # Packed genotypes of 25,000 samples take 50 kB a record: batches are bounded by bytes, and
    # few rows are decoded at once (the defaults, 10,000 and 4,096 rows, would be 500 and 200 MB).
    # A batch that fits the processor's cache costs a sixth less to hand over.
    "spark.sql.execution.arrow.maxBytesPerBatch": "4000000",
    "spark.sql.parquet.columnarReaderBatchSize": "512",
    "spark.sql.parquet.compression.codec": "zstd",
    "spark.sql.session.timeZone": "UTC",
}

# Where executors are processes of their own.
CLUSTER_DEFAULTS: Mapping[str, str] = {
    # Numba keeps the compiled kernels of a --py-files zip, or of a read-only installation, in
    # the user's cache: a home folder that may not exist there. Relative: the executor's own
    # working folder, writable, private, and gone with the application.
    "spark.executorEnv.XDG_CACHE_HOME": "cache",
}

# On one machine.
LOCAL_DEFAULTS: Mapping[str, str] = {
    "spark.driver.memory": "2g",
    # The quick compiler only: the work on one machine is in Python's kernels, and the thorough one
    # cost more processor time than it saved (38 s of a first write against 16 s). Jobs that are
    # heavy in the JVM for hours (Spark MLlib) are better off with an empty value. With it alone
    # Java keeps 48 MB of compiled code, which a session of some minutes outgrows: a seventh of its
    # time then goes into sweeping code out and compiling it again.
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.sql.shuffle.partitions": "8",
    "spark.databricks.delta.snapshotPartitions": "1",
    # By Hadoop's older interface: the newer one starts `readlink` four times and `chmod` once, as
    # processes, for each file that it renames on this machine, of which a commit has two.
    "spark.delta.logStore.file.impl": "io.delta.storage.LocalLogStore",
    "spark.sql.streaming.checkpointFileManagerClass": "org.apache.spark.sql.execution.streaming."
    "checkpointing.FileSystemBasedCheckpointFileManager",
}


def get_session(
    app_name: str = "geneai",
    conf: Mapping[str, str] | None = None,
    master: str | None = None,
    storage: Storage | None = None,
) -> SparkSession:
    """The running SparkSession, or a new one with Delta.

    Args:
        app_name: name shown in Spark's UI and history.
        conf: Spark settings, as in the ``spark:`` part of a profile.
        master: Spark master; default: spark-submit's, ``conf``'s, else ``local[*]``.
        storage: where S3 and HDFS are; a session that runs already is told, too.

    Raises:
        ConfigError: keys of ``storage`` are not where they are said to be.
        SetupError: no Java 17 or 21, or the Delta jars are missing and cannot be downloaded.
    """
    storage = storage or Storage()
    storage.prepare()
    session = active() or _build(app_name, conf, master)
    storage.reach(session)
    return session


def _build(app_name: str, conf: Mapping[str, str] | None, master: str | None) -> SparkSession:
    submitted = _submitted()
    asked = master or (conf or {}).get("spark.master")
    master = submitted.get("spark.master") or asked or "local[*]"
    if asked not in (None, master):
        log.warning("spark-submit runs with --master %s; %s is ignored", master, asked)
    settings = {**(conf or {}), **submitted}
    local = master.startswith("local") and not master.startswith("local-cluster")
    settings = {**DEFAULTS, **(LOCAL_DEFAULTS if local else CLUSTER_DEFAULTS), **settings}
    if local:
        _prepare_local(settings)
    if "PYSPARK_GATEWAY_PORT" not in os.environ:
        os.environ["JAVA_HOME"] = str(runtime.require_java().home)
        if local:
            _share_classes(settings)
    _add_jars(settings, local=local)
    settings.pop("spark.master", None)
    builder = SparkSession.builder.appName(settings.pop("spark.app.name", app_name)).master(master)
    for key, value in settings.items():
        builder = builder.config(key, str(value))
    session = builder.getOrCreate()
    if local:
        session.sparkContext.setLogLevel(settings.get("spark.log.level", "WARN"))
    return session


def active() -> SparkSession | None:
    """The SparkSession that runs in this process, or None."""
    session = SparkSession.getActiveSession()
    if session is None and SparkContext._active_spark_context is not None:
        session = SparkSession.builder.getOrCreate()  # started from another thread
    return session


def stop() -> None:
    """Stop the running session, if there is one."""
    if session := active():
        session.stop()


def _submitted() -> dict[str, str]:
    """The settings that spark-submit was given; empty when it did not start this process."""
    if "PYSPARK_GATEWAY_PORT" not in os.environ:
        return {}
    SparkContext._ensure_initialized()
    return {k: v for k, v in SparkConf().getAll() if not k.startswith("spark.submit.")}


def _prepare_local(settings: dict[str, str]) -> None:
    """Workers use this Python and this machine's loopback; the driver's log is quiet."""
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    if kernel_cache() is None:
        os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="geneai-cache-")
    quiet = resources.files("geneai_spark.conf").joinpath("log4j2.properties")
    given = settings.get("spark.driver.extraJavaOptions", "")
    if isinstance(quiet, Path) and "log4j2.configurationFile" not in given:
        flag = f"-Dlog4j2.configurationFile={quiet}"
        settings["spark.driver.extraJavaOptions"] = f"{given} {flag}".strip()


def _share_classes(settings: dict[str, str]) -> None:
    """Start from the archive of classes, where one was made (see `class_data`)."""
    given = settings.get("spark.driver.extraJavaOptions", "")
    if "ArchiveClassesAtExit" in given or "SharedArchiveFile" in given:
        return
    archive = runtime.class_archive()
    if archive.is_file():
        # One that does not fit (a class path that others added to) is nothing to worry about.
        flags = f"-XX:SharedArchiveFile={archive} -Xlog:cds=off -Xlog:cds+dynamic=off"
        settings["spark.driver.extraJavaOptions"] = f"{given} {flags}".strip()


def kernel_cache() -> Path | None:
    """Where Numba keeps compiled kernels: the first writable of its places, or None.

    NUMBA_CACHE_DIR, beside the sources, the user's cache. Without any of them each Python
    worker would compile the kernels anew, or fail.
    """
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    given = os.environ.get("NUMBA_CACHE_DIR")
    for folder in (Path(given) if given else None, Path(__file__).parent, home / "numba"):
        if folder is None:
            continue
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        if folder.is_dir() and os.access(folder, os.W_OK):
            return folder
    return None


def _add_jars(settings: dict[str, str], *, local: bool) -> None:
    """Put Delta and S3A on the class path, unless the cluster or spark-submit brings them."""
    if any("delta" in settings.get(key, "") for key in ("spark.jars", "spark.jars.packages")):
        return
    if "PYSPARK_GATEWAY_PORT" in os.environ and _jvm_has_delta():
        return
    jars = runtime.find_jars() or runtime.resolve_jars(runtime.jars_folder())
    if local and "PYSPARK_GATEWAY_PORT" not in os.environ:
        # Not `spark.jars`: it copies each of them, starts `chmod` for it, and has Delta's classes
        # looked for in all of Spark's jars first.
        given = [path for path in [settings.get("spark.driver.extraClassPath")] if path]
        settings["spark.driver.extraClassPath"] = os.pathsep.join([*given, *map(str, jars)])
        return
    given = [jar for jar in settings.get("spark.jars", "").split(",") if jar]
    settings["spark.jars"] = ",".join([*given, *(jar.as_uri() for jar in jars)])
    if "PYSPARK_GATEWAY_PORT" in os.environ:
        _extend_class_path(jars)


def _jvm_has_delta() -> bool:
    jvm = SparkContext._jvm
    assert jvm is not None
    try:
        loader = jvm.java.lang.Thread.currentThread().getContextClassLoader()
        loader.loadClass(DEFAULTS["spark.sql.extensions"])
    except Exception:
        return False
    return True


def _extend_class_path(jars: list[Path]) -> None:
    """spark-submit's JVM runs already: give its class loader the jars, as --jars would have."""
    jvm = SparkContext._jvm
    assert jvm is not None
    loader = jvm.java.lang.Thread.currentThread().getContextClassLoader()
    for jar in jars:
        loader.addURL(jvm.java.net.URI(jar.as_uri()).toURL())


@contextmanager
def set_for(spark: SparkSession, settings: Mapping[str, str]) -> Iterator[None]:
    """Settings of the session for a while, where the user has not made them; taken back."""
    made = {k: v for k, v in settings.items() if spark.conf.get(k, None) is None}
    for key, value in made.items():
        spark.conf.set(key, value)
    try:
        yield
    finally:
        for key in made:
            spark.conf.unset(key)
