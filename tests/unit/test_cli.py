"""The command ``geneai``: wiring only; what jobs do is tested with them."""

from __future__ import annotations

import ast
import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from geneai_spark import __version__, cli, config, store, tables
from geneai_spark.config import JobConfig
from tests.conftest import ROOT

JOBS = cli.job_names()


def test_job_names__are_the_files_in_jobs() -> None:
    found = {path.stem for path in (ROOT / "jobs").glob("*.py")} - {"__init__"}
    assert set(JOBS) == found
    assert {"ingest_variants", "ingest_traits"} <= found
    assert not [name for name in found if name.startswith("test_")]
    assert not found & set(cli.TOOLS)


def test_help__lists_every_command_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name in [*JOBS, *cli.TOOLS]:
        (at,) = [i for i, line in enumerate(lines) if line.startswith(f"  {name} ")]
        assert len(lines[at].split()) > 3
        assert lines[at + 1].strip().startswith(f"geneai {name}")


@pytest.mark.parametrize("name", JOBS)
def test_job__has_help_config_and_a_yaml_that_fits(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([name, "--help"]) == 0
    out = capsys.readouterr().out
    assert f"example:\n  geneai {name} " in out
    module = cli.load_job(name)
    assert issubclass(module.Config, JobConfig)
    path = ROOT / "conf" / f"{name}.yaml"
    required = {
        f.name: f.metadata.get("example") or "1"
        for f in dataclasses.fields(module.Config)
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    }
    loaded = config.load(module.Config, str(path), [f"{k}={v}" for k, v in required.items()])
    first = path.read_text().partition("\n")[0]
    assert first.startswith(f"# geneai {name} "), "the first line is the example of --help"
    for field in dataclasses.fields(module.Config):
        assert field.metadata.get("help"), f"{field.name} has no help"
        if field.name not in required:  # the YAML shows the defaults; the dataclass has them
            default = field.default
            if default is dataclasses.MISSING:
                assert field.default_factory is not dataclasses.MISSING
                default = field.default_factory()
            assert getattr(loaded, field.name) == default, field.name


@pytest.mark.parametrize("name", JOBS)
def test_job__stands_in_the_readme(name: str) -> None:
    assert f"| `geneai {name}` |" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("name", JOBS)
def test_job__is_thin_and_runs_under_spark_submit(name: str) -> None:
    tree = ast.parse((ROOT / "jobs" / f"{name}.py").read_text())
    assert ast.get_docstring(tree)
    last = tree.body[-1]
    assert isinstance(last, ast.If)
    assert ast.unparse(last) == "if __name__ == '__main__':\n    job.main(run, Config)"


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["ingest_varants"], "did you mean 'ingest_variants'?"),
        (["ingest-variants"], "did you mean 'ingest_variants'?"),
        (["docter"], "did you mean 'doctor'?"),
        (["zzzz"], "there are: "),
        (["tables"], ""),
        (["tables", "descrbe"], "no action 'descrbe'; did you mean 'describe'?"),
        (["tables", "describe", "varaints"], "no table 'varaints'; did you mean 'variants'?"),
    ],
)
def test_main__unknown_words_are_usage_errors(
    argv: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(argv) == 2
    assert told in capsys.readouterr().err


def test_main__starts_fast_and_without_spark() -> None:
    code = (
        "import sys; from geneai_spark import cli; cli.main(['--help']); cli.main(['--version']);"
        "print([m for m in sys.modules if m.split('.')[0] in ('pyspark', 'pyarrow', 'numba')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-2:] == [f"geneai {__version__}", "[]"]


def test_load_job__from_a_checkout_that_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "odd.py").write_text("from dataclasses import dataclass\nrun = Config = 1\n")
    monkeypatch.setattr(cli, "jobs_folder", lambda: tmp_path)
    assert cli.load_job("odd").Config == 1


def test_tables__list_describe_history(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = f"warehouse={tmp_path}"
    assert cli.main(["tables", "list", home]) == 0
    assert "no tables in" in capsys.readouterr().err
    rows = [{"cohort": "c", "sampleIndex": 0, "sampleId": "SECRET"}]
    store.append(store.from_rows(spark, rows, tables.SAMPLES), tables.SAMPLES, str(tmp_path))
    assert cli.main(["tables", "list", home]) == 0
    assert "samples" in capsys.readouterr().out
    assert cli.main(["tables", "describe", home]) == 0
    out = capsys.readouterr().out
    assert "rows      1 in 1 files" in out
    assert tables.SAMPLES.schema["sampleIndex"].metadata["comment"] in out
    assert "SECRET" not in out
    assert cli.main(["tables", "history", "samples", home]) == 0
    assert "WRITE          numOutputRows=1" in capsys.readouterr().out
    assert cli.main(["tables", "describe", "variants", home]) == 1
    assert "table 'variants': not in warehouse" in capsys.readouterr().err
