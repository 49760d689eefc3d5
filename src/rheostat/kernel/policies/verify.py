"""Verification of a draft: what the model writes is what it would have written without one.

Speculative sampling (arXiv 2211.17192, 2302.01318) for a draft that proposes one certain token at
each place: token x is accepted with probability p(x), else a token is drawn from p with x removed
and renormalised, so every token has the law p. At temperature 0, p is one-hot and the same rule
keeps the longest prefix that agrees with the model's choices and adds one token.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rheostat.kernel.policies.sampling import draw

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What a step writes."""

    tokens: tuple[int, ...]
    """The accepted draft tokens and one token of the model's own."""
    accepted: int
    """How many of them were drafted."""


def verify_greedy(choices: Sequence[int], draft: Sequence[int]) -> Verified:
    """Keep the longest agreeing prefix of the draft and add the model's next choice.

    Args:
        choices: the model's choice before each draft token and one after the last: k + 1.
        draft: k token ids.
    """
    accepted = 0
    while accepted < len(draft) and draft[accepted] == choices[accepted]:
        accepted += 1
    tokens = (*draft[:accepted], choices[accepted])
    return Verified(tokens=tuple(int(t) for t in tokens), accepted=accepted)


def verify_sampled(
    probabilities: Floats, draft: Sequence[int], rng: np.random.Generator
) -> Verified:
    """Accept each draft token with its probability; at the first refusal draw another one.

    Args:
        probabilities: the model's law before each draft token and after the last: [k + 1, V].
        draft: k token ids.
        rng: the row's own generator.
    """
    for place, token in enumerate(draft):
        law = probabilities[place]
        # Against the sum, not against 1: a token that holds all the mass is never refused.
        if rng.random() * law.sum() < law[token]:
            continue
        others = law.copy()
        others[token] = 0.0
        tokens = (*(int(t) for t in draft[:place]), draw(others, rng))
        return Verified(tokens=tokens, accepted=place)
    last = draw(probabilities[len(draft)], rng)
    return Verified(tokens=(*(int(t) for t in draft), last), accepted=len(draft))
