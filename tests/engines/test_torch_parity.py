"""The embedded model token for token against `transformers` on the same file."""

from __future__ import annotations

import copy
from types import MappingProxyType

import pytest

pytest.importorskip("torch", reason="needs the `torch` extra")

import torch

from engines.torch_rig import engine_of, read
from rheostat.bench.prove import margin_where_parted
from rheostat.catalog import installed
from rheostat.engines.base import Request, Sampling
from rheostat.engines.torch_fused import FUSED_ROWS
from rheostat.engines.torch_generate import CHUNK
from rheostat.engines.torch_level_ops import level_ops
from rheostat.engines.torch_levels import load_levels
from rheostat.engines.torch_load import load_torch
from rheostat.engines.torch_matrix import BFLOAT16_MARGIN, Forms, candidates
from rheostat.engines.torch_model import Llama
from rheostat.kernel.plan import Plan, Setting
from rheostat.kernel.seams import Installed
from rheostat.workloads.load import load_workload

pytestmark = pytest.mark.slow

NEW = 64
LINES = "".join(
    f"{i}. The {what} costs {i} euros.\n" for i, what in enumerate(["cup", "pen", "hat", "map"] * 6)
)
CHATS = (
    "What is the capital of France?",
    "Write a haiku about the sea.",
    "List five prime numbers and explain why each is prime.",
    "Übersetze ins Englische: Der Fluß fließt langsam durch die grünen Wiesen.",
    "日本の首都はどこですか。",
    "Why is the sky blue? 🙂",
    "Correct the spelling: Teh recieved mesage was definately wierd.",
    "Write a Python function that reverses a list.",
)
RAW = (
    "Once upon a time",
    "The",
    "def fibonacci(n):\n    ",
    "import os\nimport sys\n\ndef main(argv):\n",
    "1, 1, 2, 3, 5, 8, 13,",
    "Q: What is 17 + 25?\nA:",
    "Привет, как",
    "| name | price |\n|------|-------|\n| cup | 3 |\n| pen |",
    "naïve café — “quotes” … €",
    "   \n\n\tx",
    f"The list:\n{LINES}\nThe list again:\n0.",
)
TURNS = (
    (
        {"role": "system", "content": "You answer like a pirate."},
        {"role": "user", "content": "How do I boil an egg?"},
    ),
    (
        {"role": "user", "content": "My name is Ada."},
        {"role": "assistant", "content": "Nice to meet you, Ada!"},
        {"role": "user", "content": "What is my name?"},
    ),
)
REQUESTS = MappingProxyType(
    {f"chat {i}": {"messages": ({"role": "user", "content": c},)} for i, c in enumerate(CHATS)}
    | {f"turns {i}": {"messages": messages} for i, messages in enumerate(TURNS)}
    | {f"raw {i}": {"prompt": prompt} for i, prompt in enumerate(RAW)}
)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def theirs(smollm2):
    transformers = pytest.importorskip("transformers")
    path = smollm2.gguf_path
    return transformers.AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32
    ).eval()


@pytest.fixture(scope="module")
def ours(smollm2):
    return engine_of(smollm2, forms=Forms("plain", candidates(torch.float32)[-1], 1))


@pytest.fixture(scope="module")
def written(ours):
    return run(ours, REQUESTS)


@pytest.fixture(scope="module")
def long_text(ours):
    text = f"{LINES}\n{LINES[::-1]}\nAll of it again, in another order:\n{LINES[200:]}"
    return ours.encode(Request(id="", prompt=text))[:600]


def run(engine, names, n=NEW):
    requests = [Request(id=name, **REQUESTS[name]) for name in names]
    made = engine.generate(requests, Sampling(max_new_tokens=n), installed=Installed())
    return {output.id: output.token_ids for output in made}


def prompts(engine, names):
    return [engine.encode(Request(id=name, **REQUESTS[name])) for name in names]


def their_tokens(model, prompts, ends):
    """New tokens of `transformers.generate`; prompts are padded on the left."""
    longest = max(map(len, prompts))
    padding = [longest - len(prompt) for prompt in prompts]
    made = model.generate(
        torch.tensor([[2] * n + prompt for n, prompt in zip(padding, prompts, strict=True)]),
        attention_mask=torch.tensor([[0] * n + [1] * (longest - n) for n in padding]),
        max_new_tokens=NEW,
        do_sample=False,
        eos_token_id=sorted(ends),
        pad_token_id=2,
    )
    rows = [row[longest:] for row in made.tolist()]
    ended = [next((i for i, t in enumerate(row) if t in ends), len(row)) for row in rows]
    return [tuple(row[:end]) for row, end in zip(rows, ended, strict=True)]


@torch.inference_mode()
def their_logits(model, tokens):
    return model(torch.tensor([tokens])).logits[0]


def margins(logits):
    top = logits.float().topk(2, dim=-1).values
    return top[:, 0] - top[:, 1]


def test_greedy_tokens_are_those_of_transformers(ours, theirs, written):
    names = sorted(REQUESTS, key=lambda name: len(prompts(ours, [name])[0]))
    assert len(names) >= 20
    assert len(prompts(ours, names[-1:])[0]) > CHUNK
    for group in (names[:-1], names[-1:]):  # the long prompt would pad all others
        expected = their_tokens(theirs, prompts(ours, group), ours.eos)
        assert [written[name] for name in group] == expected


