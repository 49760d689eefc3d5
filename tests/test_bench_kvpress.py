"""The process that kvpress runs in, with a stand-in for the package on a tiny random llama."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace

import pytest

pytest.importorskip("torch", reason="the suites run on the `torch` engine")
pytest.importorskip("transformers", reason="the peer is a package over it")

import torch
import transformers

from rheostat.bench import kvpress_worker

PROMPT, TOLD = [5, 9, 3, 7, 11, 2, 8, 6], [4, 1, 10]


@pytest.fixture(scope="module")
def llama():
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=12,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
    )
    return transformers.LlamaForCausalLM(config).eval()


class Press:
    """What the package calls `BasePress`, as far as the worker leans on it."""

    @contextmanager
    def __call__(self, model):
        def hook(module, _, kwargs, output):
            layer = kwargs["past_key_values"].layers[module.layer_idx]
            self.compress(module, kwargs["hidden_states"], layer.keys, layer.values, None, kwargs)
            return output

        hooks = [
            layer.self_attn.register_forward_hook(hook, with_kwargs=True)
            for layer in model.model.layers
        ]
        yield
        for one in hooks:
            one.remove()


class Newest(Press):
    """Keeps the newest tokens."""

    def __init__(self, compression_ratio=0.0, **_):
        self.ratio = compression_ratio

    def post_init_from_model(self, model):
        return

    def compress(self, module, hidden, keys, values, attentions, kwargs):
        kept = int(keys.shape[2] * (1 - self.ratio))
        return keys[:, :, -kept:], values[:, :, -kept:]


class Wrapping(Newest):
    def __init__(self, press):
        super().__init__(press.ratio)


NAMES = ("StreamingLLM", "SnapKV", "TOVA", "ExpectedAttention", "Knorm")
PACKAGE = SimpleNamespace(
    BasePress=Press, MergingPress=Wrapping, **{f"{name}Press": Newest for name in NAMES}
)


def answered(llama, kept):
    order = {"prompt": PROMPT, "continuation": TOLD, "kept": {"0.5": kept}}
    return kvpress_worker.answered(PACKAGE, llama, order)


@torch.inference_mode()
def test_where_everything_stays_a_continuation_is_read_as_ever(llama):
    made = answered(llama, len(PROMPT) - 1)
    whole = llama(torch.tensor([PROMPT + TOLD[:-1]])).logits[0, len(PROMPT) - 1 :]
    nats = torch.nn.functional.cross_entropy(whole, torch.tensor(TOLD))
    assert made["base"]["nats"] == pytest.approx(float(nats), abs=1e-5)
    assert len(made) == 1 + 6


@torch.inference_mode()
def test_what_is_kept_keeps_its_place_and_its_bytes_are_counted(llama):
    made = answered(llama, 4)["SnapKV 0.5"]
    entry = 2 * 2 * 2 * 4 * 4  # layers, keys and values, heads, size, bytes
    assert made["bytes"] == (4 + len(TOLD) - 1) * entry
    # after one layer's window an earlier token is gone: read with a mask that hides it
    mask = torch.full((11 - 1, 11 - 1), float("-inf")).triu(1)
    mask[len(PROMPT) :, : len(PROMPT) - 4] = float("-inf")
    tokens = torch.tensor([PROMPT + TOLD[:-1]])
    hidden = llama(tokens, attention_mask=mask[None, None]).logits[0, len(PROMPT) - 1 :]
    nats = torch.nn.functional.cross_entropy(hidden, torch.tensor(TOLD))
    assert made["nats"] == pytest.approx(float(nats), abs=1e-5)
