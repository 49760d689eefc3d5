"""Drafts by forward passes on the `torch` engine: same tokens, same law, same cache, true books."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the `torch` extra")

import torch

from engines.tiny_gguf import write_tiny_gguf
from engines.torch_rig import (
    PRICES,
    OutsideCount,
    ToyDrafter,
    engine_of,
    outputs,
    requests,
    tokens_of,
    with_policy,
)
from laws import same_law
from rheostat.engines.base import Sampling
from rheostat.engines.torch_acceptance import AcceptanceHead, saved_head
from rheostat.engines.torch_draft_prices import drafting_seconds
from rheostat.engines.torch_generate import Run
from rheostat.engines.torch_prices import step_seconds
from rheostat.engines.weights_cache import load_weights
from rheostat.errors import MethodError, ModelError
from rheostat.kernel.budget import Caps
from rheostat.kernel.cost import total
from rheostat.kernel.ledger import Ledger
from rheostat.kernel.seams import Depth, Forward, Installed, Layout

LAYERS = 5
FULL = Layout.full(LAYERS)
LONG = "the cat and the hat or a star " * 24
PROMPTS = ("the cat and the hat", "z", LONG, "or is it a planet?")
DROPPED = FULL.without(attention=[1], mlp=[3])

FORWARDS = {
    **{f"exit {k}": Forward(layout=FULL.within(0, k)) for k in (0, 1, 3, 5)},
    "no attention 2, 4": Forward(layout=FULL.without(attention=[2, 4])),
    "no MLP 0": Forward(layout=FULL.without(mlp=[0])),
    "no layer 3": Forward(layout=FULL.without(attention=[3], mlp=[3])),
}


@dataclass
class Asked:
    """Wants so many tokens, and remembers the scores."""

    forward: Forward
    most: int
    scores: list[Any] = field(default_factory=list)

    def goes_on(self, score: float | None) -> bool:
        self.scores.append(score)
        return len(self.scores) < self.most


@dataclass(frozen=True)
class Eager:
    """Asks for drafts of one forward after another, in turn with copies of the last tokens."""

    kinds: tuple[Forward | None, ...]
    most: int = 3
    made: list[Asked] = field(default_factory=list)

    @property
    def forwards(self):
        return [(kind, self.most) for kind in self.kinds if kind]

    def start(self, start):
        return list(start.prompt)

    def propose(self, state, limit):
        return state[-3:][:limit]

    def ask(self, state, limit):
        kind = self.kinds[len(state) % len(self.kinds)]
        if kind is None or limit < 1:
            return None
        self.made.append(Asked(kind, min(self.most, limit)))
        return self.made[-1]

    def commit(self, state, tokens):
        return [*state, *tokens]


def eager(*kinds, depth=None, most=3):
    drafter = Eager(kinds, most)
    return Installed(depth=depth, draft=drafter, models=drafter)


@pytest.fixture(scope="module")
def small_path(tmp_path_factory, engines_cache):
    """A draft model: the two lower layers of the model, which has more."""
    path = tmp_path_factory.mktemp("small") / "small.gguf"
    sizes = {"width": 48, "heads": 6, "kv_heads": 2, "inner": 80}
    return str(write_tiny_gguf(path, layers=2, **sizes, tied=False, seed=3))


@pytest.fixture(scope="module")
def engine(deep_loaded, small_path):
    made = engine_of(deep_loaded)
    opened = {small_path: engine_of(load_weights(small_path)), "itself": engine_of(deep_loaded)}
    made._opener = opened.__getitem__
    return made


@pytest.fixture(scope="module")
def base(engine):
    return outputs(engine, PROMPTS, max_new_tokens=16)


@pytest.fixture(scope="module")
def head(engines_cache):
    made = AcceptanceHead.new(48, seed=1)
    made.tensors["out.weight"].normal_(std=0.02, generator=torch.Generator().manual_seed(2))
    return saved_head(made)


def forward_of(name, small_path):
    if name in FORWARDS:
        return FORWARDS[name]
    return Forward(model={"small": small_path}.get(name, name))


NAMES = [*FORWARDS, "small", "itself"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("most", [1, 4])
def test_greedy_tokens_are_those_of_the_base(engine, base, small_path, name, most):
    installed = eager(forward_of(name, small_path), most=most)
    assert tokens_of(outputs(engine, PROMPTS, installed=installed, max_new_tokens=16)) == tokens_of(
        base
    )


def test_a_draft_of_the_whole_model_is_always_accepted(engine):
    for kind in (Forward(layout=FULL), Forward(model="itself")):
        made = outputs(engine, PROMPTS, installed=eager(kind), max_new_tokens=16)
        assert all(o.trace.accepted == o.trace.proposed > 0 for o in made)


@pytest.mark.parametrize("name", ["exit 3", "no layer 3", "small"])
def test_rows_with_and_without_forwards_run_together(engine, base, small_path, name):
    kinds = (None, forward_of(name, small_path), FORWARDS["exit 1"])
    made = outputs(engine, PROMPTS, installed=eager(*kinds), max_new_tokens=16)
    assert tokens_of(made) == tokens_of(base)
    assert all(o.trace.draft_passes > 0 for o in made)


DEPTHS = {
    "static": lambda engine: Depth(DROPPED),
    "dynamic": lambda engine: with_policy(engine.llama, lambda layer, index: (layer + index) % 3),
}


@pytest.mark.parametrize("name", ["exit 3", "no layer 3", "no MLP 0", "small"])
@pytest.mark.parametrize("depth", DEPTHS)
def test_greedy_tokens_are_those_of_the_same_depth_without_drafts(engine, small_path, name, depth):
    decision = DEPTHS[depth](engine)
    plain = outputs(engine, PROMPTS, installed=Installed(depth=decision), max_new_tokens=12)
    drafted = eager(None, forward_of(name, small_path), depth=decision)
    made = outputs(engine, PROMPTS, installed=drafted, max_new_tokens=12)
    assert tokens_of(made) == tokens_of(plain)


@pytest.mark.parametrize("name", NAMES)
def test_the_cache_holds_the_committed_tokens_after_every_step(engine, small_path, name):
    lengths = []

    class Watching(Run):
        def _take(self, rows, drafts, logits):
            super()._take(rows, drafts, logits)
            lengths.extend((r.cache.length, len(r.prompt) + len(r.new)) for r in rows if r.new)

    installed = eager(None, forward_of(name, small_path))
    run = Watching(engine, Sampling(max_new_tokens=16), installed, None, None)
    assert len(list(run.outputs(requests(*PROMPTS)))) == 4
    ended = sum(held > whole - 1 for held, whole in lengths)
    assert all(held >= whole - 1 for held, whole in lengths)
    assert ended <= len(PROMPTS)  # the last step of a row may write less than it verified


@pytest.mark.parametrize("plan", ["exit 1", "exit 3", "no layer 3", "small", "mixed", "head"])
@pytest.mark.parametrize("prompts", [PROMPTS[:1], PROMPTS], ids=len)
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_executed_work_is_what_the_books_say(engine, small_path, head, plan, prompts, temperature):
    kinds = {
        "mixed": (
            None,
            FORWARDS["exit 1"],
            FORWARDS["no attention 2, 4"],
            forward_of("small", small_path),
        ),
        "head": (replace(FORWARDS["exit 3"], head=head),),
    }.get(plan) or (forward_of(plan, small_path),)
    installed = eager(*kinds)
    with OutsideCount() as outside:
        made = outputs(
            engine, prompts, installed=installed, max_new_tokens=12, temperature=temperature
        )
    cost = total(output.cost for output in made)
    assert cost.flops == pytest.approx(outside.flops, rel=0.01)
    assert cost.bytes == pytest.approx(outside.bytes, rel=0.01)


def test_the_layers_below_an_exit_read_every_token_once(engine):
    """Per draft of k tokens: k tokens in the draft's passes, and its last one when verifying."""
    seen = Counter()
    attention = engine.llama._attention

    def counting(layer, x, *rest):
        seen[id(layer)] += len(x)
        return attention(layer, x, *rest)

    engine.llama._attention, stack = counting, engine.llama._stack
    engine.llama._stack = None  # it reads the layers in one call
    try:
        (output,) = outputs(
            engine, PROMPTS[:1], installed=eager(FORWARDS["exit 3"]), max_new_tokens=16
        )
    finally:
        del engine.llama._attention
        engine.llama._stack = stack
    read = [seen[id(layer)] for layer in engine.llama.layers]
    steps, passes = output.trace.steps, output.trace.draft_passes
    prompt = output.cost.prompt_tokens
    assert read == [prompt + steps + passes] * LAYERS
    assert passes == output.trace.proposed > 0


