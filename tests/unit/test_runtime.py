"""Where Ivy is found, however pyspark was imported."""

from __future__ import annotations

import importlib.util
from importlib.machinery import ModuleSpec
from pathlib import Path

from geneai_spark import runtime


def test_pyspark_jars__under_spark_submit_pyspark_lies_in_a_zip(monkeypatch):
    spec = importlib.util.find_spec("pyspark")
    home = Path(spec.origin).parent
    installed = runtime._pyspark_jars()
    assert any(jar.name.startswith("ivy-2") for jar in installed)
    inside = str(home / "python" / "lib" / "pyspark.zip" / "pyspark" / "__init__.py")
    zipped = ModuleSpec("pyspark", None, origin=inside)
    monkeypatch.setattr(runtime, "find_spec", lambda name: zipped)
    monkeypatch.setenv("SPARK_HOME", str(home))
    assert runtime._pyspark_jars() == installed
