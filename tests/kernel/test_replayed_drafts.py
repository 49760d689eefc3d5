"""Drafts replayed on a known answer cost what the engine pays for them."""

from __future__ import annotations

import pytest

from rheostat.engines.base import Request, Sampling
from rheostat.engines.scripted import ScriptedEngine
from rheostat.engines.scripted_model import ScriptedSpec
from rheostat.kernel.policies.replay import Replay, replayed
from rheostat.kernel.seams import Drafter, DraftStart, Installed
from rheostat.methods.draft.copyspec import CopySpec
from rheostat.methods.draft.fixed_lookup import FixedLookup

ENGINE = ScriptedEngine(
    ScriptedSpec(
        vocabulary=("a", "b", "c", "<end>"),
        default={"a": 1.0},
        table={"a": {"b": 1.0}, "b": {"c": 1.0}, "b c a": {"c": 1.0}},
    )
)
PROMPT = [0, 1, 2, 0, 1]
SOURCES = {
    "none": None,
    "copyspec": CopySpec(gamma=2).at(1.0, {}, ENGINE.shape),
    "fixed_lookup": FixedLookup(draft=3).at(1.0, {}, ENGINE.shape),
}


def price(n: int, context: int) -> float:
    return ENGINE.prices().seconds(n, context, attention=1, mlp=1, head_rows=1)


def start() -> DraftStart:
    return DraftStart(
        prompt=PROMPT, special=ENGINE.special, step_seconds=lambda n: price(n, len(PROMPT))
    )


@pytest.mark.parametrize("drafter", SOURCES.values(), ids=SOURCES)
def test_a_replay_takes_the_steps_of_the_engine(drafter: Drafter | None) -> None:
    request = Request(id="1", prompt="a b c a b")
    sampling = Sampling(max_new_tokens=30)
    (output,) = ENGINE.generate([request], sampling, installed=Installed(draft=drafter))
    replay = replayed(drafter, start(), output.token_ids, price)
    trace = output.trace
    assert (replay.steps, replay.proposed, replay.accepted) == (
        trace.steps,
        trace.proposed,
        trace.accepted,
    )
    assert replay.price + price(len(PROMPT), 0) == pytest.approx(output.cost.price)


@pytest.mark.parametrize("drafter", SOURCES.values(), ids=SOURCES)
@pytest.mark.parametrize("answer", [(), (3,)])
def test_an_answer_without_a_second_token_takes_no_step(
    drafter: Drafter | None, answer: tuple[int, ...]
) -> None:
    expected = Replay(price=0, steps=0, proposed=0, accepted=0)
    assert replayed(drafter, start(), answer, price) == expected
