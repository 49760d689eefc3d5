"""Drafts that branch on the `torch` engine: one pass is worth as many chains."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the `torch` extra")

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from contract.outside_count import OutsideCount
from engines.test_torch_generate import PROMPTS, texts_law
from engines.torch_rig import (
    ToyDrafter,
    ToyPolicy,
    engine_of,
    full,
    llama_of,
    outputs,
    tokens_of,
    with_policy,
)
from engines.tree_drafts import TreeDrafter, knowing, shaped
from rheostat.engines.base import Request
from rheostat.engines.torch_model import Feed
from rheostat.engines.torch_prices import empty_cache
from rheostat.engines.torch_tree import parents_in_feed
from rheostat.kernel.policies.token_tree import TokenTree, depths, parents_of, path_to
from rheostat.kernel.seams import Depth, Installed

few = settings(max_examples=15)
TEXT = np.random.default_rng(0).integers(4, 300, 40).tolist()
TREES = st.lists(st.tuples(st.floats(0, 1), st.integers(4, 299)), min_size=1, max_size=12).map(
    shaped
)
WRONG = st.lists(
    st.tuples(st.integers(0, 4), st.lists(st.integers(0, 299), max_size=3)), max_size=4
)
PROPOSALS = st.lists(st.tuples(st.integers(0, 6), WRONG), min_size=1, max_size=5)


@pytest.fixture(scope="module")
def engine(deep_loaded):
    return engine_of(deep_loaded)


@pytest.fixture(scope="module")
def llama(deep_loaded):
    return llama_of(deep_loaded)


@pytest.fixture(scope="module")
def base(engine):
    return outputs(engine, PROMPTS, max_new_tokens=24)


def answers(engine, made):
    prompts = [tuple(engine.encode(Request(id="", prompt=prompt))) for prompt in PROMPTS]
    return {prompt: output.token_ids for prompt, output in zip(prompts, made, strict=True)}


def held(llama, tokens, *, depth=None, forked=0):
    """A cache of a text, forked behind so many of its tokens."""
    depth = depth or full(llama)
    cache = empty_cache(llama, depth.layout, capacity=2)
    for part in (tokens[:forked], tokens[forked:]):
        if part:
            llama.forward([Feed(cache, part, 0)], depth, logit_rows=[])
            cache = cache.fork() if forked else cache
    return cache


def fed(llama, cache, draft, *, depth=None, generated=0):
    """Logits [n + 1, vocabulary] behind the newest token and every draft token."""
    feed = Feed(cache, [TEXT[-1], *draft], generated, parents_in_feed(draft))
    return llama.forward([feed], depth or full(llama), logit_rows=None).logits


@torch.inference_mode()
def entries(cache, slots):
    """All keys and values, [slots, tokens, 2, heads, size]."""
    sample = cache._own[0, :0]
    return torch.stack([cache.put(slot, sample) for slot in range(slots)])


@few
@given(tree=TREES, forked=st.integers(0, 20))
def test_the_logits_of_a_tree_are_those_of_its_paths_as_chains(llama, tree, forked):
    logits = fed(llama, held(llama, TEXT[:-1], forked=forked), tree)
    for node in range(-1, len(tree)):
        chain = [tree[i] for i in path_to(tree.parents, node)]
        alone = fed(llama, held(llama, TEXT[:-1]), chain)
        assert torch.allclose(logits[node + 1], alone[-1], atol=1e-4)


@few
@given(trees=st.lists(st.one_of(TREES, st.just((5, 6)), st.just(())), min_size=1, max_size=4))
def test_rows_with_other_trees_do_not_disturb_a_row(llama, trees):
    def feeds():
        return [
            Feed(held(llama, TEXT[: 9 + 5 * i]), [7, *tree], 0, parents_in_feed(tree))
            for i, tree in enumerate(trees)
        ]

    together = llama.forward(feeds(), full(llama), logit_rows=None).logits
    alone = [llama.forward([feed], full(llama), logit_rows=None).logits for feed in feeds()]
    assert torch.allclose(together, torch.cat(alone), atol=1e-4)


@few
@given(tree=TREES, forked=st.integers(0, 20), data=st.data())
def test_after_a_path_was_kept_the_cache_is_that_of_the_chain(llama, tree, forked, data):
    path = path_to(tree.parents, data.draw(st.integers(-1, len(tree) - 1)))
    cache, plain = (held(llama, TEXT[:-1], forked=forked) for _ in range(2))
    slots = llama.shape.layers
    fed(llama, cache, tree)
    kept = [*range(len(TEXT)), *(len(TEXT) + i for i in path)]
    written = entries(cache, slots)[:, kept]
    cache.keep(len(tree), path)
    assert torch.equal(entries(cache, slots), written), "they are moved, not computed again"
    fed(llama, plain, [tree[i] for i in path])
    assert cache.length == plain.length == len(TEXT) + len(path)
    # products over other numbers of rows round otherwise
    assert torch.allclose(entries(cache, slots), entries(plain, slots), atol=1e-5)
    assert torch.allclose(fed(llama, cache, [9]), fed(llama, plain, [9]), atol=1e-4)


def test_a_fork_does_not_see_what_its_twin_keeps(llama):
    one = held(llama, TEXT[:-1])
    before = entries(one, llama.shape.layers).clone()
    other = one.fork()
    fed(llama, other, TokenTree((5, 6, 7), (-1, -1, 1)))
    other.keep(3, (1, 2))
    assert torch.equal(entries(one, llama.shape.layers), before)
    assert (one.length, other.length) == (len(TEXT) - 1, len(TEXT) + 2)


@few
@given(tree=TREES)
def test_a_policy_sees_the_index_that_each_token_would_have_in_the_answer(llama, tree):
    seen = []

    class Watching(ToyPolicy):
        def begin(self, generated):
            seen.append(generated.tolist())
            return generated

    depth = Depth(full(llama).layout, Watching(lambda layer, index: True))
    fed(llama, held(llama, TEXT[:-1]), tree, depth=depth, generated=30)
    assert seen[-1] == [30, *(31 + place for place in depths(tree.parents))]


@few
@given(tree=TREES)
def test_what_a_policy_skips_on_a_path_it_skips_on_the_chain(llama, tree):
    depth = with_policy(llama, lambda layer, index: (layer + index) % 3)
    logits = fed(llama, held(llama, TEXT[:-1], depth=depth), tree, depth=depth, generated=3)
    for node in range(len(tree)):
        chain = [tree[i] for i in path_to(tree.parents, node)]
        cache = held(llama, TEXT[:-1], depth=depth)
        alone = fed(llama, cache, chain, depth=depth, generated=3)
        assert torch.allclose(logits[node + 1], alone[-1], atol=1e-4)


@few
@given(
    proposals=PROPOSALS,
    longest=st.integers(1, 24),
    order=st.permutations(range(4)),
    size=st.integers(1, 4),
)
def test_trees_never_change_greedy_tokens(engine, base, proposals, longest, order, size):
    plain = outputs(engine, [PROMPTS[i] for i in order[:size]], max_new_tokens=longest)
    installed = Installed(draft=knowing(answers(engine, base), proposals))
    drafted = outputs(
        engine,
        [PROMPTS[i] for i in order[:size]],
        installed=installed,
        max_new_tokens=longest,
    )
    assert tokens_of(drafted) == tokens_of(plain)


def test_right_tokens_among_wrong_ones_save_as_many_steps_as_a_right_chain(engine, base):
    steps = []
    for wrong in ([], [(0, [299]), (2, [3])]):
        installed = Installed(draft=knowing(answers(engine, base), [(6, wrong)]))
        (output,) = outputs(engine, PROMPTS[:1], installed=installed, max_new_tokens=22)
        steps.append(output.trace.steps)
    assert steps[0] == 3
    assert steps[1] <= 4, "near the end there is no room for every branch"


def test_trees_keep_the_tokens_under_a_policy_and_a_penalty(engine):
    depth = with_policy(engine.llama, lambda layer, index: (layer + index) % 2 or index < 0)
    for fields in ({}, {"repetition_penalty": 1.3}):
        plain = outputs(
            engine, PROMPTS, installed=Installed(depth=depth), max_new_tokens=20, **fields
        )
        drafter = knowing(answers(engine, plain), [(5, [(0, [8]), (1, [3, 4]), (3, [2])])])
        drafted = outputs(
            engine,
            PROMPTS,
            installed=Installed(depth=depth, draft=drafter),
            max_new_tokens=20,
            **fields,
        )
        assert tokens_of(drafted) == tokens_of(plain)
        assert sum(o.trace.accepted for o in drafted) > 20


def test_sampled_texts_with_trees_have_the_models_law(engine):
    prompt, n, law = "a", 1000, {"temperature": 1.3, "top_k": 3}
    tokens = tuple(engine.encode(Request(id="", prompt=prompt)))
    expected = texts_law(engine, tokens, 3, **law)
    texts = sorted(expected, key=lambda text: -expected[text])

    def guess(written):
        begun = tuple(written[len(tokens) :])
        found = [text[len(begun) :] for text in texts if text[: len(begun)] == begun]
        return [*(list(text) for text in found[:2] if text), [5, 7]]

    drafter = TreeDrafter(guess)
    made = outputs(
        engine, [prompt] * n, installed=Installed(draft=drafter), max_new_tokens=8, **law
    )
    counts = Counter(output.token_ids[:3] for output in made)
    often = [text for text, p in expected.items() if n * p >= 5]
    observed, likely = [counts[t] for t in often], [n * expected[t] for t in often]
    rest = (n - sum(observed) + 1e-9, n - sum(likely) + 1e-9)
    assert chisquare([*observed, rest[0]], [*likely, rest[1]]).pvalue > 0.001
    assert set(counts) <= set(expected)
    assert any(max(depths(tree.parents)) < len(tree) - 1 for tree in drafter.made if tree)
    assert 0 < sum(o.trace.accepted for o in made) < sum(o.trace.proposed for o in made)


@pytest.mark.parametrize("size", [1, 4])
def test_the_books_count_every_token_of_a_tree(engine, base, size):
    drafter = knowing(answers(engine, base), [(4, [(0, [8, 9]), (2, [3])])])
    with OutsideCount() as outside:
        made = outputs(
            engine, PROMPTS[:size], installed=Installed(draft=drafter), max_new_tokens=16
        )
    assert sum(o.cost.flops for o in made) == pytest.approx(outside.flops, rel=0.01)
    assert sum(o.cost.bytes for o in made) == pytest.approx(outside.bytes, rel=0.01)
    assert sum(o.trace.proposed for o in made) == sum(len(tree) for tree in drafter.made)


def test_a_step_with_a_tree_costs_what_a_chain_of_as_many_tokens_costs(engine, base):
    def proposing(tree):
        return lambda tokens, limit: tree if limit == 4 else ()

    costs = []
    for draft in ((299, 298, 297), TokenTree((299, 298, 297), (-1, -1, 0))):
        installed = Installed(draft=ToyDrafter(proposing(draft)))
        (output,) = outputs(engine, PROMPTS[:1], installed=installed, max_new_tokens=8)
        assert output.trace.proposed == 3
        costs.append(replace(output.cost, seconds=0.0))
    assert costs[0] == costs[1]


def test_a_chain_is_fed_without_parents():
    assert parents_in_feed((5, 6)) is None
    assert parents_in_feed(()) is None
    assert list(parents_of((5, 6))) == [-1, 0]
    assert parents_in_feed(TokenTree((5, 6), (-1, -1))) == (-1, 0, 0)
