"""Gemma 3 from GGUF files: a random one against `transformers`' own module, then the real one."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the `torch` extra")

import torch

from engines.tiny_gemma import (
    EPS,
    PIECES,
    SHAPE,
    THETA,
    TOKENS,
    WINDOW,
    random_weights,
    score,
    write_tiny_gemma,
)
from engines.torch_rig import engine_of, read
from rheostat.bench.models import PROMPTS
from rheostat.engines.base import Request, Sampling
from rheostat.engines.tokenizer import Tokenizer
from rheostat.engines.weights_cache import load_weights
from rheostat.errors import ModelError
from rheostat.kernel.seams import Installed

NEW = 12
TEXTS = ("the  thing is\n\n\nit", "aaaa and   aaaaa", "<b>é</b> ﷽ ", " the", "", "<bos>the")


@pytest.fixture
def weights():
    return random_weights(np.random.default_rng(0))


@pytest.fixture
def tiny(tmp_path, weights):
    return load_weights(str(write_tiny_gemma(tmp_path / "gemma.gguf", weights)))


def as_transformers(weights):
    """Their module with the same weights, whose norms it stores without the 1."""
    transformers = pytest.importorskip("transformers")
    config = transformers.Gemma3TextConfig(
        vocab_size=SHAPE.vocabulary,
        hidden_size=SHAPE.width,
        intermediate_size=SHAPE.inner,
        num_hidden_layers=SHAPE.layers,
        num_attention_heads=SHAPE.heads,
        num_key_value_heads=SHAPE.kv_heads,
        head_dim=SHAPE.head_size,
        query_pre_attn_scalar=SHAPE.head_size,
        sliding_window=WINDOW,
        rms_norm_eps=EPS,
        max_position_embeddings=SHAPE.context,
        rope_parameters={
            "full_attention": {"rope_type": "default", "rope_theta": THETA},
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
        },
    )
    model = transformers.Gemma3ForCausalLM(config).eval()
    places = {
        "embed": "embed_tokens",
        "norm": "norm",
        "attn_norm": "input_layernorm",
        "attn_post_norm": "post_attention_layernorm",
        "mlp_norm": "pre_feedforward_layernorm",
        "mlp_post_norm": "post_feedforward_layernorm",
        **{f"{x}_norm": f"self_attn.{x}_norm" for x in "qk"},
        **{x: f"self_attn.{x}_proj" for x in "qkvo"},
        **{x: f"mlp.{x}_proj" for x in ("gate", "up", "down")},
    }
    state = {}
    for name, weight in weights.items():
        parts = name.split(".")
        block = f"layers.{parts[1]}." if parts[0] == "layers" else ""
        offset = float(weight.ndim == 1)
        state[f"model.{block}{places[parts[-2]]}.weight"] = torch.from_numpy(weight) - offset
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert (set(missing) - {"lm_head.weight"}, unexpected) == (set(), [])
    model.tie_weights()
    return model


def merged_by_score(text):
    """SentencePiece's rule: join the neighbours whose joint scores highest, leftmost first."""
    pieces = list(text.replace(" ", "▁"))
    while True:
        joints = [a + b for a, b in itertools.pairwise(pieces)]
        known = [i for i, joint in enumerate(joints) if joint in PIECES]
        if not known:
            return pieces
        i = max(known, key=lambda i: (score(joints[i]), -i))
        pieces[i : i + 2] = [joints[i]]


@torch.inference_mode()
def test_a_gguf_file_gives_the_logits_of_transformers(tiny, weights):
    """Beyond the window, and over local and global layers."""
    tokens = np.random.default_rng(1).integers(0, SHAPE.vocabulary, 3 * WINDOW).tolist()
    expected = as_transformers(weights)(torch.tensor([tokens])).logits[0]
    llama = engine_of(tiny).llama
    assert (read(llama, tokens) - expected).abs().max() < 1e-3
    assert (read(llama, tokens, split=range(1, len(tokens))) - expected).abs().max() < 1e-3


def test_tokens_are_merged_by_score(tiny):
    tokenizer = Tokenizer.of(tiny)
    for text in ("the thing", "an and then it is", "a waand those inn", "aa a aaa"):
        assert [TOKENS[i] for i in tokenizer.encode(text)] == merged_by_score(text)


@pytest.mark.parametrize("text", TEXTS)
def test_text_comes_back(tiny, text):
    tokenizer = Tokenizer.of(tiny)
    assert tokenizer.decode(tokenizer.encode(text)) == text
    stream = tokenizer.stream()
    pieces = [stream.push(token) for token in tokenizer.encode(text)]
    assert "".join(pieces) + stream.finish() == text


def test_raw_text_starts_with_the_start_token(tiny):
    assert engine_of(tiny).encode(Request(id="", prompt="the"))[0] == tiny.bos_id == 2


def test_chat_needs_a_template(tiny):
    assert not Tokenizer.of(tiny).chats
    with pytest.raises(ModelError, match="no chat template"):
        Tokenizer.of(tiny).chat([{"role": "user", "content": "hi"}])


def test_a_space_before_every_text_is_not_supported(tmp_path, weights):
    path = write_tiny_gemma(tmp_path / "spaced.gguf", weights, adds_space=True)
    with pytest.raises(ModelError, match="not supported"):
        load_weights(str(path))


@pytest.fixture(scope="module")
def gemma():
    try:
        return load_weights("gemma3-270m")
    except ModelError as error:
        if "licence" not in str(error.hint):
            raise
        pytest.skip("the Gemma Terms of Use have not been accepted here")


@pytest.mark.slow
@torch.inference_mode()
def test_the_real_model_answers_as_transformers(gemma):
    transformers = pytest.importorskip("transformers")
    path = gemma.gguf_path
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32
    ).eval()
    engine = engine_of(gemma)
    requests = [Request(id=str(i), prompt=prompt) for i, prompt in enumerate(PROMPTS[::5])]
    sampling = Sampling(max_new_tokens=NEW)
    made = {o.id: o.token_ids for o in engine.generate(requests, sampling, installed=Installed())}
    for request in requests:
        prompt, answer = engine.encode(request), list(made[request.id])
        logits = theirs(torch.tensor([[*prompt, *answer]])).logits[0]
        chosen = logits.argmax(dim=-1).tolist()[len(prompt) - 1 :]
        assert chosen[: len(answer)] == answer
        assert len(answer) == NEW or chosen[len(answer)] in engine.eos
        assert (read(engine.llama, [*prompt, *answer]) - logits).abs().max() < 1e-3


@pytest.mark.slow
def test_real_text_is_cut_as_transformers_cuts_it(gemma):
    transformers = pytest.importorskip("transformers")
    path = gemma.gguf_path
    theirs = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    ours = Tokenizer.of(gemma)
    for prompt in PROMPTS:
        assert [*ours.starts, *ours.encode(prompt)] == theirs(prompt).input_ids
