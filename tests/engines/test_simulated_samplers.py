"""Scripted samples have the law that is written down; replay gives back what was recorded."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest
from scipy.stats import chisquare

from engines.sampling_rig import collect, draw, drawn_together, launch, words
from rheostat.engines.replay import load_replay
from rheostat.engines.sample_store import SampleStore, stored
from rheostat.engines.scripted import ScriptedEngine
from rheostat.engines.scripted_model import ScriptedSpec
from rheostat.engines.scripted_sampler import scripted_sampler
from rheostat.errors import ModelError, OutputError, WorkloadError
from rheostat.kernel.ledger import Ledger

SPEC = ScriptedSpec(
    vocabulary=("q", "right", "wrong", "so", "<end>"),
    default={"<end>": 1.0},
    answers={"q": {"right": 6, "so wrong": 4}},
    durations={"right": 30, "so wrong": 10},
)
DRAWS = [draw("q", i, "q") for i in range(40)]


@pytest.fixture
def sampler():
    return scripted_sampler(ScriptedEngine(SPEC))


@pytest.fixture
def recording(sampler, tmp_path):
    """A folder with a recording of the draws, and what was drawn."""
    found = drawn_together(sampler, DRAWS)
    store = SampleStore(tmp_path, create=True)
    tasks = {"items": [{"id": "q", "prompt": "q", "messages": None, "reference": "right"}]}
    sampling = {**DRAWS[0].sampling.to_json(), "stop": []}
    store.header = {"tasks": tasks, "samples": 40, "sampling": sampling}
    store.add(stored(one, one.output.text) for one in found.values())
    store.close()
    return tmp_path, words(found)


def test_answers_come_with_their_weights(sampler):
    found = drawn_together(sampler, [draw("q", i, "q") for i in range(1000)])
    counts = Counter(one.output.text for one in found.values())
    assert chisquare([counts["right"], counts["so wrong"]], [600, 400]).pvalue > 1e-4
    one = next(one for one in found.values() if one.output.text == "so wrong")
    assert sum(one.logprobs) == pytest.approx(-0.916, abs=1e-3)  # log 0.4


def test_the_spec_says_which_samples_end_first(sampler):
    launch(sampler, Ledger(), DRAWS)
    first = sampler.poll()
    assert {one.output.text for one in first} == {"so wrong"}
    assert {one.output.text for one in sampler.poll()} == {"right"}
    assert sampler.clock == 30


def test_a_sample_does_not_depend_on_the_others(sampler):
    together = words(drawn_together(sampler, DRAWS))
    backwards = words(drawn_together(sampler, DRAWS[::-2]))
    assert backwards.items() <= together.items()


def test_a_cancelled_sample_costs_the_share_that_was_done(sampler):
    ledger = Ledger()
    launch(sampler, ledger, DRAWS)
    ended = sampler.poll()
    left = [one for one in DRAWS if one.index not in {e.draw.index for e in ended}]
    for one in left:
        sampler.cancel(one)
    gone = sampler.poll()
    assert {one.output.stop_reason for one in gone} == {"cancelled"}
    assert all(one.output.cost.prompt_tokens == 1 for one in gone)
    assert all(one.output.cost.seconds > 0 for one in gone)
    assert ledger.reserved.tokens == 0
    assert sampler.poll() == []


def test_replay_gives_back_what_was_recorded_in_any_order(recording):
    folder, found = recording
    sampler, _ = load_replay(f"replay:{folder}")
    ledger = Ledger()
    bounds = launch(sampler, ledger, DRAWS[::-1])
    again = words(collect(sampler))
    assert {key: value[:2] for key, value in again.items()} == {
        key: value[:2] for key, value in found.items()
    }
    assert again["q", 3][2] == pytest.approx(found["q", 3][2], abs=1e-6)
    assert {bound.new_tokens for bound in bounds.values()} == {12}  # their lengths are not told
    assert sum(bound.prompt_tokens for bound in bounds.values()) == ledger.spent.prompt_tokens
    assert not ledger.closed
    sampler.close()


def test_replay_refuses_what_was_not_recorded(recording):
    folder, _ = recording
    sampler, _ = load_replay(f"replay:{folder}")
    with pytest.raises(ModelError, match="holds no sample 40"):
        sampler.bound(draw("q", 40, "q"))
    with pytest.raises(WorkloadError, match="is not in"):
        sampler.bound(draw("p", 0, "q"))
    with pytest.raises(WorkloadError, match="another text"):
        sampler.bound(draw("q", 0, "so"))
    for other in ({"temperature": 0.5}, {"seed": 1}, {"max_new_tokens": 13}):
        with pytest.raises(ModelError, match="other sampling options"):
            sampler.bound(replace(DRAWS[0], sampling=replace(DRAWS[0].sampling, **other)))
    sampler.close()


def test_a_folder_without_a_recording_is_refused(tmp_path):
    with pytest.raises(OutputError, match="holds no recording"):
        load_replay(f"replay:{tmp_path}")
    (tmp_path / "samples.sqlite").write_text(json.dumps({"not": "a database"}) * 100)
    with pytest.raises(OutputError, match="cannot be read"):
        load_replay(f"replay:{tmp_path}")
