"""The suffix automaton, against a search through the whole text."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from rheostat.kernel.policies.suffix_automaton import WALK, SuffixAutomaton

TEXTS = st.lists(st.integers(0, 3), max_size=45)


def automaton(text: list[int]) -> SuffixAutomaton:
    known = SuffixAutomaton()
    known.append(text)
    return known


def ends_of(text: list[int], part: list[int]) -> list[int]:
    n = len(part)
    return [i + n for i in range(len(text) - n + 1) if text[i : i + n] == part]


def longest_repeated_end(text: list[int]) -> int:
    return max(n for n in range(len(text)) if n == 0 or len(ends_of(text, text[-n:])) > 1)


def state_of(known: SuffixAutomaton, part: list[int]) -> int:
    state = 0
    for token in part:
        state = known.follow[state][token]
    return state


@given(TEXTS.filter(len))
def test_the_repeated_end_is_the_longest_one(text: list[int]) -> None:
    known = automaton(text)
    state, length = known.repeated
    assert length == longest_repeated_end(text)
    if length:
        assert state == state_of(known, text[-length:])


@given(TEXTS.filter(len), st.integers(0, 44), st.integers(1, 6))
def test_occurrences_are_counted_and_the_last_one_is_known(
    text: list[int], start: int, size: int
) -> None:
    part = text[start % len(text) :][:size]
    known = automaton(text)
    assert len(text) < WALK
    ends = ends_of(text, part)
    state = state_of(known, part)
    assert known.count[state] == len(ends)
    assert known.recent[state] == ends[-1]


@given(TEXTS, st.lists(st.integers(1, 9), max_size=9))
def test_a_text_may_arrive_in_parts(text: list[int], sizes: list[int]) -> None:
    known, at = SuffixAutomaton(), 0
    for size in [*sizes, len(text)]:
        known.append(text[at : at + size])
        at += size
    assert known == automaton(text)


@given(TEXTS.filter(len))
def test_the_likeliest_token_followed_most_often_and_most_recently_on_a_tie(
    text: list[int],
) -> None:
    known = automaton(text)
    state, length = known.repeated
    token, _ = known.likeliest(state)
    past = text[len(text) - length :]
    following = [text[end] for end in ends_of(text, past) if end < len(text)]
    most = max(following.count(t) for t in following)
    assert token == [t for t in following if following.count(t) == most][-1]


@given(TEXTS, st.integers(0, 12))
def test_a_continuation_is_made_of_what_followed(text: list[int], most: int) -> None:
    known = automaton(text)
    state, length = known.repeated
    tokens = known.continued(state, most)
    assert len(tokens) == (most if length else 0)
    assert set(tokens) <= set(text)


@settings(deadline=None)
@given(st.integers(1, 5), st.integers(10, 40))
def test_a_loop_goes_on(period: int, most: int) -> None:
    loop = list(range(period)) * 40
    known = automaton(loop)
    assert known.continued(known.repeated[0], most) == (loop + loop)[:most]


@given(TEXTS.filter(len), st.integers(1, 8), st.integers(1, 3), st.integers(1, 4))
def test_other_ways_followed_too_and_none_begins_as_another(
    text: list[int], most: int, each: int, reach: int
) -> None:
    known = automaton(text)
    state, length = known.repeated
    likeliest = known.continued(state, most)
    begun: set[tuple[int, int]] = set()
    for other in known.others(state, most, each=each, reach=reach):
        assert len(other.tokens) == reach
        assert 0 < other.share <= 1
        assert other.tokens[0] != likeliest[other.at]
        assert (other.at, other.tokens[0]) not in begun
        begun.add((other.at, other.tokens[0]))
        before = text[len(text) - length :] if not other.at else likeliest[: other.at]
        context = before[-1:]
        assert ends_of(text, [*context, other.tokens[0]])
        if other.shorter:
            assert other.at == 0
            assert not ends_of(text, [*before, other.tokens[0]])
    assert all(sum(at == place for at, _ in begun) <= each for place in range(most))


def test_other_ways_by_hand() -> None:
    text = [1, 2, 7, 0, 1, 2, 7, 4, 1, 2, 8, 5, 3, 2, 9, 1, 2]
    known = automaton(text)
    found = known.others(known.repeated[0], 2, each=3, reach=2)
    assert [(o.at, o.tokens, round(o.share, 2), o.shorter) for o in found] == [
        (0, [8, 5], 0.33, False),
        (0, [9, 1], 0.25, True),
        (1, [0, 1], 0.5, False),
    ]
