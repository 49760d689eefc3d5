"""Writes a tiny random Gemma 3 as a GGUF file, with a SentencePiece tokenizer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gguf import GGUFWriter, TokenType

from rheostat.engines.architecture import Architecture, rope_of
from rheostat.engines.gguf_family import FAMILIES
from rheostat.engines.weight_names import weight_shapes
from rheostat.kernel.model_cost import ModelShape

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

WINDOW, EPS, THETA = 8, 1e-6, 1e6
SPECIAL = ("<pad>", "<eos>", "<bos>", "<unk>", "<end_of_turn>")
DEFINED = ("\n", "\n\n", "  ", "   ", "<b>")
_BY_SCORE = (
    "▁t he in re on er ▁a at ▁the en ▁w an ▁an and ▁and it ▁it is ▁is aa aaa th ▁th "
    "▁ t h e i n r o a w d s b g é"
)
PIECES = tuple(_BY_SCORE.split())
TOKENS = (*SPECIAL, *DEFINED, *(f"<0x{byte:02X}>" for byte in range(256)), *PIECES)
SHAPE = ModelShape(
    layers=7,
    width=32,
    heads=4,
    kv_heads=1,
    head_size=16,
    inner=48,
    vocabulary=len(TOKENS),
    context=128,
    tied=True,
)
NORMED = Architecture(
    eps=EPS,
    ropes=(rope_of(16, THETA),),
    rope_of=(0,) * 7,
    windows=(0,) * 7,
    head_norms=True,
    post_norms=True,
)
"""Names the weights; what the file's architecture is, the reader has to find."""


def random_weights(random: np.random.Generator) -> dict[str, NDArray[np.float32]]:
    return {
        name: ((random.standard_normal(shape) / shape[-1] ** 0.5) + (len(shape) == 1)).astype("f4")
        for name, shape in weight_shapes(SHAPE, NORMED).items()
    }


def score(token: str) -> float:
    return -float(PIECES.index(token)) if token in PIECES else -1000.0


def write_tiny_gemma(
    path: Path, weights: dict[str, NDArray[np.float32]], *, adds_space: bool = False
) -> Path:
    writer = GGUFWriter(path, "gemma3")
    writer.add_block_count(SHAPE.layers)
    writer.add_context_length(SHAPE.context)
    writer.add_embedding_length(SHAPE.width)
    writer.add_feed_forward_length(SHAPE.inner)
    writer.add_head_count(SHAPE.heads)
    writer.add_head_count_kv(SHAPE.kv_heads)
    writer.add_key_length(SHAPE.head_size)
    writer.add_value_length(SHAPE.head_size)
    writer.add_rope_freq_base(THETA)
    writer.add_layer_norm_rms_eps(EPS)
    writer.add_sliding_window(WINDOW)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(list(TOKENS))
    writer.add_token_scores([score(token) for token in TOKENS])
    writer.add_token_types([token_type(token) for token in TOKENS])
    writer.add_pad_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_bos_token_id(2)
    writer.add_unk_token_id(3)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(adds_space)
    names = FAMILIES["gemma3"].names
    for name, weight in weights.items():
        parts = name.split(".")
        block = f"blk.{parts[1]}." if parts[0] == "layers" else ""
        writer.add_tensor(f"{block}{names[parts[-2]]}.weight", weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def token_type(token: str) -> TokenType:
    if token in SPECIAL:
        return TokenType.CONTROL
    if token in DEFINED:
        return TokenType.USER_DEFINED
    return TokenType.BYTE if token.startswith("<0x") else TokenType.NORMAL
