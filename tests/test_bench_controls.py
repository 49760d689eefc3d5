"""The suites `controls`, `judge` and `verify` on made-up recordings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch", reason="the envelope of results names the versions of torch")

from rheostat.bench import controls
from rheostat.bench.judge import auroc, waiting_pairs
from rheostat.bench.solve import decision
from rheostat.bench.solve_rules import majority
from rheostat.bench.solve_world import Known, Probes, acted
from rheostat.bench.stop_cuts import Cut, at_equal_tokens, cut, cut_at
from rheostat.bench.verify import Split, _flipped, judged, verdict_in, votes
from rheostat.kernel.policies.stop_early import Length
from test_bench_solve import QUESTIONS, question

SURE, TORN = QUESTIONS[0], QUESTIONS[3]


def knows(one, a, other, b):
    return float(one.answer == other.answer)


@pytest.mark.parametrize("answers", ["1213121312131213", "1111222233334444", "2211111111111111"])
def test_pruning_with_a_judge_that_knows_keeps_the_majority_and_saves(answers):
    ended = question("q", answers, lengths=[20] * 16).ended
    pruned = acted(decision("deepprune", 0.5), Known(ended=ended, judge=knows))
    assert pruned.answer == majority(ended)
    kinds = len(set(answers))
    assert pruned.tokens == 16 * 16 + 4 * kinds
    whole = acted(decision("deepprune", 0.0), Known(ended=ended, judge=knows))
    assert whole.tokens == 16 * 20


def spoken(name, answers, lengths):
    """A question whose samples differ in what the judges of the suite see of them."""
    made = question(name, answers, lengths=lengths)
    ended = tuple(replace(s, text="so it is " * 9, logprobs=(-s.index / 7,)) for s in made.ended)
    return replace(made, ended=ended)


MIXED = [
    spoken("one", "1213121312131213", [20] * 16),
    spoken("two", "1111222233334444", [24] * 16),
    spoken("few", "2211111111111111", [12, *[30] * 15]),
]


def test_every_row_of_pruning_has_its_own_dial_and_judge():
    rows = controls._deepprune(MIXED, lambda _: None)["rows"]
    by_lot = [rows[f"lots, {dial:g}"] for dial in controls.PRUNED_DIALS["lots"]]
    tokens = [row["tokens_per_question"] for row in by_lot]
    assert len(set(tokens)) == len(tokens) == 4
    assert tokens == sorted(tokens, reverse=True)
    assert rows["knows, 0.5"]["agreement"] == 1 > by_lot[1]["agreement"]
    assert len(rows) == sum(map(len, controls.PRUNED_DIALS.values()))


def test_every_row_of_hedging_has_its_own_dial(monkeypatch):
    best = [replace(q, ended=(replace(q.ended[0], answer="7"),), right=(True,)) for q in MIXED]
    monkeypatch.setattr(controls, "greedy_samples", lambda *_: best)
    rows = controls._hedged(MIXED, lambda _: None)["rows"]
    drawn = [row["samples_per_question"] for row in rows.values()]
    assert drawn == [16, 12, 8, 4]


def test_an_answer_that_only_the_greedy_sample_gave_can_be_right():
    greedy = replace(SURE, ended=(replace(SURE.ended[0], answer="9"),), right=(True,))
    both = controls.judged_with(SURE, greedy)
    assert not SURE.right_answer("9")
    assert both.right_answer("9")
    assert both.right_answer("1")
    assert not both.right_answer("2")
    assert not both.right_answer(None)


def test_probes_are_paid_for_and_end_the_drawing():
    ended = [replace(s, text=f"{s.index}") for s in TORN.ended]
    probes = {f"{i}": Probes(first=0.9 if i == 3 else 0.1, tokens=7) for i in range(16)}
    drawn = acted(decision("self_evaluation", 0.3), Known(ended=ended, probes=probes))
    assert (drawn.answer, drawn.samples, drawn.tokens) == (TORN.ended[3].answer, 4, 4 * (5 + 7))


def test_the_greedy_sample_takes_the_first_place():
    greedy = replace(SURE.ended[0], answer="9", tokens=2)
    drawn = acted(decision("hedged", 15 / 16), Known(ended=SURE.ended, greedy=greedy))
    assert (drawn.answer, drawn.samples, drawn.tokens) == ("9", 1, 2)


def test_pairs_of_whole_samples_teach_nothing():
    lengths = [4, 4, *[20] * 14]
    pairs = list(waiting_pairs([question("q", "12" * 8, lengths=lengths)], 10))
    assert len(pairs) == 16 * 15 // 2 - 1
    assert list(waiting_pairs([SURE], 10)) == []


def test_auroc_is_the_share_of_pairs_in_order():
    assert auroc(np.array([1, 2, 3, 3]), np.array([0, 1, 0, 1])) == pytest.approx(0.625)


def test_a_cut_keeps_what_was_written_until_then():
    sample = replace(SURE.samples[0], token_ids=(1, 2, 3), text="abc")
    texts = ["a", "ab", "abc"]
    assert [cut_at(p, sample, texts) for p in (None, Length(tokens=2), Length(tokens=9))] == [
        3,
        2,
        3,
    ]
    one = replace(SURE, samples=(sample,))
    found = cut(Length(tokens=2), [one], {SURE.id: [texts]}, lambda _, text: text == "ab")
    assert (found.tokens.tolist(), found.right.tolist()) == ([2.0], [1.0])


def test_a_mixture_of_controls_does_not_beat_itself():
    few = Cut(tokens=np.array([2.0, 2.0]), right=np.array([0.0, 0.5]))
    many = Cut(tokens=np.array([4.0, 4.0]), right=np.array([1.0, 0.5]))
    own = Cut(tokens=np.array([3.0, 3.0]), right=np.array([0.5, 0.5]))
    assert at_equal_tokens(own, [many, few])["right"] == pytest.approx(0)
    assert at_equal_tokens(few, [many, few])["right"] == pytest.approx(0)


def test_votes_at_no_verification_are_the_majority_and_a_sure_verifier_finds_what_is_there():
    assert votes([SURE, TORN], 16).tolist() == [1.0, 1.0]
    assert 0 < votes([TORN], 1)[0] < votes([TORN], 4.5)[0] < 1

    def sure(one, rng):
        return _flipped(one, rng, accuracy=1.0, verdicts=1)

    rare = QUESTIONS[5]
    whole = Split(samples=16, verifications=1)
    assert whole.cost(0.5) == 24
    assert judged([rare], whole, sure).tolist() == [1.0]
    assert judged([rare], whole, sure, best=True).tolist() == [1.0]
    assert votes([rare], 16).tolist() == [0.0]


@pytest.mark.parametrize(
    ("text", "verdict"), [("No. Wait, yes!", 1.0), ("it is NO", 0.0), ("nothing", None)]
)
def test_the_last_word_is_the_verdict(text, verdict):
    assert verdict_in(text) == verdict
