"""The suites `oracle`, `laws` and `difficulty` on a tiny model and made-up recordings."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("torch", reason="the suites run on the `torch` engine")

from rheostat.bench import difficulty, laws, oracle
from rheostat.bench.journal import Journal
from rheostat.bench.oracle_exits import confident_exits
from rheostat.bench.solve_recordings import SAMPLES
from rheostat.engines.torch_hindsight import Exits
from rheostat.kernel.samples import Ended
from rheostat.stages.recorded import Recorded
from stages.conftest import write_lines

pytest_plugins = ["stages.conftest"]


def nothing_said(_):
    return


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    lines = [{"prompt": f"{head} the cat and the hat"} for head in "abcdefghijkl"]
    return write_lines(tmp_path_factory.mktemp("texts") / "texts.jsonl", lines)


def test_a_workloads_tables_are_judged_whole(tiny, texts, tmp_path, monkeypatch):
    monkeypatch.setattr(oracle, "NEW_TOKENS", 8)
    monkeypatch.setattr(oracle, "WINDOWS", (1, 4, 64))  # no answer has 64 tokens
    journal = Journal(tmp_path / "oracle.partial.json")
    cell = oracle.workload_cell(tiny, texts, 3, nothing_said, journal)
    assert cell["items"] == 3
    rows = [*cell["exits"]["limits"], *cell["masks"]["windows"]]
    assert len(rows) == len(oracle.LIMITS) * 3
    for row in rows:
        assert row["oracle"] <= row["random"] + 1e-9 <= row["static"] + 2e-9 <= row["base"] + 3e-9
    assert cell["masks"]["masks"] == 2 ** len(oracle.window_of(tiny.shape.layers))
    assert cell["drafts"]["oracle_ratio"] >= cell["drafts"]["controller_ratio"] - 1e-9
    json.dumps(cell, allow_nan=False)


def test_masks_are_all_of_a_window_before_the_last_layers():
    assert list(oracle.window_of(30)) == [22, 23, 24, 25, 26, 27]
    masks = oracle.masks_of(30)
    assert len(set(masks)) == 64
    assert all(masks[0].mlp)
    assert {i for mask in masks for i, kept in enumerate(mask.mlp) if not kept} == set(
        range(22, 28)
    )


def test_a_certain_exit_is_taken_and_its_looks_are_paid_for():
    choices = np.tile([[1, 2, 2], [3, 3, 3]], (6, 1))
    certainty = np.tile([[0.4, 0.99, 0.99], [0.97, 0.98, 0.99]], (6, 1))
    seen = [Exits(choices=choices, certainty=certainty) for _ in range(4)]
    found = confident_exits(seen, [1.0, 2.0, 3.0], 0.25, 0.0)
    assert found["loss"] == 0.0
    assert found["price_if_free"] == pytest.approx(1.5)
    assert found["price"] == pytest.approx(1.5 + 0.25 / 2)
    assert found["share_if_free"] == pytest.approx(1.0)
    never = confident_exits(seen, [1.0, 1.0, 1.0], 0.25, 0.0)
    assert never["share"] is None


def test_trajectories_are_timed_and_priced(tiny):
    made = laws.trajectories(8)
    assert made == laws.trajectories(8)
    assert len({one.calls for one in made}) > 1
    short = laws.Trajectory(rounds=(laws.Round(read=5, written=3, context=5),))
    lost = laws.Round(read=12, written=2, context=12)
    both = laws.Trajectory(rounds=(*short.rounds, lost))
    priced = [laws.timed(tiny, one)["price"] for one in (short, both)]
    layers = tiny.shape.layers

    def price(n, context):
        return tiny.prices().seconds(n, context, attention=layers, mlp=layers, head_rows=1)

    steps = [price(5, 0), *(price(1, 5 + i) for i in range(3))]
    assert priced[0] == pytest.approx(sum(steps), rel=0.02)
    assert priced[1] > priced[0] + price(12, 0)


def test_a_law_that_is_seconds_up_to_a_scale_has_no_error():
    seconds = np.array([1.0, 2.0, 5.0, 3.0, 8.0, 4.0])
    exact = laws.judged("FLOPs", seconds * 1e9, seconds)
    assert exact["largest_absolute_error"] == pytest.approx(0.0, abs=1e-12)
    assert exact["pairs_in_the_wrong_order"] == 0
    late = laws.judged("price", seconds * 1.1, seconds)
    assert late["median_error"] == pytest.approx(0.1)
    assert laws.judged("tokens", seconds[::-1], seconds)["pairs_in_the_wrong_order"] > 0.3


def question(name, share, seed):
    draw = np.random.default_rng(seed)
    right = draw.random(SAMPLES) < share
    wrong = draw.integers(0, 3, SAMPLES)
    answers = ["right" if hit else f"wrong {w}" for hit, w in zip(right, wrong, strict=True)]
    ended = tuple(Ended(index=i, answer=a, tokens=10, text=a) for i, a in enumerate(answers))
    hits = tuple(bool(hit) for hit in right)
    return Recorded(id=name, task="sum", text=name, ended=ended, right=hits, samples=())


QUESTIONS = [question(f"q{i}", share, i) for i, share in enumerate([0.95, 0.5, 0.02] * 14)]


@pytest.mark.parametrize("answer_by", ["majority", "verifier"])
def test_tables_keep_their_budget_and_are_charged_for_probes(answer_by):
    rows = difficulty.judged_tables(QUESTIONS, answer_by)
    assert {row["difficulty"] for row in rows} == {
        "first 2 samples", "first 4 samples", "known", "by lot",
    }  # fmt: skip
    for row in rows:
        assert row["tokens_per_question"] <= row["budget"] * 10 * SAMPLES * 1.25
        probes = {"first 2 samples": 2, "first 4 samples": 4}.get(row["difficulty"], 1)
        assert row["samples_per_question"] >= probes
    json.dumps(rows, allow_nan=False)


def test_what_is_known_of_difficulty_helps_where_questions_differ():
    rows = difficulty.judged_tables(QUESTIONS, "verifier")
    gain = {(row["difficulty"], row["budget"]): row["against_fixed"]["right"] for row in rows}
    assert gain["known", 0.25] > gain["by lot", 0.25]
    verdict = difficulty.difficulty_verdict(rows)
    assert "with their probes charged" in verdict["evidence"]
