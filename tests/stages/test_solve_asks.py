"""Samples that wait, are pruned and are asked about: the race changes nothing, nothing is lost."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from rheostat.engines.load_sampler import load_sampler
from rheostat.kernel.policies.best_score import BestScore
from rheostat.kernel.policies.cluster_pruning import Clusters
from rheostat.kernel.policies.drawing import Drawing
from rheostat.kernel.samples import Probe
from rheostat.kernel.seams import Installed
from rheostat.methods.sample.hedged import Hedged
from stages import sample_runs
from stages.sample_runs import NAMES, ending, loaded, recorded, samples_in, solved, write_inputs
from stages.test_solve import ENOUGH, TIGHT, decided, spent

LENGTH = 2
PRUNES = Clusters(threshold=0.5, length=LENGTH, most=1)
SUFFIX = " and it is"
HEADS = ("the cat", "a hat", "in the star", "is it on", "and there")


def asked(ended, start):
    """In words of the tiny model."""
    return ended.answer and Probe(index=ended.index, suffix=SUFFIX, choices=("a", "t"))


ASKS = Drawing(rule=BestScore(threshold=0.52), ask=asked)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return write_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="module")
def replayed(inputs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("recording") / "store"
    recorded(ending(inputs[0]), inputs[1], folder)
    return f"replay:{folder}"


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    path = tmp_path_factory.mktemp("heads") / "tasks.jsonl"
    path.write_text("".join(json.dumps({"prompt": head}) + "\n" for head in HEADS))
    return str(path)


@pytest.mark.parametrize("tokens", [ENOUGH, TIGHT])
@pytest.mark.parametrize("kind", ["scripted", "replay"])
def test_pruning_depends_on_no_race(inputs, replayed, tmp_path, kind, tokens):
    model = inputs[0] if kind == "scripted" else replayed
    found = [
        decided(
            solved(loaded(model, PRUNES), inputs[1], tmp_path / f"{n}", tokens=tokens, in_flight=n)
        )
        for n in (1, 2, 8)
    ]
    assert found[0] == found[1] == found[2]
    assert sum(line["t"] for line in found[0]) <= tokens


def test_pruned_samples_cost_what_they_had_written(inputs, tmp_path):
    lines = solved(loaded(inputs[0], PRUNES), inputs[1], tmp_path / "run", tokens=ENOUGH)
    held = samples_in(tmp_path / "run")
    cut = [sample for sample in held if sample.stop_reason == "cancelled"]
    assert cut
    assert all(sample.cost.new_tokens == LENGTH for sample in cut)
    assert sum(map(spent, lines)) == sum(sample.cost.tokens for sample in held)
    assert {line["stop_reason"] for line in lines} == {"samples"}


def test_nobody_waits_at_dial_0(inputs, tmp_path):
    plain = Clusters(threshold=None, length=LENGTH, most=3)
    lines = solved(loaded(inputs[0], plain), inputs[1], tmp_path / "run", tokens=ENOUGH)
    assert all(sample.stop_reason != "cancelled" for sample in samples_in(tmp_path / "run"))
    assert all(line["samples"] == sample_runs.SAMPLES for line in lines)


@pytest.mark.parametrize("after", [3, 11, 25])
def test_a_run_with_waiting_samples_that_was_killed_goes_on(inputs, tmp_path, after):
    model, tasks = inputs
    expected = decided(solved(loaded(model, PRUNES), tasks, tmp_path / "whole", tokens=ENOUGH))
    program = [sys.executable, sample_runs.__file__, "prune", model, tasks]
    done = subprocess.run(
        [*program, str(tmp_path / "run"), str(after)],
        check=False,
        env=sample_runs.program_environment(),
    )
    assert done.returncode == -signal.SIGKILL
    kept = {(s.question, s.index) for s in samples_in(tmp_path / "run")}
    again = ending(model, PRUNES)
    lines = solved(again, tasks, tmp_path / "run", tokens=ENOUGH)
    assert decided(lines) == expected
    assert not kept & set(again.sampler.launches)


def test_batched_samples_wait_and_are_probed_the_same_with_questions_in_flight(
    shallow, heads, tmp_path
):
    for name, policy in {"prune": PRUNES, "probe": ASKS}.items():
        found = []
        for in_flight in (1, 8):
            made = load_sampler(shallow, install=lambda *_, p=policy: Installed(sample=p))
            out = tmp_path / f"{name}{in_flight}"
            lines = solved(made, heads, out, tokens=1500, in_flight=in_flight)
            kept = [(s.question, s.index, s.text, s.logprobs) for s in samples_in(out)]
            found.append((decided(lines), kept))
        assert found[0] == found[1]
        assert sum(line["t"] for line in found[0][0]) <= 1500


def test_probes_are_charged_once_and_known_ones_are_given_back(shallow, heads, tmp_path):
    def made():
        return load_sampler(shallow, install=lambda *_: Installed(sample=ASKS))

    first, read = made(), []
    real = first.sampler.read
    first.sampler.read = lambda reading, reservation: (
        read.append(real(reading, reservation)) or read[-1]
    )
    lines = solved(first, heads, tmp_path / "run", tokens=5000)
    drawn = sum(sample.cost.tokens for sample in samples_in(tmp_path / "run"))
    assert read
    assert sum(map(spent, lines)) == drawn + sum(one.cost.prompt_tokens for one in read)
    again = made()
    again.sampler.read = None  # nothing is left to be read
    assert solved(again, heads, tmp_path / "run", tokens=5000) == lines


def test_a_probe_without_room_in_the_budget_fails_and_no_cap_is_passed(shallow, heads, tmp_path):
    made = load_sampler(shallow, install=lambda *_: Installed(sample=ASKS))
    asked = len(shallow.tokenizer.encode(SUFFIX))
    for tokens in range(60, 60 + 6 * asked, asked):
        lines = solved(made, heads, tmp_path / str(tokens), tokens=tokens)
        assert sum(map(spent, lines)) <= tokens
        assert len(lines) == len(HEADS)


def test_a_hedged_pool_is_the_majority_where_all_samples_have_ended(inputs, tmp_path):
    policy = Hedged().at(0.0, {}, None)
    lines = solved(loaded(inputs[0], policy), inputs[1], tmp_path / "run", tokens=ENOUGH)
    held = samples_in(tmp_path / "run")
    for name, line in zip(NAMES, lines, strict=True):
        own = [sample for sample in held if sample.question == name]
        votes = [sample.answer for sample in own if sample.answer is not None]
        assert own[0].temperature == 0
        assert line["answer"] == (max(votes, key=votes.count) if votes else None)
