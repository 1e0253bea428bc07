"""Versions of models in a folder: added, named, found, moved; half-written ones are not there."""

from __future__ import annotations

from pathlib import Path

import pytest
from geneai_spark.jobs import train_model

from geneai_spark import cli, config, registry
from geneai_spark.errors import ConfigError, ModelError
from geneai_spark.models.directory import Contents


def contents(model: bytes = b"model", auc: float = 0.75, test: str = "same") -> Contents:
    held = {
        "family": "disease_association",
        "metrics": {"test_roc_auc": auc},
        "test_samples": test,
        "samples": {"train": {"samples": 80, "cases": 30}},
    }
    return Contents(model, "pkl", held, "AUC 0.75\n", {"model_card.md": "# Card\n"})


def test_add__the_next_number_also_after_a_half_written_version(tmp_path: Path) -> None:
    models = str(tmp_path)
    assert registry.add(models, "a", contents()).number == 1
    half = tmp_path / "a" / "2"
    half.mkdir()
    (half / "trained_model.pkl").write_bytes(b"half")
    assert registry.add(models, "a", contents(b"other")).number == 3
    assert [(v.name, v.number) for v in registry.versions(models)] == [("a", 1), ("a", 3)]
    assert registry.load(registry.find(models, "a")).model == b"other"
    assert registry.add(models, "b", contents()).number == 1
    with pytest.raises(ModelError, match="expected letters"):
        registry.add(models, "../a", contents())


def test_train_model__a_name_that_no_model_can_have_is_told_before_the_work() -> None:
    assert config.load(train_model.Config, overrides=["trait=y"]).name == "disease_association_y"
    for words in (["trait=blood pressure"], ["trait=y", "model=a/b"]):
        with pytest.raises(ConfigError, match="model name"):
            config.load(train_model.Config, overrides=words)
    asked = config.load(train_model.Config, overrides=["trait=blood pressure", "model=bp"])
    assert asked.name == "bp"


def test_promote__and_find_by_name_number_and_alias(tmp_path: Path) -> None:
    models = str(tmp_path)
    for number in (1, 2, 3):
        registry.add(models, "a", contents(bytes([number])))
    assert registry.promote(models, "a/1").aliases == ("champion",)
    assert registry.promote(models, "a", "challenger").number == 3
    assert registry.find(models, "a@champion").number == 1
    assert registry.promote(models, "a@challenger").aliases == ("challenger", "champion")
    assert registry.aliases(models, "a") == {"champion": 3, "challenger": 3}
    assert registry.find(models, "a/2").aliases == ()
    for wanted, told in (
        ("a/9", "has no version '9'"),
        ("a@x", "no version 'x'"),
        ("c", "there is a"),
    ):
        with pytest.raises(ModelError, match=told):
            registry.find(models, wanted)
    with pytest.raises(ModelError, match="alias"):
        registry.promote(models, "a", "7")


def test_models_command__lists_shows_promotes_and_exports(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = f"models={tmp_path}/m"
    registry.add(f"{tmp_path}/m", "a", contents())
    assert cli.main(["models", "promote", "a", "as=champion", models]) == 0
    assert cli.main(["models", "list", models]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[-1].split() == ["a", "1", "disease_association", "80", "0.750", "champion"]
    assert cli.main(["models", "show", "a@champion", models]) == 0
    shown = capsys.readouterr().out
    assert "AUC 0.75" in shown and "# Card" in shown and '"family"' in shown
    assert cli.main(["models", "export", "a/1", f"to={tmp_path}/out", models]) == 0
    assert registry.directory.load(f"{tmp_path}/out") == contents()
    capsys.readouterr()
    assert cli.main(["models", "show", "b", models]) == 1
    assert "no model 'b'" in capsys.readouterr().err
    for words in (["nonsense"], ["show"], ["export", "a"], ["list", "colour=red"], []):
        assert cli.main(["models", *words]) == 2
    assert cli.main(["models", "list", f"models={tmp_path}/none"]) == 0


def test_promote__only_what_reaches_a_threshold_and_is_better_on_the_same_samples(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = str(tmp_path)
    registry.add(models, "a", contents(auc=0.75))
    registry.add(models, "a", contents(auc=0.80))
    registry.add(models, "a", contents(auc=0.75))
    registry.add(models, "a", contents(auc=0.99, test="others"))
    words = ["models", "promote", "a/1", f"models={models}", "as=champion", "mlflow=none"]
    assert cli.main([*words, "at_least=test_roc_auc:0.76"]) == 1
    assert "a/1: test_roc_auc 0.75 < 0.76" in capsys.readouterr().err
    assert cli.main([*words, "at_least=test_r2:0.1"]) == 1
    assert "no metric 'test_r2': it has test_roc_auc" in capsys.readouterr().err
    assert cli.main([*words, "at_least=test_roc_auc"]) == 2
    assert "expected metric:number" in capsys.readouterr().err
    assert registry.aliases(models, "a") == {}
    # Nobody is champion yet: there is nothing to be better than.
    assert cli.main([*words, "at_least=test_roc_auc:0.75", "if_better=test_roc_auc"]) == 0
    words[2] = "a/3"
    capsys.readouterr()
    assert cli.main([*words, "if_better=test_roc_auc"]) == 1
    assert "a/3: test_roc_auc 0.75 is not above the 0.75 of /1" in capsys.readouterr().err
    words[2] = "a/4"
    assert cli.main([*words, "if_better=test_roc_auc"]) == 1
    assert "were not measured on the same test samples" in capsys.readouterr().err
    words[2] = "a/2"
    assert cli.main([*words, "if_better=test_roc_auc"]) == 0
    assert registry.find(models, "a@champion").number == 2