@pytest.mark.parametrize("name", ["exit 1", "exit 3", "exit 5", "no layer 3"])
def test_the_price_of_a_step_is_what_the_controller_was_told(engine, name):
    """One row: the ledger's price of drafting and verifying is that of `drafting_seconds`."""
    told, ordinary = drafting_seconds(engine, Installed(), 1), step_seconds(PRICES, FULL)
    installed = eager(FORWARDS[name])
    (one,) = outputs(engine, ["zzzz"], installed=installed, max_new_tokens=9)
    (none,) = outputs(engine, ["zzzz"], max_new_tokens=1)
    drafts = [len(asked.scores) for asked in installed.models.made]
    expected = sum(told(FORWARDS[name], k, 1, 8) for k in drafts)
    expected += (one.trace.steps - len(drafts)) * ordinary(1, 8)
    assert one.cost.price - none.cost.price == pytest.approx(expected, rel=0.02)


def test_what_another_model_reads_is_in_the_price_that_the_controller_was_told(engine):
    forward = Forward(model="itself")
    told = drafting_seconds(engine, Installed(), 1)
    (one,) = outputs(engine, ["zzzz"], installed=eager(forward), max_new_tokens=5)
    (none,) = outputs(engine, ["zzzz"], max_new_tokens=1)
    assert one.trace.steps == 1
    assert one.cost.price - none.cost.price == pytest.approx(told(forward, 3, 5, 4), rel=0.02)


