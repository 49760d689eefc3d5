"""Methods of the seam `stop` on answers of a known law, beside controls at the same tokens."""

from __future__ import annotations

import pytest

from engines.sampling_rig import draw, drawn_together
from rheostat.engines.base import Request, Sampling
from rheostat.engines.scripted import ScriptedEngine
from rheostat.engines.scripted_model import ScriptedSpec
from rheostat.engines.scripted_sampler import scripted_sampler
from rheostat.errors import MethodError
from rheostat.kernel.ledger import Ledger
from rheostat.kernel.policies.stop_early import stated
from rheostat.kernel.seams import Installed
from rheostat.methods.stop.first_solution import FirstSolution
from rheostat.methods.stop.fixed_length import FixedLength
from rheostat.methods.stop.random_length import RandomLength
from rheostat.methods.stop.trimr import TrimR

ANSWERS = {
    "4. so 4. so so so so so": "4",
    "5. no 4. so so 4. so so so so": "4",
    "so so so so so so 4. so": "4",
    "5. so 7. 4.": "4",
}
LOOP = " ".join(["so no"] * 30)
SPEC = ScriptedSpec(
    vocabulary=("q", "loop", "so", "no", "4.", "5.", "7.", "<end>"),
    default={"<end>": 1.0},
    answers={"q": dict.fromkeys(ANSWERS, 1), "loop": {LOOP: 1}},
)
ENGINE = ScriptedEngine(SPEC)
COUNT = 80


def answers(policy, *, prompt="q", count=COUNT):
    """Outputs of many requests, by their ids."""
    requests = [Request(id=str(i), prompt=prompt) for i in range(count)]
    how = Sampling(max_new_tokens=100, temperature=1.0)
    made = ENGINE.generate(requests, how, installed=Installed(stop=policy))
    return {output.id: output for output in made}


NATURAL = answers(None)


def kept(outputs):
    return sum(stated(o.text) == stated(NATURAL[name].text) for name, o in outputs.items()) / COUNT


def tokens(outputs):
    return sum(output.cost.new_tokens for output in outputs.values())


def at(method, dial=1.0):
    return method.at(dial, {}, None)


def test_a_repeated_solution_ends_the_answer_and_none_is_lost():
    assert set(ANSWERS) == {output.text for output in NATURAL.values()}
    own = answers(at(FirstSolution()))
    texts = {output.text for output in own.values()}
    assert {"4. so 4. so", "5. no 4. so so 4. so", *[*ANSWERS][2:]} == texts
    assert kept(own) == 1.0
    assert tokens(own) < 0.85 * tokens(NATURAL)


@pytest.mark.parametrize("control", [FixedLength, RandomLength])
def test_controls_lose_answers_at_the_same_tokens(control):
    own = answers(at(FirstSolution()))
    lengths = range(5, 13)
    blind = [answers(at(control(tokens=n))) for n in lengths]
    near = min(blind, key=lambda outputs: abs(tokens(outputs) - tokens(own)))
    assert tokens(near) == pytest.approx(tokens(own), rel=0.1)
    assert kept(near) < kept(own)


@pytest.mark.parametrize(("dial", "written"), [(1.0, 32), (0.75, 48), (0.0, 60)])
def test_trimr_ends_loops_after_as_many_copies_as_the_dial_asks_for(dial, written):
    (output,) = answers(at(TrimR(), dial), prompt="loop", count=1).values()
    assert len(output.token_ids) == written
    assert output.stop_reason == ("eos" if dial == 0 else "stop")


def test_samples_are_cut_as_answers_are_and_the_rest_is_given_back():
    ledger, policy = Ledger(), at(FirstSolution())
    draws = [draw("q", i, "q", max_new_tokens=100) for i in range(20)]
    natural = drawn_together(scripted_sampler(ENGINE), draws)
    sampler = scripted_sampler(ENGINE, installed=Installed(stop=policy))
    found = drawn_together(sampler, draws, ledger)
    for key, one in found.items():
        whole = natural[key].output
        assert whole.text.startswith(one.output.text)
        assert stated(one.output.text) == stated(whole.text)
        assert len(one.logprobs) == len(one.output.token_ids)
    assert ledger.spent.new_tokens == tokens({k: one.output for k, one in found.items()})
    assert ledger.spent.new_tokens < sum(o.output.cost.new_tokens for o in natural.values())
    assert ledger.reserved.tokens == 0


@pytest.mark.parametrize(
    ("method", "params", "named"),
    [
        (TrimR, {"copies": 1}, "trimr.copies"),
        (TrimR, {"agreeing": 0}, "trimr.agreeing"),
        (FirstSolution, {"agreeing": 0}, "first_solution.agreeing"),
        (FixedLength, {"tokens": 0}, "fixed_length.tokens"),
        (RandomLength, {"tokens": -1}, "random_length.tokens"),
    ],
)
def test_parameters_out_of_range_are_refused(method, params, named):
    with pytest.raises(MethodError, match=named):
        method(**params)
