"""Rotations that change with a text's length: the context ends where they would."""

from __future__ import annotations

from copy import deepcopy

import pytest

pytest.importorskip("torch", reason="needs the `torch` extra")
pytest.importorskip("transformers", reason="needs the package `transformers`")

import torch

import rheostat
from engines.hf_models import VOCABULARY, fast_tokenizer, made
from engines.test_session import TERSE
from rheostat.catalog import installed
from rheostat.engines.base import Request, Sampling
from rheostat.engines.torch_hosted import Hosted
from rheostat.engines.torch_prices import empty_cache
from rheostat.errors import WorkloadError
from rheostat.kernel.plan import Plan, Setting
from rheostat.kernel.seams import Installed, Layout

BORDER = 256
LONG = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0, 1.1, 1.2, 1.3],
    "long_factor": [1.0, 1.5, 2.0, 2.5],
    "original_max_position_embeddings": BORDER,
}
DYNAMIC = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0}
COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
SHAPES = {
    "phi3, longrope": (
        "Phi3Config",
        {
            "rope_parameters": LONG,
            "max_position_embeddings": 2048,
            "original_max_position_embeddings": BORDER,
        },
    ),
    "llama, longrope": ("LlamaConfig", {"rope_parameters": LONG, "max_position_embeddings": 2048}),
    "llama, dynamic": (
        "LlamaConfig",
        {"rope_parameters": DYNAMIC, "max_position_embeddings": BORDER},
    ),
}
PROMPTS = ["the cat and the hat and the cat and", "ab ab ab ab ab ab", "it is the cat"]


@pytest.fixture(scope="module")
def engines(engines_cache):
    """Makes a module once, with the engine on it and what was said meanwhile."""
    kept = {}

    def one(name):
        if name not in kept:
            config, more = SHAPES[name]
            module = made(config, {**COMMON, **deepcopy(more)}, seed=len(name))
            tokenizer, said = fast_tokenizer(), []
            tokenizer.chat_template = TERSE
            engine = rheostat.load(module, tokenizer=tokenizer, threads=1, progress=said.append)
            kept[name] = engine, module, said
        return kept[name]

    return one


@pytest.mark.parametrize("name", SHAPES)
def test_the_context_ends_where_the_rotation_would_change(engines, name):
    engine, module, said = engines(name)
    assert isinstance(engine.decoder, Hosted)
    assert engine.shape.context == BORDER
    told = [text for text in said if f"behind {BORDER} tokens (longrope)" in text]
    assert len(told) == (name != "llama, dynamic")
    with pytest.raises(WorkloadError, match=f"the model's context holds {BORDER}"):
        engine.encode(Request(id="1", prompt="the cat and " * 99))
    tokens = torch.arange(BORDER + 40)[None] % VOCABULARY
    with torch.inference_mode():  # behind it every token is rotated anew
        whole, longer = module(tokens[:, :BORDER]).logits[0], module(tokens).logits[0, :BORDER]
    assert not torch.allclose(longer, whole, atol=1e-2)


def answers(engine, decision=None):
    requests = [Request(id=str(i), prompt=text) for i, text in enumerate(PROMPTS)]
    sampling = Sampling(max_new_tokens=BORDER)
    outputs = engine.generate(requests, sampling, installed=decision or Installed())
    return {int(o.id): o for o in outputs}


@pytest.mark.parametrize("name", SHAPES)
def test_greedy_tokens_are_those_of_transformers_up_to_the_border(engines, name):
    engine, module, _ = engines(name)
    engine.eos = frozenset()
    for i, output in answers(engine).items():
        prompt = engine.encode(Request(id="", prompt=PROMPTS[i]))
        new = BORDER - len(prompt)
        assert new >= 200
        with torch.inference_mode():
            whole = module.generate(
                torch.tensor([prompt]),
                max_new_tokens=new,
                do_sample=False,
                eos_token_id=None,
                pad_token_id=0,
            )[0].tolist()
        assert output.stop_reason == "context"
        assert list(output.token_ids) == whole[len(prompt) :]


@pytest.mark.parametrize("draft", ["copyspec", "suffix", "fixed_lookup"])
def test_drafts_change_no_token_up_to_the_border(engines, draft):
    engine, _, _ = engines("phi3, longrope")
    plan = Plan(model=engine.model, methods=(Setting(name=draft, dial=1.0),))
    decision = installed(plan, engine.shape, engine.card.offers)
    drafted, plain = answers(engine, decision), answers(engine)
    assert sum(o.trace.accepted for o in drafted.values())
    assert {k: o.token_ids for k, o in drafted.items()} == {
        k: o.token_ids for k, o in plain.items()
    }


def test_thirty_turns_read_nothing_again_and_answer_as_a_fresh_reading(engines):
    engine, _, _ = engines("phi3, longrope")
    session = rheostat.Session(engine, max_new_tokens=1)
    for turn in range(30):
        output = session.ask("a")
        assert (output.trace.reused > 0) == (turn > 0)
        ids = session._conversation.ids
        prompt = ids[: len(ids) - len(output.token_ids)]
        assert output.cost.prompt_tokens == len(prompt) - output.trace.reused
        assert output.trace.reused >= len(prompt) - 8
        assert output.token_ids == fresh(engine, prompt)
    assert len(session._conversation.ids) < BORDER


def fresh(engine, ids):
    from rheostat.engines.torch_generate import Run

    run = Run(engine, Sampling(max_new_tokens=1), Installed(), None, None)
    cache = empty_cache(engine.decoder, Layout.full(engine.shape.layers), capacity=9)
    run.held["1"] = list(ids), cache
    (output,) = run.outputs([Request(id="1", prompt="never read")])
    return output.token_ids
