"""Imports flow one way: each module imports only from layers below its own, or from its own."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGE = "geneai_spark"
#: From the ground up. A folder stands for its modules; a name of two parts wins over its folder.
LAYERS = (
    ("errors",),
    ("settings",),
    ("storage",),
    ("config", "genome", "genotype_kernels", "table"),
    ("tables",),
    ("genotypes", "simulation"),
    ("runtime", "cohorts", "conf"),
    ("session", "filesystems", "jvm"),
    ("staging", "parquet_parts", "tasks", "conflicts"),
    ("commits",),
    ("store", "progress"),
    ("stored", "upkeep"),
    ("formats",),
    ("ingest",),
    ("quality",),
    ("features",),
    ("selection",),
    ("export",),
    ("association",),
    ("models",),
    ("registry",),
    ("tracking",),
    ("report", "datasets"),
    ("class_data",),
    ("doctor",),
    ("job",),
    ("jobs", "nightly"),
    ("cli", "demo", "models_command"),
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
#: Kernels and what Python workers import before they know Spark.
NO_SPARK = (
    "genotype_kernels", "genome", "filesystems", "errors", "settings", "config", "storage"
)  # fmt: skip
FILES = sorted([*(ROOT / PACKAGE).rglob("*.py"), *(ROOT / "jobs").glob("*.py")])


def parts(path: Path) -> tuple[str, ...]:
    """The module's name inside the package: ``formats/vcf.py`` -> ("formats", "vcf")."""
    names = path.relative_to(ROOT).with_suffix("").parts
    return names[1:] if names[0] == PACKAGE else names


def imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every imported module by its full name, with the line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "relative imports are not used"
            module = node.module or ""
            if module == PACKAGE:
                yield from ((f"{PACKAGE}.{alias.name}", node.lineno) for alias in node.names)
            else:
                yield module, node.lineno


def arrows_back(name: str, tree: ast.AST) -> list[str]:
    """The imports of module ``name`` (its first part) that go against the layers."""
    told = []
    for imported, line in imports(tree):
        words = imported.split(".")
        target = words[1] if words[0] == PACKAGE and len(words) > 1 else None
        if RANK.get(str(target), -1) > RANK[name]:
            told.append(f"line {line}: {name} imports {target}")
        if words[0] == "pyspark" and name in NO_SPARK:
            told.append(f"line {line}: {name} imports pyspark")
    return told


@pytest.mark.parametrize("path", FILES, ids=lambda p: "/".join(parts(p)))
def test_layering__no_arrow_back(path: Path) -> None:
    name = parts(path)[0]
    if name == "__init__":
        assert not [i for i, _ in imports(ast.parse(path.read_text())) if i.startswith(PACKAGE)]
        return
    assert name in RANK, f"{name}: give the module a layer in LAYERS"
    assert arrows_back(name, ast.parse(path.read_text())) == []


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("store", "from geneai_spark.formats import vcf"),
        ("quality", "from geneai_spark import job"),
        ("tables", "def late():\n    import geneai_spark.store"),
        ("genome", "from pyspark.sql import functions"),
    ],
)
def test_arrows_back__are_found(name: str, source: str) -> None:
    assert len(arrows_back(name, ast.parse(source))) == 1


@pytest.mark.parametrize(
    "path", [p for p in FILES if "kernels" in p.stem], ids=lambda p: "/".join(parts(p))
)
def test_layering__kernels_do_not_import_spark(path: Path) -> None:
    found = {imported.partition(".")[0] for imported, _ in imports(ast.parse(path.read_text()))}
    assert "pyspark" not in found


@pytest.mark.parametrize("path", FILES, ids=lambda p: "/".join(parts(p)))
def test_layering__delta_is_the_stores_secret(path: Path) -> None:
    found = {imported.partition(".")[0] for imported, _ in imports(ast.parse(path.read_text()))}
    assert "delta" not in found or parts(path) == ("store",)
