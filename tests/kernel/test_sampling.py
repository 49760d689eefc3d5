"""From logits to a distribution, against `transformers` and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import special, stats

from rheostat.kernel.policies.sampling import distribution, draw, penalised
from rheostat.kernel.policies.token_tree import TokenTree

LOGITS = arrays(np.float64, 6, elements=st.integers(-8, 8).map(float))


@given(LOGITS)
def test_at_temperature_0_all_mass_is_on_the_first_of_the_largest(logits: np.ndarray) -> None:
    law = distribution(logits, temperature=0, top_k=2, top_p=0.1)
    assert law.sum() == law[logits.argmax()] == 1.0


@given(LOGITS, st.floats(0.1, 5))
def test_without_limits_it_is_the_softmax_at_a_temperature(
    logits: np.ndarray, temperature: float
) -> None:
    expected = special.softmax(logits / temperature)
    np.testing.assert_allclose(distribution(logits, temperature=temperature), expected)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(
    ("top_k", "top_p", "min_p"),
    [(3, 1.0, 0.0), (0, 0.7, 0.0), (4, 0.6, 0.0), (50, 0.05, 0.0), (0, 1.0, 0.2), (5, 0.9, 0.1)],
)
def test_limits_are_those_of_transformers(
    seed: int, top_k: int, top_p: float, min_p: float
) -> None:
    torch = pytest.importorskip("torch", reason="needs the `torch` extra")
    process = pytest.importorskip(
        "transformers.generation.logits_process", reason="needs `transformers`"
    )
    logits = np.random.default_rng(seed).normal(size=(2, 12)) * 2
    steps = [process.TemperatureLogitsWarper(0.8)]
    steps += [process.TopKLogitsWarper(top_k)] if top_k else []
    steps += [process.TopPLogitsWarper(top_p), process.MinPLogitsWarper(min_p)]
    scores = torch.tensor(logits)
    for step in steps:
        scores = step(None, scores)
    found = distribution(logits, temperature=0.8, top_k=top_k, top_p=top_p, min_p=min_p)
    np.testing.assert_allclose(found, scores.softmax(-1).numpy(), atol=1e-12)


def test_logits_equal_to_the_kth_all_stay() -> None:
    law = distribution(np.array([2.0, 1.0, 1.0, 0.0]), temperature=1.0, top_k=2)
    assert (law > 0).tolist() == [True, True, True, False]


def test_ties_at_the_border_of_the_nucleus_go_to_the_lower_id() -> None:
    law = distribution(np.zeros(4), temperature=1.0, top_p=0.5)
    np.testing.assert_allclose(law, [0.5, 0.5, 0.0, 0.0])


@given(LOGITS, st.floats(0.01, 0.99))
def test_the_nucleus_is_the_smallest_set_that_reaches_p(logits: np.ndarray, top_p: float) -> None:
    full = special.softmax(logits)
    kept = distribution(logits, temperature=1.0, top_p=top_p) > 0
    assert full[kept].sum() >= top_p - 1e-9
    assert kept.sum() == 1 or full[kept].sum() - full[kept].min() < top_p + 1e-9


def test_a_tiny_temperature_is_greedy() -> None:
    law = distribution(np.array([1.0, 3.0, 2.0]), temperature=1e-320)
    assert law.tolist() == [0.0, 1.0, 0.0]


def test_impossible_tokens_stay_impossible() -> None:
    law = distribution(np.array([0.0, -np.inf, 0.0]), temperature=2.0, top_k=2, top_p=0.9)
    assert law.tolist() == [0.5, 0.0, 0.5]


def test_draws_follow_the_weights_and_never_take_an_impossible_token() -> None:
    rng = np.random.default_rng(3)
    weights = np.array([0.0, 2.0, 0.0, 5.0, 3.0, 0.0])
    counts = np.bincount([draw(weights, rng) for _ in range(4000)], minlength=6)
    assert counts[[0, 2, 5]].sum() == 0
    assert stats.chisquare(counts[[1, 3, 4]], np.array([0.2, 0.5, 0.3]) * 4000).pvalue > 0.01


@pytest.mark.parametrize("penalty", [1.3, 0.8])
def test_the_repetition_penalty_is_that_of_transformers_and_counts_the_draft(
    penalty: float,
) -> None:
    torch = pytest.importorskip("torch", reason="needs the `torch` extra")
    process = pytest.importorskip(
        "transformers.generation.logits_process", reason="needs `transformers`"
    )
    logits = np.random.default_rng(3).normal(size=(3, 12))
    past, draft = [4, 4, 7], [9, 0]
    own = penalised(logits, past, draft, penalty)
    for place in range(3):
        ids = torch.tensor([[*past, *draft[:place]]])
        theirs = process.RepetitionPenaltyLogitsProcessor(penalty)(
            ids, torch.tensor(logits[place : place + 1])
        )
        np.testing.assert_allclose(own[place], theirs[0].numpy())


def test_the_repetition_penalty_counts_a_token_s_own_branch_alone() -> None:
    logits = np.random.default_rng(4).normal(size=(4, 12))
    tree = TokenTree((9, 0, 5), (-1, -1, 0))
    own = penalised(logits, [4, 7], tree, 1.3)
    for row, (place, branch) in enumerate([(0, []), (1, [9]), (1, [0]), (2, [9, 5])]):
        rows = np.repeat(logits[row : row + 1], len(branch) + 1, axis=0)
        np.testing.assert_array_equal(own[row], penalised(rows, [4, 7], branch, 1.3)[place])