def test_rows_of_a_batch_are_as_if_alone(ours, written):
    for name in ("turns 1", "chat 4", "raw 1"):
        assert run(ours, [name], 24)[name] == written[name][:24]


def test_logits_of_a_long_prompt_are_those_of_transformers(ours, theirs, long_text):
    assert len(long_text) == 600
    expected = their_logits(theirs, long_text)
    in_chunks = read(ours.llama, long_text, split=range(CHUNK, 600, CHUNK))
    assert (in_chunks - expected).abs().max() < 1e-3


def test_token_by_token_decoding_gives_the_logits_of_one_pass(ours, long_text):
    # over the border of the chunks, and at the end
    split = [*range(CHUNK - 6, CHUNK + 6), *range(580, 600)]
    at_once, in_steps = read(ours.llama, long_text), read(ours.llama, long_text, split=split)
    assert (in_steps - at_once).abs().max() < 1e-3


def test_bfloat16_chooses_as_transformers_outside_the_declared_margin(smollm2, ours, theirs):
    names = ["chat 0", "chat 3", "turns 1", "raw 0", "raw 2", "raw 8"]
    wide = candidates(torch.bfloat16)[-1]
    engine = engine_of(smollm2, dtype=torch.bfloat16, forms=Forms("plain", wide, 1))
    made = run(engine, names)
    half = copy.deepcopy(theirs).to(torch.bfloat16)
    differing, total = 0, 0
    for name, prompt in zip(names, prompts(engine, names), strict=True):
        tokens, start = [*prompt, *made[name]], len(prompt) - 1
        chosen = torch.tensor(made[name])
        logits = their_logits(half, tokens)[start:-1]
        differs = logits.argmax(dim=-1) != chosen
        exact = read(ours.llama, tokens)[start:-1]
        assert (margins(logits)[differs] < BFLOAT16_MARGIN).all()
        assert (exact.argmax(dim=-1) == chosen)[margins(exact) >= BFLOAT16_MARGIN].all()
        differing, total = differing + int(differs.sum()), total + len(chosen)
    assert total > 30 * len(names)  # how long answers are depends on the processor's rounding
    assert differing < 0.05 * total


def test_bfloat16_is_no_further_from_float32_than_transformers(smollm2, ours, theirs, long_text):
    tokens = long_text[:80]
    exact = read(ours.llama, tokens)
    limit = 1.15 * (their_logits(copy.deepcopy(theirs).to(torch.bfloat16), tokens) - exact).abs()
    for form in candidates(torch.bfloat16):
        engine = engine_of(smollm2, dtype=torch.bfloat16, forms=Forms(form, form, 1))
        assert (read(engine.llama, tokens).float() - exact).abs().mean() < limit.mean()


def test_four_bits_read_text_nearly_as_float32(ours, long_text):
    """The file's own levels, with activations rounded around the products alone."""
    own = load_torch("smollm2", dtype="gguf", threads=1)
    scores = [e.score(long_text[:1], long_text[1:300], installed=Installed()) for e in (own, ours)]
    assert abs(scores[0].nats.mean() - scores[1].nats.mean()) < 0.02
    assert (scores[0].choice == scores[1].choice).mean() > 0.95


def test_four_bit_drafts_part_from_the_base_at_near_ties_alone(ours):
    own = load_torch("smollm2", dtype="gguf", threads=1)
    plan = Plan(model=own.model, methods=(Setting(name="suffix", dial=1.0),))
    decision = installed(plan, own.shape, own.card.offers)
    sampling = Sampling(max_new_tokens=48)
    accepted = 0
    for item in load_workload("edit", part="calibration", limit=4, seed=100000).items:
        plain, drafted = (
            next(iter(own.generate([item], sampling, installed=one)))
            for one in (Installed(), decision)
        )
        accepted += drafted.trace.accepted
        if drafted.token_ids != plain.token_ids:
            ids = plain.token_ids, drafted.token_ids
            assert margin_where_parted(own, item, *ids) < BFLOAT16_MARGIN
    assert accepted > 20


@pytest.mark.skipif(level_ops().library is None, reason=level_ops().reason or "compiled")
def test_steps_over_few_tokens_in_four_bits_are_the_files_weights_in_float32(
    smollm2, ours, long_text
):
    """Our own product keeps 15 bits of activations, so that choices are those of float32."""
    forms = Forms(level_own=True, quick_rows=FUSED_ROWS, quick_own=True)
    own = Llama(smollm2, dtype=torch.float32, forms=forms, levels=load_levels(smollm2))
    tokens = long_text[:200]
    wanted = read(ours.llama, tokens)
    for width in (1, 5, FUSED_ROWS):
        logits = read(own, tokens, split=range(width, len(tokens), width))
        assert (logits - wanted).abs().max() < 0.1
        clear = margins(wanted) > 0.1
        assert torch.equal(logits.argmax(dim=-1)[clear], wanted.argmax(dim=-1)[clear])
