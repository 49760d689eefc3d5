"""Tokens drawn for many rows at once, with log-probabilities and entropies at temperature 1.

Plain draws (a temperature and nothing else) are done on all rows together: with u uniform the
token is the first whose cumulated probability passes u. Other rows go through `Sampling.laws`.
A row's token depends on its own logits and chance alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from rheostat.kernel.policies.sampling import draw

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from rheostat.engines.base import Sampling


BLOCK = 256
"""Tokens whose mass is cumulated together."""


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
    """Draw a token for every row of the logits, float32 [n, vocabulary]."""
    nats = torch.log_softmax(logits.float(), dim=-1)
    entropies = -nats.exp().mul_(nats).sum(dim=-1)
    tokens = torch.zeros(len(laws), dtype=torch.long)
    plain = [i for i, law in enumerate(laws) if _is_plain(law.sampling)]
    if plain:
        heat = torch.tensor([[laws[i].sampling.temperature] for i in plain])
        chances = torch.tensor([[laws[i].rng.random()] for i in plain], dtype=torch.float64)
        own = nats if len(plain) == len(laws) else nats[plain]
        tokens[plain] = _passed_first((own / heat).softmax(dim=-1), chances)
    for i, law in enumerate(laws):
        if law.sampling.temperature == 0 and law.sampling.repetition_penalty == 1:
            tokens[i] = logits[i].argmax()
        elif not _is_plain(law.sampling):
            wide = logits[i : i + 1].double().numpy()
            tokens[i] = draw(law.sampling.laws(wide, law.past, ())[0], law.rng)
    chosen = nats.gather(1, tokens[:, None])[:, 0]
    return Tokens(tokens.tolist(), chosen.tolist(), entropies.tolist())


def _passed_first(mass: torch.Tensor, chances: torch.Tensor) -> torch.Tensor:
    """Return where the cumulated mass first passes its share of the whole.

    Blocks are cumulated first and only the one that is hit after them.

    Args:
        mass: [n, vocabulary], not negative.
        chances: float64 [n, 1] in [0, 1).
    """
    rows, vocabulary = mass.shape
    size = BLOCK if vocabulary % BLOCK == 0 else vocabulary
    blocks = mass.view(rows, -1, size)
    ends = blocks.sum(dim=-1).double().cumsum(dim=-1)
    wanted = chances * ends[:, -1:]
    hit = torch.searchsorted(ends, wanted, right=True).clamp_(max=ends.shape[1] - 1)
    before = torch.where(hit > 0, ends.gather(1, (hit - 1).clamp(min=0)), 0.0)
    inside = blocks[torch.arange(rows), hit[:, 0]].double()
    # sums of a block differ by rounding: its own end is where the block's mass ends
    last = (inside > 0).long().cumsum(dim=-1).argmax(dim=-1)
    found = torch.searchsorted(inside.cumsum(dim=-1), wanted - before, right=True)[:, 0]
    return hit[:, 0] * size + torch.minimum(found, last)


def _is_plain(sampling: Sampling) -> bool:
    return sampling.temperature > 0 and (
        sampling.top_k,
        sampling.top_p,
        sampling.min_p,
        sampling.repetition_penalty,
    ) == (0, 1.0, 0.0, 1.0)
