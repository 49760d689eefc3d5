"""Check 2 of the contract on the embedded model: drafts keep the greedy tokens of real text."""

from __future__ import annotations

import pytest

from contract.tiny_engine import COPIES, Bench, tiny_engine, tokens_of
from rheostat.bench.forced_drafts import Forced
from rheostat.kernel.policies.model_drafts import ModelSource
from rheostat.kernel.seams import Forward, Installed, Layout

pytestmark = pytest.mark.slow

LINES = "".join(f"{i}. The {what} costs {i} euros.\n" for i, what in enumerate(["cup", "pen"] * 4))
PROMPTS = (
    f"{LINES}\nThe same list again:\n{LINES[:90]}",
    "def area(width, height):\n    return width * height\n\ndef volume(width, height, depth):\n",
    "The capital of France is",
    "Once upon a time",
)


@pytest.fixture(scope="module")
def real(smollm2):
    return Bench(tiny_engine(smollm2.name), {})


@pytest.fixture(scope="module")
def base(real):
    return real.outputs(Installed(), PROMPTS, max_new_tokens=40)


@pytest.mark.parametrize("name", COPIES)
def test_drafts_keep_the_greedy_tokens_of_real_text(real, base, name):
    installed = real.installed(**{name: 1.0})
    # one by one: beside other rows a draft has to pay for more, and is made less often
    outputs = [real.outputs(installed, [prompt], max_new_tokens=40)[0] for prompt in PROMPTS]
    assert tokens_of(outputs) == tokens_of(base)
    assert sum(o.trace.accepted for o in outputs) > 10


FULL = Layout.full(30)
FORWARDS = {
    "exit": Forward(layout=FULL.within(0, 24)),
    "set": Forward(layout=FULL.without(attention=[20, 24], mlp=[12])),
    "model": Forward(model="smollm2"),
}


@pytest.mark.parametrize("name", FORWARDS)
def test_drafts_by_forwards_keep_the_greedy_tokens_of_real_text(real, base, name):
    source = ModelSource(forward=FORWARDS[name], prior=(0.5, 0.5))
    forced = Forced(source=source, most=3)
    made = real.outputs(Installed(draft=forced, models=forced), PROMPTS, max_new_tokens=40)
    assert tokens_of(made) == tokens_of(base)
    proposed, accepted = (sum(getattr(o.trace, n) for o in made) for n in ("proposed", "accepted"))
    assert 10 < accepted <= proposed
    assert (accepted == proposed) == (name == "model")
