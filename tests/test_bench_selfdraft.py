"""The suite `selfdraft`: who enters, that forced drafts change no token, and its verdicts."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("torch", reason="the suites run on the `torch` engine")

from contract.tiny_engine import LAYERS, profile_of, tiny_engine
from engines.tiny_gguf import write_tiny_gguf
from rheostat.bench import selfdraft
from rheostat.bench.journal import Journal
from rheostat.engines.base import Request, Sampling
from rheostat.kernel.seams import Installed


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A tiny engine and the suite's contestants on it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RHEOSTAT_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        path = write_tiny_gguf(tmp_path_factory.mktemp("deep") / "deep.gguf", layers=LAYERS, seed=2)
        engine = tiny_engine(path)
        profile = profile_of(engine)
        profile["redundancy"]["ranking"]["layer"] = list(range(LAYERS))
        yield engine, selfdraft.contestants(engine, profile)


def answered(engine, decision, prompt="the cat and the hat"):
    request = Request(id="1", prompt=prompt)
    (output,) = engine.generate([request], Sampling(max_new_tokens=16), installed=decision)
    return output


def test_forced_drafts_are_made_at_every_step_and_change_no_token(own):
    engine, contestants = own
    base = answered(engine, Installed())
    forced = [name for name in contestants if name.startswith("forced")]
    assert len(forced) > 8
    for name in forced:
        output = answered(engine, contestants[name])
        assert output.token_ids == base.token_ids
        assert output.trace.draft_steps >= output.trace.steps - 1  # the last has no room


def test_a_forced_draft_has_the_length_in_its_name(own):
    engine, contestants = own
    for length in selfdraft.LENGTHS:
        output = answered(engine, contestants[f"forced exit {selfdraft.LENGTHS_AT:g}, {length}"])
        assert max(output.trace.lengths) == length


def test_a_cell_compares_all_contestants_on_the_same_items(own, tmp_path):
    engine, contestants = own
    lines = [{"prompt": f"{head} the cat and the hat"} for head in "abc"]
    texts = tmp_path / "texts.jsonl"
    texts.write_text("".join(json.dumps(line) + "\n" for line in lines))
    few = {name: contestants[name] for name in ("base", "fixed_lookup", *selfdraft.METHODS)}
    journal = Journal(tmp_path / "suite.partial.json")
    cell = selfdraft.cell(engine, few, str(texts), 2, lambda text: None, journal)
    assert set(cell["contestants"]) == set(few)
    assert cell["counted"] == cell["items"] > 0
    assert all(c["identical_answers"] == 1.0 for c in cell["contestants"].values())
    assert cell["contestants"]["base"]["speed_ratio"] == 1.0
    json.dumps([cell, selfdraft.verdict([cell], "self_draft")], allow_nan=False)


def speeds(own, lookup):
    made = {"self_draft": own, "forced self_draft": 9.0, "fixed_lookup": lookup}
    return {"contestants": {name: {"speed_ratio": speed} for name, speed in made.items()}}


@pytest.mark.parametrize(
    ("cells", "beats"),
    [
        ([speeds(1.5, 1.2), speeds(1.0, 0.9)], True),
        ([speeds(1.5, 1.2), speeds(0.9, 0.8)], False),
        ([speeds(1.5, 2.2), speeds(1.0, 1.1)], False),
        ([speeds(None, None)], False),
        ([], False),
    ],
)
def test_a_method_must_beat_the_fixed_lookup_and_never_cost(cells, beats):
    assert selfdraft.verdict(cells, "self_draft")["beats_controls"] is beats
