"""Simulated rows of known greedy text: what a draft source would cost, without a model."""

from __future__ import annotations

import random
from dataclasses import dataclass

from rheostat.kernel.model_cost import ModelShape, interpolated
from rheostat.kernel.policies.token_tree import depths, parents_of
from rheostat.kernel.policies.verify import verify_greedy
from rheostat.kernel.seams import DraftStart

VOCABULARY = 50_000
SHAPE = ModelShape(
    layers=2,
    width=8,
    heads=2,
    kv_heads=1,
    head_size=4,
    inner=16,
    vocabulary=VOCABULARY,
    context=4096,
)
TOKENS = (1, 2, 3, 4, 6, 8, 11, 16, 32)
FLOAT32 = (1, 1.2, 1.27, 1.81, 1.91, 2.33, 2.77, 2.24, 2.78)
BFLOAT16 = (1, 1.12, 1.13, 1.19, 1.18, 1.21, 1.24, 1.26, 1.39)


def float32_seconds(n):
    """Measured cost of a pass over n new tokens in fp32: neither linear nor monotone."""
    return interpolated(TOKENS, FLOAT32, n)


def bfloat16_seconds(n):
    return interpolated(TOKENS, BFLOAT16, n)


@dataclass(frozen=True)
class Simulated:
    price: float
    """Price of the output's steps, 1 = one step a token."""
    tokens_per_step: float
    verified: int
    """Draft tokens verified."""


def start_of(prompt, *, special=frozenset(), step_seconds=float32_seconds):
    return DraftStart(
        prompt=prompt, special=special, step_seconds=lambda n, context: step_seconds(n)
    )


def simulate(drafter, prompt, output, *, step_seconds=float32_seconds):
    """Write a known output with a drafter, as greedy verification does."""
    state = drafter.start(start_of(prompt, step_seconds=step_seconds))
    done = steps = verified = 0
    price = 0.0
    while done < len(output):
        limit = len(output) - done - 1
        draft = drafter.propose(state, limit)
        assert len(draft) <= limit
        places = [done, *(done + 1 + depth for depth in depths(parents_of(draft)))]
        accepted = verify_greedy([output[place] for place in places], draft).accepted
        state = drafter.commit(state, output[done : done + accepted + 1])
        price += step_seconds(len(draft) + 1)
        verified += len(draft)
        done += accepted + 1
        steps += 1
    return Simulated(price / len(output), len(output) / steps, verified)


def random_text(seed, length, vocabulary=VOCABULARY):
    draw = random.Random(seed)
    return [draw.randrange(vocabulary) for _ in range(length)]


def changed_copy(seed, source, kept):
    """Copy a text, each token kept with a probability and else replaced."""
    draw = random.Random(seed)
    return [t if draw.random() < kept else draw.randrange(VOCABULARY) for t in source]
