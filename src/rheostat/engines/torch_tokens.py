"""Tokens drawn for many rows at once, with log-probabilities and entropies at temperature 1.

Plain draws (a temperature and nothing else) are done on all rows together (`torch_draw_rows`): with
u uniform the token is the first whose cumulated probability passes u. Other rows go through
`Sampling.laws`. A row's token depends on its own logits and chance alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from rheostat.engines.torch_draw_rows import draw_rows
from rheostat.kernel.policies.sampling import draw

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from rheostat.engines.base import Sampling


class Laws(NamedTuple):
    """What a row's token is drawn by."""

    sampling: Sampling
    rng: np.random.Generator
    past: Sequence[int]
    """Token ids of its prompt and of what was written."""


class Tokens(NamedTuple):
    """One entry a row."""

    tokens: list[int]
    logprobs: list[float]
    """Nats of the token at temperature 1."""
    entropies: list[float]
    """Nats of the law at temperature 1."""


@torch.inference_mode()
def drawn_tokens(logits: torch.Tensor, laws: Sequence[Laws]) -> Tokens:
    """Draw a token for every row of the logits, [n, vocabulary]."""
    logits = logits.float().contiguous()
    plain = [_is_plain(law.sampling) for law in laws]
    pairs = [
        (law.sampling.temperature, law.rng.random()) if own else (0.0, 0.0)
        for law, own in zip(laws, plain, strict=True)
    ]
    heats, chances = torch.tensor(pairs, dtype=torch.float64).t().contiguous()
    tokens, levels, entropies = draw_rows(logits, heats.float(), chances)
    for i, law in enumerate(laws):
        greedy = law.sampling.temperature == 0 and law.sampling.repetition_penalty == 1
        if not plain[i] and not greedy:
            wide = logits[i : i + 1].double().numpy()
            tokens[i] = draw(law.sampling.laws(wide, law.past, ())[0], law.rng)
    nats = logits.gather(1, tokens[:, None])[:, 0] - levels
    return Tokens(tokens.tolist(), nats.tolist(), entropies.tolist())


def _is_plain(sampling: Sampling) -> bool:
    return sampling.temperature > 0 and (
        sampling.top_k,
        sampling.top_p,
        sampling.min_p,
        sampling.repetition_penalty,
    ) == (0, 1.0, 0.0, 1.0)
