"""HDFS: a namenode and two datanodes, from the jars of the Hadoop that PySpark's client is from.

The jars (65 MB) are resolved once into ``.cache/hdfs``, as `geneai_spark.runtime` resolves Spark's.
A dead datanode is noticed after some 15 seconds rather than 10 minutes.
"""

from __future__ import annotations

import json
import os
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from geneai_spark import runtime
from tests.servers.processes import HOST, alone, foreground, free_ports, running, wait_for

HERE = Path(__file__).resolve().parent
JARS = HERE.parents[1] / ".cache" / "hdfs"
DATANODES = 2
_HDFS = "org.apache.hadoop.hdfs.server"
_LOG = """log4j.rootLogger=WARN,out
log4j.appender.out=org.apache.log4j.ConsoleAppender
log4j.appender.out.layout=org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern=%d %p %c{1}: %m%n
"""
_JMX = "/jmx?qry=Hadoop:service=NameNode,name=FSNamesystemState"


@dataclass(frozen=True)
class Hdfs:
    """A running HDFS.

    Attributes:
        uri: ``hdfs://host:port``.
        web: the namenode's web address, for WebHDFS.
        datanodes: the processes, for tests that kill one.
    """

    uri: str
    web: str
    datanodes: tuple[subprocess.Popen[bytes], ...]

    @property
    def settings(self) -> list[str]:
        """The settings with which jobs use it."""
        return [f"storage.hdfs.webhdfs={self.web}"]

    def live(self) -> int:
        """Datanodes that the namenode takes for alive."""
        with urllib.request.urlopen(self.web + _JMX, timeout=5) as answer:
            beans = json.load(answer)["beans"]  # none yet, for a moment
            return int(beans[0]["NumLiveDataNodes"]) if beans else 0


def jars() -> list[Path]:
    """The servers' jars, resolved when they are not there."""
    locked = runtime.read_lock((HERE / "hdfs.sha256").read_text("ascii"))
    with alone(JARS):
        return runtime.resolve(HERE / "hdfs.xml", locked, JARS)


@contextmanager
def start(folder: Path) -> Iterator[Hdfs]:
    """HDFS with its files and logs in ``folder``.

    Raises:
        SetupError: no Java, or no jars.
        ServerError: it does not start.
    """
    java = str(runtime.require_java().home / "bin" / "java")
    for name in ("hdfs", "datanode"):  # the servers look for their web pages
        (folder / "classes" / "webapps" / name / "WEB-INF").mkdir(parents=True)
        (folder / "classes" / "webapps" / name / "WEB-INF" / "web.xml").write_text("<web-app/>")
    (folder / "classes" / "log4j.properties").write_text(_LOG)
    path = os.pathsep.join(map(str, [folder / "classes", *jars()]))
    rpc, web = free_ports(2)
    common = {
        "fs.defaultFS": f"hdfs://{HOST}:{rpc}",
        "hadoop.tmp.dir": str(folder / "tmp"),
        "dfs.namenode.http-address": f"{HOST}:{web}",
        "dfs.namenode.safemode.extension": "0",
        "dfs.heartbeat.interval": "1",
        "dfs.namenode.heartbeat.recheck-interval": "2000",
        "dfs.webhdfs.enabled": "true",
        "dfs.permissions.enabled": "false",
        "dfs.replication": str(DATANODES),
    }

    def command(main: str, conf: dict[str, str], *words: str) -> list[str]:
        opens = "java.base/java.lang=ALL-UNNAMED"  # else WebHDFS answers 500
        options = [f"-D{key}={value}" for key, value in {**common, **conf}.items()]
        jvm = [java, "-Xmx256m", "-XX:+UseSerialGC", "--add-opens", opens, "-cp", path]
        return [*jvm, main, *options, *words]

    log = folder / "namenode.log"
    names = {"dfs.namenode.name.dir": f"file://{folder}/name"}
    format_ = command(f"{_HDFS}.namenode.NameNode", names, "-format", "-force", "-nonInteractive")
    with ExitStack() as stack:
        done = subprocess.run(format_, capture_output=True, text=True, check=False)
        if done.returncode:
            log.write_text(done.stdout + done.stderr)
        namenode = stack.enter_context(running(command(f"{_HDFS}.namenode.NameNode", names), log))
        nodes = []
        for number in range(DATANODES):
            data, http, ipc = free_ports(3)
            conf = {
                "dfs.datanode.data.dir": f"file://{folder}/data{number}",
                "dfs.datanode.address": f"{HOST}:{data}",
                "dfs.datanode.http.address": f"{HOST}:{http}",
                "dfs.datanode.ipc.address": f"{HOST}:{ipc}",
            }
            main = command(f"{_HDFS}.datanode.DataNode", conf)
            nodes.append(stack.enter_context(running(main, folder / f"datanode{number}.log")))
        hdfs = Hdfs(f"hdfs://{HOST}:{rpc}", f"http://{HOST}:{web}", tuple(nodes))
        wait_for(lambda: hdfs.live() == DATANODES, namenode, log)
        yield hdfs


@contextmanager
def _told(folder: Path) -> Iterator[str]:
    with start(folder) as hdfs:
        yield (
            f"HDFS: {hdfs.uri}, web pages and WebHDFS: {hdfs.web}\n\n"
            f"  geneai ingest_variants inputs=data/my.vcf.gz warehouse={hdfs.uri}/study "
            f"{' '.join(hdfs.settings)}"
        )


if __name__ == "__main__":
    foreground(_told)
