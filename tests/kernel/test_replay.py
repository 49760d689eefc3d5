"""Replaying a draft source along a known answer, against engines that really run it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.catalog import method
from rheostat.engines.base import Request, Sampling
from rheostat.engines.scripted import ScriptedEngine
from rheostat.engines.scripted_model import ScriptedSpec
from rheostat.kernel.policies.replay import replayed
from rheostat.kernel.seams import DraftStart, Installed

WORDS = ("a", "b", "c", "d", "<end>")
# In turn over the words, with an end after "d a b": answers loop and some of them end.
SPEC = ScriptedSpec(
    vocabulary=WORDS,
    default={"a": 1.0},
    table={"a": {"b": 1.0}, "b": {"c": 1.0}, "c": {"a": 1.0}, "d a b": {"<end>": 1.0}},
    seconds={1: 1.0, 2: 1.1, 4: 1.7, 8: 2.1, 16: 4.0},
)
ENGINE = ScriptedEngine(SPEC)
LIMIT = 20
prompts = st.lists(st.sampled_from(WORDS[:-1]), min_size=1, max_size=30)
drafters = st.builds(
    lambda setting, dial: method(setting[0])(**setting[1]).at(dial, {}, ENGINE.shape),
    st.sampled_from(
        [
            ("copyspec", {}),
            ("fixed_lookup", {}),
            ("suffix", {}),
            ("suffix", {"branches": 2}),
            ("suffix", {"branches": 4}),
        ]
    ),
    st.sampled_from([0.1, 0.5, 1.0]),
)


def seconds(n, context=0):
    return ENGINE.prices().seconds(n, context, attention=1, mlp=1, head_rows=n)


def generated(prompt, drafter, limit=LIMIT):
    request = Request(id="1", prompt=" ".join(prompt))
    sampling = Sampling(max_new_tokens=limit)
    return next(ENGINE.generate([request], sampling, installed=Installed(draft=drafter)))


def replay_of(prompt, drafter, output, limit=LIMIT):
    answer = list(output.token_ids)
    if output.stop_reason == "eos":
        answer.append(WORDS.index("<end>"))
    ids = [WORDS.index(word) for word in prompt]
    start = DraftStart(prompt=ids, special=ENGINE.special, step_seconds=seconds)
    return replayed(drafter, start, answer, seconds, limit)


@given(prompts, drafters)
def test_a_replay_takes_the_steps_of_the_scripted_engine(prompt, drafter):
    output = generated(prompt, drafter)
    replay = replay_of(prompt, drafter, output)
    trace = output.trace
    assert (replay.steps, replay.proposed, replay.accepted) == (
        trace.steps,
        trace.proposed,
        trace.accepted,
    )


@given(prompts, drafters)
def test_a_replay_costs_what_the_ledger_says_of_the_decoding_steps(prompt, drafter):
    output = generated(prompt, drafter)
    decoding = output.cost.price - seconds(len(prompt))
    assert replay_of(prompt, drafter, output).price == pytest.approx(decoding)


@given(prompts)
def test_without_a_source_the_price_is_the_base_s(prompt):
    output = generated(prompt, None)
    replay = replay_of(prompt, None, output)
    assert replay.price == pytest.approx(output.cost.price - seconds(len(prompt)))
    assert (replay.steps, replay.proposed, replay.accepted) == (output.trace.steps, 0, 0)


def test_the_end_token_takes_a_step():
    output = generated(["c", "d"], None)
    assert (output.token_ids, output.stop_reason) == ((0, 1), "eos")
    assert replay_of(["c", "d"], None, output).steps == 2


def test_a_copied_end_token_saves_its_step():
    drafter = method("fixed_lookup")().at(1.0, {}, ENGINE.shape)
    start = DraftStart(prompt=[0, 1, 2, 4, 3, 0], special=frozenset(), step_seconds=seconds)
    replay = replayed(drafter, start, [1, 2, 4], seconds, limit=9)
    assert (replay.steps, replay.accepted) == (1, 2)
    assert replay.proposed == 5, "the draft ran on behind the end"


def test_an_answer_without_a_second_token_takes_no_step():
    drafter = method("fixed_lookup")().at(1.0, {}, ENGINE.shape)
    start = DraftStart(prompt=[0, 1, 0], special=frozenset(), step_seconds=seconds)
    for source in (None, drafter):
        for answer in ([1], []):
            replay = replayed(source, start, answer, seconds)
            assert (replay.price, replay.steps, replay.proposed, replay.accepted) == (0, 0, 0, 0)


def test_drafts_end_before_the_last_token_when_no_limit_is_given():
    drafter = method("fixed_lookup")().at(1.0, {}, ENGINE.shape)
    start = DraftStart(prompt=[0, 1, 2, 0], special=frozenset(), step_seconds=seconds)
    assert replayed(drafter, start, [1, 2, 0], seconds).proposed == 1
