"""A model directory is whole, unchanged and signed, or it is refused; a pickle runs no code."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import pickle
from pathlib import Path

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import geneai_spark
from geneai_spark import filesystems
from geneai_spark.errors import GeneaiError, ModelError, StorageError
from geneai_spark.models import directory
from geneai_spark.models.directory import Contents, dumps_arrays, load, loads_arrays, save

CONTENTS = Contents(
    b"\x00model\xff",
    "pkl",
    {"model_name": "wärme", "trees": 12, "classes": ["0", "1"], "learning_rate": 0.1},
    "accuracy  0.912\n",
    {"model_card.md": "# Karte – für Ärzte\n", "data.md": ""},
)
FILES = ["documentation/data.md", "documentation/model_card.md", "performance_metrics.txt"]


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    monkeypatch.delenv(directory.KEY, raising=False)


@pytest.fixture
def saved(tmp_path):
    save(CONTENTS, str(tmp_path / "model"))
    return tmp_path / "model"


def names(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def config(folder: Path) -> dict:
    return json.loads((folder / "model_config.json").read_text("utf-8"))


def rewrite(folder: Path, **changes) -> None:
    (folder / "model_config.json").write_text(json.dumps(config(folder) | changes))


def test_save__writes_the_layout(saved):
    assert names(saved) == [*FILES[:2], "model_config.json", FILES[2], "trained_model.pkl"]
    assert (saved / "trained_model.pkl").read_bytes() == CONTENTS.model
    assert (saved / "performance_metrics.txt").read_text() == CONTENTS.metrics
    told = config(saved)
    assert told.items() >= dict(CONTENTS.config).items()
    assert told["model_file"] == "trained_model.pkl" and told["format_version"] == 1
    assert told["geneai_spark_version"] == geneai_spark.__version__ and "signature" not in told
    assert told["files"] == {
        name: hashlib.sha256((saved / name).read_bytes()).hexdigest()
        for name in [*FILES, "trained_model.pkl"]
    }
    assert "wärme" in (saved / "model_config.json").read_text("utf-8")


@pytest.mark.parametrize("key", ["", "secret"])
def test_load__gives_back_what_was_saved(tmp_path, monkeypatch, key):
    monkeypatch.setenv(directory.KEY, key)
    uri = f"file:{tmp_path}/model/"
    save(CONTENTS, uri)
    assert load(uri) == CONTENTS == load(str(tmp_path / "model"))


def test_load__through_pyarrow(tmp_path, monkeypatch):
    """The object-store path, on pyarrow's local filesystem in place of S3."""
    from pyarrow import fs as arrow

    sub = arrow.SubTreeFileSystem(str(tmp_path), arrow.LocalFileSystem())
    monkeypatch.setattr(filesystems.remote, "system", lambda where: sub)
    (tmp_path / "bucket" / "models" / "7" / "documentation").mkdir(parents=True)
    uri = "s3a://bucket/models/7/"
    save(CONTENTS, uri)
    assert len(names(tmp_path / "bucket")) == 5
    assert load(uri) == CONTENTS
    save(CONTENTS, uri, overwrite=True)
    assert load(uri) == CONTENTS


@pytest.mark.parametrize("key", ["", "secret"])
def test_load__config_that_json_spells_otherwise(tmp_path, monkeypatch, key):
    monkeypatch.setenv(directory.KEY, key)
    odd = {"by_label": {10: "a", 9: "b"}, "shape": (2, 3), "none": None, "large": 1e300}
    save(Contents(b"", "pt", odd, "", {}), str(tmp_path / "m"))
    expected = {"by_label": {"10": "a", "9": "b"}, "shape": [2, 3], "none": None, "large": 1e300}
    assert load(str(tmp_path / "m")).config == expected


@pytest.mark.parametrize("name", [*FILES, "trained_model.pkl"])
@pytest.mark.parametrize("signed", [False, True])
def test_load__refuses_a_changed_file(tmp_path, monkeypatch, name, signed):
    if signed:
        monkeypatch.setenv(directory.KEY, "secret")
    save(CONTENTS, str(tmp_path))
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes() + b" ")
    with pytest.raises(ModelError, match=f"/{name}: has changed"):
        load(str(tmp_path))


@pytest.mark.parametrize("name", [*FILES, "trained_model.pkl"])
def test_load__refuses_a_missing_file(saved, name):
    (saved / name).unlink()
    with pytest.raises(ModelError, match=f"/{name}: is missing"):
        load(str(saved))


@pytest.mark.parametrize("name", ["trained_model.pt", "documentation/x/y.md", ".hidden"])
def test_load__refuses_another_file(saved, name):
    (saved / name).parent.mkdir(exist_ok=True)
    (saved / name).write_text("text of it")
    with pytest.raises(ModelError, match=f"/{name}: is not one of") as caught:
        load(str(saved))
    assert "text of it" not in str(caught.value)


