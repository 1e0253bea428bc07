"""S3: moto's server, in an environment of its own (``.cache/s3``), made once in half a minute.

Why moto: it is pure Python from the package index, so it installs wherever the tests run; it has
conditional put, multipart upload and byte ranges, which Delta, Hadoop's S3A and pyarrow use.
versitygw and MinIO do too, and are quicker, but both want a Go compiler and minutes to build.
Its own environment, since it needs older versions of packages than the project does. It keeps
objects in memory, and takes any key.
"""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests import environments
from tests.servers.processes import HOST, foreground, free_ports, running, wait_for

REQUIREMENTS = Path(__file__).resolve().with_name("requirements.txt")
REGION = "us-east-1"
#: Not secrets: the server takes any.
KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing-secret"}


@dataclass(frozen=True)
class S3:
    """A running server with one bucket, ``study``.

    Attributes:
        endpoint: its URL.
    """

    endpoint: str
    bucket: str = "study"

    @property
    def uri(self) -> str:
        """The bucket's URI."""
        return f"s3a://{self.bucket}"

    @property
    def settings(self) -> list[str]:
        """The settings with which jobs use it; the keys come from elsewhere."""
        return [
            f"storage.s3.endpoint={self.endpoint}",
            f"storage.s3.region={REGION}",
            "storage.s3.path_style=true",
        ]


def server() -> Path:
    """moto's command, installed when it is not there.

    Raises:
        SetupError: it cannot be installed.
    """
    return environments.python("s3", REQUIREMENTS).with_name("moto_server")


@contextmanager
def start(folder: Path) -> Iterator[S3]:
    """The server, with its log in ``folder``."""
    (port,) = free_ports(1)
    s3 = S3(f"http://{HOST}:{port}")
    log = folder / "s3.log"
    command = [str(server()), "-H", HOST, "-p", str(port)]
    with running(command, log, {"AWS_DEFAULT_REGION": REGION}) as process:
        wait_for(lambda: _answers(s3.endpoint), process, log)
        put = urllib.request.Request(f"{s3.endpoint}/{s3.bucket}", method="PUT")
        urllib.request.urlopen(put, timeout=30).close()
        yield s3


def _answers(url: str) -> bool:
    with urllib.request.urlopen(f"{url}/moto-api/", timeout=5) as answer:
        return bool(answer.status == 200)


@contextmanager
def _told(folder: Path) -> Iterator[str]:
    with start(folder) as s3:
        exports = " ".join(f"{name}={value}" for name, value in KEYS.items())
        yield (
            f"S3: {s3.endpoint}, bucket {s3.bucket}, any key\n\n"
            f"  export {exports}\n"
            f"  geneai ingest_variants inputs=data/my.vcf.gz warehouse={s3.uri}/tables "
            f"{' '.join(s3.settings)}"
        )


if __name__ == "__main__":
    foreground(_told)
