"""The README tells the truth: its commands exist, its links lead somewhere, its jobs are all."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from geneai_spark import cli, config, datasets, tables
from geneai_spark.config import JobConfig

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")
JOBS = sorted(p.stem for p in (ROOT / "jobs").glob("*.py") if p.stem != "__init__")
CONFIGS = sorted((ROOT / "conf").glob("*.yaml"))
COMMANDS = sorted(set(re.findall(r"\bgeneai ([a-z][a-z_]*)([^`\n#]*)", README)))
CELLS = [cell for line in README.splitlines() for cell in re.findall(r"`([^`]+)`", line)]


def job_config(name: str) -> type[JobConfig]:
    module = importlib.import_module(f"geneai_spark.jobs.{name}")
    assert issubclass(module.Config, JobConfig) and callable(module.run)
    return module.Config


def test_jobs__are_named_verb_noun_and_listed():
    assert JOBS, "no jobs found"
    for name in JOBS:
        assert re.fullmatch(r"[a-z]+(_[a-z]+)+", name) and not name.startswith("test_")
        assert f"| `geneai {name}` |" in README, f"README: no row for job {name}"
        assert (ROOT / "conf" / f"{name}.yaml").exists(), f"no conf/{name}.yaml"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_conf__keys_are_settings_of_the_job(path):
    cls = job_config(path.stem)
    rows = config._rows(cls, "")
    required = [f"{name}={example}" for name, _, default, _, example in rows if default is None]
    given = path.read_text("utf-8")
    needed = [word for word in required if f"\n{word.partition('=')[0]}:" not in f"\n{given}"]
    assert config.load(cls, str(path), needed)


@pytest.mark.parametrize(("command", "rest"), COMMANDS, ids=[f"{c}{r}"[:50] for c, r in COMMANDS])
def test_readme__geneai_commands_exist_with_their_settings(command, rest):
    if command in JOBS:
        words = [word.strip("'\"") for word in rest.split()]
        settings = [word for word in words if "=" in word and word not in ("key=value",)]
        known = {name for name, *_ in config._rows(job_config(command), "")}
        assert {word.partition("=")[0] for word in settings} <= known
    else:
        assert command in cli.TOOLS or f"*Planned: `geneai {command}`" in README
    for name in re.findall(r"download (\S+)", rest):
        assert name in datasets.DATASETS


def test_readme__make_targets_exist():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    named = set(re.findall(r"(?:`|^)make ([a-z0-9-]+)", README, re.MULTILINE))
    assert {"demo", "test"} <= named
    others = re.search(r"^OTHERS := (.+)$", makefile, re.MULTILINE)
    assert others is not None
    named -= {f"extra-{name}" for name in others[1].split()}
    for target in named:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"no target {target}"


def test_readme__links_lead_somewhere():
    headings = {
        re.sub(r"[^\w\- ]", "", line.lstrip("# ").lower()).replace(" ", "-")
        for line in README.splitlines()
        if line.startswith("#")
    }
    links = re.findall(r"\]\(([^)]+)\)", README)
    assert len(links) > 10
    for link in links:
        if link.startswith("#"):
            assert link[1:] in headings, link
        else:
            assert "://" not in link and (ROOT / link.partition("#")[0]).exists(), link


def test_readme__tables_exist_and_are_all_listed():
    section = README.partition("\n## Tables\n")[2].partition("\n## ")[0]
    listed = set(re.findall(r"^\| `([a-z_]+)` \|", section, re.MULTILINE))
    assert listed == set(tables.TABLES)


def test_readme__python_blocks_name_what_exists():
    for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        compile(block, "README.md", "exec")
        block = re.sub(r'"[^"]*"', '""', block)
        for module, names in re.findall(r"^from (\S+) import (.+)$", block, re.MULTILINE):
            for name in names.split(","):
                loaded = importlib.import_module(module)
                if not hasattr(loaded, name.strip()):
                    importlib.import_module(f"{module}.{name.strip()}")
        for module, attribute in re.findall(
            r"\b(genotypes|vcf|store|cohorts|session|tables)\.(\w+)", block
        ):
            parent = "geneai_spark.formats" if module == "vcf" else "geneai_spark"
            assert hasattr(importlib.import_module(f"{parent}.{module}"), attribute)


def test_readme__serves_five_users():
    for user in (
        "research scientist",
        "bioinformatician",
        "ML engineer",
        "API developer",
        "DevOps",
    ):
        assert re.search(rf"^\| \*\*{user}", README, re.MULTILINE), user
