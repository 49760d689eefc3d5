"""Parts for tests of the `torch` engine: tiny models, a price table, toy methods, a count."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from rheostat.engines.base import Request, Sampling
from rheostat.engines.tokenizer import Tokenizer
from rheostat.engines.torch_engine import TorchEngine
from rheostat.engines.torch_matrix import Forms
from rheostat.engines.torch_model import Feed, Llama
from rheostat.engines.torch_prices import empty_cache
from rheostat.kernel.model_cost import PriceTable
from rheostat.kernel.seams import Depth, Installed, Layout

# As on a real processor: neither linear nor monotone in the number of tokens.
TOKENS = (1, 2, 3, 4, 8, 16, 32)
_SECONDS = (1.0, 1.9, 1.7, 2.2, 2.1, 3.5, 6.0)
PRICES = PriceTable(
    tokens=TOKENS,
    contexts=(32, 256),
    attention=(tuple(1e-3 * s for s in _SECONDS), tuple(2e-3 * s for s in _SECONDS)),
    mlp=tuple(3e-3 * s for s in _SECONDS),
    head=tuple(4e-3 * s for s in _SECONDS),
    fixed=2e-3,
)


def llama_of(loaded, *, dtype=torch.float32, forms=None):
    return Llama(loaded, dtype=dtype, forms=forms or Forms())


def engine_of(loaded, *, dtype=torch.float32, forms=None):
    model = llama_of(loaded, dtype=dtype, forms=forms)
    return TorchEngine(loaded, model, Tokenizer.of(loaded), PRICES)


def changed(loaded, **tensors):
    """The same model with other tensors in some places (`layers_0_q` for `layers.0.q.weight`)."""
    named = {f"{name.replace('_', '.', 2)}.weight": t for name, t in tensors.items()}
    assert set(named) <= set(loaded.tensors)
    return replace(loaded, tensors=loaded.tensors | named)


def full(model):
    return Depth(Layout.full(model.shape.layers))


def read(model, tokens, *, depth=None, split=(), generated=0):
    """Logits [n, vocabulary] of a text read in the passes that the border positions make."""
    depth = depth or full(model)
    cache = empty_cache(model, depth.layout, capacity=1)
    parts, borders = [], [0, *sorted(split), len(tokens)]
    for start, end in pairwise(borders):
        if start < end:
            feed = Feed(cache, tokens[start:end], generated + start)
            parts.append(model.forward([feed], depth, logit_rows=None).logits)
    return torch.cat(parts)


def requests(*prompts):
    return [Request(id=str(i), prompt=prompt) for i, prompt in enumerate(prompts)]


def outputs(engine, prompts, *, installed=None, ledger=None, on_token=None, **sampling):
    """All outputs, in the order of the prompts."""
    made = engine.generate(
        requests(*prompts),
        Sampling(**sampling),
        installed=installed or Installed(),
        ledger=ledger,
        on_token=on_token,
    )
    return sorted(made, key=lambda output: int(output.id))


def tokens_of(made):
    return [(output.token_ids, output.text, output.stop_reason) for output in made]


@dataclass(frozen=True)
class ToyDrafter:
    """Proposes what `guess(tokens so far, limit)` says."""

    guess: Any

    def start(self, start):
        return list(start.prompt)

    def propose(self, state, limit):
        return self.guess(state, limit)

    def commit(self, state, tokens):
        return [*state, *tokens]


@dataclass
class ToyPolicy:
    """Runs the MLP where `keeps(layer, index after the prompt)` says; remembers what it sees."""

    keeps: Any
    watched: Any = lambda layer: False
    seen: list[Any] = field(default_factory=list)

    def begin(self, generated):
        return generated

    def runs(self, layer, state):
        return np.array([bool(self.keeps(layer, int(g))) for g in state], dtype=bool)

    def watches(self, layer):
        return self.watched(layer)

    def observe(self, layer, ran, cosine, state):
        self.seen.append((layer, state[ran], cosine))
        return state


def with_policy(model, keeps, **fields):
    return Depth(Layout.full(model.shape.layers), ToyPolicy(keeps, **fields))
