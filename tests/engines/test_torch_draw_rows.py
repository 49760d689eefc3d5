"""Tokens drawn by the compiled call and by torch: one law, whatever the neighbours and threads."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="needs the `torch` extra")

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rheostat.engines import torch_draw_rows
from rheostat.engines.torch_draw_rows import BLOCK, by_torch, draw_rows
from rheostat.kernel.policies.all_or_one import AllOrOne

NEAR = 1e-4


@pytest.fixture(params=["compiled", "torch"])
def drawing(request):
    if request.param == "torch":
        return by_torch
    if torch_draw_rows._compiled() is None:
        pytest.skip("there is no compiled library")
    return draw_rows


def drawn(rows, vocabulary, *, seed=0, scale=4.0):
    draw = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(rows, vocabulary, generator=draw)
    return logits, torch.rand(rows, generator=draw, dtype=torch.float64)


@settings(deadline=None, max_examples=60)
@given(
    rows=st.integers(1, 9),
    vocabulary=st.integers(1, 40) | st.sampled_from([BLOCK, BLOCK + 1, 3 * BLOCK - 1, 2 * BLOCK]),
    heat=st.sampled_from([0.02, 0.7, 1.0, 2.0]),
    scale=st.sampled_from([0.0, 1.0, 30.0]),
    masked=st.booleans(),
)
def test_the_token_is_where_the_cumulated_mass_passes_the_chance(
    rows, vocabulary, heat, scale, masked
):
    logits, chances = drawn(rows, vocabulary, scale=scale)
    if masked:
        logits[:, 1::3] = -torch.inf
    for drawing in (draw_rows, by_torch):
        tokens, levels, entropies = drawing(logits, torch.full((rows,), heat), chances)
        law = logits.double().log_softmax(dim=-1)
        mass = (logits.double() / heat).softmax(dim=-1)
        own = mass.gather(1, tokens[:, None])[:, 0]
        ends = mass.cumsum(dim=-1).gather(1, tokens[:, None])[:, 0]
        assert ((ends - own - NEAR <= chances) & (chances <= ends + NEAR)).all()
        assert not logits.gather(1, tokens[:, None]).isinf().any()
        assert torch.allclose(levels, logits.double().logsumexp(dim=-1), rtol=1e-6, atol=1e-5)
        true = -(law.exp() * law.clamp(min=-1e4)).sum(dim=-1)
        assert torch.allclose(entropies, true, rtol=1e-4, atol=1e-4)


def test_no_temperature_takes_the_first_largest_logit(drawing):
    logits, chances = drawn(5, 2 * BLOCK + 3)
    logits[2, [7, 300]] = 99.0
    tokens = drawing(logits, torch.zeros(5), chances).tokens
    assert tokens.tolist() == logits.argmax(dim=-1).tolist()
    assert tokens[2] == 7


def test_a_row_is_drawn_alike_beside_any_others_on_any_number_of_threads(monkeypatch):
    logits, chances = drawn(20, 5 * BLOCK + 1)
    heats = torch.linspace(0, 2, 20)
    together, before = draw_rows(logits, heats, chances), torch.get_num_threads()
    for row in (slice(0, 1), slice(7, 8), slice(11, 20)):
        alone = draw_rows(logits[row], heats[row], chances[row])
        assert all(torch.equal(a, b[row]) for a, b in zip(alone, together, strict=True))
    monkeypatch.setattr(AllOrOne, "all", lambda choice: True)
    try:
        for count in (2, 3):
            torch.set_num_threads(count)
            found = draw_rows(logits, heats, chances)
            assert all(torch.equal(a, b) for a, b in zip(found, together, strict=True))
    finally:
        torch.set_num_threads(before)


def test_many_draws_follow_the_law(drawing):
    logits = torch.tensor([[2.0, 0.0, 1.0, -torch.inf, 0.5]])
    count = 4000
    chances = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    tokens = drawing(logits.expand(count, -1).contiguous(), torch.full((count,), 0.7), chances)[0]
    shares = torch.bincount(tokens, minlength=5).double() / count
    assert torch.allclose(shares, (logits[0].double() / 0.7).softmax(-1), atol=1.5 / count)