def test_an_acceptance_head_scores_the_tokens_that_were_read(engine, head):
    installed = eager(replace(FORWARDS["exit 3"], head=head), most=4)
    outputs(engine, PROMPTS, installed=installed, max_new_tokens=16)
    for asked in installed.models.made:
        first, *others = asked.scores
        assert first is None
        assert all(0 < score < 1 for score in others)
    assert len({score for asked in installed.models.made for score in asked.scores}) > 10


@pytest.mark.parametrize("name", ["exit 3", "no layer 3", "small"])
@pytest.mark.parametrize("penalty", [1.3, 0.7])
def test_a_repetition_penalty_is_kept(engine, small_path, name, penalty):
    options = {"repetition_penalty": penalty, "max_new_tokens": 16}
    plain = outputs(engine, PROMPTS, **options)
    made = outputs(engine, PROMPTS, installed=eager(forward_of(name, small_path)), **options)
    assert tokens_of(made) == tokens_of(plain)


def test_stop_strings_end_the_text_where_they_end_the_base(engine, base, small_path):
    stop = base[0].text[6:8]
    plain = outputs(engine, PROMPTS, max_new_tokens=16, stop=(stop,))
    for name in ("exit 3", "no layer 3", "small"):
        installed = eager(forward_of(name, small_path))
        made = outputs(engine, PROMPTS, installed=installed, max_new_tokens=16, stop=(stop,))
        assert tokens_of(made) == tokens_of(plain)


@pytest.mark.parametrize("name", ["exit 3", "no layer 3", "small"])
def test_drafts_keep_within_the_context(engine, small_path, name):
    long = "z" * 490
    plain = outputs(engine, [long, PROMPTS[0]], max_new_tokens=40)
    assert plain[0].stop_reason == "context"
    installed = eager(forward_of(name, small_path), most=8)
    made = outputs(engine, [long, PROMPTS[0]], installed=installed, max_new_tokens=40)
    assert tokens_of(made) == tokens_of(plain)


def test_a_cancelled_run_gives_back_its_reservation_and_leaves_no_trace(engine, base, small_path):
    for name in ("exit 3", "small"):
        installed = eager(forward_of(name, small_path))
        ledger = Ledger(Caps(tokens=2000))
        running = engine.generate(
            requests("the cat", *PROMPTS),
            Sampling(max_new_tokens=16),
            installed=installed,
            ledger=ledger,
        )
        next(running)
        running.close()
        assert ledger.reserved.tokens == ledger.reserved.calls == 0
        assert 0 < ledger.spent.tokens <= 2000
        again = outputs(engine, PROMPTS, installed=installed, max_new_tokens=16)
        assert tokens_of(again) == tokens_of(base)


@pytest.mark.parametrize("name", ["exit 1", "no layer 3", "small", "head"])
@pytest.mark.parametrize(
    "caps",
    [Caps(calls=60), Caps(calls=7), Caps(tokens=290), Caps(price=9.0), Caps(price=2.0)],
    ids=str,
)
def test_no_cap_is_ever_passed(engine, base, small_path, head, name, caps):
    kind = (
        replace(FORWARDS["exit 3"], head=head) if name == "head" else forward_of(name, small_path)
    )
    ledger = Ledger(caps)
    made = outputs(engine, PROMPTS, installed=eager(None, kind), ledger=ledger, max_new_tokens=12)
    assert ledger.closed == ""
    for cap, limit in caps.to_json().items():
        assert cap == "grace" or getattr(ledger.spent, cap) <= limit
    assert ledger.reserved.calls == 0
    for output, whole in zip(made, base, strict=True):
        assert output.token_ids == whole.token_ids[: len(output.token_ids)]


