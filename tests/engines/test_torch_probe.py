"""Batched samples that wait and are asked about: the samples are left as they are."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="needs the `torch` extra")

from dataclasses import replace

import torch

from contract.tiny_engine import LAYERS, PROMPTS, tiny_engine
from engines.sampling_rig import draw, drawn_together, launch, words
from engines.tiny_gguf import write_tiny_gguf
from rheostat.engines.sampler import Held, Reading
from rheostat.engines.torch_sampler import TorchSampler
from rheostat.errors import MethodError, WorkloadError
from rheostat.kernel.ledger import Ledger
from rheostat.kernel.seams import Installed

SUFFIX, CHOICES = " and it", ("c", "h", "s")
DRAWS = [draw(f"q{q}", i, PROMPTS[q]) for q in range(2) for i in range(5)]


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    path = tmp_path_factory.mktemp("probe") / "deep.gguf"
    return tiny_engine(write_tiny_gguf(path, layers=LAYERS, seed=2))


@pytest.fixture(scope="module")
def together(engine):
    return words(drawn_together(TorchSampler(engine), DRAWS))


def reading(one, token_ids):
    return Reading(draw=one, token_ids=token_ids, suffix=SUFFIX, choices=CHOICES)


def read(sampler, ledger, asked):
    return sampler.read(asked, ledger.reserve(sampler.reading_bound(asked)))


@pytest.mark.parametrize("pauses", [(1,), (3,), (2, 5, 6)])
def test_samples_that_waited_and_were_probed_are_what_they_would_have_been(
    engine, together, pauses
):
    sampler, ledger, found = TorchSampler(engine, rows=8), Ledger(), {}
    launch(sampler, ledger, [replace(one, pauses=pauses) for one in DRAWS])
    waited = 0
    while ended := sampler.poll():
        for one in ended:
            if not isinstance(one, Held):
                found[one.draw.key] = one
                continue
            waited += 1
            assert one.tokens in pauses
            assert one.token_ids == together[one.draw.key][0][: one.tokens]
            assert one.logprobs == pytest.approx(together[one.draw.key][2][: one.tokens])
            read(sampler, ledger, reading(one.draw, one.token_ids))
            sampler.resume(one.draw)
    assert waited >= len(DRAWS) // 2
    assert words(found) == together
    assert ledger.reserved.tokens == 0
    assert not ledger.closed


def test_what_is_read_is_the_law_behind_the_sample_and_the_text(engine, together):
    sampler, ledger = TorchSampler(engine), Ledger()
    one = DRAWS[1]
    cold = read(sampler, ledger, reading(one, together[one.key][0]))  # the prompt is read as well
    drawn_together(sampler, DRAWS, ledger)
    before = ledger.spent
    warm = read(sampler, ledger, reading(one, together[one.key][0]))
    prompt, encode = engine.encode(one.request), engine.tokenizer.encode
    behind = [*together[one.key][0], *encode(SUFFIX)]
    nats = [
        -engine.score([*prompt, *behind], encode(c)[:1], installed=Installed()).nats[0]
        for c in CHOICES
    ]
    expected = torch.tensor(nats).softmax(0)
    assert warm.probabilities == pytest.approx(expected.tolist(), abs=1e-5)
    assert cold.probabilities == pytest.approx(expected.tolist(), abs=1e-5)
    assert sum(warm.probabilities) == pytest.approx(1)
    assert warm.cost.prompt_tokens == len(behind)
    assert cold.cost.prompt_tokens == len(prompt) + len(behind)
    assert ledger.spent.prompt_tokens - before.prompt_tokens == len(behind)


def test_cancelling_a_sample_that_waits_costs_what_it_wrote(engine):
    sampler, ledger = TorchSampler(engine, rows=8), Ledger()
    launch(sampler, ledger, [replace(one, pauses=(2,)) for one in DRAWS])
    held = [one for one in sampler.poll() if isinstance(one, Held)]
    assert held
    sampler.cancel(held[0].draw)
    found = {one.draw.key: one for one in sampler.poll() if not isinstance(one, Held)}
    cut = found[held[0].draw.key].output
    assert (cut.stop_reason, cut.cost.new_tokens) == ("cancelled", 2)
    sampler.close()
    assert ledger.reserved.tokens == 0


def test_choices_must_be_told_apart_by_a_token_and_the_text_must_fit(engine):
    sampler = TorchSampler(engine)
    same = Reading(draw=DRAWS[0], token_ids=(), suffix=SUFFIX, choices=("c", "c"))
    with pytest.raises(MethodError, match="do not begin with tokens that differ"):
        sampler.reading_bound(same)
    with pytest.raises(WorkloadError, match="does not fit"):
        sampler.reading_bound(reading(DRAWS[0], (3,) * engine.shape.context))
