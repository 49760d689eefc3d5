"""Verification of a draft: what the model writes is what it would have written without one.

Speculative sampling (arXiv 2211.17192, 2302.01318): a token x that was drawn from q is accepted
with probability min(1, p(x) / q(x)), else a token is drawn from max(p - q, 0), renormalised, so
every token has the law p. A copy proposes one certain token: q is one-hot, x is accepted with
probability p(x), and the rest is p with x removed. At temperature 0, p is one-hot and the same rule
keeps the longest prefix that agrees with the model's choices and adds one token.

Where a draft branches, the tokens that hang on one place are tried in turn: each is accepted with
its probability in what the refused ones before it left of p, which is renormalised, and when all
are refused a token is drawn from what is left (recursive rejection, as in arXiv 2305.09781). So the
law stays p, and at temperature 0 the walk follows the model's choices down the tree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rheostat.kernel.policies.sampling import draw
from rheostat.kernel.policies.token_tree import WRITTEN, TokenTree, children

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What a step writes."""

    tokens: tuple[int, ...]
    """The accepted draft tokens and one token of the model's own."""
    accepted: int
    """How many of them were drafted."""
    path: tuple[int, ...] = ()
    """Which tokens of a draft that branches; of a chain they are its first."""


def verify_greedy(choices: Sequence[int], draft: Sequence[int]) -> Verified:
    """Keep the longest agreeing prefix of the draft and add the model's next choice.

    Args:
        choices: the model's choice after the written text and after each draft token: k + 1.
        draft: k token ids, or a tree of them.
    """
    if isinstance(draft, TokenTree):
        return _walked_greedily(choices, draft)
    accepted = 0
    while accepted < len(draft) and draft[accepted] == choices[accepted]:
        accepted += 1
    tokens = (*draft[:accepted], choices[accepted])
    return Verified(tokens=tuple(int(t) for t in tokens), accepted=accepted)


def verify_sampled(
    probabilities: Floats,
    draft: Sequence[int],
    rng: np.random.Generator,
    drawn_from: Floats | None = None,
) -> Verified:
    """Accept each draft token with its probability; at the first refusal draw another one.

    Args:
        probabilities: the model's law after the written text and after each draft token:
            [k + 1, V].
        draft: k token ids, or a tree of them.
        rng: the row's own generator.
        drawn_from: the law that each token of a chain was drawn from, [k, V]; None = each was
            certain.
    """
    if isinstance(draft, TokenTree):
        return _walked_by_chance(probabilities, draft, rng)
    for place, token in enumerate(draft):
        law = probabilities[place]
        own = None if drawn_from is None else drawn_from[place]
        likelihood = 1.0 if own is None else own[token] / own.sum()
        # Against the sum, not against 1: a token that holds all the mass is never refused.
        if rng.random() * law.sum() * likelihood < law[token]:
            continue
        tokens = (*(int(t) for t in draft[:place]), draw(_rest(law, own, token), rng))
        return Verified(tokens=tokens, accepted=place)
    last = draw(probabilities[len(draft)], rng)
    return Verified(tokens=(*(int(t) for t in draft), last), accepted=len(draft))


def _rest(law: Floats, own: Floats | None, refused: int) -> Floats:
    """Return what is drawn from after a refusal: the model's law where it is over the draft's."""
    rest = law.copy() if own is None else np.maximum(law / law.sum() - own / own.sum(), 0.0)
    rest[refused] = 0.0  # the model's law is under the draft's where a token was refused
    return rest if rest.any() else law


def _walked_greedily(choices: Sequence[int], tree: TokenTree) -> Verified:
    below, at, path = children(tree.parents), WRITTEN, list[int]()
    while True:
        choice = choices[at + 1]
        at = next((node for node in below[at + 1] if tree.tokens[node] == choice), WRITTEN)
        if at == WRITTEN:
            return _taken(tree, path, choice)
        path.append(at)


def _walked_by_chance(probabilities: Floats, tree: TokenTree, rng: np.random.Generator) -> Verified:
    below, at, path = children(tree.parents), WRITTEN, list[int]()
    while True:
        law = probabilities[at + 1].copy()
        for node in below[at + 1]:
            token = tree.tokens[node]
            if rng.random() * law.sum() < law[token]:
                at = node
                break
            law[token] = 0.0
        else:
            return _taken(tree, path, draw(law, rng))
        path.append(at)


def _taken(tree: TokenTree, path: Sequence[int], last: int) -> Verified:
    tokens = (*(int(tree.tokens[node]) for node in path), int(last))
    return Verified(tokens=tokens, accepted=len(path), path=tuple(path))
