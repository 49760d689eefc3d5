"""Captured steps: the plain step's tokens from static buffers, whoever else lies in them."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the `torch` extra")

import torch

import rheostat
from contract.outside_count import OutsideCount
from engines.graph_tape import Captures, as_it_is
from engines.torch_rig import PRICES, ToyDrafter, full, llama_of, outputs, tokens_of
from rheostat.engines import torch_load
from rheostat.engines.tokenizer import Tokenizer
from rheostat.engines.torch_engine import TorchEngine
from rheostat.engines.torch_graphed import BLOCK, Graphed
from rheostat.engines.torch_load import lean_engine
from rheostat.engines.torch_matrix import Forms
from rheostat.engines.torch_model import Feed, Llama
from rheostat.engines.torch_prices import empty_cache
from rheostat.errors import UserError
from rheostat.kernel.cost import total
from rheostat.kernel.seams import Depth, Installed, Layout

PROMPTS = ["the cat and the hat", "or a star is it", "the planet and the cat", "z"]
TEXT = np.random.default_rng(5).integers(4, 300, 90).tolist()
STEPS = 50


def pair(loaded, capture=None):
    """The plain model, and one that captures its steps."""
    captures = capture or Captures()
    return llama_of(loaded), Graphed(llama_of(loaded), captures), captures


def engine_of(loaded, decoder):
    return TorchEngine(loaded, decoder, Tokenizer.of(loaded), PRICES)


def begun(decoder, *texts, capacity=8):
    """A cache that has read each text."""
    caches = []
    for text in texts:
        caches.append(empty_cache(decoder, full(decoder).layout, capacity=capacity))
        decoder.forward([Feed(caches[-1], text, 0)], full(decoder), logit_rows=None)
    return caches


def step(decoder, caches, tokens, *, choices=True, **more):
    feeds = [Feed(cache, [token], 0) for cache, token in zip(caches, tokens, strict=True)]
    return decoder.forward(feeds, full(decoder), logit_rows=None, choices=choices, **more).logits


def greedy(decoder, caches, tokens, steps):
    rows = [list(tokens)]
    for _ in range(steps):
        rows.append(step(decoder, caches, rows[-1]).tolist())
    return rows


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("model", ["tiny_loaded", "deep_loaded"])
def test_fifty_replays_write_the_tokens_of_fifty_plain_steps(model, rows, request):
    plain, graphed, captures = pair(request.getfixturevalue(model))
    texts = [TEXT[: 7 + 5 * i] for i in range(rows)]
    written = [greedy(d, begun(d, *texts), TEXT[50 : 50 + rows], STEPS) for d in (plain, graphed)]
    assert written[0] == written[1]
    assert captures.made == 1
    assert captures.repeated >= STEPS


def test_windows_rotations_caps_and_norms_are_those_of_the_shape(tmp_path, engines_cache):
    transformers = pytest.importorskip("transformers")
    assert transformers
    from engines.hf_models import write_tokenizer
    from engines.hf_shapes import SHAPES, model_of
    from rheostat.engines.load_model import load_model

    for name in ("gemma2", "gemma3", "qwen3", "phi3, partial", "mistral"):
        assert name in SHAPES
        path = tmp_path / name
        model_of(name).save_pretrained(path)
        write_tokenizer(path)
        plain, graphed, _ = pair(load_model(str(path)))
        caches = [begun(d, TEXT[:9], TEXT[:4]) for d in (plain, graphed)]
        for token in TEXT[9:45]:  # over the edge of every window
            logits = [
                step(d, c, [token, token + 1], choices=False)
                for d, c in zip((plain, graphed), caches, strict=True)
            ]
            assert torch.allclose(*logits, atol=1e-3)


def test_keys_and_values_are_where_a_plain_pass_goes_on(tiny_loaded):
    plain, graphed, _ = pair(tiny_loaded)
    caches = [begun(d, TEXT[:9])[0] for d in (plain, graphed)]
    for decoder, cache in zip((plain, graphed), caches, strict=True):
        greedy(decoder, [cache], [7], 6)
        cache.truncate(12)
        decoder.forward([Feed(cache, TEXT[20:25], 0)], full(decoder), logit_rows=None)
        greedy(decoder, [cache], [9], 3)
    for slot in range(plain.shape.layers):
        assert torch.allclose(caches[0].held(slot, 0), caches[1].held(slot, 0), atol=1e-5)


def test_rows_that_end_or_share_leave_the_others_alone(tiny_loaded):
    plain, graphed, captures = pair(tiny_loaded)
    written = []
    for decoder in (plain, graphed):
        caches = begun(decoder, TEXT[:9], TEXT[:14], TEXT[:5])
        one = greedy(decoder, caches, TEXT[60:63], 5)
        two = greedy(decoder, caches[1:], one[-1][1:], 5)  # the first row has ended
        twin = caches[2].fork()  # what it held is shared, so it takes plain steps
        other = greedy(decoder, begun(decoder, TEXT[30:40], TEXT[40:55]), TEXT[70:72], 5)
        three = greedy(decoder, [caches[1]], two[-1][:1], 5)
        four = greedy(decoder, [twin], two[-1][1:], 5)
        five = greedy(decoder, [caches[2]], two[-1][1:], 5)
        six = greedy(decoder, [caches[0]], one[-1][:1], 5)  # it moved out, and comes back
        written.append((one, two, other, three, four, five, six))
    assert written[0] == written[1]
    assert captures.made == 3  # for one, two and three rows


def test_a_row_that_outgrows_the_buffers_is_captured_again(tiny_loaded):
    plain, graphed, captures = pair(tiny_loaded)
    long = (TEXT * 4)[: BLOCK - 3]
    rows = [greedy(d, begun(d, long, capacity=BLOCK), [7], 6) for d in (plain, graphed)]
    assert rows[0] == rows[1]
    assert captures.made == 2


@pytest.mark.parametrize("draft", [None, ToyDrafter(lambda tokens, limit: tokens[-3:][:limit])])
@pytest.mark.parametrize("more", [{}, {"temperature": 0.8, "seed": 4}])
def test_answers_are_the_plain_engines(tiny_loaded, draft, more):
    plain, graphed, captures = pair(tiny_loaded)
    made = [
        tokens_of(
            outputs(
                engine_of(tiny_loaded, decoder),
                PROMPTS,
                installed=Installed(draft=draft),
                max_new_tokens=30,
                **more,
            )
        )
        for decoder in (plain, graphed)
    ]
    assert made[0] == made[1]
    assert captures.repeated > 0


def test_sub_layers_that_are_left_out_have_buffers_of_their_own(tiny_loaded):
    plain, graphed, _ = pair(tiny_loaded)
    less = Depth(Layout.full(plain.shape.layers).without(attention=[0], mlp=[1]))
    found = []
    for decoder in (plain, graphed):
        cache = empty_cache(decoder, less.layout, capacity=4)
        logits = [
            decoder.forward([Feed(cache, [token], 0)], less, logit_rows=None).logits
            for token in TEXT[:12]
        ]
        found.append(torch.cat(logits))
    assert torch.allclose(*found, atol=1e-4)


def test_what_hidden_entries_take_is_on_the_ledger(tiny_loaded):
    graphed = Graphed(llama_of(tiny_loaded), as_it_is)
    with OutsideCount() as outside:
        made = outputs(engine_of(tiny_loaded, graphed), PROMPTS, max_new_tokens=12)
    cost = total(output.cost for output in made)
    assert cost.flops == pytest.approx(outside.flops, rel=0.01)
    assert cost.bytes == pytest.approx(outside.bytes, rel=0.01)


def test_a_step_stays_on_its_device(tiny_loaded):
    meta = torch.device("meta")
    llama = Llama(tiny_loaded, dtype=torch.bfloat16, forms=Forms(), device=meta)
    graphed = Graphed(llama, as_it_is)
    caches = begun(graphed, TEXT[:5], TEXT[:7])
    for choices in (True, False):
        given = step(graphed, caches, [7, 8], choices=choices)
        assert given.device == meta
        assert len(given) == 2


def test_an_engine_is_priced_with_the_steps_that_it_runs(tiny_loaded, engines_cache, monkeypatch):
    # as on a GPU: the tape sees torch's operations, and a compiled product is none
    monkeypatch.setattr(torch_load, "cast_candidates", lambda: ("cast",))
    captures = Captures()
    engine = lean_engine(tiny_loaded, "layercast", capture=captures)
    assert captures.made
    assert len(outputs(engine, PROMPTS[:1], max_new_tokens=4)[0].token_ids) <= 4
    assert engine.llama.shape == tiny_loaded.shape


@pytest.mark.parametrize("device", [None, "cpu", "mps"])
def test_graphs_are_of_cuda_alone(tiny_gguf, device):
    with pytest.raises(UserError, match="captures steps of `--device cuda`, not of") as error:
        rheostat.load(tiny_gguf, device=device, cuda_graphs=True)
    assert "leave it out" in error.value.hint


def test_token_by_token_attention_is_not_captured(tiny_gguf):
    with pytest.raises(UserError, match="attends token by token"):
        rheostat.load(tiny_gguf, device="cuda", dtype="reproducible", cuda_graphs=True)
