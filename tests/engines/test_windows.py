"""Layers with a window: they read what can be seen, and give what reading everything gives."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the `torch` extra")
pytest.importorskip("transformers", reason="needs the package `transformers`")

import torch

import rheostat
from contract.outside_count import OutsideCount
from engines.hf_models import ENDS, VOCABULARY, made, write_tokenizer
from engines.hf_shapes import COMMON
from engines.torch_rig import ToyDrafter, engine_of, full, llama_of, outputs, read, tokens_of
from engines.tree_drafts import knowing
from rheostat.engines.load_model import load_model
from rheostat.engines.torch_float_ops import float_ops
from rheostat.engines.torch_matrix import FIXED, OWN, Forms
from rheostat.engines.torch_model import Feed
from rheostat.engines.torch_prices import empty_cache
from rheostat.kernel.cost import total
from rheostat.kernel.seams import Installed
from rheostat.methods.cache.bfp import Bfp
from rheostat.methods.cache.kv_direct import KvDirect

WINDOW = 24
WINDOWED = ("mistral", "qwen2, window", "gemma2", "gemma3")
FORMS = [Forms(), Forms("fixed", "fixed")]
PROMPTS = ["the cat and the hat and the cat in the hat", "is it a star " * 4, "zq"]
TERSE = (
    "{% for m in messages %}{{ m['role'][0] + m['content'] + '" + ENDS + "' }}{% endfor %}"
    "{% if add_generation_prompt %}a{% endif %}"
)
PARENTS = (-1, 0, 0, 1, 3, 2, 5, 6, 4)


def text(n, seed=0):
    return np.random.default_rng(seed).integers(5, VOCABULARY, n).tolist()


def cache_of(model, tokens=()):
    cache = empty_cache(model, full(model).layout, capacity=8)
    if tokens:
        logits_of(model, cache, tokens)
    return cache


def logits_of(model, cache, tokens, parents=None):
    return model.forward([Feed(cache, tokens, 0, parents)], full(model), logit_rows=None).logits


@torch.inference_mode()
def theirs(model, tokens):
    return model(torch.tensor([tokens])).logits[0]


def path_to(place):
    path = []
    while place >= 0:
        path.append(place)
        place = PARENTS[place]
    return path[::-1]


@pytest.mark.parametrize("name", WINDOWED)
@pytest.mark.parametrize("held", [0, WINDOW - 9, WINDOW - 1, WINDOW, WINDOW + 1, 90])
def test_a_tree_gives_what_each_of_its_branches_gives(folders, name, held):
    """On a fork, across the window's edge; then one branch is kept and goes on."""
    path, other = folders(name)
    model = llama_of(load_model(str(path)))
    before, new, more = text(held), text(len(PARENTS), 1), text(30, 2)
    cache = cache_of(model, before)
    cache = cache.fork() if held % 2 else cache
    found = logits_of(model, cache, new, PARENTS)
    for place, logits in enumerate(found):
        branch = [*before, *(new[i] for i in path_to(place))]
        assert (logits - theirs(other, branch)[-1]).abs().max() < 1e-4
    kept = path_to(len(PARENTS) - 1)
    cache.keep(len(PARENTS), kept)
    whole = [*before, *(new[i] for i in kept), *more]
    assert (logits_of(model, cache, more) - theirs(other, whole)[-30:]).abs().max() < 1e-4


@pytest.mark.parametrize("name", WINDOWED)
def test_what_lies_before_the_window_can_be_taken_back_to(folders, name):
    path, other = folders(name)
    model = llama_of(load_model(str(path)))
    before, more = text(120), text(7, 3)
    for cut in (1, WINDOW - 1, WINDOW, WINDOW + 1, 60, 119):
        cache = cache_of(model, before)
        twin = cache.fork()
        twin.truncate(cut)
        assert (
            logits_of(model, twin, more) - theirs(other, before[:cut] + more)[cut:]
        ).abs().max() < 1e-4
        again = logits_of(model, cache, more)
        assert (again - theirs(other, before + more)[120:]).abs().max() < 1e-4


@pytest.mark.parametrize("name", WINDOWED)
@pytest.mark.parametrize("forms", FORMS, ids=lambda forms: forms.narrow)
def test_the_books_balance_and_drafts_change_nothing(folders, name, forms):
    engine = engine_of(load_model(str(folders(name)[0])), forms=forms)
    base = outputs(engine, PROMPTS, max_new_tokens=60)
    starts = [tuple(engine.tokenizer.encode(prompt)) for prompt in PROMPTS]
    answers = {start: list(o.token_ids) for start, o in zip(starts, base, strict=True)}
    tree = knowing(answers, [(3, [(0, [250, 251]), (1, [252])]), (4, [(2, [256])])])
    chain = ToyDrafter(lambda tokens, limit: tokens[-3:][:limit])
    for draft in (None, tree, chain):
        with OutsideCount() as outside:
            made = outputs(engine, PROMPTS, installed=Installed(draft=draft), max_new_tokens=60)
        assert tokens_of(made) == tokens_of(base)
        cost = total(o.cost for o in made)
        assert cost.flops == pytest.approx(outside.flops, rel=0.01)
        assert cost.bytes == pytest.approx(outside.bytes, rel=0.01)


