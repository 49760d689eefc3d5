"""The decoder against `transformers`, and what dropped and skipped sub-layers do."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the `torch` extra")

from itertools import pairwise

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.outside_count import OutsideCount
from engines.tiny_gguf import ROPE_THETA
from engines.torch_rig import ToyPolicy, changed, full, llama_of, read, with_policy
from rheostat.engines.torch_matrix import Forms, candidates
from rheostat.engines.torch_model import Feed, Resume
from rheostat.engines.torch_prices import empty_cache
from rheostat.kernel import signals
from rheostat.kernel.seams import Depth, Layout

LAYERS = 5
TEXT = np.random.default_rng(0).integers(4, 300, 40).tolist()
OTHER = np.random.default_rng(1).integers(4, 300, 17).tolist()
LAYOUTS = st.builds(
    lambda kept: Layout(tuple(kept[:LAYERS]), tuple(kept[LAYERS:])),
    st.lists(st.booleans(), min_size=2 * LAYERS, max_size=2 * LAYERS),
)
few = settings(max_examples=15)
PARTS = {"q": "self_attn.q_proj", "k": "self_attn.k_proj", "v": "self_attn.v_proj"} | {
    "o": "self_attn.o_proj",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "mlp_norm": "post_attention_layernorm",
}


def theirs(loaded):
    """The same weights in the llama of `transformers`."""
    transformers = pytest.importorskip("transformers")
    shape = loaded.shape
    config = transformers.LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=shape.context,
        rms_norm_eps=loaded.architecture.eps,
        rope_parameters={"rope_type": "default", "rope_theta": ROPE_THETA},
        tie_word_embeddings=shape.tied,
    )
    model = transformers.LlamaForCausalLM(config).eval()
    named = {their_name(name): tensor for name, tensor in loaded.tensors.items()}
    named.setdefault("lm_head.weight", named["model.embed_tokens.weight"])
    model.load_state_dict(named)
    return model


def their_name(name):
    fixed = {"embed": "model.embed_tokens", "norm": "model.norm", "head": "lm_head"}
    *layer, part, _ = name.split(".")
    return f"model.layers.{layer[1]}.{PARTS[part]}.weight" if layer else f"{fixed[part]}.weight"


def zeroed(loaded, layout):
    """The model in which dropped sub-layers add nothing, by weights of zero."""
    zeros = {}
    for part, kept in (("o", layout.attention), ("down", layout.mlp)):
        for layer in (i for i, keep in enumerate(kept) if not keep):
            tensor = loaded.tensors[f"layers.{layer}.{part}.weight"]
            zeros[f"layers_{layer}_{part}"] = torch.zeros_like(tensor)
    return changed(loaded, **zeros)


@pytest.fixture(scope="module")
def deep(deep_loaded):
    return llama_of(deep_loaded)


@pytest.mark.parametrize("which", ["tiny_loaded", "deep_loaded"])
def test_logits_are_those_of_transformers(request, which):
    loaded = request.getfixturevalue(which)
    with torch.inference_mode():
        expected = theirs(loaded)(torch.tensor([TEXT])).logits[0]
    assert torch.allclose(read(llama_of(loaded), TEXT), expected, atol=1e-4)


def test_positions_reach_to_the_end_of_the_context(deep_loaded, deep):
    tokens = (TEXT * 13)[: deep.shape.context]
    with torch.inference_mode():
        expected = theirs(deep_loaded)(torch.tensor([tokens])).logits[0]
    assert torch.allclose(read(deep, tokens, split=[300]), expected, atol=1e-4)


@pytest.mark.parametrize("form", candidates(torch.float32))
def test_every_form_of_the_weights_gives_the_same_logits(deep_loaded, deep, form):
    model = llama_of(deep_loaded, forms=Forms(form, form, 1))
    assert torch.allclose(read(model, TEXT, split=[39]), read(deep, TEXT), atol=1e-4)


@pytest.mark.parametrize("form", candidates(torch.bfloat16))
def test_bfloat16_stays_near_float32(deep_loaded, deep, form):
    model = llama_of(deep_loaded, dtype=torch.bfloat16, forms=Forms(form, form, 1))
    logits = read(model, TEXT, split=[39])
    assert logits.dtype == torch.float32
    assert (logits.float() - read(deep, TEXT)).abs().mean() < 0.05


@few
@given(split=st.sets(st.integers(1, len(TEXT) - 1)))
def test_how_a_text_is_cut_into_passes_does_not_matter(deep, split):
    assert torch.allclose(read(deep, TEXT, split=split), read(deep, TEXT), atol=1e-4)


def test_rows_of_one_pass_are_as_if_alone(deep):
    caches = [empty_cache(deep, full(deep).layout, capacity=4) for _ in range(3)]
    read_first = [Feed(caches[0], TEXT[:9], 0), Feed(caches[1], OTHER, 0), Feed(caches[2], [7], 0)]
    first = deep.forward(read_first, full(deep), logit_rows=None).logits
    then = [Feed(caches[1], [5], 0), Feed(caches[0], TEXT[9:12], 0)]
    second = deep.forward(then, full(deep), logit_rows=[0, 3]).logits
    assert torch.allclose(first[:9], read(deep, TEXT[:9]), atol=1e-4)
    assert torch.allclose(first[9:26], read(deep, OTHER), atol=1e-4)
    assert torch.allclose(second[0], read(deep, [*OTHER, 5])[-1], atol=1e-4)
    assert torch.allclose(second[1], read(deep, TEXT[:12])[-1], atol=1e-4)


@few
@given(layout=LAYOUTS)
def test_a_dropped_sub_layer_adds_nothing(deep_loaded, deep, layout):
    expected = read(llama_of(zeroed(deep_loaded, layout)), TEXT)
    assert torch.allclose(read(deep, TEXT, depth=Depth(layout)), expected, atol=1e-4)


@few
@given(layout=LAYOUTS, split=st.sets(st.integers(1, len(TEXT) - 1), max_size=6))
def test_a_cache_with_dropped_attentions_goes_on_as_if_read_at_once(deep, layout, split):
    depth = Depth(layout)
    at_once, in_parts = read(deep, TEXT, depth=depth), read(deep, TEXT, depth=depth, split=split)
    assert torch.allclose(in_parts, at_once, atol=1e-4)


@pytest.mark.parametrize("attention", [[0], [LAYERS - 1], range(LAYERS)], ids=str)
def test_positions_do_not_come_from_a_dropped_attention(deep_loaded, deep, attention):
    layout = Layout.full(LAYERS).without(attention=attention)
    expected = read(llama_of(zeroed(deep_loaded, layout)), TEXT)
    logits = read(deep, TEXT, depth=Depth(layout), split=range(1, len(TEXT)))
    assert torch.allclose(logits, expected, atol=1e-4)


@pytest.mark.parametrize("kept", [0, 2, 5])
def test_the_cache_shrinks_with_the_attentions_that_are_kept(deep, kept):
    layout = Layout.full(LAYERS).without(attention=range(LAYERS - kept))
    base = empty_cache(deep, Layout.full(LAYERS), capacity=64)
    assert empty_cache(deep, layout, capacity=64).bytes * LAYERS == base.bytes * kept


@few
@given(layout=LAYOUTS)
def test_weights_of_dropped_sub_layers_are_not_touched(deep_loaded, layout):
    poison = {}
    for part, kept in (("q", layout.attention), ("o", layout.attention), ("up", layout.mlp)):
        for layer in (i for i, keep in enumerate(kept) if not keep):
            tensor = deep_loaded.tensors[f"layers.{layer}.{part}.weight"]
            poison[f"layers_{layer}_{part}"] = torch.full_like(tensor, torch.nan)
    logits = read(llama_of(changed(deep_loaded, **poison)), TEXT, depth=Depth(layout))
    assert logits.isfinite().all()


@few
@given(layout=LAYOUTS)
def test_only_kept_sub_layers_are_executed(deep, layout):
    shape, n = deep.shape, len(TEXT)
    with OutsideCount() as outside:
        read(deep, TEXT, depth=Depth(layout))
    attention = 2 * n * shape.attention_weights + 4 * n * n * shape.heads * shape.head_size
    mlp, head = 2 * n * shape.mlp_weights, 2 * n * shape.head_weights
    assert outside.flops == attention * sum(layout.attention) + mlp * sum(layout.mlp) + head


def test_the_head_is_read_for_the_wanted_rows_alone(deep):
    flops = []
    for wanted in ([], [3], [0, 3]):
        cache = empty_cache(deep, full(deep).layout, capacity=4)
        with OutsideCount() as outside:
            passed = deep.forward([Feed(cache, TEXT[:4], 0)], full(deep), logit_rows=wanted)
        assert passed.logits.shape == (len(wanted), deep.shape.vocabulary)
        flops.append(outside.flops)
    assert np.diff(flops).tolist() == [2 * deep.shape.head_weights] * 2


def test_a_policy_that_skips_nothing_is_the_base(deep):
    logits = read(deep, TEXT, depth=with_policy(deep, lambda layer, index: True))
    assert torch.allclose(logits, read(deep, TEXT), atol=1e-4)


def test_a_policy_that_skips_everything_is_the_model_without_mlps(deep):
    none = Depth(Layout.full(LAYERS).without(mlp=range(LAYERS)))
    logits = read(deep, TEXT, depth=with_policy(deep, lambda layer, index: False))
    assert torch.allclose(logits, read(deep, TEXT, depth=none), atol=1e-4)


def test_skipping_every_second_token_executes_half_of_the_mlps(deep):
    depth = with_policy(deep, lambda layer, index: index % 2 == 0)
    with OutsideCount() as outside:
        read(deep, TEXT, depth=depth)
    with OutsideCount() as base:
        read(deep, TEXT)
    saved = base.flops - outside.flops
    assert saved == LAYERS * 2 * (len(TEXT) // 2) * deep.shape.mlp_weights


@few
@given(
    kept=st.lists(st.lists(st.booleans(), min_size=40, max_size=40), min_size=5, max_size=5),
    split=st.sets(st.integers(1, len(TEXT) - 1), max_size=6),
)
def test_a_skip_is_a_tokens_own_however_it_is_read(deep, kept, split):
    depth = with_policy(deep, lambda layer, index: kept[layer][index])
    at_once, in_parts = read(deep, TEXT, depth=depth), read(deep, TEXT, depth=depth, split=split)
    assert torch.allclose(in_parts, at_once, atol=1e-4)


def test_the_count_of_a_pass_tells_runs_from_reads(deep):
    depth = with_policy(deep, lambda layer, index: index == layer or layer == 4)
    cache = empty_cache(deep, depth.layout, capacity=3)
    passed = deep.forward([Feed(cache, TEXT[:3], 0)], depth, logit_rows=[])
    assert passed.mlp_runs.tolist() == [2, 2, 2]
    assert len(passed.mlp_widths) == 4  # each of the first three once, the last for all


def test_a_policy_sees_the_cosine_of_the_tokens_that_ran(deep):
    streams = {}
    policy = ToyPolicy(lambda layer, index: index % 3 == 0, watched=lambda layer: layer == 2)
    depth = Depth(Layout.full(LAYERS), policy)
    cache = empty_cache(deep, depth.layout, capacity=10)
    deep.forward(
        [Feed(cache, TEXT[:10], 0)],
        depth,
        logit_rows=[],
        observer=lambda layer, part, *stream: streams.update({(layer, part): stream}),
    )
    ((layer, tokens, cosine),) = policy.seen
    before, after = (part.double().numpy()[[0, 3, 6, 9]] for part in streams[2, "mlp"])
    assert (layer, tokens.tolist()) == (2, [0, 3, 6, 9])
    assert np.allclose(cosine, signals.cosine(before, after), atol=1e-6)


def test_an_observer_sees_the_stream_around_every_executed_sub_layer(deep):
    layout = Layout.full(LAYERS).without(attention=[1], mlp=[0, 3])
    seen = []
    cache = empty_cache(deep, layout, capacity=4)
    deep.forward([Feed(cache, TEXT[:4], 0)], Depth(layout), logit_rows=[], observer=seen_by(seen))
    parts = [(i, kind) for i in range(LAYERS) for kind in ("attention", "mlp")]
    parts = [(i, kind) for i, kind in parts if getattr(layout, kind)[i]]
    assert [name for name, _, _ in seen] == parts
    assert all(torch.equal(a[2], b[1]) for a, b in pairwise(seen))


@pytest.mark.parametrize("layer", [0, 2, LAYERS])
def test_entering_the_stack_at_a_layer_gives_the_same_logits(deep, layer):
    streams = []
    cache = empty_cache(deep, full(deep).layout, capacity=9)
    feed = Feed(cache, TEXT[:9], 0)
    whole = deep.forward([feed], full(deep), logit_rows=None, observer=seen_by(streams)).logits
    stream = streams[2 * layer][1] if layer < LAYERS else streams[-1][2]
    cache.truncate(0)
    entered = deep.forward([feed], full(deep), logit_rows=None, resume=Resume(layer, stream))
    assert torch.allclose(entered.logits, whole, atol=1e-4)


def seen_by(seen):
    return lambda layer, part, before, after: seen.append(((layer, part), before, after))


def test_the_weights_are_never_written_to(deep_loaded):
    before = {name: tensor.clone() for name, tensor in deep_loaded.tensors.items()}
    model = llama_of(deep_loaded)
    read(model, TEXT, split=[20], depth=with_policy(model, lambda layer, index: index % 2))
    assert all(torch.equal(before[name], tensor) for name, tensor in deep_loaded.tensors.items())