def test_load__refuses_a_half_written_directory(tmp_path, monkeypatch):
    real, uri, left = filesystems.write, str(tmp_path / "model"), []

    def write(uri, data):
        if not left:
            raise StorageError("killed")
        left.pop()
        return real(uri, data)

    monkeypatch.setattr(filesystems, "write", write)
    for written in range(5):
        left[:] = [None] * written
        with pytest.raises(StorageError, match="killed"):
            save(CONTENTS, uri, overwrite=True)
        assert len(names(tmp_path)) == written
        with pytest.raises(ModelError, match="no model"):
            load(uri)
    monkeypatch.setattr(filesystems, "write", real)
    save(CONTENTS, uri, overwrite=True)
    assert load(uri) == CONTENTS


def test_load__refuses_what_is_not_there(tmp_path):
    with pytest.raises(ModelError, match=r"no model: model_config.json is not there"):
        load(str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"format_version": 2}, "format 2 is newer than 1"),
        ({"format_version": None}, "no format_version"),
        ({"format_version": "1"}, "no format_version"),
        ({"model_file": "../trained_model.pkl"}, "does not name"),
        ({"model_file": "performance_metrics.txt"}, "does not name"),
        ({"model_file": 3}, "does not name"),
        ({"files": None}, "does not name"),
        ({"files": {}}, "does not name"),
    ],
)
def test_load__refuses_a_config_of_another_form(saved, changes, match):
    rewrite(saved, **changes)
    with pytest.raises(ModelError, match=match):
        load(str(saved))


@pytest.mark.parametrize("name", ["../secret", "documentation/../secret", "documentation/"])
def test_load__refuses_files_of_other_names(saved, name):
    rewrite(saved, files=config(saved)["files"] | {name: "0" * 64})
    with pytest.raises(ModelError, match="does not name"):
        load(str(saved))
    rewrite(saved, files=config(saved)["files"] | {"performance_metrics.txt": 7})
    with pytest.raises(ModelError, match="does not name"):
        load(str(saved))


@pytest.mark.parametrize("text", ["", "{", "[1]", "7", '{"a": NaN}', "[" * 100_000, "\xff"])
def test_load__refuses_a_config_that_is_none(saved, text):
    (saved / "model_config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ModelError, match=r"model_config\.json: is not"):
        load(str(saved))


def test_load__checksums_alone_do_not_find_an_attacker_the_key_does(tmp_path, monkeypatch):
    monkeypatch.setenv(directory.KEY, "secret")
    save(CONTENTS, str(tmp_path))
    told = config(tmp_path)
    rest = {name: value for name, value in told.items() if name != "signature"}
    canonical = json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()
    assert told["signature"] == hmac.new(b"secret", canonical, "sha256").hexdigest()
    (tmp_path / "trained_model.pkl").write_bytes(b"evil")
    evil = hashlib.sha256(b"evil").hexdigest()
    rewrite(tmp_path, files=told["files"] | {"trained_model.pkl": evil})
    with pytest.raises(ModelError, match="the signature is not of this text"):
        load(str(tmp_path))
    monkeypatch.delenv(directory.KEY)
    assert load(str(tmp_path)).model == b"evil"  # as the docstring says


def test_load__refuses_another_key_and_no_signature(saved, monkeypatch):
    monkeypatch.setenv(directory.KEY, "secret")
    with pytest.raises(ModelError, match="is not signed, and GENEAI_MODEL_KEY is set") as caught:
        load(str(saved))
    assert "secret" not in str(caught.value)
    save(CONTENTS, str(saved), overwrite=True)
    rewrite(saved, trees=13)
    with pytest.raises(ModelError, match="the signature is not"):
        load(str(saved))
    rewrite(saved, trees=12)
    assert load(str(saved)) == CONTENTS
    monkeypatch.setenv(directory.KEY, "other")
    with pytest.raises(ModelError, match="the signature is not"):
        load(str(saved))
    for signature in (None, "", 7, "\ud800", [1]):
        rewrite(saved, signature=signature)
        with pytest.raises(ModelError, match="the signature is not"):
            load(str(saved))


def test_load__refuses_bytes_for_text(saved):
    (saved / "performance_metrics.txt").write_bytes(b"\xff")
    digest = hashlib.sha256(b"\xff").hexdigest()
    rewrite(saved, files=config(saved)["files"] | {"performance_metrics.txt": digest})
    with pytest.raises(ModelError, match="is not text"):
        load(str(saved))


def test_save__replaces_only_when_asked_and_only_models(saved):
    other = Contents(b"new", "pt", {}, "", {})
    with pytest.raises(ModelError, match="overwrite=True replaces it"):
        save(other, str(saved))
    assert load(str(saved)) == CONTENTS
    (saved / "trained_model.pkl.1f.tmp").write_text("left by a killed save")
    save(other, str(saved), overwrite=True)
    assert load(str(saved)) == other
    assert names(saved) == ["model_config.json", "performance_metrics.txt", "trained_model.pt"]
    (saved / "thesis.doc").write_text("years of work")
    with pytest.raises(ModelError, match=r"thesis\.doc: is not one of"):
        save(CONTENTS, str(saved), overwrite=True)
    assert len(names(saved)) == 4


def test_save__killed_while_it_replaces_leaves_no_model(saved, monkeypatch):
    real = filesystems.remove

    def remove(uri):
        real(uri)
        raise StorageError("killed")

    monkeypatch.setattr(filesystems, "remove", remove)
    with pytest.raises(StorageError, match="killed"):
        save(CONTENTS, str(saved), overwrite=True)
    assert len(names(saved)) == 4
    with pytest.raises(ModelError, match="no model"):
        load(str(saved))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"suffix": ""}, "is not a name"),
        ({"suffix": "../pkl"}, "is not a name"),
        ({"documents": {"../card.md": ""}}, "is not a name"),
        ({"documents": {".card": ""}}, "is not a name"),
        ({"config": {"files": {}}}, "may not have a key 'files'"),
        ({"config": {"x": float("nan")}}, "cannot be written as JSON"),
        ({"config": {"x": {1}}}, "cannot be written as JSON"),
        ({"config": {"x": "\ud800"}}, "cannot be written as JSON"),
    ],
)
def test_save__refuses_before_anything_is_written(tmp_path, changes, match):
    given = {"model": b"", "suffix": "pkl", "config": {}, "metrics": "", "documents": {}}
    with pytest.raises(ModelError, match=match):
        save(Contents(**given | changes), str(tmp_path / "m"))
    assert not (tmp_path / "m").exists()


