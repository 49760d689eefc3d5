"""Weights by name: converted once, mapped afterwards, made again when damaged."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from engines.tiny_gguf import CHAT_TEMPLATE, tiny_weights, write_tiny_gguf
from rheostat.engines.architecture import llama, rope_of
from rheostat.engines.cache_folder import cache_folder
from rheostat.engines.weight_names import weight_shapes
from rheostat.engines.weights_cache import load_weights
from rheostat.errors import ModelError, OutputError

if TYPE_CHECKING:
    from pathlib import Path

    from rheostat.engines.weights_cache import LoadedModel


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RHEOSTAT_CACHE", str(tmp_path / "cache"))


def cached(suffix: str) -> Path:
    (path,) = (cache_folder() / "weights").glob(f"*.{suffix}")
    return path


def assert_whole(model: LoadedModel) -> None:
    expected = tiny_weights()
    assert set(model.tensors) == set(expected)
    for name, tensor in model.tensors.items():
        np.testing.assert_array_equal(tensor.numpy(), expected[name], err_msg=name)


def test_first_and_second_load_give_the_same_model(tiny_gguf: Path) -> None:
    said: list[str] = []
    first = load_weights(str(tiny_gguf), progress=said.append)
    assert len(said) == 1
    second = load_weights(str(tiny_gguf), progress=said.append)
    assert len(said) == 1
    assert_whole(first)
    assert_whole(second)
    assert {**vars(first), "tensors": 0} == {**vars(second), "tensors": 0}


def test_a_model_brings_what_an_engine_needs(tiny_gguf: Path) -> None:
    model = load_weights(str(tiny_gguf))
    assert (model.name, model.gguf_path) == (str(tiny_gguf), tiny_gguf)
    assert (model.bos_id, model.eos_ids) == (1, {0, 2})
    assert model.special_ids == {0, 1, 2, 3}
    assert model.named_tokens["bos_token"] == "<|im_start|>"
    assert model.named_tokens["eos_token"] == "<|im_end|>"
    assert model.chat_template == CHAT_TEMPLATE
    assert {name: tuple(t.shape) for name, t in model.tensors.items()} == weight_shapes(model.shape)


def test_an_untied_head_is_a_tensor_of_its_own(tmp_path: Path) -> None:
    model = load_weights(str(write_tiny_gguf(tmp_path / "m.gguf", tied=False)))
    assert not model.shape.tied
    assert not model.tensors["head.weight"].equal(model.tensors["embed.weight"])


def test_the_second_start_does_not_need_the_gguf_library(tiny_gguf: Path) -> None:
    load_weights(str(tiny_gguf))
    code = (
        "import sys; from rheostat.engines.weights_cache import load_weights;"
        f"load_weights({str(tiny_gguf)!r}); print('gguf' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_two_first_starts_at_once_both_succeed(tiny_gguf: Path) -> None:
    code = f"from rheostat.engines.weights_cache import *; load_weights({str(tiny_gguf)!r})"
    both = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert len(list((cache_folder() / "weights").iterdir())) == 2
    assert_whole(load_weights(str(tiny_gguf)))


@pytest.mark.parametrize("size", [0, 5, 100, 3000, -1])
def test_truncated_weights_are_made_again(tiny_gguf: Path, size: int) -> None:
    load_weights(str(tiny_gguf))
    weights = cached("safetensors")
    weights.write_bytes(weights.read_bytes()[:size])
    assert_whole(load_weights(str(tiny_gguf)))


@pytest.mark.parametrize("suffix", ["safetensors", "json"])
def test_a_missing_half_is_made_again(tiny_gguf: Path, suffix: str) -> None:
    load_weights(str(tiny_gguf))
    cached(suffix).unlink()
    assert_whole(load_weights(str(tiny_gguf)))


@pytest.mark.parametrize("damage", ["", "{", "[]", "null", '{"version": 1}', "\x00" * 40])
def test_a_bad_description_is_made_again(tiny_gguf: Path, damage: str) -> None:
    load_weights(str(tiny_gguf))
    cached("json").write_text(damage)
    assert_whole(load_weights(str(tiny_gguf)))


def test_an_altered_description_is_made_again(tiny_gguf: Path) -> None:
    load_weights(str(tiny_gguf))
    held = json.loads(cached("json").read_text())
    held["model"]["architecture"]["eps"] = 5.0
    cached("json").write_text(json.dumps(held))
    assert load_weights(str(tiny_gguf)).architecture.eps == pytest.approx(1e-5)


def test_a_description_that_is_no_text_is_made_again(tiny_gguf: Path) -> None:
    load_weights(str(tiny_gguf))
    cached("json").write_bytes(b"\xff\xfe" + cached("json").read_bytes()[2:])
    assert_whole(load_weights(str(tiny_gguf)))


def test_a_changed_file_is_another_model(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "m.gguf", seed=1)
    first = load_weights(str(path))
    path.unlink()
    write_tiny_gguf(path, seed=2, layers=3)
    second = load_weights(str(path))
    assert first.digest != second.digest
    assert second.shape.layers == 3


def test_mapped_weights_survive_the_replacement_of_their_file(tiny_gguf: Path) -> None:
    model = load_weights(str(tiny_gguf))
    cached("safetensors").unlink()
    assert_whole(model)


def test_a_full_disk_is_said_in_words_and_leaves_nothing(tiny_gguf: Path) -> None:
    # A limit on file sizes fails the write in the middle, as a full disk does.
    code = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000));"
        f"from rheostat.engines.weights_cache import *\ntry: load_weights({str(tiny_gguf)!r})\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"{OutputError.__name__} `")
    assert "cannot be written: File too large\nhint: free some space" in done.stdout
    assert list((cache_folder() / "weights").iterdir()) == []


def test_a_similar_name_is_suggested() -> None:
    with pytest.raises(ModelError, match="unknown model `smolm2`") as caught:
        load_weights("smolm2")
    assert caught.value.hint == "did you mean `smollm2`?"


def test_an_unknown_name_lists_the_known_forms() -> None:
    with pytest.raises(ModelError, match="unknown model `gpt`") as caught:
        load_weights("gpt")
    assert "`smollm2`" in caught.value.hint
    assert ".gguf" in caught.value.hint


def test_paths_that_are_no_model_are_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.gguf").mkdir()
    (tmp_path / "notes.txt").write_text("no model")
    for name, message in {
        "absent.gguf": "does not exist",
        "folder.gguf": "is a folder",
        "notes.txt": "is no model's file",
    }.items():
        with pytest.raises(ModelError, match=message):
            load_weights(str(tmp_path / name))


def test_an_unsupported_tokenizer_leaves_no_cache(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "m.gguf", pre="qwen2")
    with pytest.raises(ModelError, match="tokenizer `gpt2` / `qwen2`"):
        load_weights(str(path))
    assert not (cache_folder() / "weights").exists()


@pytest.mark.slow
def test_smollm2_is_what_its_card_says(smollm2: LoadedModel) -> None:
    shape = smollm2.shape
    assert (shape.layers, shape.width, shape.heads, shape.kv_heads) == (30, 576, 9, 3)
    assert (shape.vocabulary, shape.context, shape.tied) == (49152, 8192, True)
    assert (smollm2.bos_id, smollm2.eos_ids) == (1, {0, 2})
    rope = rope_of(64, 100000.0)
    assert smollm2.architecture == llama(layers=30, eps=smollm2.architecture.eps, rope=rope)
    assert smollm2.special_ids == set(range(17))
    assert sum(t.numel() for t in smollm2.tensors.values()) == 134_515_008