@pytest.mark.parametrize("name", WINDOWED)
def test_a_step_reads_no_more_than_its_windows(folders, name):
    engine = engine_of(load_model(str(folders(name)[0])))
    model, shape = engine.llama, engine.shape
    for held in (5, WINDOW - 1, WINDOW, 300):
        cache = cache_of(model, text(held))
        with OutsideCount() as outside:
            logits_of(model, cache, [7])
        keys = sum(min(held + 1, window or held + 1) for window in model.architecture.windows)
        assert outside.cached == 2 * 4 * keys * shape.kv_heads * shape.head_size


@pytest.mark.parametrize("form", [f for f in FIXED if f not in OWN or float_ops().library])
@pytest.mark.parametrize("name", [*WINDOWED, "qwen2", "qwen3", "phi3, partial"])
def test_reproducible_logits_are_the_same_bits_in_every_pass(folders, name, form):
    path, other = folders(name)
    model = llama_of(load_model(str(path)), forms=Forms(form, form))
    tokens = text(70, 4)
    whole = read(model, tokens)
    assert (whole - theirs(other, tokens)).abs().max() < 1e-4
    for split in (range(1, 70), range(5, 70, 5), [WINDOW], [13, 14, 40]):
        assert torch.equal(whole, read(model, tokens, split=split))
    cache = cache_of(model, tokens[:50])
    other_row = cache_of(model)
    feeds = [Feed(other_row, text(33, 5), 0), Feed(cache.fork(), tokens[50:], 0)]
    beside = model.forward(feeds, full(model), logit_rows=None).logits
    assert torch.equal(beside[33:], whole[50:])


@pytest.mark.parametrize("name", ["qwen2", "qwen3", "phi3, partial", "mistral"])
def test_layercast_is_float32_arithmetic_on_rounded_weights(folders, name):
    loaded = load_model(str(folders(name)[0]))
    cast = llama_of(loaded, forms=Forms("cast", "cast"))
    matrices = {k: t.bfloat16().float() for k, t in loaded.tensors.items() if t.ndim == 2}
    made_from = read(cast, text(60), split=[7, 8, 30])
    exact = read(llama_of(loaded), text(60))
    loaded.tensors.update(matrices)
    assert (made_from - read(llama_of(loaded), text(60))).abs().max() < 1e-5
    assert (made_from - exact).abs().max() > 1e-4


@pytest.mark.parametrize("name", ["mistral", "gemma3"])
def test_a_conversation_of_thirty_turns_reads_nothing_twice(folders, tmp_path, name):
    path, other = folders(name)
    folder = shutil.copytree(path, tmp_path / "model")
    told = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**told, "chat_template": TERSE}))
    engine = rheostat.load(str(folder), threads=1)
    counted, passed = [], engine.passed

    def counting(feeds, *given, **more):
        counted.extend(len(feed.tokens) for feed in feeds)
        return passed(feeds, *given, **more)

    engine.passed = counting
    session, again = (rheostat.Session(engine, max_new_tokens=3) for _ in range(2))
    for turn in range(30):
        counted.clear()
        output = session.ask("a the cat")
        assert sum(counted) == output.cost.prompt_tokens + output.cost.calls - 1
        assert again.ask("a the cat").token_ids == output.token_ids
        again.offload(tmp_path / f"{turn}.state")
        ids, n = session._conversation.ids, len(output.token_ids)
        assert theirs(other, ids)[-n - 1 : -1].argmax(-1).tolist() == list(output.token_ids)
    assert len(ids) > 10 * WINDOW


def test_a_real_window_is_crossed_and_the_context_read_to_its_end(tmp_path, engines_cache):
    window, context = 4096, 4200
    sizes = {"num_hidden_layers": 1, "max_position_embeddings": context, "sliding_window": window}
    other = made("MistralConfig", {**COMMON, **sizes}, seed=1)
    other.save_pretrained(tmp_path)
    write_tokenizer(tmp_path)
    model = llama_of(load_model(str(tmp_path)))
    assert (model.shape.context, model.architecture.windows) == (context, (window,))
    tokens = text(context, 6)
    split = [*range(512, 4096, 512), *range(4090, 4100), 4150, context - 1]
    found = read(model, tokens, split=split)
    assert (found - theirs(other, tokens)).abs().max() < 1e-4


@pytest.mark.parametrize("name", [*WINDOWED, "qwen3", "phi3, partial"])
@pytest.mark.parametrize("plan", [KvDirect(window=3, every=10), Bfp(block=8, recent=3, every=10)])
def test_caches_that_hold_every_token_in_another_form_see_the_window_too(folders, name, plan):
    """Residual streams give the base's tokens; coded keys the same logits up to their bits."""
    path, _ = folders(name)
    loaded = load_model(str(path))
    engine = engine_of(loaded)
    installed = Installed(cache=plan.at(0.5, {}, engine.shape))
    assert plan.card.needs <= engine.card.offers
    with OutsideCount() as outside:
        made = outputs(engine, PROMPTS, installed=installed, max_new_tokens=60)
    cost = total(o.cost for o in made)
    assert cost.flops == pytest.approx(outside.flops, rel=0.01)
    assert cost.bytes == pytest.approx(outside.bytes, rel=0.01)
    if isinstance(plan, KvDirect):
        assert tokens_of(made) == tokens_of(outputs(engine, PROMPTS, max_new_tokens=60))
        return
    tokens = text(90)
    whole = engine.score(tokens[:50], tokens[50:], installed=Installed())
    coded = engine.score(tokens[:50], tokens[50:], installed=installed)
    assert abs(coded.nats - whole.nats).max() < 0.05