def test_contents__do_not_show_the_model():
    assert "model\\xff" not in repr(CONTENTS) and "Ärzte" not in repr(CONTENTS)


def test_model_error__is_in_the_tree():
    assert ModelError.__bases__ == (GeneaiError,)


PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
DTYPES = (
    hnp.boolean_dtypes()
    | hnp.integer_dtypes(endianness="=")
    | hnp.integer_dtypes(endianness=">")
    | hnp.unsigned_integer_dtypes()
    | hnp.floating_dtypes(sizes=(16, 32, 64))
    | hnp.complex_number_dtypes(sizes=(64, 128))
    | hnp.unicode_string_dtypes()
)
ARRAYS = hnp.arrays(DTYPES, hnp.array_shapes(min_dims=0, min_side=0, max_side=4))
VALUES = st.dictionaries(
    st.text(),
    st.recursive(
        PLAIN | ARRAYS,
        lambda inner: (
            st.lists(inner)
            | st.lists(inner).map(tuple)
            | st.dictionaries(st.text() | st.integers(), inner)
        ),
        max_leaves=8,
    ),
)


def same(one, other) -> bool:
    """Equal in types and values; NaN is NaN."""
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and one.shape == other.shape and repr(one) == repr(other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return repr(one) == repr(other)


@settings(max_examples=60)
@given(VALUES)
def test_arrays__round_trip(values):
    data = dumps_arrays(values)
    found = loads_arrays(data)
    assert same(found, values)
    assert dumps_arrays(found) == data
    pickle.loads(data)  # Python's own loader reads it without NumPy's help
    assert b"numpy" not in data or "numpy" in repr(values)


def test_arrays__any_layout_comes_back_writable():
    given = np.arange(12.0).reshape(3, 4)
    views = {"fortran": np.asfortranarray(given), "steps": given[::2, ::-1], "frozen": given[0]}
    views["frozen"] = given.copy()
    views["frozen"].flags.writeable = False
    found = loads_arrays(dumps_arrays(views))
    for name, view in views.items():
        np.testing.assert_array_equal(found[name], view)
        found[name][0] = 7
    assert given[0].tolist() == [0, 1, 2, 3]


def test_dumps_arrays__scalars_become_pythons():
    given = {"f": np.float32(0.1), "i": np.int64(3), "b": np.True_, "s": np.str_("x")}
    found = loads_arrays(dumps_arrays(given))
    assert found == {"f": float(np.float32(0.1)), "i": 3, "b": True, "s": "x"}
    assert [type(value) for value in found.values()] == [float, int, bool, str]


@pytest.mark.parametrize(
    "value",
    [
        np.array([None]),
        np.array(["2020"], "M8[D]"),
        np.zeros(2, "i4,f8"),
        np.zeros(2, np.longdouble),
        np.array([b"x"]),
        np.ma.array([1, 2]),
        np.longdouble(1),
        {1, 2},
        b"x",
        bytearray(b"x"),
        1j,
        Path("x"),
        print,
        {(1, 2): 3},
        {"data": bytearray(b"x")},
    ],
)
def test_dumps_arrays__refuses_other_types(value):
    with pytest.raises(ModelError, match="may not hold"):
        dumps_arrays({"x": [value]})


def test_dumps_arrays__refuses_what_contains_itself():
    loop: list = []
    loop.append(loop)
    with pytest.raises(ModelError, match="too deeply"):
        dumps_arrays({"x": loop})


class Command:
    def __init__(self, call, *given):
        self.reduced = call, given

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize("protocol", range(6))
def test_loads_arrays__runs_nothing(tmp_path, protocol):
    mark = tmp_path / "ran"
    command = Command(os.system, f"touch {mark}")
    data = pickle.dumps({"x": command}, protocol)
    with pytest.raises(ModelError, match=r"asks for posix\.system, which a model file may not"):
        loads_arrays(data)
    assert not mark.exists()
    pickle.loads(data)
    assert mark.exists()  # the pickle is what it is taken for


@pytest.mark.parametrize(
    ("value", "asked"),
    [
        (Command(eval, "1/0"), "eval"),
        (Command(getattr, "", "join"), "getattr"),
        (np.arange(3), "_frombuffer"),
        (np.float64(1), "scalar"),
        (np.dtype("f8"), "dtype"),
        (1j, "complex"),
        (ModelError, "ModelError"),
    ],
)
def test_loads_arrays__allows_no_name_at_all(value, asked):
    with pytest.raises(ModelError, match=rf"asks for [\w.]+\.{asked}, which"):
        loads_arrays(pickle.dumps({"x": value}, 5))


def test_loads_arrays__message_is_one_line():
    with pytest.raises(ModelError, match=r"asks for a\\nb\.c, which") as caught:
        loads_arrays(b"\x80\x04\x8c\x03a\nb\x8c\x01c\x93.")
    assert "\n" not in str(caught.value)


def array(**changes):
    return {"dtype": "<f8", "shape": (2,), "data": bytearray(16)} | changes


def nested(depth):
    value: object = ()
    for _ in range(depth):
        value = (value, value)
    return value


LOOP: dict = {}
LOOP["x"] = [LOOP]


@pytest.mark.parametrize(
    "value",
    [
        array(dtype="|O8"),
        array(dtype="O"),
        array(dtype="<M8[s]"),
        array(dtype="|V8"),
        array(dtype="<f16", shape=(1,)),
        array(dtype=("i4", 2)),
        array(dtype="i4,i4"),
        array(shape=(3,)),
        array(shape=(-1, -2)),
        array(shape=2),
        array(shape=("2",)),
        array(dtype="<f8", shape=(2**62, 4), data=bytearray(0)),
        array(more=1),
        {"data": bytearray(8)},
        {"other": bytearray(8)},
        b"x",
        {1},
        frozenset(),
        {(1,): 2},
        nested(40),
        LOOP,
    ],
)
def test_loads_arrays__refuses_other_values(value):
    with pytest.raises(ModelError, match="model"):
        loads_arrays(pickle.dumps({"x": value}, 5))


@pytest.mark.parametrize("value", [[1], None, "x", {1: 2}, array()])
def test_loads_arrays__wants_names_at_the_top(value):
    with pytest.raises(ModelError, match="no names with values"):
        loads_arrays(pickle.dumps(value, 5))


def test_loads_arrays__refuses_a_persistent_id():
    with pytest.raises(ModelError, match="damaged: UnpicklingError"):
        loads_arrays(b"\x80\x04\x8c\x01xQ.")


@pytest.mark.parametrize("put", [b"r\x00\x00\x00\x2e", b"p771751936\n"])
def test_loads_arrays__makes_no_room_for_values_at_a_far_place(put):
    """12 GB for a file of a dozen bytes, and half a minute."""
    with pytest.raises(ModelError, match="more values than bytes"):
        loads_arrays(b"\x80\x05}" + put + b".")
    near = b"\x80\x05}" + (b"r\x00\x00\x00\x00" if put[:1] == b"r" else b"p0\n") + b"."
    assert loads_arrays(near) == {}


@given(st.binary(max_size=40))
@example(b"r\x00\x00\x00")
def test_loads_arrays__any_bytes_are_refused_or_read(data):
    for tried in (data, b"\x80\x05" + data, b"\x80\x05}" + data + b"."):
        with contextlib.suppress(ModelError):
            assert type(loads_arrays(tried)) is dict


def test_loads_arrays__refuses_half_a_file():
    data = dumps_arrays({"weights": np.arange(100.0), "names": ["a", "b"]})
    for length in range(len(data)):
        with pytest.raises(ModelError):
            loads_arrays(data[:length])
