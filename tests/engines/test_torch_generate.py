"""Generation on the `torch` engine: what is written does not depend on how it is computed."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the `torch` extra")

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from engines.torch_rig import (
    ToyDrafter,
    changed,
    engine_of,
    outputs,
    read,
    requests,
    tokens_of,
    with_policy,
)
from rheostat.engines import torch_generate
from rheostat.engines.base import Request, Sampling
from rheostat.engines.torch_compaction import Compaction
from rheostat.engines.torch_row import Row
from rheostat.engines.transcript import Transcript
from rheostat.errors import ModelError, WorkloadError
from rheostat.kernel.cost import Cost
from rheostat.kernel.policies.sampling import distribution
from rheostat.kernel.seams import Depth, Installed, Layout

few = settings(max_examples=15)
PROMPTS = (
    "the cat and the hat",
    "z",
    "is it a star or is it a planet, or the sea at the other end of the road?",
    "été 漢字 🙂",
)
LAYOUTS = st.builds(
    lambda kept: Layout(tuple(kept[:5]), tuple(kept[5:])),
    st.lists(st.booleans(), min_size=10, max_size=10),
)
PROPOSALS = st.lists(
    st.tuples(st.integers(0, 9), st.lists(st.integers(0, 299), max_size=8)), min_size=1, max_size=6
)
"""For each place: how many right tokens, then which others."""


@pytest.fixture(scope="module")
def engine(deep_loaded):
    return engine_of(deep_loaded)


@pytest.fixture(scope="module")
def base(engine):
    """The text of every prompt without drafts."""
    return outputs(engine, PROMPTS, max_new_tokens=24)


def drafting(engine, made, proposals, prompts=PROMPTS):
    """A drafter that knows the outputs, and errs as the proposals say."""
    known = {
        tuple(engine.encode(Request(id="", prompt=prompt))): output.token_ids
        for prompt, output in zip(prompts, made, strict=True)
    }

    def guess(tokens, limit):
        (start,) = [p for p in known if tuple(tokens[: len(p)]) == p]
        at = len(tokens) - len(start)
        right, others = proposals[at % len(proposals)]
        return [*known[start][at : at + right], *others]

    return Installed(draft=ToyDrafter(guess))


def greedy(engine, prompt, n, depth=None):
    """Tokens of the largest logits, each computed from the whole text anew."""
    tokens = engine.encode(Request(id="", prompt=prompt))
    for _ in range(n):
        tokens = [*tokens, int(read(engine.llama, tokens, depth=depth)[-1].argmax())]
    return tuple(tokens[-n:])


def test_greedy_takes_the_largest_logit_each_time(engine, base):
    for prompt, output in zip(PROMPTS, base, strict=True):
        assert output.token_ids == greedy(engine, prompt, len(output.token_ids))


@few
@given(layout=LAYOUTS)
def test_a_cached_run_equals_recomputing_with_the_same_sub_layers_dropped(engine, layout):
    depth = Depth(layout)
    (output,) = outputs(engine, PROMPTS[:1], installed=Installed(depth=depth), max_new_tokens=6)
    expected = greedy(engine, PROMPTS[0], 6, depth)
    assert output.token_ids == expected[: len(output.token_ids)]


@few
@given(order=st.permutations(range(4)), size=st.integers(1, 4), proposals=st.none() | PROPOSALS)
def test_a_row_is_written_as_if_alone(engine, base, order, size, proposals):
    installed = drafting(engine, base, proposals) if proposals else Installed()
    chosen = [PROMPTS[i] for i in order[:size]]
    together = outputs(engine, chosen, installed=installed, max_new_tokens=24)
    assert tokens_of(together) == tokens_of([base[i] for i in order[:size]])


@few
@given(order=st.permutations(range(4)), size=st.integers(1, 4), drafts=st.booleans())
def test_a_sampled_row_depends_on_its_seed_and_name_alone(engine, base, order, size, drafts):
    installed = drafting(engine, base, [(2, [7, 8])]) if drafts else Installed()
    chosen = [Request(id=f"r{i}", prompt=PROMPTS[i]) for i in order[:size]]
    sampling = Sampling(max_new_tokens=12, temperature=0.9, top_k=20, seed=5)

    def texts(batch):
        made = engine.generate(batch, sampling, installed=installed)
        return {output.id: output.token_ids for output in made}

    alone = [texts([request]) for request in chosen]
    assert texts(chosen) == {name: ids for text in alone for name, ids in text.items()}


@few
@given(proposals=PROPOSALS, longest=st.integers(1, 24))
def test_drafts_never_change_greedy_tokens(engine, base, proposals, longest):
    plain = outputs(engine, PROMPTS, max_new_tokens=longest)
    installed = drafting(engine, base, proposals)
    assert tokens_of(outputs(engine, PROMPTS, installed=installed, max_new_tokens=longest)) == (
        tokens_of(plain)
    )


def test_right_drafts_save_steps_and_wrong_ones_do_not_cost_any(engine, base):
    steps = {}
    for name, proposal in {"right": (6, []), "wrong": (0, [299, 298])}.items():
        (output,) = outputs(
            engine,
            PROMPTS[:1],
            installed=drafting(engine, base, [proposal]),
            max_new_tokens=22,
        )
        steps[name] = (output.trace.steps, output.trace.accepted)
    assert steps == {"right": (3, 18), "wrong": (21, 0)}


@pytest.mark.parametrize("proposals", [None, [(0, [2, 9])], [(3, [11, 2, 5])], [(9, [])]])
def test_the_cache_holds_what_was_written_except_the_newest_token(
    engine, base, proposals, monkeypatch
):
    caches, lengths = [], []

    def recorded(self, *args, **sizes):
        caches.append(made(self, *args, **sizes))
        return caches[-1]

    made = Compaction.cache
    monkeypatch.setattr(Compaction, "cache", recorded)
    inner = drafting(engine, base, proposals).draft if proposals else ToyDrafter(lambda *_: [])

    def watching(tokens, limit):
        lengths.append((caches[0].length, len(tokens) - 1))
        return inner.guess(tokens, limit)

    installed = Installed(draft=ToyDrafter(watching))
    outputs(engine, PROMPTS[:1], installed=installed, max_new_tokens=24)
    assert lengths
    assert all(held == written for held, written in lengths)


@pytest.mark.parametrize("drafts", [False, True])
def test_sampled_texts_have_the_models_law(engine, drafts):
    prompt, n, law = "a", 1000, {"temperature": 1.3, "top_k": 3}
    expected = texts_law(engine, tuple(engine.encode(Request(id="", prompt=prompt))), 3, **law)
    second = {text[:1]: text[1] for text in expected}
    guess = ToyDrafter(lambda tokens, limit: [second.get(tuple(tokens[1:]), 5), 7][:limit])
    installed = Installed(draft=guess) if drafts else None
    made = outputs(engine, [prompt] * n, installed=installed, max_new_tokens=4, **law)
    counts = Counter(output.token_ids[:3] for output in made)
    often = [text for text, p in expected.items() if n * p >= 5]
    observed, likely = [counts[t] for t in often], [n * expected[t] for t in often]
    rest = (n - sum(observed) + 1e-9, n - sum(likely) + 1e-9)
    assert chisquare([*observed, rest[0]], [*likely, rest[1]]).pvalue > 0.001
    assert set(counts) <= set(expected)
    assert (0 < sum(o.trace.accepted for o in made) < sum(o.trace.proposed for o in made)) == drafts


def texts_law(engine, tokens, n, **law):
    """Probability of every text of n tokens."""
    if n == 0:
        return {(): 1.0}
    first = distribution(read(engine.llama, tokens)[-1].double().numpy(), **law)
    return {
        (int(token), *rest): first[token] * p
        for token in np.flatnonzero(first)
        for rest, p in texts_law(engine, (*tokens, int(token)), n - 1, **law).items()
    }


@pytest.mark.parametrize(
    "law",
    [{"temperature": 1.0}, {"temperature": 0.5, "top_p": 0.6}, {"temperature": 2.0, "top_k": 5}],
    ids=str,
)
def test_temperature_top_k_and_top_p_are_those_of_the_sampling_policy(engine, law):
    prompt, n = PROMPTS[0], 800
    tokens = engine.encode(Request(id="", prompt=prompt))
    expected = n * distribution(read(engine.llama, tokens)[-1].double().numpy(), **law)
    made = outputs(engine, [prompt] * n, max_new_tokens=1, **law)
    # an end token is not written, so its place is the empty text
    counts = Counter(output.token_ids[0] if output.token_ids else None for output in made)
    often = [i for i in np.flatnonzero(expected >= 5) if i not in engine.eos]
    observed = [counts[i] for i in often]
    assert all(expected[i] > 0 for i in counts if i is not None)
    rest = n - sum(observed), n - expected[often].sum()
    assert chisquare([*observed, rest[0] + 1e-9], [*expected[often], rest[1] + 1e-9]).pvalue > 0.001


def test_one_candidate_is_greedy_and_seeds_differ(engine, base):
    narrow = outputs(engine, PROMPTS, max_new_tokens=24, temperature=1.0, top_k=1)
    assert tokens_of(narrow) == tokens_of(base)
    texts = {
        outputs(engine, PROMPTS[:1], max_new_tokens=12, temperature=1.0, seed=s)[0].token_ids
        for s in (-1, 0, 1)
    }
    assert len(texts) == 3


def test_rows_of_one_name_are_not_mixed(engine, base):
    twins = [Request(id="same", prompt=prompt) for prompt in PROMPTS]
    made = list(engine.generate(twins, Sampling(max_new_tokens=24), installed=Installed()))
    assert sorted(tokens_of(made)) == sorted(tokens_of(base))


def test_prompts_of_several_chunks_are_read_as_if_alone(engine):
    long = "the cat and the hat or a star " * 40
    prompts = [long[: 31 * i + 1] for i in (30, 1, 12, 12, 12, 3, 36, 2)]
    lengths = [len(engine.encode(request)) for request in requests(*prompts)]
    together = outputs(engine, prompts, max_new_tokens=4)
    alone = [outputs(engine, [prompt], max_new_tokens=4)[0] for prompt in prompts]
    assert max(lengths) > torch_generate.CHUNK
    assert sum(lengths) > 3 * torch_generate.CHUNK
    assert tokens_of(together) == tokens_of(alone)
    assert [o.cost.calls for o in together] == [o.cost.calls for o in alone]


def test_an_end_token_ends_the_text_and_is_left_out(deep_loaded, base):
    engine = engine_of(deep_loaded)
    engine.eos = frozenset({base[0].token_ids[7]})
    at = base[0].token_ids.index(base[0].token_ids[7])
    for installed in (Installed(), drafting(engine, base, [(9, [])])):
        (output,) = outputs(engine, PROMPTS[:1], installed=installed, max_new_tokens=24)
        assert output.stop_reason == "eos"
        assert output.token_ids == base[0].token_ids[:at]
        assert output.text == engine.tokenizer.decode(output.token_ids)


def test_the_context_and_the_length_end_the_text(engine):
    prompt = "z" * (engine.shape.context - 3)
    for longest, reason, n in ((2, "length", 2), (3, "length", 3), (4, "context", 3)):
        (output,) = outputs(engine, [prompt], max_new_tokens=longest)
        assert (output.stop_reason, len(output.token_ids)) == (reason, n)


@pytest.mark.parametrize(("length", "refused"), [(511, False), (512, True), (600, True)])
def test_a_prompt_must_leave_room_for_a_token(engine, length, refused):
    assert engine.shape.context == 512
    if refused:
        with pytest.raises(WorkloadError, match=f"has {length} tokens"):
            outputs(engine, ["z" * length])
    else:
        assert len(outputs(engine, ["z" * length])[0].token_ids) == 1


@pytest.mark.parametrize("request_", [Request(id="7"), Request(id="7", prompt="")], ids=str)
def test_an_empty_prompt_is_refused_by_name(engine, request_):
    with pytest.raises(WorkloadError, match=r"request `7` is empty"):
        list(engine.generate([request_], Sampling(), installed=Installed()))


def test_messages_go_through_the_template_unless_raw(engine):
    request = Request(id="1", messages=({"role": "user", "content": "the cat"},))
    with_template = engine.tokenizer.decode(engine.encode(request))
    assert with_template.endswith("the cat<|im_end|>\n<|im_start|>assistant\n")
    assert engine.tokenizer.decode(engine.encode(request, raw=True)) == "the cat"


@few
@given(data=st.data(), drafts=st.booleans())
def test_a_stop_string_cuts_the_text_and_no_part_of_it_is_shown(engine, base, data, drafts):
    text = base[2].text
    start = data.draw(st.integers(0, len(text) - 1))
    stop = text[start : start + data.draw(st.integers(1, 6))]
    shown = []
    (output,) = outputs(
        engine,
        PROMPTS[2:3],
        installed=drafting(engine, base, [(9, [])]) if drafts else None,
        on_token=lambda name, piece: shown.append(piece),
        max_new_tokens=24,
        stop=(stop, "never written"),
    )
    assert output.stop_reason == "stop"
    assert output.text == text[: text.index(stop)]
    assert "".join(shown) == output.text
    assert output.token_ids == base[2].token_ids[: len(output.token_ids)]


@pytest.mark.parametrize(
    ("written", "stop", "kept"),
    [("ab漢字", "漢", "ab"), ("ab漢字", "字", "ab漢"), ("漢", "漢", ""), ("ab漢c", "c", "ab漢")],
)
def test_tokens_of_a_character_that_is_cut_off_are_left_out(engine, written, stop, kept):
    row = Row(
        id="1",
        prompt=[],
        cache=None,
        max_new=99,
        full="length",
        chance="",
        decoder=engine.tokenizer.stream(),
        transcript=Transcript([stop]),
    )
    row.take(engine.tokenizer.encode(written), engine.eos)
    output = row.output(Cost())
    assert (output.text, output.stop_reason) == (kept, "stop")
    assert engine.tokenizer.decode(output.token_ids) == kept


def test_streamed_pieces_are_the_text(engine, base):
    shown = {str(i): "" for i in range(len(PROMPTS))}

    def show(name, piece):
        shown[name] += piece

    made = outputs(engine, PROMPTS, max_new_tokens=24, on_token=show)
    assert [shown[o.id] for o in made] == [o.text for o in made] == [o.text for o in base]
    assert [engine.tokenizer.decode(o.token_ids) for o in made] == [o.text for o in made]


@pytest.mark.parametrize("policy", [None, lambda i, g: False, lambda i, g: (i + g) % 2 or g < 0])
def test_scoring_a_text_repeats_the_decisions_that_wrote_it(engine, policy):
    depth = with_policy(engine.llama, policy) if policy else None
    installed = Installed(depth=depth)
    prompt = "the cat and the hat or a star " * 24  # more than a chunk
    (output,) = outputs(engine, [prompt], installed=installed, max_new_tokens=16)
    prompt_ids = engine.encode(Request(id="", prompt=prompt))
    scored = engine.score(prompt_ids, output.token_ids, installed=installed)
    assert len(prompt_ids) > torch_generate.CHUNK
    assert tuple(scored.choice) == output.token_ids
    assert scored.trace.mlp_skipped == output.trace.mlp_skipped
    assert (scored.margin > 0).all()


def test_scores_are_those_of_the_logits(engine):
    tokens = np.random.default_rng(0).integers(4, 300, 400).tolist()
    scored = engine.score(tokens[:250], tokens[250:], installed=Installed())
    logits = read(engine.llama, tokens)[249:-1].double()
    targets = torch.tensor(tokens[250:])
    nats = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    assert np.allclose(scored.nats, nats, atol=1e-4)
    assert (scored.choice == logits.argmax(dim=-1).numpy()).mean() > 0.99


def test_scoring_nothing_gives_nothing_and_costs_nothing(engine):
    scored = engine.score([5], [], installed=Installed())
    assert (len(scored.nats), len(scored.choice), len(scored.margin)) == (0, 0, 0)
    assert scored.cost.flops == 0


@pytest.mark.parametrize(("prompt", "continuation"), [(0, 4), (500, 20), (1, 600)])
def test_what_cannot_be_scored_is_refused(engine, prompt, continuation):
    with pytest.raises(WorkloadError):
        engine.score([5] * prompt, [6] * continuation, installed=Installed())


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_no_numbers_end_in_a_clear_error(deep_loaded, temperature):
    bad = torch.full_like(deep_loaded.tensors["layers.2.up.weight"], torch.nan)
    engine = engine_of(changed(deep_loaded, layers_2_up=bad))
    with pytest.raises(ModelError, match="logits are not numbers"):
        outputs(engine, PROMPTS, temperature=temperature)
    with pytest.raises(ModelError, match="logits are not numbers"):
        engine.score([5], [6, 7], installed=Installed())
