"""The `storage` part of a job's settings: where S3 and HDFS are, and whence their keys come.

Two worlds read and write the same files: Spark's JVMs through Hadoop's file systems, and Python
(the driver, and workers on every machine) through `filesystems`. Each setting is said once here and
given to both: to the JVMs as Hadoop settings, to Python as variables of the environment, which go
to the workers with their tasks. Keys are no settings: they are read from where they are kept, are
never part of a config or of Spark's settings, and travel as the tasks do (encrypt that with
``spark.network.crypto.enabled``).
"""

from __future__ import annotations

import configparser
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from geneai_spark.errors import ConfigError
from geneai_spark.settings import option

#: Keys as the AWS libraries name them, in a credentials file and in the environment; and Hadoop.
_KEYS = {
    "aws_access_key_id": ("AWS_ACCESS_KEY_ID", "fs.s3a.access.key"),
    "aws_secret_access_key": ("AWS_SECRET_ACCESS_KEY", "fs.s3a.secret.key"),
    "aws_session_token": ("AWS_SESSION_TOKEN", "fs.s3a.session.token"),
}
_PROVIDERS = "org.apache.hadoop.fs.s3a"
_STATIC = f"{_PROVIDERS}.SimpleAWSCredentialsProvider"
_TEMPORARY = f"{_PROVIDERS}.TemporaryAWSCredentialsProvider"
_ANONYMOUS = f"{_PROVIDERS}.AnonymousAWSCredentialsProvider"


@dataclass(frozen=True)
class S3:
    """Where S3 is. Empty settings are left to the platform."""

    endpoint: str = option("URL of a server other than Amazon's, e.g. http://minio:9000", "")
    region: str = option("region, e.g. eu-central-1", "")
    path_style: bool | None = option("bucket in the path (true) or in the host (false)", None)
    keys_from: Literal["default", "profile", "file", "anonymous"] = option(
        "keys: default = the environment, else the machine's role; a profile of ~/.aws/credentials;"
        " a file like it; or none",
        "default",
    )
    profile: str = option("the profile, in ~/.aws/credentials or in the file", "default")
    file: str = option("the file that holds the keys, e.g. a mounted secret", "")

    def __post_init__(self) -> None:
        if self.endpoint and urlsplit(self.endpoint).scheme not in ("http", "https"):
            raise ValueError("endpoint must begin with http:// or https://")
        if bool(self.file) != (self.keys_from == "file"):
            raise ValueError("keys_from=file and file=PATH go together")

    def environment(self) -> dict[str, str]:
        """What Python is told, without keys."""
        style = {None: "", True: "true", False: "false"}[self.path_style]
        anonymous = "true" if self.keys_from == "anonymous" else ""
        told = {
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_REGION": self.region,
            "GENEAI_S3_PATH_STYLE": style,
            "GENEAI_S3_ANONYMOUS": anonymous,
        }
        return _filled(told)

    def hadoop(self) -> dict[str, str]:
        """What Hadoop is told, without keys."""
        told = {
            "fs.s3a.endpoint": self.endpoint,
            "fs.s3a.endpoint.region": self.region,
            "fs.s3a.path.style.access": "" if self.path_style is None else _word(self.path_style),
            "fs.s3a.aws.credentials.provider": _ANONYMOUS if self.keys_from == "anonymous" else "",
        }
        if self.endpoint:
            secure = urlsplit(self.endpoint).scheme == "https"
            told["fs.s3a.connection.ssl.enabled"] = _word(secure)
        return _filled(told)

    def keys(self) -> dict[str, str]:
        """The keys, by their names in the environment; empty where the platform has its own way.

        Raises:
            ConfigError: the file, the profile or one of the keys is missing; tells no content.
        """
        if self.keys_from == "anonymous":
            return {}
        if self.keys_from == "default":
            names = [name for name, _ in _KEYS.values()]
            return {name: os.environ[name] for name in names if os.environ.get(name)}
        usual = os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials"
        path = Path(self.file or usual).expanduser()
        parser = configparser.ConfigParser(interpolation=None, default_section="")
        try:
            parser.read_string(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"storage.s3: {path}: cannot be read: {error.strerror}") from None
        except (configparser.Error, UnicodeDecodeError):  # their messages quote lines
            raise ConfigError(f"storage.s3: {path}: expected sections of key = value") from None
        if not parser.has_section(self.profile):
            raise ConfigError(f"storage.s3: {path}: no section [{self.profile}]")
        section = parser[self.profile]
        for needed in ("aws_access_key_id", "aws_secret_access_key"):
            if not section.get(needed):
                raise ConfigError(f"storage.s3: {path}: no {needed} in [{self.profile}]")
        return {name: section[k] for k, (name, _) in _KEYS.items() if section.get(k)}


