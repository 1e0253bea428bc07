"""A family from another package: installed, trained, listed, scored; nothing of ours changed."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from geneai_spark import store, tables
from tests import structured, study_tables
from tests.conftest import ROOT
from tests.integration.test_substrate_study import LOCAL, call, environment

N, M = 120, 60
IDS = [f"s{i}" for i in range(N)]
MADE = np.random.default_rng(3).binomial(2, 0.4, (M, N)).astype(float)
LEVEL = MADE[:4].sum(axis=0) + np.random.default_rng(4).normal(0, 0.5, N)

SCRIPT = """
import sys
from geneai_spark import cli
home, models, settings = sys.argv[1], sys.argv[2], sys.argv[3:]
for words in (
    ["train_model", "family=polygenic_score", "trait=level", "settings.variants=10", "mlflow=none"],
    ["score_samples", "model=polygenic_score_level"],
):
    code = cli.main([*words, f"warehouse={home}", f"models={models}", *settings])
    assert code == 0, code
assert cli.main(["models", "list", f"models={models}"]) == 0
bad = ["train_model", "family=polygenic_score", "trait=level", "settings.varians=10"]
assert cli.main(bad) == 2
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package, for PYTHONPATH."""
    folder = tmp_path_factory.mktemp("plugin")
    source = shutil.copytree(ROOT / "examples" / "polygenic_score", folder / "source")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", "install"]
    target = folder / "installed"
    call([*pip, "--no-deps", "--no-build-isolation", "-t", str(target), str(source)], environment())
    return target


def test_plugin__trains_and_scores(spark, tmp_path, installed):
    home, models = str(tmp_path / "tables"), tmp_path / "models"
    store.replace(structured.variants(spark, MADE).coalesce(2), tables.VARIANTS, home)
    both = {"cohort": "default", "sourceId": "f"}
    people = [{**both, "sampleIndex": i, "sampleId": x} for i, x in enumerate(IDS)]
    study_tables.fill(spark, tables.SAMPLES, people, home)
    traits = [
        {**both, "sampleId": x, "trait": "level", "value": LEVEL[i]} for i, x in enumerate(IDS)
    ]
    study_tables.fill(spark, tables.TRAITS, traits, home)
    env = environment(PYTHONPATH=f"{ROOT}:{installed}")
    said = call([sys.executable, "-c", SCRIPT, home, str(models), *LOCAL], env)
    assert "polygenic_score_level        1  polygenic_score" in said
    assert "did you mean 'variants'" in said
    config = json.loads((models / "polygenic_score_level" / "1" / "model_config.json").read_text())
    assert config["family"] == "polygenic_score" and config["variants"] == 10
    rows = store.read(spark, tables.PREDICTIONS, home).toPandas().set_index("sampleId")
    assert len(rows) == N
    found = rows["score"].loc[IDS].to_numpy()
    assert np.corrcoef(found, LEVEL)[0, 1] > 0.8  # four variants make the trait
    # A score is linear in the doses of its ten variants: regression gives it back exactly.
    x = np.c_[MADE.T, np.ones(N)]
    fitted, *_ = np.linalg.lstsq(x, found, rcond=None)
    np.testing.assert_allclose(x @ fitted, found, rtol=1e-9)
    assert (np.abs(fitted[:M]) > 1e-9).sum() == 10
