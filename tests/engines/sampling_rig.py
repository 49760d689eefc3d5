"""Draws of samples under a ledger, launched, cancelled and collected in any order."""

from __future__ import annotations

from rheostat.engines.base import Request, Sampling
from rheostat.engines.sampler import Draw
from rheostat.kernel.ledger import Ledger


def draw(question, index, prompt, **sampling):
    settled = Sampling(**{"max_new_tokens": 12, "temperature": 1.0, **sampling})
    return Draw(
        question=question,
        index=index,
        request=Request(id=question, prompt=prompt),
        sampling=settled,
    )


def launch(sampler, ledger, draws):
    """Launch draws; return their bounds by (question, index)."""
    bounds = {}
    for one in draws:
        bounds[one.question, one.index] = sampler.bound(one)
        sampler.launch(one, ledger.reserve(bounds[one.question, one.index]))
    return bounds


def collect(sampler):
    """Return everything that still comes, by (question, index)."""
    found = {}
    while ended := sampler.poll():
        found |= {(one.draw.question, one.draw.index): one for one in ended}
    return found


def drawn_together(sampler, draws, ledger=None):
    launch(sampler, ledger or Ledger(), draws)
    return collect(sampler)


def words(found):
    """What came of draws, without what it cost."""
    return {
        key: (one.output.token_ids, one.output.text, one.logprobs, one.entropies)
        for key, one in found.items()
    }
