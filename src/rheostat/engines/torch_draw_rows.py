"""Tokens drawn for many rows by one compiled call, and what it gives by torch's operations (ours).

The compiled one reads the logits twice and writes nothing as long as they are.
"""

from __future__ import annotations

from ctypes import c_long, c_void_p
from functools import cache, partial
from typing import TYPE_CHECKING, NamedTuple

import torch

from rheostat.engines.compiled_checks import found_right
from rheostat.engines.fused_build import fused_library
from rheostat.engines.torch_threads import on_threads

if TYPE_CHECKING:
    from ctypes import CDLL

BLOCK = 256
"""Tokens whose mass is cumulated together."""
_NEAR = 1e-4
"""Nats by which the compiled call may differ from torch."""


class DrawnRows(NamedTuple):
    """One entry a row."""

    tokens: torch.Tensor
    """Int64."""
    levels: torch.Tensor
    """Float64: the log of the summed exponentials; a token's nats are its logit less this."""
    entropies: torch.Tensor
    """Float64: nats of the law at temperature 1."""


def draw_rows(logits: torch.Tensor, heats: torch.Tensor, chances: torch.Tensor) -> DrawnRows:
    """Draw a token for every row.

    Args:
        logits: float32 [n, vocabulary], contiguous.
        heats: float32 [n], temperatures; 0 = the largest logit.
        chances: float64 [n] in [0, 1): the first token whose cumulated mass passes it.
    """
    library = _compiled()
    return _drawn(library, logits, heats, chances) if library else by_torch(logits, heats, chances)


def by_torch(logits: torch.Tensor, heats: torch.Tensor, chances: torch.Tensor) -> DrawnRows:
    """As `draw_rows`, by torch's operations."""
    nats = logits.log_softmax(dim=-1).clamp_(min=-1e4)
    entropies = -nats.exp().mul_(nats).sum(dim=-1)
    tokens = logits.argmax(dim=-1)
    top = tokens[:, None]
    levels = (logits.gather(1, top) - nats.gather(1, top))[:, 0]
    drawn = heats > 0
    if drawn.any():
        mass = (nats[drawn] / heats[drawn, None]).softmax(dim=-1)
        tokens[drawn] = _passed_first(mass, chances[drawn, None])
    return DrawnRows(tokens, levels.double(), entropies.double())


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


@cache
def _compiled() -> CDLL | None:
    """Return the compiled library where there is one and it is right."""
    library = fused_library().library
    if library is None:
        return None
    library.draw_rows.argtypes = (c_void_p, c_long, c_long, *(c_void_p,) * 5, c_long)
    library.draw_rows.restype = None
    return library if found_right("draws", partial(_agrees, library)) else None


def _drawn(
    library: CDLL, logits: torch.Tensor, heats: torch.Tensor, chances: torch.Tensor
) -> DrawnRows:
    rows, vocabulary = logits.shape
    tokens = torch.empty(rows, dtype=torch.long)
    levels, entropies = torch.empty(2, rows, dtype=torch.float64)
    given = (logits, rows, vocabulary, heats, chances, tokens, levels, entropies)
    passed = [own.data_ptr() if isinstance(own, torch.Tensor) else own for own in given]
    on_threads(f"draw {vocabulary}", rows, lambda threads: library.draw_rows(*passed, threads))
    return DrawnRows(tokens, levels, entropies)


@torch.inference_mode()
def _agrees(library: CDLL) -> bool:
    draw = torch.Generator().manual_seed(0)
    logits = 4 * torch.randn(8, 3 * BLOCK + 7, generator=draw)
    logits[3, 5:] = -torch.inf
    heats = torch.tensor([0.0, 1.0, 0.7, 0.7, 1.0, 1.5, 0.2, 1.0])
    chances = torch.rand(len(heats), generator=draw, dtype=torch.float64)
    own, true = _drawn(library, logits, heats, chances), by_torch(logits, heats, chances)
    close = partial(torch.allclose, rtol=0, atol=_NEAR)
    mass = (logits.double() / heats.clamp(min=0.01)[:, None]).softmax(dim=-1)
    ends = mass.cumsum(dim=-1).gather(1, own.tokens[:, None])[:, 0]
    begins = ends - mass.gather(1, own.tokens[:, None])[:, 0]
    inside = (begins - _NEAR <= chances) & (chances <= ends + _NEAR)
    return (
        close(own.levels, true.levels)
        and close(own.entropies, true.entropies)
        and bool(inside[heats > 0].all())
        and torch.equal(own.tokens[heats == 0], logits[heats == 0].argmax(dim=-1))
    )
