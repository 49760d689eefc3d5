"""Check 8 of the contract: never over a cap, whatever arrives."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from contract.tiny_engine import LAYERS, PROMPTS, Bench, named, tiny_engine, tokens_of
from rheostat.engines.base import Request, Sampling
from rheostat.errors import ModelError, WorkloadError
from rheostat.kernel.budget import Caps
from rheostat.kernel.kv_cache import CachePlan
from rheostat.kernel.ledger import Ledger
from rheostat.kernel.seams import Installed

pytestmark = pytest.mark.parametrize("name", named())


def requests(*prompts):
    return [Request(id=str(i), prompt=prompt) for i, prompt in enumerate(prompts)]


@pytest.mark.parametrize("longest", [1, 2, 7])
def test_the_limit_of_new_tokens_holds(bench, name, longest):
    outputs = bench.outputs(bench.installed(**{name: 1.0}), max_new_tokens=longest)
    assert all(len(o.token_ids) <= longest for o in outputs)
    assert all(o.cost.new_tokens <= longest for o in outputs)


@pytest.mark.parametrize("tokens", [10, 30, 50])
def test_a_budget_of_tokens_is_kept(bench, name, tokens):
    ledger = Ledger(Caps(tokens=tokens))
    bench.outputs(bench.installed(**{name: 1.0}), ledger=ledger)
    assert ledger.spent.tokens <= tokens
    assert ledger.closed == ""


def test_an_empty_prompt_is_refused_in_words(bench, name):
    with pytest.raises(WorkloadError, match="empty"):
        bench.outputs(bench.installed(**{name: 1.0}), [""])


def test_a_prompt_of_one_token_is_answered(bench, name):
    (output,) = bench.outputs(bench.installed(**{name: 1.0}), ["z"])
    assert output.cost.prompt_tokens == 1
    assert len(output.token_ids) <= 16


def test_a_damaged_model_is_refused_in_words_and_holds_no_budget(bench, deep_gguf, name):
    broken = tiny_engine(deep_gguf, factors={f"layers.{LAYERS // 3}.down.weight": math.nan})
    ledger = Ledger(Caps(tokens=1000))
    with pytest.raises(ModelError, match="not numbers"):
        Bench(broken, bench.profile).outputs(bench.installed(**{name: 1.0}), ledger=ledger)
    assert ledger.reserved.tokens == 0
    assert ledger.spent.tokens <= 1000


@dataclass(frozen=True)
class Blinded:
    """A policy whose signal arrives as NaN."""

    policy: Any

    def __getattr__(self, name):
        return getattr(self.policy, name)

    def observe(self, layer, ran, cosine, state):
        return self.policy.observe(layer, ran, np.full_like(cosine, np.nan), state)


def test_a_signal_that_is_not_a_number_skips_nothing(bench, name):
    installed = bench.installed(**{name: 1.0})
    if installed.depth is None or installed.depth.policy is None:
        pytest.skip("reads no signal of the model")
    blind = replace(installed.depth, policy=Blinded(installed.depth.policy))
    outputs = bench.outputs(replace(installed, depth=blind))
    assert tokens_of(outputs) == tokens_of(bench.reference())


@dataclass(frozen=True)
class BlindedEviction:
    """A decision whose attention arrives as NaN."""

    eviction: Any

    def __getattr__(self, name):
        return getattr(self.eviction, name)

    def observe(self, weights, state):
        return self.eviction.observe(np.full_like(weights, np.nan), state)


def test_attention_that_is_not_a_number_lets_no_more_entries_go(bench, name):
    installed = bench.installed(**{name: 1.0})
    eviction = installed.cache.eviction if installed.cache else None
    if eviction is None or eviction.newest == 0:
        pytest.skip("reads no attention")
    blind = CachePlan(BlindedEviction(eviction))
    outputs, seeing = bench.outputs(replace(installed, cache=blind)), bench.reference(**{name: 1.0})
    assert [o.trace.cache_bytes for o in outputs] == [o.trace.cache_bytes for o in seeing]
    assert all(len(o.token_ids) <= 16 for o in outputs)


def test_a_stop_in_the_middle_of_a_step_ends_the_answer_there(bench, name):
    installed = bench.installed(**{name: 1.0})
    text = bench.reference(**{name: 1.0})[0].text
    stop = text[len(text) // 2 :][:2]
    (output,) = bench.outputs(installed, PROMPTS[:1], stop=(stop,))
    assert output.stop_reason == "stop"
    assert output.text == text[: text.find(stop)]
    assert len(output.token_ids) <= output.cost.new_tokens <= 16


def test_a_cancelled_request_is_settled_within_its_reservation(bench, name):
    ledger = Ledger(Caps(tokens=1000))
    running = bench.engine.generate(
        requests("zq", *PROMPTS),
        Sampling(max_new_tokens=16),
        installed=bench.installed(**{name: 1.0}),
        ledger=ledger,
    )
    next(running)
    running.close()
    assert ledger.reserved.tokens == 0
    assert 0 < ledger.spent.tokens <= 1000


def test_neither_a_cancelled_run_nor_an_installed_method_is_remembered(bench, name):
    installed = bench.installed(**{name: 1.0})
    running = bench.engine.generate(
        requests(*PROMPTS), Sampling(max_new_tokens=16), installed=installed
    )
    next(running)
    running.close()
    assert tokens_of(bench.outputs(installed)) == tokens_of(bench.reference(**{name: 1.0}))
    assert tokens_of(bench.outputs(Installed())) == tokens_of(bench.reference())
