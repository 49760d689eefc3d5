"""`generate --heat`: colours by price, the text itself unchanged."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.cli_heat import Heat, check_heat, legend
from rheostat.engines.scripted import load_scripted
from rheostat.errors import UserError

PIECE = st.tuples(st.integers(1, 9), st.floats(1e-6, 10), st.text(max_size=5))
PIECES = st.lists(PIECE, max_size=6)


def written(pieces, *, colours):
    parts = []
    heat = Heat(1.0, parts.append, colours=colours)
    for tokens, seconds, piece in pieces:
        heat.on_step("1", tokens, seconds)
        heat.on_token("1", piece)
    return "".join(parts)


@given(PIECES)
def test_without_its_colours_the_text_is_the_text(pieces):
    text = "".join(piece for _, _, piece in pieces)
    assert written(pieces, colours=False) == text
    found = re.sub(r"\x1b\[\d+m", "", written(pieces, colours=True))
    assert found == text


def test_tokens_of_a_kept_draft_share_the_price_of_their_pass():
    assert written([(8, 1.2, "copied")], colours=True) == "\x1b[36mcopied\x1b[0m"
    assert written([(1, 1.0, "plain")], colours=True) == "plain"
    assert written([(1, 1.5, "refused")], colours=True) == "\x1b[31mrefused\x1b[0m"


def test_no_colour_runs_over_the_end_of_a_line():
    assert written([(8, 1.0, "a\nb")], colours=True) == "\x1b[36ma\x1b[0m\n\x1b[36mb\x1b[0m"


def test_the_legend_says_what_is_shown():
    assert "no terminal" in legend(colours=False)
    assert all(f"{share}%" in legend(colours=True) for share in (25, 50, 90, 110))


def test_what_shows_no_steps_is_refused(tmp_path):
    spec = tmp_path / "spec.json"
    spec.write_text('{"vocabulary": ["a", "<end>"], "default": {"a": 0.5, "<end>": 0.5}}')
    engine = load_scripted(spec)
    plain = {"chat": False, "as_json": False, "particles": 0}
    with pytest.raises(UserError, match="runs elsewhere"):
        check_heat(engine, **plain)
    for other in ({"chat": True}, {"as_json": True}, {"particles": 4}):
        with pytest.raises(UserError, match="does not show"):
            check_heat(engine, **{**plain, **other})
