"""Streamed text never shows a part of a stop string."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rheostat.engines.transcript import Transcript

PIECES = st.lists(st.text("ab", min_size=1, max_size=3), max_size=8)
STOPS = st.lists(st.text("ab", min_size=1, max_size=3), max_size=2)


@given(PIECES, STOPS)
def test_the_text_ends_before_the_first_stop_string(pieces: list[str], stops: list[str]) -> None:
    transcript = Transcript(stops)
    for piece in pieces:
        if transcript.add(piece):
            break
    whole = "".join(pieces)
    cuts = [whole.find(stop) for stop in stops if stop in whole]
    assert transcript.stopped == bool(cuts)
    assert not any(stop in transcript.text for stop in stops)
    assert whole.startswith(transcript.text)
    if not cuts:
        assert transcript.finish() == whole


@given(PIECES, STOPS)
def test_what_is_shown_is_the_text_and_nothing_is_taken_back(
    pieces: list[str], stops: list[str]
) -> None:
    shown: list[str] = []
    transcript = Transcript(stops, shown.append)
    for piece in pieces:
        stopped = transcript.add(piece)
        assert transcript.text.startswith("".join(shown))
        if stopped:
            break
    assert transcript.finish() == "".join(shown)
    assert all(shown)


def test_a_beginning_of_a_stop_string_is_held_back_until_it_is_none() -> None:
    shown: list[str] = []
    transcript = Transcript(["abc"], shown.append)
    for piece in ("xa", "b", "x"):
        transcript.add(piece)
    assert shown == ["x", "abx"]
