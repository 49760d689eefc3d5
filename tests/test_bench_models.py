"""The benchmark suites `models` and `memory`: what a cell holds, and on what it was measured."""

from __future__ import annotations

import json
import subprocess
import sys
from types import MappingProxyType

import pytest

pytest.importorskip("torch", reason="the suites run on the `torch` engine")
pytest.importorskip("transformers", reason="needs the package `transformers`")

from rheostat.bench import models, models_loads, models_planned, models_shapes
from rheostat.bench.models import PROMPTS
from rheostat.bench.models_shapes import SHAPES
from rheostat.bench.peer import Timed

SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "vocab_size": 300}
HEADS = {"num_attention_heads": 4, "max_position_embeddings": 96}


@pytest.fixture
def small(monkeypatch, engines_folder):
    common = {**models_shapes._COMMON, **SMALL, **HEADS}
    monkeypatch.setattr(models_shapes, "_COMMON", MappingProxyType(common))
    monkeypatch.setattr(models, "REPEATS", 1)
    monkeypatch.setattr(models, "NEW_TOKENS", 3)
    monkeypatch.setattr(models_loads, "REPEATS", 1)
    monkeypatch.setattr(models_loads, "NEW_TOKENS", 3)
    loads = {
        "eight at once": models_loads.Load(8, 9),
        "behind 40 tokens": models_loads.Load(1, 40, ("gpt2",)),
    }
    monkeypatch.setattr(models_loads, "LOADS", loads)


@pytest.fixture
def engines_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("RHEOSTAT_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize(("name", "runs_on"), [("qwen3", "lean loop"), ("gpt2", "own module")])
def test_a_random_model_is_timed_against_its_own_module(small, name, runs_on):
    found = models._random(name, "float32")
    cell, loads = found["speed"], found["loads"]
    assert [one["load"] for one in loads] == (
        ["eight at once", "behind 40 tokens"] if name == "gpt2" else ["eight at once"]
    )
    assert all(one["ratio"]["repeats"] == 1 and one["ratio"]["min"] > 0 for one in loads)
    assert cell["model"] == name
    assert runs_on in cell["runs_on"]
    assert cell["ratio"]["repeats"] == 1
    assert cell["ratio"]["median"] > 0


def test_every_shape_is_one_of_transformers():
    import transformers

    assert all(hasattr(transformers, shape.config) for shape in SHAPES.values())


def test_identical_answers_are_counted(tiny_gguf, engines_folder):
    import rheostat

    engine = rheostat.load(tiny_gguf, threads=1)

    class Peer:
        """Answers as the engine does, but for its first answer."""

        def __init__(self):
            self.answers = 0

        def generate(self, prompts, *, new_tokens, eos):
            self.answers += 1
            tokens = models._ours(engine, PROMPTS[self.answers - 1], new_tokens)[0]
            return Timed([tokens if self.answers > 1 else [-1]], 1.0)

    found = models._identical(engine, Peer(), lambda _: None)
    assert (found["prompts"], found["identical"]) == (len(PROMPTS), len(PROMPTS) - 1)


@pytest.mark.slow
def test_a_model_is_profiled_and_planned(tiny_gguf, engines_folder, monkeypatch, tmp_path):
    texts = tmp_path / "texts.jsonl"
    lines = [json.dumps({"prompt": f"the cat and hat {i}, the cat and hat"}) for i in range(9)]
    texts.write_text("\n".join(lines))
    monkeypatch.setattr(models_planned, "WORKLOAD", str(texts))
    monkeypatch.setattr(models_planned, "ITEMS", 2)
    monkeypatch.setattr(models_planned, "NEW_TOKENS", 4)
    found = models_planned.planned(str(tiny_gguf), lambda _: None)
    assert found["measured"]["items"] == 2
    assert found["measured"]["exact_match"] == 1
    assert found["profile_seconds"] > 0
    assert found["predicted_price_ratio"] <= 1


@pytest.mark.slow
def test_a_process_says_what_it_held(tiny_gguf, engines_folder):
    order = {"model": str(tiny_gguf), "dtype": "float32", "batch": 2, "new": 4}
    watched, alone = (_held(order | {"watched": watched}) for watched in (True, False))
    for found in (watched, alone):
        assert found["peak"] >= found["imports"] > found["imports_anonymous"] > 0
        assert found["cache"] > 0
    assert 0 < watched["own"] - watched["imports_own"] < watched["peak"] - watched["imports"]
    assert (alone["own"], alone["anonymous"]) == (0, 0)


def _held(order):
    done = subprocess.run(
        [sys.executable, "-m", "rheostat.bench.memory_child", json.dumps(order)],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])
