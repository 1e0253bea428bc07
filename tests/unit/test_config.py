"""Settings: typed, strict, every error at once, no secret shown."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from geneai_spark import config
from geneai_spark.config import JobConfig, option
from geneai_spark.errors import ConfigError


class Sex(enum.Enum):
    FEMALE = "female"
    MALE = "male"


@dataclass(frozen=True)
class Thresholds:
    call_rate: float = option("least share of called genotypes, 0..1", 0.95)
    max_alleles: int = option("most alleles of a record", 10)


@dataclass(frozen=True)
class Config(JobConfig):
    """A made-up job."""

    inputs: tuple[str, ...] = option("files", example="a.vcf")
    country: str = option("where", "DE")
    p: float = option("largest p-value", 5e-8)
    limit: int | None = option("rows", None)
    policy: Literal["reject", "fail"] = option("what to do", "reject")
    sex: Sex | None = option("which", None)
    weights: list[float] = option("weights", [])
    fast: bool = option("quickly", False)
    api_token: str | None = option("secret", None)
    thresholds: Thresholds = option("limits", Thresholds(max_alleles=4))


def load(text: str = "", *overrides: str, tmp_path: Path, required: bool = True) -> Config:
    file = tmp_path / "job.yaml"
    file.write_text(text)
    given = ("inputs=a.vcf", *overrides) if required else overrides
    return config.load(Config, str(file), given)


def test_load__defaults_live_in_the_dataclass(tmp_path: Path) -> None:
    got = load(tmp_path=tmp_path)
    assert got == Config(inputs=("a.vcf",))
    assert (got.warehouse, got.seed, got.thresholds.max_alleles) == ("warehouse", 42, 4)


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("p: 5e-8", "p", 5e-8),  # PyYAML alone reads a string
        ("country: NO", "country", "NO"),  # ... and here False
        ("country: on", "country", "on"),
        ("country: 1.10", "country", "1.10"),
        ("country: 2024-01-01", "country", "2024-01-01"),
        ("fast: on", "fast", True),
        ("fast: NO", "fast", False),
        ("limit: null", "limit", None),
        ("limit: ~", "limit", None),
        ("limit:", "limit", None),
        ("limit: 1_000", "limit", 1000),
        ("limit: 1e6", "limit", 1_000_000),
        ("limit: 0", "limit", 0),
        ("sex: female", "sex", Sex.FEMALE),
        ("weights: [1, 5e-1]", "weights", [1.0, 0.5]),
        ("weights: 1, .5", "weights", [1.0, 0.5]),
        ("weights: []", "weights", []),
        ("policy: fail", "policy", "fail"),
    ],
)
def test_load__yaml_traps_are_settled_by_type(
    text: str, name: str, expected: object, tmp_path: Path
) -> None:
    got = getattr(load(text, tmp_path=tmp_path), name)
    assert got == expected
    assert type(got) is type(expected)
    override = text.replace(": ", "=").replace(":", "=")
    assert getattr(load("", override, tmp_path=tmp_path), name) == expected


def test_load__later_layers_win_key_by_key(tmp_path: Path) -> None:
    text = "spark:\n  spark.a: 1\n  spark.b: 2\nthresholds:\n  call_rate: 0.5\nseed: 1"
    got = load(
        text, "spark.spark.b=3", "thresholds.max_alleles=7", "inputs=[x, y]", tmp_path=tmp_path
    )
    assert got.spark == {"spark.a": "1", "spark.b": "3"}
    assert got.thresholds == Thresholds(call_rate=0.5, max_alleles=7)
    assert got.inputs == ("x", "y")
    partly = load("thresholds.call_rate: 0.5", tmp_path=tmp_path)
    assert partly.thresholds == Thresholds(call_rate=0.5, max_alleles=4)  # the field's default


def test_load__raises_every_error_at_once_naming_file_key_expected_found(tmp_path: Path) -> None:
    text = "seeed: 1\nseed: abc\npolicy: rejct\nfast: maybe\nthresholds: {call_rte: 1}\nlimit: 1.5"
    with pytest.raises(ConfigError) as caught:
        load(text, "p=x", "nonsense", tmp_path=tmp_path, required=False)
    lines = str(caught.value).splitlines()
    assert lines[0] == "9 settings are wrong:"
    message = "\n".join(lines)
    for part in [
        "job.yaml: unknown key 'seeed'; did you mean 'seed'? known: warehouse, profile",
        "job.yaml: seed: expected integer, found 'abc'",
        "policy: expected one of reject, fail, found 'rejct'; did you mean 'reject'?",
        "fast: expected true/false, found 'maybe'",
        "unknown key 'thresholds.call_rte'; did you mean 'thresholds.call_rate'?",
        "limit: expected integer, found '1.5'",
        "command line: p: expected number, found 'x'",
        "command line: expected key=value, found 'nonsense'",
        "inputs is required: files (list of text)",
    ]:
        assert part in message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "line 1: not valid YAML"),
        ("seed: 1\nseed: 2", "line 2: not valid YAML: key 'seed' stands twice"),
        ("- a\n- b", "expected keys with values, found a list"),
        ("a: !!python/object/apply:os.system [true]", "unknown key 'a'"),
    ],
)
def test_load__raise_on_broken_yaml(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"job\.yaml") as caught:
        load(text, tmp_path=tmp_path)
    assert message in str(caught.value)


def test_load__raise_on_missing_file_and_unknown_profile() -> None:
    with pytest.raises(ConfigError, match=r"no/such\.yaml: the config file cannot be read"):
        config.load(Config, "no/such.yaml", ["inputs=a"])
    with pytest.raises(ConfigError, match="no profile 'kubernets'"):
        config.load(Config, None, ["inputs=a"], profile="kubernets")


def test_load__rules_of_the_dataclass_become_config_errors() -> None:
    @dataclass(frozen=True)
    class Checked(JobConfig):
        share: float = field(default=0.5)

        def __post_init__(self) -> None:
            if not 0 <= self.share <= 1:
                raise ValueError(f"share: expected 0..1, found {self.share}")

    Checked.__annotations__["share"] = float
    with pytest.raises(ConfigError, match=r"share: expected 0\.\.1, found 2\.0"):
        config.load(Checked, None, ["share=2"])


def test_secrets__are_in_no_error_and_no_redacted_config(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load("api_token: [hunter2]", "api_token.x=hunter2", tmp_path=tmp_path)
    assert "hunter2" not in str(caught.value)
    got = load(
        "api_token: hunter2\nspark:\n  spark.hadoop.fs.s3a.secret.key: hunter2",
        "warehouse=s3a://AKIA:hunter2@bucket/x",
        tmp_path=tmp_path,
    )
    assert got.api_token == "hunter2"
    shown = got.redact()
    assert "hunter2" not in str(shown)
    assert shown["warehouse"] == "s3a://***@bucket/x"
    assert shown["thresholds"] == {"call_rate": 0.95, "max_alleles": 4}


def test_help_text__lists_every_setting_with_type_default_meaning_and_example() -> None:
    text = config.help_text(Config, "make_up")
    rows = {line.split()[0]: line for line in text.splitlines() if line.startswith("  ")}
    assert "[5e-08]" in rows["p"]
    assert "largest p-value" in rows["p"]
    assert "required" in rows["inputs"]
    assert "list of text" in rows["inputs"]
    assert "[4]" in rows["thresholds.max_alleles"]
    assert "reject|fail" in rows["policy"]
    assert "geneai make_up inputs=a.vcf" in text
    assert "A made-up job." in text
