"""Batched samples on a tiny model: the schedule changes nothing, and the books balance."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the `torch` extra")

import torch

from contract.tiny_engine import LAYERS, PROMPTS, tiny_engine
from engines.sampling_rig import collect, draw, drawn_together, launch, words
from engines.tiny_gguf import write_tiny_gguf
from rheostat.engines.base import Sampling
from rheostat.engines.torch_draw_rows import BLOCK
from rheostat.engines.torch_sampler import TorchSampler
from rheostat.engines.torch_tokens import Laws, drawn_tokens
from rheostat.errors import MethodError
from rheostat.kernel.ledger import Ledger
from rheostat.kernel.policies.sampling import draw as drawn_one
from rheostat.kernel.policies.stop_early import Lots
from rheostat.kernel.seams import Installed

DRAWS = [draw(f"q{q}", i, PROMPTS[q]) for q in range(3) for i in range(7)]


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    path = tmp_path_factory.mktemp("sampler") / "deep.gguf"
    return tiny_engine(write_tiny_gguf(path, layers=LAYERS, seed=2))


@pytest.fixture(scope="module")
def together(engine):
    return words(drawn_together(TorchSampler(engine), DRAWS))


@pytest.mark.parametrize("rows", [8, 16])
def test_a_sample_is_the_same_alone_and_in_any_company(engine, together, rows):
    sampler = TorchSampler(engine, rows=rows)
    order = np.random.default_rng(rows).permutation(len(DRAWS))
    found = words(drawn_together(sampler, [DRAWS[i] for i in order]))
    assert found == together
    alone = words(drawn_together(sampler, [DRAWS[9]]))
    assert alone.items() <= together.items()


def test_samples_that_share_a_prompt_are_those_with_a_copy_of_it(engine, together, monkeypatch):
    monkeypatch.setattr(engine.decoder, "reads_parts", not engine.decoder.reads_parts)
    assert words(drawn_together(TorchSampler(engine), DRAWS)) == together


def test_samples_of_a_question_differ_and_a_seed_changes_them(engine, together):
    own = [together["q0", i][0] for i in range(7)]
    assert len(set(own)) > 1
    other = words(drawn_together(TorchSampler(engine), [draw("q0", 0, PROMPTS[0], seed=1)]))
    assert other["q0", 0] != together["q0", 0]


def test_log_probabilities_are_the_models_own(engine):
    found = drawn_together(TorchSampler(engine), [draw("q", 0, PROMPTS[1], temperature=0.5)])
    one = found["q", 0]
    prompt = engine.encode(one.draw.request)
    scored = engine.score(prompt, one.output.token_ids, installed=Installed())
    assert one.logprobs == pytest.approx(-scored.nats, abs=1e-4)
    assert len(one.entropies) == len(one.logprobs) == len(one.output.token_ids)
    assert min(one.entropies) > 0


def test_drawn_tokens_follow_the_law_that_the_kernel_states():
    logits = torch.randn(6, 40, generator=torch.Generator().manual_seed(0)) * 3
    for options in ({}, {"top_k": 5}, {"top_p": 0.8}, {"repetition_penalty": 1.3}):
        sampling = Sampling(temperature=0.7, **options)
        past = [3, 4, 5]
        laws = [Laws(sampling, np.random.default_rng(i), past) for i in range(6)]
        found = drawn_tokens(logits, laws).tokens
        expected = [
            drawn_one(sampling.laws(row[None].double().numpy(), past, ())[0], rng)
            for row, rng in zip(logits, map(np.random.default_rng, range(6)), strict=True)
        ]
        assert found == expected
    greedy = [Laws(Sampling(), np.random.default_rng(0), [])] * 6
    assert drawn_tokens(logits, greedy).tokens == logits.argmax(-1).tolist()


@pytest.mark.parametrize("vocabulary", [300, 4 * BLOCK])
def test_tokens_of_large_vocabularies_are_those_of_the_whole_law(vocabulary):
    plain, cold = (Sampling(temperature=t) for t in (0.9, 0.02))
    logits = torch.randn(64, vocabulary, generator=torch.Generator().manual_seed(1)) * 4
    logits[:, 7:] += torch.where(torch.arange(vocabulary - 7) % 3 == 0, -torch.inf, 0.0)
    for sampling in (plain, cold):
        laws = [Laws(sampling, np.random.default_rng(i), ()) for i in range(64)]
        expected = [
            drawn_one(sampling.laws(row[None].double().numpy(), (), ())[0], rng)
            for row, rng in zip(logits, map(np.random.default_rng, range(64)), strict=True)
        ]
        assert drawn_tokens(logits, laws).tokens == expected


def test_a_chance_at_the_edge_takes_a_token_that_has_mass():
    law = torch.full((1, 4 * BLOCK), -torch.inf)
    law[0, BLOCK // 2] = law[0, BLOCK + 3] = 0.0
    for chance, token in ((0.0, BLOCK // 2), (0.5, BLOCK + 3), (np.nextafter(1, 0), BLOCK + 3)):
        rng = SimpleNamespace(random=lambda c=chance: c)
        found = drawn_tokens(law, [Laws(Sampling(temperature=1.0), rng, ())])
        assert found.tokens == [token]


def test_a_prompt_is_read_once_and_no_bound_is_passed(engine):
    ledger = Ledger()
    sampler = TorchSampler(engine, rows=8)
    bounds = launch(sampler, ledger, DRAWS)
    found = collect(sampler)
    lengths = [len(engine.encode(DRAWS[7 * q].request)) for q in range(3)]
    assert ledger.spent.prompt_tokens == sum(lengths)
    assert not ledger.closed
    assert ledger.reserved.tokens == 0
    for key, one in found.items():
        cost, bound = one.output.cost, bounds[key]
        assert cost.new_tokens <= bound.new_tokens
        assert cost.prompt_tokens <= bound.prompt_tokens
        assert cost.calls <= bound.calls
        assert cost.price <= bound.price * (1 + 1e-9)


def test_cancelled_samples_cost_what_they_wrote_and_leave_the_others_alone(engine, together):
    ledger = Ledger()
    sampler = TorchSampler(engine, rows=8)
    launch(sampler, ledger, DRAWS)
    sampler.cancel(DRAWS[7])  # waits, and the prompt of its question is on its account
    found = {}
    gone = {(DRAWS[i].question, DRAWS[i].index) for i in (7, 2)}
    first = sampler.poll()
    found |= {(one.draw.question, one.draw.index): one for one in first}
    sampler.cancel(DRAWS[2])
    found |= collect(sampler)
    assert set(found) == set(together)
    cut = [found[key] for key in gone if found[key].output.stop_reason == "cancelled"]
    assert cut
    kept = {key: value for key, value in words(found).items() if key not in gone}
    assert kept == {key: value for key, value in together.items() if key not in gone}
    assert not ledger.closed
    assert ledger.reserved.tokens == 0
    assert ledger.spent.new_tokens == sum(one.output.cost.new_tokens for one in found.values())


def test_closing_cancels_everything(engine):
    ledger = Ledger()
    sampler = TorchSampler(engine)
    launch(sampler, ledger, DRAWS)
    sampler.close()
    assert ledger.reserved.tokens == 0
    assert sampler.poll() == []


def test_a_plan_with_drafts_is_refused(engine):
    with pytest.raises(MethodError, match="neither drafts"):
        TorchSampler(engine, installed=Installed(draft=object()))


@pytest.mark.slow
def test_the_real_model_gives_the_same_sample_alone_and_beside_others():
    from rheostat.engines.torch_load import load_torch

    sampler = TorchSampler(load_torch("smollm2", threads=1))
    texts = [f"Question: what is {n} + 4? Answer:" for n in range(3)]
    draws = [
        draw(f"q{q}", i, texts[q], temperature=0.7, max_new_tokens=16)
        for q in range(3)
        for i in range(9)
    ]
    together = words(drawn_together(sampler, draws))
    for one in (draws[0], draws[13], draws[26]):
        key = (one.question, one.index)
        assert words(drawn_together(sampler, [one]))[key] == together[key]


@pytest.mark.slow
@pytest.mark.parametrize("model", ["smollm2", "llamacpp:smollm2"])
def test_a_real_model_solves_tasks_under_a_budget(model, tmp_path):
    pytest.importorskip("reasoning_gym", reason="needs the `tasks` extra")
    import rheostat

    found = rheostat.solve(
        model,
        "gym:products?min_terms=2&max_terms=2&max_digits=1&size=4",
        budget="tokens=2500",
        out=tmp_path / "run",
        samples=6,
        sampling={"max_new_tokens": 24},
        threads=1,
    )
    assert len(found["answers"]) == 4
    assert found["cost"]["prompt_tokens"] + found["cost"]["new_tokens"] <= 2500
    assert found["answered"] >= 1


def test_a_sample_that_is_ended_early_is_a_prefix_and_pays_for_no_more(engine, together):
    ledger = Ledger()
    sampler = TorchSampler(engine, installed=Installed(stop=Lots(chance=0.2)))
    found = drawn_together(sampler, DRAWS, ledger)
    cut = 0
    for key, one in found.items():
        ids = one.output.token_ids
        assert together[key][0][: len(ids)] == ids
        assert one.logprobs == together[key][2][: len(ids)]
        cut += one.output.stop_reason == "stop"
    assert len(DRAWS) / 2 < cut < len(DRAWS)
    assert ledger.spent.new_tokens == sum(len(o.output.token_ids) for o in found.values())
    assert ledger.reserved.tokens == 0
    alone = drawn_together(
        TorchSampler(engine, rows=8, installed=Installed(stop=Lots(chance=0.2))), DRAWS[4:5]
    )
    assert words(alone).items() <= words(found).items()
