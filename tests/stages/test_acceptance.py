"""The acceptance head: its labels, its loss, that it learns, and where it is kept."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="needs the `torch` extra")

import torch

from contract.tiny_engine import PROMPTS, tiny_engine
from rheostat.engines.base import Request
from rheostat.engines.torch_acceptance import AcceptanceHead, loaded_head, saved_head
from rheostat.errors import MethodError, WorkloadError
from rheostat.kernel.seams import Depth, Installed, Layout
from rheostat.stages.acceptance import (
    REFUSAL_WEIGHT,
    Examples,
    corrected_mean,
    examples,
    fitted_head,
    trained,
    weighted_loss,
)


@pytest.fixture(scope="module")
def engine(tiny_gguf, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RHEOSTAT_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        return tiny_engine(tiny_gguf)


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_loss_is_smallest_where_the_weight_is_taken_out():
    labels = torch.tensor([1.0, 0.0, 0.5, 1.0])
    best = corrected_mean(labels)
    losses = [float(weighted_loss((best + shift).expand(4), labels)) for shift in (-0.2, 0.0, 0.2)]
    assert losses[1] == min(losses)
    accepted = float(labels.mean())
    score = float(best.sigmoid())
    assert score == pytest.approx(accepted / (accepted + REFUSAL_WEIGHT * (1 - accepted)))


def test_a_weighted_loss_by_hand():
    logits, labels = torch.tensor([0.0, 0.0]), torch.tensor([1.0, 0.0])
    assert float(weighted_loss(logits, labels)) == pytest.approx(0.693147, abs=1e-5)
    sure = torch.tensor([2.0, 2.0])  # 1 x 0.126928 + 6 x 2.126928, over 7
    assert float(weighted_loss(sure, labels)) == pytest.approx(1.841214, abs=1e-5)


def test_a_draft_of_the_whole_model_is_always_accepted(engine):
    found = examples(engine, [10, 20, 30], [40, 50, 60, 70], layer=2, draw=draws())
    assert torch.allclose(found.labels, torch.ones(4))


def test_labels_of_likeliest_tokens_say_whether_the_model_would_choose_them(engine):
    prompt, answer = [10, 20, 30], list(range(40, 72))
    found = examples(engine, prompt, answer, layer=1, draw=draws())
    choices = [
        engine.score(prompt, answer, installed=Installed(depth=Depth(layout))).choice
        for layout in (Layout.full(2).within(0, 1), Layout.full(2))
    ]
    agreeing = torch.tensor(choices[0] == choices[1]).float()
    assert found.labels[::2].tolist() == agreeing[::2].tolist()
    assert ((found.labels >= 0) & (found.labels <= 1)).all()


def test_a_drafted_token_is_read_after_the_true_text(engine):
    """What follows in the answer, and what was drafted before, does not change a hidden state."""
    prompt, answer = [10, 20, 30], list(range(40, 60))
    longer = examples(engine, prompt, answer, layer=1, draw=draws())
    for at in (1, 8):
        shorter = examples(engine, prompt, answer[:at], layer=1, draw=draws())
        assert torch.allclose(longer.hidden[:at:2], shorter.hidden[::2], atol=1e-5)


def test_a_head_learns_what_its_hidden_states_tell():
    hidden = torch.randn(4000, 32, generator=draws(3))
    labels = (hidden[:, 0] > 0).float()
    head = fitted_head(Examples(hidden[:3000], labels[:3000]), draw=draws(4), seed=5)
    logits = head.logits(hidden[3000:]).detach()
    constant = corrected_mean(labels[:3000]).expand(1000)
    assert weighted_loss(logits, labels[3000:]) < 0.7 * weighted_loss(constant, labels[3000:])


def test_the_blocks_have_weights_of_their_own():
    hidden = torch.randn(64, 16, generator=draws(1))
    head = fitted_head(Examples(hidden, (hidden[:, 1] > 0).float()), draw=draws(2), seed=3)
    blocks = [head.tensors[f"block.{i}.weight"] for i in range(3)]
    assert not torch.allclose(blocks[0], blocks[1])
    assert head.weights == 3 * 16 * 16 + 16


def test_the_same_seed_trains_the_same_head(engine):
    items = [Request(id=str(i), prompt=prompt) for i, prompt in enumerate(PROMPTS)]
    first, second = (
        trained(engine, items, layer=1, seed=7, say=lambda text: None) for _ in range(2)
    )
    assert first == second
    assert set(first["held_out"]) == {"examples", "loss", "constant_loss"}


def test_too_few_answers_are_refused(engine):
    with pytest.raises(WorkloadError, match="acceptance head"):
        trained(engine, [Request(id="0", prompt="z")], layer=1, seed=0, say=lambda text: None)


def test_a_head_is_kept_under_its_digest():
    head = AcceptanceHead.new(16, seed=2)
    digest = saved_head(head)
    kept = loaded_head(digest)
    x = torch.randn(3, 16, generator=draws())
    assert kept.scores(x) == head.scores(x)
    assert saved_head(kept) == digest


def test_a_damaged_head_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("RHEOSTAT_CACHE", str(tmp_path))
    digest = saved_head(AcceptanceHead.new(16, seed=2))
    (file,) = tmp_path.glob("heads/*.safetensors")
    file.write_bytes(file.read_bytes()[:-4] + b"0000")
    with pytest.raises(MethodError, match="missing or damaged"):
        loaded_head(digest)
