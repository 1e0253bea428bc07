"""Who trains and who tests: by hash, families together, whatever the order and the company."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from geneai_spark.errors import InputError
from geneai_spark.models.examples import families, folds, places, split

IDS = [f"HG{i:05d}" for i in range(3000)]
NAMES = st.lists(st.text(max_size=5), unique=True, min_size=1, max_size=12)


def parts(ids, **options):
    """Part of each sample, by its id."""
    found = split(ids, **options)
    return {ids[i]: name for name in found._fields for i in getattr(found, name).tolist()}


def test_families__hand_worked():
    assert families(6, [(4, 2), (5, 4), (1, 1)]).tolist() == [0, 1, 2, 3, 2, 2]
    assert families(4, []).tolist() == [0, 1, 2, 3]
    assert families(5, [(3, 4), (0, 1), (1, 4)]).tolist() == [0, 0, 2, 0, 0]
    assert families(0, []).shape == (0,) and families(3, []).dtype == np.int64


@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=30))
def test_families__as_connected_components(pairs):
    related = sparse.dok_array((20, 20), dtype=bool)
    for pair in pairs:
        related[pair] = True
    _, label = sparse.csgraph.connected_components(related, directed=False)
    expected = [label.tolist().index(own) for own in label]
    assert families(20, pairs).tolist() == expected


@pytest.mark.parametrize("pair", [(0, 3), (-1, 0)])
def test_families__raise_on_a_position_outside(pair):
    with pytest.raises(InputError, match="a position outside 0 to 2"):
        families(3, [pair])


def test_split__is_the_hash():
    found = parts(IDS[:200], seed=7, validation=0.2, test=0.3)
    for name, part in found.items():
        digest = hashlib.blake2b(f"7:{name}".encode(), digest_size=8).digest()
        at = int.from_bytes(digest, "big") / 2**64
        assert part == ("test" if at < 0.3 else "validation" if at < 0.5 else "train")
    assert {"train", "validation", "test"} == set(found.values())


def test_split__each_once_ascending_and_about_the_shares():
    found = split(IDS)
    assert sorted(np.concatenate(found).tolist()) == list(range(3000))
    assert all((np.diff(part) > 0).all() and part.dtype == np.int64 for part in found)
    assert abs(len(found.test) - 450) < 80 and abs(len(found.validation) - 450) < 80  # 4 sd
    assert len(split(IDS, validation=0, test=0).train) == 3000


def test_split__another_seed_is_another_split():
    both = len(set(split(IDS).test.tolist()) & set(split(IDS, seed=1).test.tolist()))
    assert 30 < both < 110  # 0.15 of 450 by chance


def test_split__a_larger_test_keeps_the_smaller():
    assert set(split(IDS, test=0.1).test) < set(split(IDS, test=0.3).test)


@given(NAMES, st.data())
def test_split__does_not_change_with_order_or_company(ids, data):
    whole = parts(ids, test=0.4)
    fold = dict(zip(ids, folds(ids, 3).tolist(), strict=True))
    fewer = data.draw(st.lists(st.sampled_from(ids), unique=True))
    assert parts(fewer, test=0.4) == {name: whole[name] for name in fewer}
    assert folds(fewer, 3).tolist() == [fold[name] for name in fewer]


@given(NAMES, st.data())
def test_split__relatives_stay_together(ids, data):
    at = st.integers(0, len(ids) - 1)
    pairs = data.draw(st.lists(st.tuples(at, at), max_size=8))
    found, fold = parts(ids, relatives=pairs, test=0.4), folds(ids, 4, relatives=pairs)
    for one, other in pairs:
        assert found[ids[one]] == found[ids[other]] and fold[one] == fold[other]
    alone = parts(ids, test=0.4)
    of = families(len(ids), pairs)
    for i, name in enumerate(ids):
        first = min(other for j, other in enumerate(ids) if of[j] == of[i])
        assert found[name] == alone[first]


def test_split__families_are_parted_without_relatives():
    pairs = [(i, i + 1) for i in range(0, 3000, 2)]
    apart, fold = parts(IDS), folds(IDS, 5)
    assert any(apart[IDS[i]] != apart[IDS[j]] for i, j in pairs)
    assert any(fold[i] != fold[j] for i, j in pairs)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"test": -0.1}, "between 0 and 1"),
        ({"validation": 1.1}, "between 0 and 1"),
        ({"test": float("nan")}, "between 0 and 1"),
        ({"test": 0.5, "validation": 0.5}, "nothing is left to train with"),
        ({"relatives": [(0, 9)]}, "outside 0 to 1"),
    ],
)
def test_split__raises_on_impossible_shares_and_relatives(options, match):
    with pytest.raises(InputError, match=match):
        split(["a", "b"], **options)


def test_split__raises_on_a_sample_twice_and_does_not_name_it():
    for call in (lambda ids: split(ids), lambda ids: folds(ids, 2)):
        with pytest.raises(InputError, match="one stands there twice") as caught:
            call(["HG00096", "b", "HG00096"])
        assert "HG" not in str(caught.value)


def test_folds__are_all_used_and_apart_from_the_split():
    found = folds(IDS, 5)
    assert found.dtype == np.int64 and sorted(set(found.tolist())) == [0, 1, 2, 3, 4]
    assert (np.abs(np.bincount(found) - 600) < 90).all()
    tested = np.bincount(found[split(IDS).test], minlength=5)
    assert (tested > 50).all()  # 90 each; of the same hash all were in fold 0
    assert (folds(IDS, 5, seed=1) != found).any()


@pytest.mark.parametrize("k", [1, 0, -3])
def test_folds__raise_on_fewer_than_two(k):
    with pytest.raises(InputError, match="two folds at least"):
        folds(IDS, k)


def test_places__are_the_hash_with_a_salt_and_know_nothing_of_the_split():
    found = places(IDS[:200], seed=7)
    for name, at in zip(IDS[:200], found, strict=True):
        digest = hashlib.blake2b(f"7:{name}".encode(), digest_size=8, salt=b"shares").digest()
        assert at == pytest.approx(int.from_bytes(digest, "big") / 2**64)
    below = places(IDS) < 0.5
    fold = folds(IDS, 3)
    for part in (*split(IDS), *(np.flatnonzero(fold == i) for i in range(3))):
        assert abs(below[part].mean() - 0.5) < 4 * 0.5 / np.sqrt(len(part))
    pairs = [(0, 5), (5, 9)]
    related = places(IDS[:10], relatives=pairs)
    assert related[0] == related[5] == related[9] and len(set(related)) == 8
