"""The benchmark suite `decoys`: its adversaries mislead, and what they cost keeps to the bound."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("torch", reason="the suites run on the `torch` engine")

from rheostat.bench import decoys
from rheostat.bench.contest import answered, contested, decision_of
from rheostat.bench.journal import Journal
from rheostat.engines.base import Request
from rheostat.kernel.policies.draft_control import ALLOWANCE, START
from rheostat.kernel.seams import Installed
from stages.conftest import write_lines

pytest_plugins = ["stages.conftest"]

ITEM = Request(id="one", prompt="the cat and the hat and the star of the sea")
NEW = 96


@pytest.mark.parametrize("right", [0, 1, 4])
def test_a_misleading_source_is_right_so_far_and_then_never(right):
    answer = list(range(40, 80))
    source = decoys.Misleading(answer, right)
    for written in range(len(answer)):
        guess = source.guess(written, 8)
        coming = answer[written : written + 8]
        agrees = [a == b for a, b in zip(guess.tokens, coming, strict=True)]
        assert agrees == [i < right for i in range(len(coming))]
    assert source.guess(len(answer), 8) is None


@pytest.mark.parametrize("right", [0, 1, 4])
def test_what_a_misleading_source_costs_keeps_to_the_bound(tiny, right):
    base = answered(tiny, ITEM, decision_of(tiny), NEW)
    misled = Installed(draft=decoys.adversary(base.token_ids, right))
    done = contested(tiny, ITEM, {"base": Installed(), "misled": misled}, first=0, new_tokens=NEW)
    assert done["misled"]["same"]
    assert done["misled"]["proposed"] > 0
    assert done["misled"]["accepted"] <= right * done["misled"]["steps"]
    step = done["base"]["price"] / done["base"]["tokens"]
    bound = (1 + ALLOWANCE) * done["base"]["price"] + (START + 1) * step
    assert done["misled"]["price"] <= bound


def test_a_text_of_decoys_repeats_the_answer_and_goes_on_otherwise():
    answer = " ".join(f"w{i}" for i in range(60))
    text = decoys.decoyed(ITEM, answer, seed=3).prompt
    assert text.endswith(ITEM.prompt)
    pieces = text.removesuffix(ITEM.prompt).split(".")[:-1]
    assert len(pieces) == decoys.PIECES
    assert all(" ".join(piece.split()[: decoys.PIECE]) in answer for piece in pieces)
    asked = Request(id="two", messages=({"role": "user", "content": "Why?"},))
    assert decoys.decoyed(asked, answer, seed=3).messages[-1]["content"].endswith("Why?")


def test_a_suite_of_tiny_answers_is_whole(tiny, tmp_path, monkeypatch):
    lines = [{"prompt": f"{head} the cat and the hat"} for head in "abcdefghij"]
    monkeypatch.setattr(decoys, "WORKLOAD", write_lines(tmp_path / "texts.jsonl", lines))
    monkeypatch.setattr(decoys, "NEW_TOKENS", 12)
    monkeypatch.setattr(decoys, "ROUNDS", 2)
    journal = Journal(tmp_path / "decoys.partial.json")
    cells = decoys.decoy_cells(tiny, 1, lambda text: None, journal)
    assert [cell["adversary"] for cell in cells] == [
        *(f"source, wrong after {right}" for right in decoys.RIGHT),
        "text, all sources",
    ]
    assert all(cell["identical_answers"] == 1.0 and cell["answers"] == 2 for cell in cells)
    json.dumps(cells, allow_nan=False)
