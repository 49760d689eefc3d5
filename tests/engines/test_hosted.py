"""Models on their own module of `transformers`: the same answers, drafts, forks, dropped layers."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the `torch` extra")
pytest.importorskip("transformers", reason="needs the package `transformers`")

import torch
import transformers

import rheostat
from engines.hf_models import VOCABULARY, fast_tokenizer, made, write_tokenizer
from rheostat.engines.base import Request, Sampling
from rheostat.engines.torch_hosted import Hosted
from rheostat.engines.torch_matrix import Forms
from rheostat.engines.torch_model import Feed
from rheostat.errors import MethodError, ModelError, UserError
from rheostat.kernel.cost import total
from rheostat.kernel.plan import Plan, Setting
from rheostat.kernel.seams import Depth, Installed, Layout

LAYERS = 3
GPT = {"n_embd": 48, "n_layer": LAYERS, "n_head": 4, "n_positions": 256}
FOREIGN = {
    "gpt2": ("GPT2Config", GPT),
    "opt": (
        "OPTConfig",
        {
            "hidden_size": 48,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": 4,
            "ffn_dim": 96,
            "word_embed_proj_dim": 48,
            "max_position_embeddings": 256,
        },
    ),
    "bloom": ("BloomConfig", {"hidden_size": 48, "n_layer": LAYERS, "n_head": 4}),
    "falcon": (
        "FalconConfig",
        {"hidden_size": 48, "num_hidden_layers": LAYERS, "num_attention_heads": 4},
    ),
    "gpt_neox": (
        "GPTNeoXConfig",
        {
            "hidden_size": 48,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": 4,
            "intermediate_size": 96,
            "max_position_embeddings": 256,
        },
    ),
    "phi": (
        "PhiConfig",
        {
            "hidden_size": 48,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": 4,
            "intermediate_size": 96,
            "max_position_embeddings": 256,
        },
    ),
    "olmo2": (
        "Olmo2Config",
        {
            "hidden_size": 48,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": 4,
            "intermediate_size": 96,
            "max_position_embeddings": 256,
        },
    ),
}
PARTED = {"gpt2", "falcon", "gpt_neox", "phi", "olmo2"}
"""Those whose attentions and MLPs each are a module that adds to the stream."""
LLAMA_LIKE = {
    "hidden_size": 48,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 64,
}
WINDOWED = {
    "mistral": ("MistralConfig", LLAMA_LIKE | {"sliding_window": 5}),
    "starcoder2": ("Starcoder2Config", LLAMA_LIKE | {"sliding_window": 5}),
    "gpt_neo": (
        "GPTNeoConfig",
        {
            "hidden_size": 48,
            "num_layers": 2,
            "num_heads": 4,
            "attention_types": [[["global", "local"], 1]],
            "window_size": 5,
            "max_position_embeddings": 256,
        },
    ),
}
SHARED = {"vocab_size": VOCABULARY, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
TEXT = np.random.default_rng(3).integers(5, VOCABULARY, 60).tolist()


@pytest.fixture(scope="module")
def hosted():
    """Makes a module once, and the decoder on it."""
    kept = {}

    def one(name):
        if name not in kept:
            config, more = (FOREIGN | WINDOWED)[name]
            kept[name] = made(config, {**SHARED, **more}, seed=len(name))
        return Hosted(kept[name], name), kept[name]

    return one


def full(decoder):
    return Depth(Layout.full(decoder.shape.layers))


def read(decoder, tokens, cache=None, depth=None, **more):
    depth = depth or full(decoder)
    cache = cache or cache_of(decoder, depth)
    return decoder.forward([Feed(cache, tokens, 0)], depth, logit_rows=None, **more).logits


def cache_of(decoder, depth=None):
    from rheostat.engines.torch_prices import empty_cache

    return empty_cache(decoder, (depth or full(decoder)).layout, capacity=8)


def theirs(module, tokens):
    with torch.inference_mode():
        return module(torch.tensor([tokens])).logits[0]


@pytest.mark.parametrize("name", FOREIGN)
def test_text_read_in_parts_gives_the_modules_own_logits(hosted, name):
    decoder, module = hosted(name)
    cache = cache_of(decoder)
    found = [read(decoder, TEXT[:30], cache)]
    found += [read(decoder, [token], cache) for token in TEXT[30:50]]
    found += [read(decoder, TEXT[50:], cache)]
    assert torch.cat(found) == pytest.approx(theirs(module, TEXT), abs=1e-4)


@pytest.mark.parametrize("name", FOREIGN)
def test_greedy_tokens_are_those_of_transformers_over_200_steps(hosted, name):
    decoder, module = hosted(name)
    with torch.inference_mode():
        whole = module.generate(
            torch.tensor([TEXT[:12]]),
            max_new_tokens=200,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
        )[0].tolist()
    cache, written, last = cache_of(decoder), [], TEXT[:12]
    for _ in range(200):
        last = [int(read(decoder, last, cache)[-1].argmax())]
        written += last
    assert written == whole[12:]


@pytest.mark.parametrize("name", FOREIGN)
def test_forks_and_truncations_change_nothing(hosted, name):
    decoder, module = hosted(name)
    cache = cache_of(decoder)
    read(decoder, TEXT, cache)
    twin = cache.fork()
    cache.truncate(20)
    other = [7, 8, 9, 10]
    assert read(decoder, other, cache) == pytest.approx(
        theirs(module, TEXT[:20] + other)[20:], abs=1e-4
    )
    assert read(decoder, other, twin) == pytest.approx(theirs(module, TEXT + other)[60:], abs=1e-4)


@pytest.mark.parametrize("name", FOREIGN | WINDOWED)
def test_rows_step_together_as_alone(hosted, name):
    """Of several lengths, in another order, one of them missing for a while, over many steps."""
    decoder, _ = hosted(name)
    together = [cache_of(decoder) for _ in range(4)]
    for cache, n in zip(together, (1, 13, 30, 30), strict=True):
        read(decoder, TEXT[:n], cache)
    together.append(together[1].fork())
    alone = [cache.copied(room=8) for cache in together]
    draw, depth = np.random.default_rng(0), full(decoder)
    for step in range(70):
        chosen = draw.permutation(5)[: draw.integers(2, 6)] if step % 7 == 6 else np.arange(5)
        tokens = draw.integers(5, VOCABULARY, len(chosen)).tolist()
        feeds = [Feed(together[i], [t], 0) for i, t in zip(chosen, tokens, strict=True)]
        assert decoder.joins(feeds)
        found = decoder.forward(feeds, depth, logit_rows=None).logits
        wanted = [read(decoder, [t], alone[i]) for i, t in zip(chosen, tokens, strict=True)]
        assert found == pytest.approx(torch.cat(wanted), abs=1e-4)
        if step == 40:
            for cache in (together[2], alone[2]):
                cache.truncate(20)
    assert [c.length for c in together] == [c.length for c in alone]


def test_lanes_are_given_back_when_their_rows_have_ended(hosted):
    decoder, _ = hosted("phi")
    caches = [cache_of(decoder) for _ in range(3)]
    decoder.forward([Feed(c, [7], 0) for c in caches], full(decoder), logit_rows=None)
    (step,) = (s for layout, s in decoder._steps.items() if layout == full(decoder).layout)
    assert step._lanes._held.numel() > 0
    del caches[1:]
    gc.collect()
    assert step._lanes._held.numel() > 0
    assert read(decoder, [8], caches[0]).isfinite().all()
    del caches
    gc.collect()
    assert step._lanes._held.numel() == 0


@pytest.mark.parametrize("name", WINDOWED)
def test_drafts_do_not_branch_behind_a_window(hosted, name):
    decoder, module = hosted(name)
    assert not decoder.branches
    cache = cache_of(decoder)
    found = torch.cat([read(decoder, part, cache) for part in (TEXT[:30], TEXT[30:31], TEXT[31:])])
    assert found == pytest.approx(theirs(module, TEXT), abs=1e-4)


@pytest.mark.parametrize("name", ["gpt2", "opt", "phi"])
def test_a_batch_answers_as_its_rows_and_reads_the_weights_once(hosted, name):
    _, module = hosted(name)
    engine = rheostat.load(module, tokenizer=fast_tokenizer())
    requests = [Request(id=str(i), prompt="a cat " * (i + 1)) for i in range(4)]
    sampling = Sampling(max_new_tokens=30)

    def answered(some):
        return list(engine.generate(some, sampling, installed=Installed()))

    together, alone = answered(requests), [answered([request])[0] for request in requests]
    assert {o.id: o.token_ids for o in together} == {o.id: o.token_ids for o in alone}
    steps = [len(output.token_ids) for output in alone]
    assert min(steps) > 1
    own, apart = (total(o.cost for o in found) for found in (together, alone))
    assert own.bytes < apart.bytes
    assert apart.flops <= own.flops < 1.1 * apart.flops  # of a padded batch, more is read


@pytest.mark.parametrize("name", FOREIGN)
def test_the_module_is_left_as_it_was(hosted, name):
    decoder, module = hosted(name)
    before = theirs(module, TEXT)
    depth = Depth(full(decoder).layout.without(attention=[1], mlp=[1]))
    read(decoder, TEXT, depth=depth)
    assert torch.equal(theirs(module, TEXT), before)
    assert not [m for m in module.modules() if "forward" in vars(m)]


@pytest.mark.parametrize("name", FOREIGN)
def test_a_dropped_layer_is_a_module_without_it(hosted, name):
    decoder, module = hosted(name)
    assert "depth.static" in decoder.offers
    layers = stack_of(module)
    depth = Depth(full(decoder).layout.without(attention=[1], mlp=[1]))
    hook = layers[1].register_forward_hook(passes_on, with_kwargs=True)
    try:
        expected = theirs(module, TEXT)
    finally:
        hook.remove()
    assert read(decoder, TEXT, depth=depth) == pytest.approx(expected, abs=1e-4)


def stack_of(module):
    return next(
        m for m in module.modules() if isinstance(m, torch.nn.ModuleList) and len(m) == LAYERS
    )


def passes_on(layer, args, kwargs, out):
    x = args[0] if args else kwargs["hidden_states"]
    return (x, *out[1:]) if isinstance(out, tuple) else x


@pytest.mark.parametrize("name", FOREIGN)
def test_parts_are_left_out_where_a_layer_is_a_sum(hosted, name):
    decoder, _ = hosted(name)
    assert ("depth.parts" in decoder.offers) == (name in PARTED)


@pytest.mark.parametrize("name", sorted(PARTED))
def test_the_stream_that_is_shown_goes_on_where_it_is_entered(hosted, name):
    """What a profile does: a pass over the upper layers alone, from what was seen below them."""
    decoder, _ = hosted(name)
    seen = {}
    whole = read(decoder, TEXT, observer=lambda i, kind, x, y: seen.setdefault((i, kind), (x, y)))
    assert len(seen) == 2 * LAYERS
    for i in range(LAYERS):
        assert torch.equal(seen[i, "attention"][1], seen[i, "mlp"][0])
    from rheostat.engines.torch_model import Resume

    resume = Resume(1, seen[1, "attention"][0])
    assert read(decoder, TEXT, resume=resume) == pytest.approx(whole, abs=1e-4)
    without = Depth(full(decoder).layout.without(mlp=[2]))
    assert not torch.allclose(read(decoder, TEXT, depth=without), whole)


def test_a_tree_is_verified_in_one_pass(hosted):
    decoder, module = hosted("gpt2")
    assert decoder.branches
    cache = cache_of(decoder)
    read(decoder, TEXT[:20], cache)
    feed = Feed(cache, [7, 8, 9, 11], 0, (-1, 0, 1, 0))
    found = decoder.forward([feed], full(decoder), logit_rows=None).logits
    assert found[2] == pytest.approx(theirs(module, [*TEXT[:20], 7, 8, 9])[-1], abs=1e-4)
    assert found[3] == pytest.approx(theirs(module, [*TEXT[:20], 7, 11])[-1], abs=1e-4)


def test_positions_by_a_mask_allow_no_trees(hosted):
    assert not hosted("bloom")[0].branches


@pytest.fixture(scope="module")
def folder(tmp_path_factory, engines_cache):
    path = tmp_path_factory.mktemp("gpt2")
    config, more = FOREIGN["gpt2"]
    made(config, {**SHARED, **more}, seed=4).save_pretrained(path)
    write_tokenizer(path)
    return path


@pytest.fixture(scope="module")
def engine(folder):
    return rheostat.load(folder, threads=1)


def answers(engine, requests, decision=None, **more):
    sampling = Sampling(max_new_tokens=24, **more)
    outputs = engine.generate(requests, sampling, installed=decision or Installed())
    return {o.id: o for o in outputs}


REQUESTS = [
    Request(id="a", prompt="the cat and the hat and the cat and"),
    Request(id="b", prompt="ab ab ab ab"),
]


def test_a_folder_answers_as_its_module(folder, engine):
    module = transformers.AutoModelForCausalLM.from_pretrained(folder)
    found = answers(engine, REQUESTS)
    for request in REQUESTS:
        prompt = engine.encode(request)
        whole = module.generate(
            torch.tensor([prompt]), max_new_tokens=24, do_sample=False, pad_token_id=0
        )[0].tolist()
        assert list(found[request.id].token_ids) == [
            t for t in whole[len(prompt) :] if t not in engine.eos
        ]


@pytest.mark.parametrize("name", ["copyspec", "suffix", "fixed_lookup"])
def test_drafts_keep_the_answers(engine, name):
    from rheostat.catalog import installed

    plan = Plan(model=engine.model, methods=(Setting(name=name, dial=1.0),))
    decision = installed(plan, engine.shape, engine.card.offers)
    plain, drafted = answers(engine, REQUESTS), answers(engine, REQUESTS, decision)
    assert sum(o.trace.accepted for o in drafted.values())
    assert {k: o.token_ids for k, o in drafted.items()} == {
        k: o.token_ids for k, o in plain.items()
    }


def test_what_its_module_cannot_do_is_said(engine):
    plan = Plan(model=engine.model, methods=(Setting(name="ems", dial=0.5),))
    with pytest.raises(MethodError, match=r"`ems` needs `cache\..*does not offer"):
        rheostat.generate(plan, "the cat", engine=engine, raw=True)


def test_layers_of_one_piece_are_left_out_whole_or_not_at_all(hosted):
    from rheostat.catalog import installed

    decoder, _ = hosted("opt")
    fitted = {"ranking": [["attention", i] for i in range(LAYERS)]}
    setting = Setting(name="llm_drop", dial=1.0, fitted=fitted)
    with pytest.raises(MethodError, match="left out whole alone"):
        installed(Plan(model="", methods=(setting,)), decoder.shape, decoder.offers)
    whole = replace(
        setting,
        params={"unit": "layer"},
        fitted={"ranking": [["layer", i] for i in range(LAYERS)]},
    )
    made_of = installed(Plan(model="", methods=(whole,)), decoder.shape, decoder.offers)
    assert sum(made_of.depth.layout.mlp) == sum(made_of.depth.layout.attention) == LAYERS - 1


def test_counted_work_is_that_of_its_matrices(hosted):
    for name in FOREIGN:
        decoder, module = hosted(name)
        layers = next(
            m for m in module.modules() if isinstance(m, torch.nn.ModuleList) and len(m) == LAYERS
        )
        own = sum(p.numel() for p in layers.parameters() if p.ndim > 1)
        shape = decoder.shape
        assert LAYERS * (shape.attention_weights + shape.mlp_weights) == pytest.approx(
            own, rel=0.01
        )


def test_a_live_model_of_a_known_shape_runs_on_the_lean_loop(engines_cache):
    module = made("LlamaConfig", {**SHARED, **SMALL}, seed=2)
    engine = rheostat.load(module, tokenizer=fast_tokenizer(), threads=1)
    assert "cache.entries" in engine.card.offers
    with torch.inference_mode():
        prompt = engine.encode(REQUESTS[0])
        expected = module(torch.tensor([prompt])).logits[0, -1].argmax()
    assert answers(engine, REQUESTS)["a"].token_ids[0] == int(expected)


SMALL = {
    "hidden_size": 48,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 96,
    "max_position_embeddings": 256,
}


def test_a_live_model_of_another_shape_runs_on_its_module(engines_cache):
    config, more = FOREIGN["gpt_neox"]
    module = made(config, {**SHARED, **more}, seed=2)
    engine = rheostat.load(module, tokenizer=fast_tokenizer(), threads=1)
    assert engine.dtype == "float32"
    assert len(answers(engine, REQUESTS)) == 2
    with pytest.raises(UserError, match="runs on its own module, in float32"):
        rheostat.load(module, tokenizer=fast_tokenizer(), dtype="bfloat16")


def test_what_is_no_model_is_said():
    with pytest.raises(ModelError, match="a `dict` is no causal language model"):
        rheostat.load({})
    module = made("LlamaConfig", {**SHARED, **SMALL}, seed=2)
    with pytest.raises(ModelError, match="needs its fast tokenizer beside it, got none"):
        rheostat.load(module)
    with torch.no_grad():
        module.model.norm.weight[0] = float("nan")
    with pytest.raises(ModelError, match="no finite number"):
        rheostat.load(module, tokenizer=fast_tokenizer())


def test_a_state_that_cannot_be_cut_back_is_said():
    config = {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4, "expand": 2}
    module = made("MambaConfig", {**SHARED, **config}, seed=1)
    with pytest.raises(ModelError, match="keeps a state that is no cache"):
        Hosted(module, "mamba")


@pytest.mark.parametrize("name", sorted(FOREIGN.keys() - {"phi"}))  # whose head adds a bias
@pytest.mark.parametrize("forms", [{"quick_rows": 1 << 30}, {"half_rows": 4}])
def test_choices_from_a_head_of_few_bits_are_the_whole_heads(hosted, name, forms):
    decoder, module = hosted(name)
    decoder.lay_out(Forms(**forms))
    assert decoder._head is not None
    expected = theirs(module, TEXT).argmax(dim=-1)
    cache = cache_of(decoder)
    for part in (TEXT[:3], TEXT[3:4], TEXT[4:40], TEXT[40:]):
        feed = Feed(cache, part, 0)
        passed = decoder.forward([feed], full(decoder), logit_rows=None, choices=True)
        at = cache.length - len(part)
        assert torch.equal(passed.logits, expected[at : cache.length])
    assert torch.equal(theirs(module, TEXT).argmax(dim=-1), expected)


def test_logits_that_are_more_than_the_heads_product_are_taken_whole():
    config = {
        "hidden_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "intermediate_size": 96,
        "logit_scale": 0.5,
    }
    module = made("CohereConfig", {**SHARED, **config}, seed=3)
    decoder = Hosted(module, "cohere")
    decoder.lay_out(Forms(quick_rows=8))
    assert read(decoder, TEXT, choices=True).tolist() == theirs(module, TEXT).argmax(-1).tolist()


def test_a_row_that_has_ended_is_not_held_on_to(hosted):
    decoder, _ = hosted("gpt2")
    cache = cache_of(decoder)
    read(decoder, TEXT[:5], cache)
    gone = weakref.ref(cache)
    del cache
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("form", ["transposed", "packed"])
def test_matrices_in_another_layout_give_the_modules_own_logits(hosted, name, form):
    decoder, module = hosted(name)
    decoder.lay_out(Forms(narrow=form, narrow_rows=2))
    before = theirs(module, TEXT)
    cache = cache_of(decoder)
    found = [read(decoder, part, cache) for part in (TEXT[:30], TEXT[30:31], TEXT[31:33])]
    assert torch.cat(found) == pytest.approx(before[:33], abs=1e-4)
    assert torch.equal(theirs(module, TEXT), before)
    assert not [m for m in module.modules() if "forward" in vars(m)]


def test_without_room_for_a_second_layout_there_is_one(hosted, monkeypatch):
    from rheostat.engines import hosted_matrices

    decoder, _ = hosted("opt")
    for free, laid_out in ((0, 0), (None, 6 * LAYERS)):
        monkeypatch.setattr(hosted_matrices, "free_bytes", lambda free=free: free)
        decoder.lay_out(Forms(narrow="transposed"))
        assert len(decoder._matrices._forwards) == laid_out