@pytest.mark.parametrize("name", ["exit 1", "no layer 3", "small"])
def test_the_reservation_covers_what_is_spent(engine, small_path, name):
    """The bounds are those of a run in which every draft is in vain."""
    for most in (1, 3, 8):
        ledger = Ledger(Caps(calls=10_000, price=1e6))
        outputs(
            engine,
            PROMPTS,
            installed=eager(forward_of(name, small_path), most=most),
            ledger=ledger,
            max_new_tokens=16,
        )
        assert ledger.closed == ""
        assert not [record for record in ledger.records if record.kind == "overrun"]


SAMPLED = {"temperature": 0.7, "top_k": 3}


@pytest.mark.parametrize(
    "kinds",
    [
        ("exit 1",),
        ("exit 3",),
        ("no layer 3",),
        ("small",),
        (None, "exit 3"),
        ("small", None, "exit 1"),
    ],
    ids=str,
)
def test_sampled_tokens_keep_their_law(engine, small_path, kinds):
    prompts = ["the cat and the hat"] * 500
    own = [None if kind is None else forward_of(kind, small_path) for kind in kinds]
    plain = outputs(engine, prompts, max_new_tokens=5, **SAMPLED)
    made = outputs(engine, prompts, installed=eager(*own), max_new_tokens=5, seed=1, **SAMPLED)
    assert sum(o.trace.accepted for o in made) > 30
    assert sum(o.trace.proposed - o.trace.accepted for o in made) > 30
    for place in (1, 2, 4):
        assert same_law(*([o.token_ids[place:][:1] for o in outs] for outs in (plain, made)))


@pytest.mark.parametrize("name", ["exit 3", "small"])
def test_a_sampled_row_does_not_depend_on_its_neighbours(engine, small_path, name):
    def made(prompts, at):
        installed = eager(forward_of(name, small_path))
        return outputs(engine, prompts, installed=installed, max_new_tokens=8, **SAMPLED)[at]

    assert made(PROMPTS, 0).token_ids == made(PROMPTS[:1], 0).token_ids


# draft models that do not fit


@pytest.fixture
def alone(deep_loaded):
    """An engine that a test may change."""
    return engine_of(deep_loaded)


def test_a_draft_model_of_another_vocabulary_is_refused(alone, tmp_path, own_cache):
    path = str(write_tiny_gguf(tmp_path / "other.gguf", vocabulary=301))
    alone._opener = lambda path: engine_of(load_weights(path))
    with pytest.raises(MethodError, match="its vocabulary has 301 tokens, the model's 300"):
        outputs(alone, PROMPTS, installed=eager(Forward(model=path)))


def test_a_draft_model_whose_tokens_are_others_is_refused(alone, deep_loaded):
    changed = deep_loaded.tokenizer_json.replace("<repo_name>", "<repo_other>")
    other = engine_of(replace(deep_loaded, tokenizer_json=changed))
    alone._opener = {"renamed": other}.__getitem__
    with pytest.raises(MethodError, match="vocabularies differ, first in token 3"):
        outputs(alone, PROMPTS, installed=eager(Forward(model="renamed")))


def test_a_draft_model_with_a_shorter_context_is_refused(alone, deep_loaded):
    shape = replace(deep_loaded.shape, context=100)
    other = engine_of(replace(deep_loaded, shape=shape))
    alone._opener = {"short": other}.__getitem__
    with pytest.raises(MethodError, match="reads 100 tokens at most, the model 512"):
        outputs(alone, PROMPTS, installed=eager(Forward(model="short")))


def test_a_damaged_draft_model_is_refused_in_words(alone, deep_loaded):
    tensors = {**deep_loaded.tensors}
    tensors["norm.weight"] = tensors["norm.weight"] * float("nan")
    alone._opener = {"broken": engine_of(replace(deep_loaded, tensors=tensors))}.__getitem__
    ledger = Ledger(Caps(tokens=1000))
    with pytest.raises(ModelError, match="not numbers"):
        outputs(alone, PROMPTS, installed=eager(Forward(model="broken")), ledger=ledger)
    assert ledger.reserved.tokens == 0


def test_a_head_of_another_width_is_refused(engine):
    digest = saved_head(AcceptanceHead.new(32, seed=0))
    with pytest.raises(MethodError, match="width 32"):
        outputs(engine, PROMPTS, installed=eager(Forward(layout=FULL, head=digest)))


def test_a_missing_head_is_refused_with_the_way_to_train_it(engine):
    with pytest.raises(MethodError, match="missing or damaged") as caught:
        outputs(engine, PROMPTS, installed=eager(Forward(layout=FULL, head="0" * 64)))
    assert "--acceptance" in caught.value.hint


def test_plain_drafters_are_still_asked_alone(engine, base):
    installed = Installed(draft=ToyDrafter(lambda tokens, limit: tokens[-5:]))
    assert tokens_of(outputs(engine, PROMPTS, installed=installed, max_new_tokens=16)) == tokens_of(
        base
    )
