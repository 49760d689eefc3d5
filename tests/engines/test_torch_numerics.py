"""`layercast` and `reproducible`: what is held, what is computed, and what never changes."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the `torch` extra")

import torch

from contract.outside_count import OutsideCount
from engines.torch_rig import changed, engine_of, full, llama_of, outputs, read, tokens_of
from engines.tree_drafts import knowing
from rheostat.engines.torch_fixed_rows import ROWS, multiplied_in_fixed_rows
from rheostat.engines.torch_float_ops import float_ops
from rheostat.engines.torch_matrix import FIXED, OWN, Forms, Matrix, cast_candidates
from rheostat.engines.torch_model import Feed
from rheostat.engines.torch_prices import empty_cache
from rheostat.kernel.cost import total
from rheostat.kernel.kv_cache import CachePlan
from rheostat.kernel.seams import Installed
from rheostat.methods.cache.sink_window import SinkWindow

CAST = [Forms(form, form) for form in cast_candidates()]
SAME = [Forms(form, form) for form in FIXED if form not in OWN or float_ops().library]
"""Those of `reproducible`, with a compiler and without."""
TEXT = np.random.default_rng(0).integers(4, 300, 60).tolist()
PROMPTS = ["the cat and the hat and the cat in the hat", "is it a star", "zq"]


def rounded(loaded):
    """The same model with its matrices rounded to bfloat16; norms stay."""
    matrices = {
        name.removesuffix(".weight").replace(".", "_"): t.to(torch.bfloat16).float()
        for name, t in loaded.tensors.items()
        if t.ndim == 2 and name.startswith("layers.")
    }
    made = changed(loaded, **matrices)
    made.tensors["embed.weight"] = loaded.tensors["embed.weight"].to(torch.bfloat16).float()
    return made


@pytest.mark.parametrize("forms", CAST, ids=str)
def test_layercast_is_float32_arithmetic_on_rounded_weights(tiny_loaded, forms):
    cast = llama_of(tiny_loaded, forms=forms)
    wanted = read(llama_of(rounded(tiny_loaded)), TEXT)
    made = read(cast, TEXT, split=[7, 8, 30])
    assert made.dtype == torch.float32
    assert torch.allclose(made, wanted, atol=1e-5)
    assert not torch.allclose(made, read(llama_of(tiny_loaded), TEXT), atol=1e-5)


@pytest.mark.parametrize("forms", CAST, ids=str)
def test_layercast_holds_two_bytes_a_weight(forms):
    weight = torch.randn(24, 16)
    held = Matrix(weight, forms)
    tensors = {id(t): t for t in vars(held).values() if isinstance(t, torch.Tensor)}.values()
    assert sum(t.numel() * t.element_size() for t in tensors) == 2 * weight.numel()


@pytest.fixture(scope="module", params=SAME, ids=lambda forms: forms.narrow)
def fixed(request, tiny_loaded):
    return engine_of(tiny_loaded, forms=request.param)


@pytest.mark.parametrize("split", [range(1, 60), range(5, 60, 5), [1], [59], [13, 14, 40]])
def test_reproducible_logits_are_the_same_bits_in_every_pass(fixed, split):
    whole = read(fixed.llama, TEXT)
    assert torch.equal(whole, read(fixed.llama, TEXT, split=split))


def test_reproducible_logits_are_those_of_the_base_up_to_rounding(fixed, tiny_loaded):
    assert torch.allclose(read(fixed.llama, TEXT), read(llama_of(tiny_loaded), TEXT), atol=1e-5)


def test_reproducible_rows_are_the_same_bits_beside_any_neighbours(fixed):
    depth = full(fixed.llama)

    def together(*texts):
        caches = [empty_cache(fixed.llama, depth.layout, capacity=60) for _ in texts]
        feeds = [Feed(cache, text, 0) for cache, text in zip(caches, texts, strict=True)]
        return fixed.llama.forward(feeds, depth, logit_rows=None).logits

    alone = together(TEXT[:9])
    for neighbours in ([TEXT[20:21]], [TEXT[3:33], TEXT[:2]], [[5]] * 7):
        assert torch.equal(together(*neighbours, TEXT[:9])[-9:], alone)


@pytest.mark.parametrize("n", [1, ROWS - 1, ROWS, ROWS + 1, 3 * ROWS + 2])
def test_a_product_over_fixed_rows_is_the_product(n):
    x, weight = torch.randn(n, 16), torch.randn(24, 16)
    assert torch.allclose(multiplied_in_fixed_rows(x, weight), x @ weight.T, atol=1e-5)


@pytest.mark.parametrize("forms", [*CAST, *SAME], ids=str)
@pytest.mark.parametrize("cache", [None, SinkWindow(sinks=2, window=4, every=8)])
def test_the_books_balance(tiny_loaded, forms, cache):
    engine = engine_of(tiny_loaded, forms=forms)
    plan = None if cache is None else cache.at(0.7, {}, engine.shape)
    with OutsideCount() as outside:
        made = outputs(engine, PROMPTS, installed=Installed(cache=plan), max_new_tokens=20)
    cost = total(o.cost for o in made)
    assert cost.flops == pytest.approx(outside.flops, rel=0.01)
    assert cost.bytes == pytest.approx(outside.bytes, rel=0.01)


def test_reproducible_trees_of_drafts_keep_books_and_tokens(fixed):
    base = outputs(fixed, PROMPTS, max_new_tokens=24)
    starts = [tuple(fixed.tokenizer.encode(prompt)) for prompt in PROMPTS]
    answers = {start: list(o.token_ids) for start, o in zip(starts, base, strict=True)}
    drafter = knowing(answers, [(3, [(0, [250, 251]), (1, [252])]), (4, [(2, [256])])])
    with OutsideCount() as outside:
        made = outputs(fixed, PROMPTS, installed=Installed(draft=drafter), max_new_tokens=24)
    assert tokens_of(made) == tokens_of(base)
    cost = total(o.cost for o in made)
    assert cost.flops == pytest.approx(outside.flops, rel=0.01)
    assert cost.bytes == pytest.approx(outside.bytes, rel=0.01)


def test_reproducible_answers_with_a_smaller_cache_are_the_same_in_every_batch(fixed):
    plan = SinkWindow(sinks=2, window=4, every=8).at(0.7, {}, fixed.shape)
    assert isinstance(plan, CachePlan)
    installed = Installed(cache=plan)
    together = outputs(fixed, PROMPTS, installed=installed, max_new_tokens=30)
    alone = [outputs(fixed, [p], installed=installed, max_new_tokens=30)[0] for p in PROMPTS]
    assert tokens_of(together) == tokens_of(alone)


@pytest.mark.slow
@pytest.mark.parametrize("forms", SAME, ids=lambda forms: forms.narrow)
def test_reproducible_logits_of_the_real_model_are_the_same_bits(smollm2, forms):
    llama = llama_of(smollm2, forms=forms)
    text = np.random.default_rng(1).integers(1000, 40000, 23).tolist()
    whole = read(llama, text)
    assert torch.equal(whole, read(llama, text, split=range(1, 23)))
    assert torch.equal(whole, read(llama, text, split=[5, 11]))