@dataclass(frozen=True)
class Hdfs:
    """Where HDFS is. Spark knows it from HADOOP_CONF_DIR or the URI; this is for Python."""

    webhdfs: str = option(
        "web address of the namenode, or of a pair of them with ';'; default: from"
        " HADOOP_CONF_DIR, or port 9870 of the URI's host",
        "",
    )
    client: Literal["auto", "native", "webhdfs"] = option(
        "how Python reads HDFS: libhdfs, WebHDFS, or auto: libhdfs where it is installed", "auto"
    )
    user: str = option("user on a cluster without Kerberos", "")
    kerberos: bool = option("WebHDFS with the Kerberos ticket of each machine", False)

    def environment(self) -> dict[str, str]:
        """What Python is told."""
        told = {
            "GENEAI_WEBHDFS": self.webhdfs,
            "GENEAI_HDFS_CLIENT": "" if self.client == "auto" else self.client,
            "HADOOP_USER_NAME": self.user,
            "GENEAI_HDFS_KERBEROS": "true" if self.kerberos else "",
        }
        return _filled(told)


@dataclass(frozen=True)
class Storage:
    """Where storage is that is not of this machine."""

    s3: S3 = option("S3 and what speaks like it", S3())
    hdfs: Hdfs = option("HDFS", Hdfs())

    def prepare(self) -> None:
        """Tell this process, before Spark's JVM starts: it has its user from the environment.

        Raises:
            ConfigError: the keys are not where they are said to be.
        """
        os.environ.update(self.s3.environment() | self.hdfs.environment() | self.s3.keys())

    def reach(self, session: Any) -> None:
        """Tell a session's JVMs and its Python workers, also where it runs already."""
        keys = self.s3.keys()
        try:
            context = session.sparkContext
        except Exception:  # Spark Connect: the server's own settings hold
            return
        told = self.s3.environment() | self.hdfs.environment() | keys | _own(os.environ)
        context.environment.update(told)
        hadoop = context._jsc.hadoopConfiguration()
        for key, value in {**self.s3.hadoop(), **_hadoop_keys(keys, self.s3.keys_from)}.items():
            hadoop.set(key, value)


def _hadoop_keys(keys: Mapping[str, str], source: str) -> dict[str, str]:
    """Hadoop's settings for keys; none for those that it finds by itself as Python does."""
    if not keys or source == "default":
        return {}
    told = {theirs: keys[name] for name, theirs in _KEYS.values() if name in keys}
    provider = _TEMPORARY if "AWS_SESSION_TOKEN" in keys else _STATIC
    return told | {"fs.s3a.aws.credentials.provider": provider}


def _own(environment: Mapping[str, str]) -> dict[str, str]:
    """Variables that say where storage is and were set by the user instead of a setting."""
    names = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION")
    return {
        name: value
        for name, value in environment.items()
        if name in names or name.startswith(("GENEAI_S3_", "GENEAI_HDFS_", "GENEAI_WEBHDFS"))
    }


def _word(value: bool) -> str:
    return "true" if value else "false"


def _filled(values: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in values.items() if value}
