"""Ready-made schedules parse, run an existing job with settings that exist, and hold no secret."""

from __future__ import annotations

import ast
import configparser
import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from geneai_spark.jobs import run_nightly

from geneai_spark import config
from tests.conftest import ROOT, requires

FOLDER = ROOT / "deployment" / "deployment_configurations"
FILES = sorted(
    p
    for p in FOLDER.rglob("*")
    if p.is_file() and p.name != "README.md" and p.parent.name != "__pycache__"
)
PROFILES = {p.stem for p in (ROOT / "conf" / "profiles").glob("*.yaml")}


def loaded(path: Path) -> object:
    """A file as its scheduler reads it; the error of the parser where it cannot."""
    text = path.read_text("utf-8")
    if path.suffix == ".json":
        return json.loads(text)
    if path.suffix in (".yml", ".yaml"):
        return yaml.safe_load(text)
    if path.suffix == ".py":
        return ast.parse(text)
    if path.suffix in (".service", ".timer"):
        parser = configparser.RawConfigParser(strict=True)
        parser.optionxform = str  # type: ignore[assignment,method-assign]
        parser.read_string(text)
        return parser
    return text


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(FOLDER)))
def test_schedule__parses_and_names_the_job_and_a_profile_that_exists(path: Path) -> None:
    assert loaded(path)
    text = path.read_text("utf-8")
    assert path.suffix == ".timer" or "run_nightly" in text
    found = re.findall(r"--profile\"?,? \"?(\w+)", text)
    assert set(found) <= PROFILES
    assert not re.search(r"(?i)(secret|password|token|access.?key)\S*\s*[:=]\s*\S", text)


def test_schedule__readme_links_every_one() -> None:
    text = (FOLDER / "README.md").read_text("utf-8")
    links = {(FOLDER / link).resolve() for link in re.findall(r"\]\(([^)#]+)\)", text)}
    assert all(link.exists() for link in links)
    assert {p for p in FILES if p.suffix not in (".service", ".timer")} <= links


def test_schedule__databricks_runs_the_console_script_of_the_package() -> None:
    bundle = yaml.safe_load((FOLDER / "databricks" / "databricks.yml").read_text("utf-8"))
    (task,) = bundle["resources"]["jobs"]["geneai_nightly"]["tasks"]
    wheel = task["python_wheel_task"]
    scripts = (ROOT / "pyproject.toml").read_text("utf-8")
    assert f'{wheel["entry_point"]} = "geneai_spark.cli:' in scripts
    assert wheel["parameters"][0] == "run_nightly"


AIRFLOW = ROOT / ".cache" / "airflow" / "bin" / "python"
PARSE = """
import json, sys
try:
    from airflow.dag_processing.dagbag import DagBag  # Airflow 3
except ImportError:
    from airflow.models.dagbag import DagBag
bag = DagBag(dag_folder=sys.argv[1])
tasks = {name: [task.task_id for task in dag.tasks] for name, dag in bag.dags.items()}
print(json.dumps([{k: str(v) for k, v in bag.import_errors.items()}, tasks]))
"""


@pytest.mark.skipif(not AIRFLOW.exists(), reason="Airflow is not installed: make airflow")
def test_schedule__airflow_finds_the_dag_and_its_task(tmp_path: Path) -> None:
    env = {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    env["PYTHONDONTWRITEBYTECODE"] = "1"
    command = [str(AIRFLOW), "-c", PARSE, str(FOLDER / "airflow")]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    errors, dags = json.loads(done.stdout.splitlines()[-1])
    assert errors == {} and dags == {"geneai_nightly": ["run_nightly"]}


def test_schedule__the_settings_file_that_all_of_them_copy_loads() -> None:
    path = str(ROOT / "conf" / "run_nightly.yaml")
    found = config.load(run_nightly.Config, path, ["landing=in/*.vcf.gz"])
    assert list(found.configs()) == ["ingest_variants", "check_quality", "make_report"]
    text = Path(path).read_text("utf-8")
    body = re.sub(r"(?m)^# ?(?=settings:|  \w)", "", text)  # what it shows commented out
    found = config.load(
        run_nightly.Config,
        None,
        ["landing=x.vcf", "stages=check_quality,extract_features,run_gwas,make_report"]
        + [
            f"settings.{stage}.{key}={value}"
            for stage, own in yaml.safe_load(body)["settings"].items()
            for key, value in own.items()
        ],
    )
    assert "run_gwas" in found.configs()


@requires("systemd-analyze")
def test_schedule__systemd_accepts_its_units(tmp_path: Path) -> None:
    for name in ("geneai-nightly.service", "geneai-nightly.timer"):
        text = (FOLDER / "systemd" / name).read_text("utf-8")
        (tmp_path / name).write_text(text.replace("/opt/geneai/.venv/bin/geneai", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", *map(str, sorted(tmp_path.iterdir()))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
