"""The gram index against a naive scan of the text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.kernel.policies.gram_index import NO_MATCH, GramIndex, Match

PIECES = st.lists(st.lists(st.integers(0, 3), max_size=15), max_size=5)
GAMMAS = st.integers(1, 4)
MODULI = st.sampled_from([2**61 - 1, 7, 1])


def index_of(text: list[int], *, gamma: int = 2, modulus: int = 2**61 - 1) -> GramIndex:
    index = GramIndex(gamma=gamma, modulus=modulus)
    index.append(text)
    return index


def earlier_ends(text: list[int], gamma: int) -> list[int]:
    """Where the last gram ended before, most recent first, by comparing everything."""
    last = text[len(text) - gamma :] if len(text) >= gamma else None
    ends = range(len(text) - 1, gamma - 1, -1)
    return [end for end in ends if text[end - gamma : end] == last]


def common_past(text: list[int], end: int) -> int:
    agree = [text[end - 1 - i] == text[-1 - i] for i in range(end)]
    return (*agree, False).index(False)


@given(pieces=PIECES, gamma=GAMMAS)
def test_the_candidates_are_the_earlier_occurrences_however_the_text_grew(
    pieces: list[list[int]], gamma: int
) -> None:
    index = GramIndex(gamma=gamma)
    for piece in pieces:
        index.append(piece)
    text = [token for piece in pieces for token in piece]
    assert index.text == text
    assert list(index.candidates()) == earlier_ends(text, gamma)


@given(text=st.lists(st.integers(0, 3), max_size=40), gamma=GAMMAS, modulus=MODULI)
def test_colliding_keys_only_add_candidates(text: list[int], gamma: int, modulus: int) -> None:
    found = list(index_of(text, gamma=gamma, modulus=modulus).candidates())
    assert found == sorted(set(found), reverse=True)
    assert set(found) >= set(earlier_ends(text, gamma))


@given(
    text=st.lists(st.integers(0, 2), max_size=40),
    gamma=GAMMAS,
    modulus=MODULI,
    most=st.integers(4, 8),
    ignored=st.frozensets(st.integers(0, 2)),
)
def test_the_longest_match_is_the_one_that_a_scan_finds(
    text: list[int], gamma: int, modulus: int, most: int, ignored: frozenset[int]
) -> None:
    ends = earlier_ends(text, gamma)
    matches = [Match(end, min(common_past(text, end), most)) for end in ends]
    telling = [m for m in matches if not ignored.issuperset(text[len(text) - m.length :])]
    expected = max(telling, key=lambda match: match.length, default=NO_MATCH)
    index = index_of(text, gamma=gamma, modulus=modulus)
    assert index.longest(among=len(text), most=most, ignored=ignored) == expected


def test_only_the_most_recent_candidates_are_compared() -> None:
    index = index_of([9, 1, 2, 5, 1, 2, 6, 9, 1, 2])
    assert index.longest(among=1, most=8) == Match(6, 2)
    assert index.longest(among=2, most=8) == Match(3, 3)
    assert index.longest(among=0, most=8) == NO_MATCH


@pytest.mark.parametrize(("count", "copied"), [(0, []), (2, [2, 3]), (5, [2, 3, 2, 3, 2])])
def test_a_copy_goes_on_with_itself_at_its_end(count: int, copied: list[int]) -> None:
    assert index_of([1, 2, 3]).copied(1, count) == copied
