"""Loading: forms and prices are measured once a machine, thread count and number format."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the `torch` extra")

import torch

from engines.tiny_gguf import write_tiny_gguf
from engines.torch_rig import outputs, tokens_of
from rheostat.engines import torch_prices
from rheostat.engines.cache_folder import file_digest
from rheostat.engines.machine import machine
from rheostat.engines.torch_load import load_torch
from rheostat.errors import ModelError, UserError

DAMAGE = {
    "half": lambda text: text[: len(text) // 2],
    "no JSON": lambda text: "measured on a Tuesday",
    "a list": lambda text: "[1, 2]",
    "no forms": lambda text: json.dumps({"prices": json.loads(text)["prices"]}),
    "a strange form": lambda text: text.replace('"narrow": "', '"narrow": "un'),
    "no numbers": lambda text: text.replace('"fixed": ', '"fixed": "x" , "fixed_": '),
    "short rows": lambda text: text.replace('"mlp": [', '"mlp": [], "rest": ['),
    "not a number": lambda text: text.replace('"fixed": ', '"fixed": NaN, "fixed_": '),
}


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("RHEOSTAT_CACHE", str(tmp_path / "cache"))


@pytest.fixture(autouse=True)
def threads():
    """Loading sets torch's threads; give them back."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


class Lines(list):
    """Lines of progress; how often something was measured."""

    def __call__(self, line):
        self.append(line)

    @property
    def measured(self):
        return sum(line.startswith("measuring") for line in self)


def measurements():
    return sorted((Path(os.environ["RHEOSTAT_CACHE"]) / "measurements").iterdir())


def test_a_second_load_measures_nothing_and_has_the_same_prices(tiny_gguf):
    lines = Lines()
    first = load_torch(str(tiny_gguf), progress=lines, threads=1)
    second = load_torch(str(tiny_gguf), progress=lines, threads=1)
    assert lines.measured == 1
    assert first.prices() == second.prices()


def test_measuring_again_can_be_asked_for(tiny_gguf):
    lines = Lines()
    load_torch(str(tiny_gguf), progress=lines, threads=1)
    load_torch(str(tiny_gguf), progress=lines, threads=1, remeasure=True)
    assert lines.measured == 2
    assert len(measurements()) == 1


@pytest.mark.parametrize(("slower", "again"), [(1.0, 0), (100.0, 1)])
def test_what_was_measured_on_a_busy_machine_is_measured_again(
    tiny_gguf, monkeypatch, slower, again
):
    monkeypatch.setattr(torch_prices, "SHORTEST", 0.0)
    monkeypatch.setattr(torch_prices, "BUSY", 10.0)
    lines = Lines()
    load_torch(str(tiny_gguf), threads=1)
    (stored,) = measurements()
    data = json.loads(stored.read_text())
    prices = data["prices"]
    prices["attention"] = [[slower * x for x in row] for row in prices["attention"]]
    prices |= {part: [slower * x for x in prices[part]] for part in ("mlp", "head")}
    prices["fixed"] *= slower
    stored.write_text(json.dumps(data))
    load_torch(str(tiny_gguf), threads=1, progress=lines)
    assert lines.measured == again
    load_torch(str(tiny_gguf), threads=1, progress=lines)
    assert lines.measured == again


def test_measurements_are_kept_apart_by_what_changes_them(tiny_gguf, tmp_path):
    lines = Lines()
    other = write_tiny_gguf(tmp_path / "other.gguf", seed=1)
    for path, threads, dtype in (
        (tiny_gguf, 1, "float32"),
        (tiny_gguf, 2, "float32"),
        (tiny_gguf, 1, "bfloat16"),
        (other, 1, "float32"),
    ):
        engine = load_torch(str(path), threads=threads, dtype=dtype, progress=lines)
        assert (torch.get_num_threads(), engine.dtype) == (threads, dtype)
    assert lines.measured == len(measurements()) == 4


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_measurements_are_made_again(tiny_gguf, damage):
    lines = Lines()
    load_torch(str(tiny_gguf), threads=1)
    (stored,) = measurements()
    stored.write_text(damage(stored.read_text()))
    load_torch(str(tiny_gguf), threads=1, progress=lines)
    load_torch(str(tiny_gguf), threads=1, progress=lines)
    assert lines.measured == 1


def test_the_measured_table_is_one(tiny_gguf):
    table = load_torch(str(tiny_gguf), threads=1).prices()
    rows = [*table.attention, table.mlp, table.head]
    assert len(table.attention) == len(table.contexts)
    assert all(len(row) == len(table.tokens) for row in rows)
    assert all(seconds > 0 for row in rows for seconds in row)
    assert table.fixed >= 0


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_loaded_model_says_what_it_is_and_answers(tiny_gguf, dtype):
    engine = load_torch(str(tiny_gguf), dtype=dtype, threads=1)
    assert (engine.model, engine.digest) == (str(tiny_gguf), file_digest(tiny_gguf))
    assert (engine.dtype, engine.shape.layers, engine.card.name) == (dtype, 2, "torch")
    (output,) = outputs(engine, ["is it a star"], max_new_tokens=4)
    assert output.token_ids


def test_loading_and_running_leave_the_cached_weights_as_they_are(tiny_gguf):
    first = tokens_of(outputs(load_torch(str(tiny_gguf), threads=1), ["is it a star"]))
    folder = Path(os.environ["RHEOSTAT_CACHE"]) / "weights"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert tokens_of(outputs(load_torch(str(tiny_gguf), threads=1), ["is it a star"])) == first
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_without_a_thread_count_all_cores_are_used(tiny_gguf):
    load_torch(str(tiny_gguf))
    assert torch.get_num_threads() == machine().cores


@pytest.mark.parametrize("threads", [0, -1, 4 * machine().cores + 1])
def test_a_thread_count_out_of_range_is_refused(tiny_gguf, threads):
    with pytest.raises(UserError, match=f"got `{threads}`") as error:
        load_torch(str(tiny_gguf), threads=threads)
    assert error.value.hint


@pytest.mark.parametrize("dtype", ["float16", "", "FLOAT32"])
def test_an_unknown_dtype_is_refused(tiny_gguf, dtype):
    with pytest.raises(UserError, match=f"no dtype `{dtype}`") as error:
        load_torch(str(tiny_gguf), dtype=dtype)
    assert "`bfloat16`" in error.value.hint


def test_an_unknown_model_is_refused():
    with pytest.raises(ModelError, match="unknown model"):
        load_torch("gpt-17")


def test_a_machine_is_plain_data():
    found = machine()
    assert json.loads(json.dumps(found.to_json())) == found.to_json()
    assert found.cores >= 1
    assert f"{found.cores} cores" in found.name


def test_a_model_runs_where_its_measurements_cannot_be_kept(tiny_gguf, monkeypatch):
    load_torch(str(tiny_gguf), threads=1)  # its weights are unpacked
    (kept,) = measurements()
    kept.unlink()
    kept.parent.rmdir()
    kept.parent.write_text("a file where a folder has to be")
    lines = Lines()
    engine = load_torch(str(tiny_gguf), threads=1, progress=lines)
    assert outputs(engine, ["the"], max_new_tokens=2)
    assert any("cannot be written" in line and "next time" in line for line in lines)
