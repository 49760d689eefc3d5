"""GGUF files: read as transformers reads them, refused in one sentence when damaged."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFReader, dequantize, quantize
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from engines.tiny_gguf import NORM_EPS, ROPE_THETA, gguf_name, tiny_weights, write_tiny_gguf
from rheostat.engines.architecture import rope_of
from rheostat.engines.gguf_file import open_gguf
from rheostat.engines.weight_names import weight_shapes
from rheostat.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

    from rheostat.engines.weights_cache import LoadedModel


def read_everything(path: Path) -> None:
    for tensor in open_gguf(path).tensors.values():
        tensor.values()


def test_the_shape_is_read(tiny_gguf: Path) -> None:
    model = open_gguf(tiny_gguf)
    shape = model.shape
    assert (shape.layers, shape.width, shape.heads, shape.kv_heads) == (2, 32, 4, 2)
    assert (shape.head_size, shape.inner, shape.vocabulary, shape.tied) == (8, 64, 300, True)
    assert model.architecture.is_plain(8)
    assert model.architecture.ropes == (rope_of(8, ROPE_THETA),)
    assert model.architecture.eps == pytest.approx(NORM_EPS)


@pytest.mark.parametrize("tied", [True, False])
def test_weights_come_back_in_hugging_face_order(tmp_path: Path, tied: bool) -> None:
    model = open_gguf(write_tiny_gguf(tmp_path / "m.gguf", tied=tied, seed=3))
    expected = tiny_weights(tied=tied, seed=3)
    assert set(model.tensors) == set(expected) == set(weight_shapes(model.shape))
    assert model.shape.tied is tied
    for name, tensor in model.tensors.items():
        np.testing.assert_array_equal(tensor.values(), expected[name], err_msg=name)


@pytest.mark.parametrize("kind", ["F16", "Q8_0", "Q4_1", "BF16"])
def test_quantised_weights_equal_the_dequantised_blocks(tmp_path: Path, kind: str) -> None:
    format_ = GGMLQuantizationType[kind]
    model = open_gguf(write_tiny_gguf(tmp_path / "m.gguf", quantisation=format_))
    expected = tiny_weights()
    # Rows are quantised one by one, so the order of rows does not change their values.
    for name in ("layers.1.q.weight", "layers.0.k.weight", "layers.0.down.weight"):
        rows = dequantize(quantize(expected[name], format_), format_)
        values = model.tensors[name].values()
        assert values.dtype == np.float32
        np.testing.assert_array_equal(values, rows, err_msg=name)


@pytest.mark.parametrize("size", [0, 3, 4, 23, 24, 200, 5000, 10_000, 60_000])
def test_a_truncated_file_is_refused_in_words(tmp_path: Path, tiny_gguf: Path, size: int) -> None:
    path = tmp_path / "cut.gguf"
    path.write_bytes(tiny_gguf.read_bytes()[:size])
    with pytest.raises(ModelError, match="is not a whole GGUF file") as caught:
        read_everything(path)
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint


def test_the_last_byte_is_missed(tmp_path: Path, tiny_gguf: Path) -> None:
    path = tmp_path / "cut.gguf"
    tensors = GGUFReader(tiny_gguf).tensors
    end = max(tensor.data_offset + tensor.n_bytes for tensor in tensors)
    path.write_bytes(tiny_gguf.read_bytes()[: int(end) - 1])
    with pytest.raises(ModelError, match="is not a whole GGUF file"):
        read_everything(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.integers(0, 9000), damage=st.binary(min_size=1, max_size=9))
@example(where=0, damage=b"X")
@example(where=4, damage=b"\x09")
@example(where=8, damage=b"\xff" * 8)
@example(where=16, damage=b"\xff" * 8)
@example(where=24, damage=b"\xff" * 8)
@example(where=24, damage=b"\xff\xff\xff\xff\x7f")
def test_damage_in_the_header_never_shows_a_traceback(
    tmp_path: Path, tiny_gguf: Path, where: int, damage: bytes
) -> None:
    path = tmp_path / "damaged.gguf"
    data = bytearray(tiny_gguf.read_bytes())
    data[where : where + len(damage)] = damage
    path.write_bytes(data)
    try:
        read_everything(path)
    except ModelError as error:
        assert str(path) in error.message  # noqa: PT017


def test_huge_lists_are_refused_before_they_are_read(tmp_path: Path, tiny_gguf: Path) -> None:
    data = tiny_gguf.read_bytes()
    at = data.index(b"tokenizer.ggml.token_type") + len(b"tokenizer.ggml.token_type") + 8
    path = tmp_path / "damaged.gguf"
    path.write_bytes(data[:at] + (2**62).to_bytes(8, "little") + data[at + 8 :])
    with pytest.raises(ModelError, match="is not a whole GGUF file"):
        open_gguf(path)


def test_values_that_are_not_finite_are_refused(tmp_path: Path, tiny_gguf: Path) -> None:
    path = tmp_path / "damaged.gguf"
    shutil.copy(tiny_gguf, path)
    reader = GGUFReader(path, "r+")
    (tensor,) = [tensor for tensor in reader.tensors if tensor.name == "blk.1.ffn_up.weight"]
    tensor.data[3, 4] = np.nan
    reader.data.flush()
    with pytest.raises(ModelError, match=r"`blk\.1\.ffn_up\.weight` that are not finite"):
        read_everything(path)


@pytest.mark.parametrize(
    ("name", "content"), [("text.gguf", b"hello world, no model"), ("empty.gguf", b"")]
)
def test_what_is_no_gguf_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match="is not a whole GGUF file"):
        open_gguf(tmp_path / name)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read: No such file"):
        open_gguf(tmp_path / "absent.gguf")


def test_another_architecture_is_named(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "m.gguf", architecture="qwen2")
    with pytest.raises(ModelError, match="holds the architecture `qwen2`"):
        open_gguf(path)


@pytest.mark.parametrize(
    "extra",
    [
        {"llama.rope.scaling.type": "linear"},
        {"llama.rope.scaling.factor": 4.0},
        {"llama.expert_count": 8},
        {"llama.attention.sliding_window": 4096},
        {"split.count": 3},
    ],
)
def test_what_changes_the_forward_pass_is_refused(tmp_path: Path, extra: dict[str, Any]) -> None:
    path = write_tiny_gguf(tmp_path / "m.gguf", extra=extra)
    with pytest.raises(ModelError, match=f"sets `{next(iter(extra))}` to"):
        open_gguf(path)


def test_harmless_entries_are_read_over(tmp_path: Path) -> None:
    extra = {"llama.rope.scaling.type": "none", "llama.expert_count": 0, "own.entry": True}
    assert open_gguf(write_tiny_gguf(tmp_path / "m.gguf", extra=extra)).shape.layers == 2


@pytest.mark.parametrize(
    ("extra_weight", "message"),
    [("rope_freqs.weight", "scales its rotary"), ("blk.0.attn_q.bias", "not a weight of such")],
)
def test_a_weight_that_would_be_left_out_is_refused(
    tmp_path: Path, extra_weight: str, message: str
) -> None:
    weights = {extra_weight: np.ones(4, dtype=np.float32)}
    path = write_tiny_gguf(tmp_path / "m.gguf", more_weights=weights)
    with pytest.raises(ModelError, match=message):
        open_gguf(path)


def test_odd_head_sizes_are_refused(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "m.gguf", extra={"llama.attention.key_length": 6})
    with pytest.raises(ModelError, match="which is not supported"):
        open_gguf(path)


def test_missing_layers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    write_tiny_gguf(path)
    data = path.read_bytes()
    at = data.index(b"llama.block_count") + len(b"llama.block_count") + 4
    path.write_bytes(data[:at] + (3).to_bytes(4, "little") + data[at + 4 :])
    with pytest.raises(ModelError, match=r"holds no `blk\.2\.attn_norm\.weight`"):
        open_gguf(path)


@pytest.mark.slow
def test_every_tensor_equals_transformers(smollm2: LoadedModel, transformers_smollm2: Any) -> None:
    expected = transformers_smollm2.state_dict()
    assert bool(transformers_smollm2.config.tie_word_embeddings) is smollm2.shape.tied
    assert len(expected) == len(smollm2.tensors) + smollm2.shape.tied
    for name, tensor in smollm2.tensors.items():
        other = expected[hugging_face_name(name)]
        assert tensor.dtype == other.dtype
        assert tensor.equal(other), name


def hugging_face_name(name: str) -> str:
    """transformers' name of a weight."""
    own = gguf_name(name).split(".")[-2]
    inside = {
        "token_embd": "embed_tokens",
        "output_norm": "norm",
        "attn_norm": "input_layernorm",
        "attn_q": "self_attn.q_proj",
        "attn_k": "self_attn.k_proj",
        "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj",
        "ffn_norm": "post_attention_layernorm",
        "ffn_gate": "mlp.gate_proj",
        "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj",
    }[own]
    layer = f"layers.{name.split('.')[1]}." if name.startswith("layers.") else ""
    return f"model.{layer}{inside}.weight"
