"""Writes a tiny random llama as a GGUF file, with a real byte-level BPE tokenizer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, TokenType, quantize

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<repo_name>")
# Merges in rank order; "_" stands for the space's byte-level letter.
MERGES = (
    "_ t|h e|i n|r e|o n|e r|_ a|_ s|a t|_t he|e n|o r|_ c|e s|i s|_ w|n d|a n|i t|_ b|o u|a r|"
    "_ o|a l|_ f|e d|in g|_ p|_ m|l e|_ in|_a nd|r o|_ d|_ h|_o f|_t o|l l|s t|i c"
)
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nBe brief<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CONTEXT = 512
ROPE_THETA = 10000.0
NORM_EPS = 1e-5


def byte_letters() -> list[str]:
    """The letter that stands for each byte in byte-level BPE (the table of GPT-2)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


def tiny_merges() -> list[str]:
    return MERGES.replace("_", byte_letters()[ord(" ")]).split("|")


def tiny_tokens(vocabulary: int) -> list[str]:
    """Control tokens, the 256 bytes, the merged tokens, then unused names up to the size."""
    tokens = [*CONTROL, *byte_letters(), *(merge.replace(" ", "") for merge in tiny_merges())]
    if vocabulary < len(tokens):
        raise ValueError(f"the vocabulary has at least {len(tokens)} tokens")
    return [*tokens, *(f"<unused_{i}>" for i in range(vocabulary - len(tokens)))]


def tiny_weights(
    *,
    layers: int = 2,
    width: int = 32,
    heads: int = 4,
    kv_heads: int = 2,
    inner: int = 64,
    vocabulary: int = 300,
    tied: bool = True,
    seed: int = 0,
) -> dict[str, NDArray[np.float32]]:
    """Random weights under Rheostat's names, in Hugging Face orientation and row order."""
    random = np.random.default_rng(seed)
    kv_width = width // heads * kv_heads

    def matrix(rows: int, columns: int) -> NDArray[np.float32]:
        return (random.standard_normal((rows, columns)) / columns**0.5).astype(np.float32)

    def norm() -> NDArray[np.float32]:
        return (1 + 0.1 * random.standard_normal(width)).astype(np.float32)

    weights = {"embed.weight": matrix(vocabulary, width), "norm.weight": norm()}
    if not tied:
        weights["head.weight"] = matrix(vocabulary, width)
    for i in range(layers):
        weights |= {
            f"layers.{i}.attn_norm.weight": norm(),
            f"layers.{i}.q.weight": matrix(width, width),
            f"layers.{i}.k.weight": matrix(kv_width, width),
            f"layers.{i}.v.weight": matrix(kv_width, width),
            f"layers.{i}.o.weight": matrix(width, width),
            f"layers.{i}.mlp_norm.weight": norm(),
            f"layers.{i}.gate.weight": matrix(inner, width),
            f"layers.{i}.up.weight": matrix(inner, width),
            f"layers.{i}.down.weight": matrix(width, inner),
        }
    return weights


GGUF_NAMES = {
    "embed": "token_embd",
    "norm": "output_norm",
    "head": "output",
    "attn_norm": "attn_norm",
    "q": "attn_q",
    "k": "attn_k",
    "v": "attn_v",
    "o": "attn_output",
    "mlp_norm": "ffn_norm",
    "gate": "ffn_gate",
    "up": "ffn_up",
    "down": "ffn_down",
}


def gguf_name(name: str) -> str:
    parts = name.split(".")
    block = f"blk.{parts[1]}." if parts[0] == "layers" else ""
    return f"{block}{GGUF_NAMES[parts[-2]]}.weight"


def rotary_interleaved(weight: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """llama.cpp's row order of a query or key projection."""
    halves = weight.reshape(heads, 2, -1, weight.shape[1])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(weight.shape))


def write_tiny_gguf(
    path: Path,
    *,
    layers: int = 2,
    width: int = 32,
    heads: int = 4,
    kv_heads: int = 2,
    inner: int = 64,
    vocabulary: int = 300,
    tied: bool = True,
    seed: int = 0,
    architecture: str = "llama",
    chat_template: str | None = CHAT_TEMPLATE,
    tokenizer_model: str = "gpt2",
    pre: str = "smollm",
    extra: dict[str, Any] | None = None,
    more_weights: dict[str, NDArray[np.float32]] | None = None,
    quantisation: GGMLQuantizationType = GGMLQuantizationType.F32,
) -> Path:
    """Write the file; `extra` adds metadata (int, float, bool or str), `more_weights` tensors."""
    writer = GGUFWriter(path, architecture)
    writer.add_block_count(layers)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_rope_freq_base(ROPE_THETA)
    writer.add_rope_dimension_count(width // heads)
    writer.add_layer_norm_rms_eps(NORM_EPS)
    writer.add_vocab_size(vocabulary)
    add_tokenizer(writer, vocabulary, tokenizer_model, pre)
    if chat_template is not None:
        writer.add_chat_template(chat_template)
    add_extra(writer, extra or {})
    weights = tiny_weights(
        layers=layers,
        width=width,
        heads=heads,
        kv_heads=kv_heads,
        inner=inner,
        vocabulary=vocabulary,
        tied=tied,
        seed=seed,
    )
    for name, weight in weights.items():
        add_tensor(writer, name, weight, heads, kv_heads, quantisation)
    for name, weight in (more_weights or {}).items():
        writer.add_tensor(name, weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def add_tokenizer(writer: GGUFWriter, vocabulary: int, model: str, pre: str) -> None:
    tokens = tiny_tokens(vocabulary)
    writer.add_tokenizer_model(model)
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([token_type(token) for token in tokens])
    writer.add_token_merges(tiny_merges())
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(False)


def token_type(token: str) -> TokenType:
    if token in CONTROL:
        return TokenType.CONTROL
    return TokenType.UNUSED if token.startswith("<unused_") else TokenType.NORMAL


def add_extra(writer: GGUFWriter, extra: dict[str, Any]) -> None:
    add = {
        bool: writer.add_bool,
        int: writer.add_uint32,
        float: writer.add_float32,
        str: writer.add_string,
    }
    for key, value in extra.items():
        add[type(value)](key, value)


def add_tensor(
    writer: GGUFWriter,
    name: str,
    weight: NDArray[np.float32],
    heads: int,
    kv_heads: int,
    quantisation: GGMLQuantizationType,
) -> None:
    if name.endswith((".q.weight", ".k.weight")):
        weight = rotary_interleaved(weight, heads if ".q." in name else kv_heads)
    if weight.ndim == 1 or quantisation is GGMLQuantizationType.F32:
        writer.add_tensor(gguf_name(name), weight)
    else:
        writer.add_tensor(gguf_name(name), quantize(weight, quantisation), raw_dtype=quantisation)
