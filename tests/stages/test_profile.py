"""The profile of a model: its fields, and its numbers against a full recomputation."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the `torch` extra")

from contract.tiny_engine import LAYERS
from rheostat.errors import ModelError, WorkloadError
from rheostat.stages.profile import DOCUMENT_TOKENS, cached_profile, make_profile
from rheostat.stages.profile_redundancy import KINDS, document_loss, without
from rheostat.workloads.load import load_workload
from stages.conftest import write_lines

HEAD = {
    "version", "model", "digest", "dtype", "threads", "seed", "command", "machine", "shape",
    "cost", "redundancy", "entropy", "copy_rate", "seconds",
}  # fmt: skip
MACHINE = {"name", "cpu", "cores", "memory_gib", "os", "python", "torch", "rheostat"}


@pytest.fixture(scope="module")
def said():
    return []


@pytest.fixture(scope="module")
def profile(tiny, said):
    return make_profile(tiny, progress=said.append)


@pytest.fixture(scope="module")
def redundancy(profile):
    return profile["redundancy"]


def documents(engine, part):
    texts = (item.prompt for item in load_workload("prose", part=part).items)
    tokens = [engine.tokenizer.encode(text)[:DOCUMENT_TOKENS] for text in texts]
    return [t for t in tokens if len(t) >= DOCUMENT_TOKENS // 2][:3]


def test_a_profile_has_every_field(profile, tiny):
    assert set(profile) == HEAD
    assert set(profile["machine"]) >= MACHINE
    assert profile["shape"] == tiny.shape.to_json()
    assert set(profile["entropy"]) == {"mean", "median", "p90", "tokens"}
    assert set(profile["copy_rate"]) == {"edit", "copy", "summarise", "chat"}
    assert profile["command"].startswith(f"rheostat profile {tiny.model} --dtype float32")


def test_a_written_token_is_worth_tokens_that_are_read(profile):
    law = profile["cost"]["prefill_equivalents"]
    assert law["step"] > 1
    assert law["context"] >= 0
    assert 0 <= law["largest_error"] < 1


def test_redundancy_has_a_number_for_every_unit(redundancy):
    for kind in KINDS:
        assert len(redundancy[kind]["similarity"]) == LAYERS
        assert len(redundancy[kind]["drop_loss"]) == LAYERS
        assert len(redundancy["held_out"][kind]) == len(redundancy["held_out"]["k"])


@pytest.mark.parametrize("kind", KINDS)
def test_quantiles_rise_around_the_mean(redundancy, kind):
    for mean, quantiles in zip(
        redundancy[kind]["similarity"], redundancy[kind]["similarity_quantiles"], strict=True
    ):
        assert len(quantiles) == 21
        assert quantiles == sorted(quantiles)
        assert quantiles[0] <= mean <= quantiles[-1]


def test_the_curves_cover_both_formats(profile):
    curves = profile["cost"]["curves"]
    assert {curve["dtype"] for curve in curves} == {"float32", "bfloat16"}
    assert all(len(curve["tokens"]) == len(curve["seconds"]) for curve in curves)
    assert curves[0]["tokens"] == [1, 2, 3, 4, 6, 8, 12, 16, 24, 32]
    assert all(second > 0 for curve in curves for second in curve["seconds"])


def test_a_profile_is_plain_json_without_nan(profile):
    text = json.dumps(profile, allow_nan=False)
    assert json.loads(text) == profile


@pytest.mark.parametrize("kind", KINDS)
def test_drop_losses_are_those_of_reading_everything_again(tiny, redundancy, kind):
    texts = documents(tiny, "calibration")
    assert sum(len(t) - 1 for t in texts) == redundancy["tokens"]
    for layer in (0, 4, LAYERS - 1):
        loss = document_loss(tiny.llama, texts, without(LAYERS, kind, [layer]))
        found = redundancy["base_loss"] + redundancy[kind]["drop_loss"][layer]
        assert found == pytest.approx(loss, abs=1e-4)


def test_held_out_losses_are_read_on_other_text(tiny, redundancy):
    texts = documents(tiny, "test")
    dropped = redundancy["ranking"]["mlp"][:2]
    loss = document_loss(tiny.llama, texts, without(LAYERS, "mlp", dropped))
    held_out = redundancy["held_out"]
    assert held_out["base_loss"] != redundancy["base_loss"]
    assert held_out["base_loss"] + held_out["mlp"][1] == pytest.approx(loss, abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_the_most_similar_units_are_ranked_first(redundancy, kind):
    ranked = redundancy["ranking"][kind]
    assert sorted(ranked) == list(range(LAYERS))
    assert np.all(np.diff([redundancy[kind]["similarity"][i] for i in ranked]) <= 0)


def test_attentions_and_mlps_are_ranked_together(redundancy):
    joint = redundancy["ranking"]["joint"]
    assert len({tuple(unit) for unit in joint}) == 2 * LAYERS
    assert np.all(np.diff([redundancy[kind]["similarity"][i] for kind, i in joint]) <= 0)


def test_shares_lie_between_nothing_and_all(profile):
    assert all(0 <= rate <= 1 for rate in profile["copy_rate"].values())
    entropy = profile["entropy"]
    assert 0 <= entropy["median"] <= entropy["p90"] <= np.log(profile["shape"]["vocabulary"])


def test_a_profile_is_kept(profile, tiny):
    assert cached_profile(tiny) == profile


def test_progress_names_every_long_part(profile, said):
    for part in ("leaving out attention 10 of 10", "timing passes: bfloat16", "`chat` copy"):
        assert any(part in line for line in said)


def test_the_copy_rate_is_that_of_the_workload_asked_for(shallow, questions):
    made = make_profile(shallow, workload=questions, seed=3)
    assert list(made["copy_rate"]) == [questions]
    assert made["seed"] == 3
    assert f"--workload {questions}" in made["command"]


def test_a_prompt_over_the_context_is_refused_in_the_workload_asked_for(shallow, tmp_path):
    lines = [{"prompt": f"{i} " * 600} for i in range(8)]
    with pytest.raises(WorkloadError, match="context"):
        make_profile(shallow, workload=write_lines(tmp_path / "long.jsonl", lines))


def test_an_engine_that_shows_nothing_inside_is_refused(copying):
    engine, _ = copying
    with pytest.raises(ModelError, match="shows nothing of a model's inside"):
        make_profile(engine)
    assert cached_profile(engine) is None
