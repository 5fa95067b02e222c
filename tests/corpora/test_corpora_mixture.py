"""A mixture is a fixed, shuffled, endless stream: shares hold, any position can be computed, memory stays flat."""

import tracemalloc
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attending.corpora.conversation import Conversation, turns
from attending.corpora.mixture import Mixture, Part, by_repeats, by_weights, parse_repeats, permuted
from attending.errors import InputError


def dataset(name: str, count: int) -> list[Conversation]:
    return [Conversation(f"{name}{number}", turns("q", "a")) for number in range(count)]


SETS = {"a": dataset("a", 7), "b": dataset("b", 30), "c": dataset("c", 3)}


def ids(mixture: Mixture, start: int, count: int) -> list[str]:
    return [mixture[start + number].id for number in range(count)]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 300), st.binary(min_size=16, max_size=16))
def test_a_permutation_hits_everything_once(size: int, key: bytes) -> None:
    assert sorted(permuted(index, size, key) for index in range(size)) == list(range(size))


def test_a_permutation_looks_random() -> None:
    size = 1000
    found = [permuted(index, size, bytes(range(16))) for index in range(size)]
    assert sum(one == index for index, one in enumerate(found)) < 10
    assert abs(sum(one * index for index, one in enumerate(found)) / size**3 - 0.25) < 0.01
    assert found != [permuted(index, size, bytes(16)) for index in range(size)]


def test_repeats_are_kept_in_every_epoch() -> None:
    mixture = by_repeats(SETS, {"a": 3, "b": 1, "c": 2})
    assert len(mixture) == 21 + 30 + 6
    for epoch in range(3):
        counts = Counter(ids(mixture, epoch * len(mixture), len(mixture)))
        assert all(counts[f"a{n}"] == 3 for n in range(7))
        assert all(counts[f"b{n}"] == 1 for n in range(30))
        assert all(counts[f"c{n}"] == 2 for n in range(3))


def test_half_a_dataset_is_another_half_each_epoch() -> None:
    mixture = by_repeats(SETS, {"b": 0.5})
    halves = [set(ids(mixture, epoch * 15, 15)) for epoch in range(4)]
    assert all(len(half) == 15 for half in halves)
    assert len(set.union(*halves)) > 22


def test_weights_are_shares_of_an_epoch() -> None:
    mixture = by_weights(SETS, {"a": 3, "b": 1})
    counts = Counter(one[0] for one in ids(mixture, 0, len(mixture)))
    assert len(mixture) == 37
    assert counts == {"a": 28, "b": 9}


def test_datasets_are_spread_evenly_and_epochs_differ() -> None:
    mixture = by_repeats({"a": dataset("a", 500), "b": dataset("b", 500)}, {"a": 1, "b": 1})
    first = ids(mixture, 0, 1000)
    for at in range(0, 1000, 100):
        assert 25 < sum(one[0] == "a" for one in first[at : at + 100]) < 75
    assert first != ids(mixture, 1000, 1000)
    assert first == ids(by_repeats({"a": dataset("a", 500), "b": dataset("b", 500)}, {"a": 1, "b": 1}), 0, 1000)
    assert first != ids(Mixture(mixture.parts, seed=1), 0, 1000)


@pytest.mark.parametrize("world", [1, 2, 5])
def test_ranks_share_the_stream_and_go_on_anywhere(world: int) -> None:
    mixture = by_repeats(SETS, {"a": 1, "b": 1})
    whole = ids(mixture, 0, 120)
    streams = [mixture.stream(0, rank, world) for rank in range(world)]
    assert [next(streams[number % world]).id for number in range(120)] == whole
    later = mixture.stream(60, 0, 1)
    assert [next(later).id for _ in range(60)] == whole[60:]


def test_memory_is_flat_over_an_epoch_of_millions() -> None:
    class Endless(list[Conversation]):
        def __len__(self) -> int:
            return 3_000_000

        def __getitem__(self, index: int) -> Conversation:  # type: ignore[override]
            return Conversation(str(index), turns("q", "a"))

    mixture = Mixture([Part("big", Endless(), 3_000_000)])
    tracemalloc.start()
    ids(mixture, 0, 10)
    before = tracemalloc.get_traced_memory()[0]
    for number in range(2_000):
        mixture[number * 1499]
    assert tracemalloc.get_traced_memory()[0] - before < 50_000
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("text", "wanted"), [("a+a+b", {"a": 2, "b": 1}), ("a", {"a": 1}), (" a + b ", {"a": 1, "b": 1})]
)
def test_the_published_way_to_write_repeats(text: str, wanted: dict[str, float]) -> None:
    assert parse_repeats(text) == wanted


@pytest.mark.parametrize("text", ["a++b", "", "+a"])
def test_a_name_that_is_missing_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="names joined by"):
        parse_repeats(text)


def test_nothing_to_mix_is_refused() -> None:
    with pytest.raises(InputError, match="no dataset has a share above 0"):
        by_repeats(SETS, {"a": 0})
    with pytest.raises(InputError, match="empty: has no conversations"):
        Mixture([Part("empty", [], 3)])
    with pytest.raises(IndexError):
        by_repeats(SETS, {"a": 1})[-1]
