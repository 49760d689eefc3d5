"""The scripted engine: its statistics are those of its spec, its results deterministic."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy import stats

from engines.tree_drafts import TreeDrafter
from rheostat.engines.base import Output, Request, Sampling
from rheostat.engines.scripted import ScriptedEngine, load_scripted
from rheostat.engines.scripted_model import ScriptedSpec
from rheostat.errors import MethodError, ModelError, UserError, WorkloadError
from rheostat.kernel.budget import Caps
from rheostat.kernel.cost import Cost, total
from rheostat.kernel.ledger import Ledger
from rheostat.kernel.seams import Depth, Installed, Layout
from rheostat.methods.draft.copyspec import CopySpec
from rheostat.methods.draft.fixed_lookup import FixedLookup

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SPEC: dict[str, Any] = {
    "vocabulary": ["a", "b", "c", "<end>"],
    "context": 60,
    "default": {"a": 0.5, "b": 0.25, "<end>": 0.25},
    "table": {"a": {"b": 0.9, "<end>": 0.1}, "b a": {"b": 0.6, "c": 0.4}, "c": {"a": 1.0}},
    "answers": {"c c": {"a a": 3, "b": 1, "a b c": 4}},
}
LOOP: dict[str, Any] = {
    "vocabulary": ["a", "b", "c", "<end>"],
    "default": {"a": 1.0},
    "table": {"a": {"b": 1.0}, "b": {"c": 1.0}, "c": {"a": 1.0}},
}
BASE = Installed()
ENGINE = ScriptedEngine(ScriptedSpec(**SPEC))
LOOPING = ScriptedEngine(ScriptedSpec(**LOOP))
COPY = Installed(draft=CopySpec(gamma=2).at(1.0, {}, ENGINE.shape))
FORKS = Installed(draft=TreeDrafter(lambda text: [[0, 1, 0], [2, 0], [1, 0, 2], [1, 3]]))
ALWAYS = Installed(draft=FixedLookup(draft=4).at(1.0, {}, ENGINE.shape))


def run(
    prompts: Sequence[str],
    sampling: Sampling,
    *,
    engine: ScriptedEngine = ENGINE,
    installed: Installed = BASE,
    ledger: Ledger | None = None,
) -> list[Output]:
    requests = [Request(id=str(i), prompt=prompt) for i, prompt in enumerate(prompts)]
    outputs = engine.generate(requests, sampling, installed=installed, ledger=ledger)
    return sorted(outputs, key=lambda output: int(output.id))


def greedy(n: int, **others: Any) -> Sampling:
    return Sampling(max_new_tokens=n, **others)


def sampled(n: int, **others: Any) -> Sampling:
    return Sampling(max_new_tokens=n, temperature=1.0, **others)


# what is written


def test_the_longest_context_in_the_table_decides() -> None:
    texts = [output.text for output in run(["a", "b a", "b b"], greedy(1))]
    assert texts == ["b", "b", "a"]


def test_whole_answers_come_with_their_weights() -> None:
    texts = Counter(output.text for output in run(["c c"] * 800, sampled(9)))
    expected = {"a a": 300, "b": 100, "a b c": 400}
    assert set(texts) == set(expected)
    assert stats.chisquare([texts[t] for t in expected], list(expected.values())).pvalue > 0.01


@pytest.mark.parametrize("others", [{}, {"top_k": 2}, {"top_p": 0.7}])
@pytest.mark.parametrize(
    "installed", [COPY, ALWAYS, FORKS], ids=["copyspec", "fixed_lookup", "trees"]
)
def test_drafted_sampling_has_the_law_of_plain_sampling(
    installed: Installed, others: dict[str, Any]
) -> None:
    prompts = ["a b a c a b"] * 800
    plain = Counter(o.text for o in run(prompts, sampled(4, seed=1, **others)))
    outputs = run(prompts, sampled(4, seed=2, **others), installed=installed)
    drafted = Counter(o.text for o in outputs)
    assert sum(o.trace.accepted for o in outputs) > 100
    common = [text for text, n in (plain + drafted).items() if n >= 20]
    table = [[counts[text] for text in common] for counts in (plain, drafted)]
    assert stats.chi2_contingency(table).pvalue > 0.01


@pytest.mark.parametrize(
    "installed", [COPY, ALWAYS, FORKS], ids=["copyspec", "fixed_lookup", "trees"]
)
def test_drafted_greedy_text_is_the_same_and_cheaper_where_text_repeats(
    installed: Installed,
) -> None:
    prompts = ["a b", "c a b c", "b"]
    plain = run(prompts, greedy(40), engine=LOOPING)
    drafted = run(prompts, greedy(40), engine=LOOPING, installed=installed)
    assert [o.token_ids for o in drafted] == [o.token_ids for o in plain]
    for base, cheap in zip(plain, drafted, strict=True):
        assert cheap.cost.calls < base.cost.calls
        assert cheap.cost.price < base.cost.price
        assert cheap.cost.new_tokens == base.cost.new_tokens == 40
        assert cheap.trace.steps == cheap.cost.calls - 1


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    together = run(["a", "b", "c a", "b b"], sampled(20, seed=5))
    for i, prompt in enumerate(["a", "b", "c a", "b b"]):
        request = Request(id=str(i), prompt=prompt)
        (alone,) = ENGINE.generate([request], sampled(20, seed=5), installed=BASE)
        assert alone == together[i]


def test_the_seed_decides() -> None:
    first, again, other = (run(["b"] * 20, sampled(20, seed=seed)) for seed in (1, 1, -2))
    assert first == again
    assert first != other


# where it stops


@pytest.mark.parametrize(
    ("prompt", "sampling", "text", "reason"),
    [
        ("c c", greedy(9), "a b c", "eos"),
        ("b b", greedy(3), "a b a", "length"),
        ("b b", greedy(9, stop=("a b a",)), "", "stop"),
        ("b b", greedy(9, stop=("zz", " a")), "a b", "stop"),
        ("c " * 58, greedy(9), "a b", "context"),
        ("c " * 60, greedy(9), "", "context"),
    ],
)
def test_why_a_row_ends(prompt: str, sampling: Sampling, text: str, reason: str) -> None:
    (output,) = run([prompt], sampling)
    assert (output.text, output.stop_reason) == (text, reason)


@pytest.mark.parametrize("stop", ["c a", "b c a b", "b"])
def test_a_stop_string_cuts_drafted_text_at_the_same_place(stop: str) -> None:
    plain, *others = (
        run(["a b c a b c a"], greedy(30, stop=(stop,)), engine=LOOPING, installed=installed)
        for installed in (BASE, ALWAYS, FORKS)
    )
    for drafted in others:
        assert [o.to_json()["text"] for o in plain] == [o.text for o in drafted]
        assert [o.token_ids for o in plain] == [o.token_ids for o in drafted]


def test_streamed_pieces_make_up_the_text_without_the_stop_string() -> None:
    pieces: dict[str, str] = {"x": "", "y": ""}

    def show(request_id: str, piece: str) -> None:
        pieces[request_id] += piece

    requests = [Request(id="x", prompt="b b"), Request(id="y", prompt="c c")]
    outputs = ENGINE.generate(requests, greedy(9, stop=("a b a",)), installed=BASE, on_token=show)
    assert {o.id: o.text for o in outputs} == pieces == {"x": "", "y": "a b c"}


# what it costs


def test_the_cost_of_a_row_by_hand() -> None:
    (output,) = run(["b b"], greedy(3))
    # a pass over the prompt's 2 tokens, then two over 1 token
    assert output.cost == Cost(
        flops=2 * (4 * 7 + 3 * 4) + 4 * (2 * 2 + 3 + 4),
        bytes=8 * 3 * (4 + 3 + 4) + 8 * 2 * (0 + 2 + 3),
        prompt_tokens=2,
        new_tokens=3,
        calls=3,
        price=pytest.approx(1.1 + 1.0 + 1.0),
        seconds=pytest.approx(1.1 + 1.0 + 1.0),
    )


def test_the_end_token_is_read_off_but_not_counted_as_written() -> None:
    (output,) = run(["c c"], greedy(9))
    assert (output.cost.new_tokens, len(output.token_ids), output.cost.calls) == (3, 3, 4)


@pytest.mark.parametrize("installed", [BASE, COPY], ids=["base", "copyspec"])
def test_the_ledger_holds_what_the_outputs_say(installed: Installed) -> None:
    ledger = Ledger(Caps(tokens=10_000, calls=10_000, price=10_000.0))
    outputs = run(["a b c", "b", "c a"], sampled(50, seed=3), installed=installed, ledger=ledger)
    spent = total(output.cost for output in outputs)
    assert ledger.spent.to_json() == pytest.approx(spent.to_json())
    assert ledger.reserved == Cost()
    assert not ledger.closed, "a reservation bounds the work from above"
    assert {record.note for record in ledger.records} == {"0", "1", "2"}


def test_work_is_charged_while_a_row_runs_and_kept_when_it_is_abandoned() -> None:
    ledger = Ledger()
    requests = [Request(id="long", prompt="a"), Request(id="short", prompt="c c")]
    running = LOOPING.generate(
        requests, greedy(200, stop=("b c a b",)), installed=BASE, ledger=ledger
    )
    assert next(running).id == "long"
    running.close()
    assert ledger.reserved == Cost()
    assert [r.kind for r in ledger.records] == ["charge", "charge", "cancel"]
    other = Ledger()
    run(["a"], greedy(100), engine=LOOPING, ledger=other)
    assert len(other.records) == math.ceil(100 / 16)


@pytest.mark.parametrize(
    ("caps", "texts"),
    [
        (Caps(new_tokens=5), ["a b a", "a b", ""]),
        (Caps(tokens=9), ["a b a", "a b", ""]),
        (Caps(calls=4), ["a b a", "a", ""]),
        (Caps(price=6.3), ["a b a", "a b a", ""]),
        (Caps(seconds=0), ["", "", ""]),
    ],
)
def test_a_hard_budget_is_used_but_never_passed(caps: Caps, texts: list[str]) -> None:
    ledger = Ledger(caps)
    outputs = run(["b b"] * 3, greedy(3), ledger=ledger)
    assert [output.text for output in outputs] == texts
    assert {o.stop_reason for o in outputs if len(o.token_ids) < 3} == {"budget"}
    assert ledger.spent.new_tokens == sum(len(o.token_ids) for o in outputs)
    assert not ledger.closed


def test_rows_stop_when_the_simulated_deadline_and_its_grace_have_passed() -> None:
    ledger = Ledger(Caps(seconds=10, grace=2))
    outputs = run(["c c", "a"], greedy(50), engine=LOOPING, ledger=ledger)
    assert {o.stop_reason for o in outputs} == {"budget"}
    assert 12 < ledger.spent.seconds <= 14.1


# reading


def test_teacher_forced_reading_gives_the_spec_back() -> None:
    scored = ENGINE.score([1, 1], [0, 1, 0, 2, 1], installed=BASE)
    np.testing.assert_allclose(np.exp(-scored.nats), [0.5, 0.6, 0.5, 0.4, 0.0])
    assert scored.choice.tolist() == [0, 1, 0, 1, 0]
    np.testing.assert_allclose(scored.margin[1], np.log(0.6 / 0.4))
    assert (scored.cost.calls, scored.cost.prompt_tokens) == (1, 7)


def test_reading_an_answer_gives_its_conditional_probabilities() -> None:
    scored = ENGINE.score([2, 2], [0, 1, 2, 3, 3], installed=BASE)
    np.testing.assert_allclose(np.exp(-scored.nats)[:4], [7 / 8, 4 / 7, 1.0, 1.0])
    assert scored.nats[4] == pytest.approx(-math.log(0.25)), "beyond an answer the chain decides"


def test_nothing_to_read_costs_the_prompt() -> None:
    scored = ENGINE.score([1, 1], [], installed=BASE)
    assert (scored.nats.size, scored.cost.prompt_tokens) == (0, 2)


# what is refused


def test_messages_are_read_one_after_another() -> None:
    messages = ({"role": "system", "content": "a b"}, {"role": "user", "content": "c"})
    assert ENGINE.encode(Request(id="1", messages=messages)) == [0, 1, 2]


@pytest.mark.parametrize(
    ("prompt", "message"),
    [("a z", "`z` is not a token"), (" ", "empty prompt"), ("a " * 61, "has 61 tokens")],
)
def test_a_prompt_that_cannot_be_read_is_refused(prompt: str, message: str) -> None:
    ledger = Ledger()
    with pytest.raises(WorkloadError, match=message):
        run(["a", prompt], greedy(3), ledger=ledger)
    assert ledger.reserved == Cost()


def test_depth_is_refused_in_words() -> None:
    depth = Installed(depth=Depth(Layout.full(1)))
    with pytest.raises(MethodError, match="no layers"):
        run(["a"], greedy(3), installed=depth)
    with pytest.raises(MethodError, match="no layers"):
        ENGINE.score([0], [1], installed=depth)


@pytest.mark.parametrize(
    "others",
    [
        {"max_new_tokens": 0},
        {"temperature": -1.0},
        {"temperature": float("inf")},
        {"top_k": -1},
        {"top_p": 0},
        {"min_p": 1.5},
        {"repetition_penalty": 0},
        {"stop": ("",)},
    ],
)
def test_sampling_out_of_range_is_refused(others: dict[str, Any]) -> None:
    with pytest.raises(UserError) as error:
        Sampling(**others)
    assert error.value.hint


# specs


def test_a_spec_is_loaded_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "spec.json"
    path.write_text(json.dumps({**SPEC, "seconds": {"4": 1.5, "1": 1.0, "2": 3.0}}))
    engine = load_scripted(path)
    table = engine.prices()
    assert engine.model == f"scripted:{path}"
    assert engine.digest != ENGINE.digest
    assert [table.seconds(n, 7, attention=1, mlp=1, head_rows=1) for n in (1, 2, 3, 4)] == [
        1.0,
        3.0,
        2.25,
        1.5,
    ]


def test_a_pass_is_dearer_by_a_tenth_for_each_further_token_unless_the_spec_says_else() -> None:
    found = [ENGINE.prices().seconds(n, 0, attention=1, mlp=1, head_rows=1) for n in (1, 2, 11)]
    assert found == pytest.approx([1.0, 1.1, 2.0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vocabulary": ["<end>"]}, "at least two tokens"),
        ({"vocabulary": ["a", "a", "<end>"]}, "each of them once"),
        ({"vocabulary": ["a b", "<end>"]}, "white space"),
        ({"end": "stop"}, "`stop` is not in `vocabulary`"),
        ({"default": {"a": 0.5}}, "`default` sum to 0.5"),
        ({"default": {"z": 1.0}}, "`z` in `default`"),
        ({"table": {"b": {"a": 0.9}}}, "after `b` sum to 0.9"),
        ({"table": {"z": {"a": 1.0}}}, "`z` after `z`"),
        ({"answers": {"a": {"b <end>": 1}}}, "`<end>` in the answers"),
        ({"answers": {"a": {}}}, "no answers to `a`"),
        ({"answers": {"a": {"b": 0}}}, r"answers\.a\.b"),
        ({"seconds": {"2": 1.0}}, "over 1 token"),
        ({"seconds": {}}, "over 1 token"),
        ({"context": 0}, "malformed at `context`"),
        ({"temperature": 1}, "malformed at `temperature`"),
    ],
)
def test_a_spec_that_does_not_hang_together_is_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    path = tmp_path / "spec.json"
    path.write_text(json.dumps({**SPEC, "table": {}, "answers": {}, **change}))
    with pytest.raises(ModelError, match=message):
        load_scripted(path)


def test_a_spec_that_is_missing_or_no_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        load_scripted(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(ModelError, match="malformed at `spec`"):
        load_scripted(tmp_path / "bad.json")
