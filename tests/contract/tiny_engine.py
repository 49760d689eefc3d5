"""A tiny random llama on the `torch` engine with a price table of its own, and its profile."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from rheostat import catalog
from rheostat.engines.base import Request, Sampling
from rheostat.kernel.method import with_params
from rheostat.kernel.model_cost import PriceTable
from rheostat.kernel.plan import Plan, Setting
from rheostat.kernel.seams import Depth, Installed, Layout

LAYERS = 10  # enough for the middle layers that `ffn_skip` asks for
# As in trained models the upper layers change less, so that an exit often agrees with the whole.
QUIET = {
    f"layers.{i}.{part}.weight": 0.25 for i in range(LAYERS // 2, LAYERS) for part in ("o", "down")
}
DIALS = (0.0, 0.25, 0.5, 0.75, 1.0)
PROMPTS = (
    "the cat and the hat and the cat in the hat",
    "is it a star or is it a planet",
    "zq",
)
# Like fp32 on a processor: neither linear nor monotone in the number of tokens.
_SHAPE = (1, 1.2, 1.27, 1.81, 1.91, 2.33, 2.77, 2.24, 2.78)
PRICES = PriceTable(
    tokens=(1, 2, 3, 4, 6, 8, 11, 16, 32),
    contexts=(32, 512),
    attention=(tuple(1e-3 * s for s in _SHAPE), tuple(2e-3 * s for s in _SHAPE)),
    mlp=tuple(3e-3 * s for s in _SHAPE),
    head=tuple(8e-3 * s for s in _SHAPE),
    fixed=2e-3,
)
# Like a processor that verifies drafts almost for free, so that every lookup is drafted.
FLAT = replace(PRICES, attention=((1e-3,) * 9,) * 2, mlp=(3e-3,) * 9, head=(8e-3,) * 9)


def tiny_engine(path, *, prices=PRICES, factors=None):
    """Load the model; `factors` multiplies weights, by their names."""
    import torch

    from rheostat.engines.tokenizer import Tokenizer
    from rheostat.engines.torch_engine import TorchEngine
    from rheostat.engines.torch_matrix import Forms
    from rheostat.engines.torch_model import Llama
    from rheostat.engines.weights_cache import load_weights

    loaded = load_weights(str(path))
    for name, factor in (factors or {}).items():
        loaded.tensors[name] = loaded.tensors[name] * factor
    model = Llama(loaded, dtype=torch.float32, forms=Forms())
    opener = partial(tiny_engine, prices=prices)
    return TorchEngine(loaded, model, Tokenizer.of(loaded), prices, opener=opener)


def profile_of(engine) -> dict[str, Any]:
    """Measure the parts of a profile that methods may read, on random tokens."""
    draw = np.random.default_rng(0)
    tokens = draw.integers(10, engine.shape.vocabulary, 120).tolist()
    cosines: dict[tuple[str, int], Any] = {}
    lengths: list[Any] = []

    def watch(layer, part, before, after):
        import torch

        cosines[part, layer] = torch.cosine_similarity(before, after, dim=-1).double().numpy()
        if not lengths:
            lengths.append(before.norm(dim=-1).double().numpy())
        if part == "mlp":
            lengths.append(after.norm(dim=-1).double().numpy())

    from rheostat.engines.torch_model import Feed
    from rheostat.engines.torch_prices import empty_cache
    from rheostat.stages.profile_redundancy import traced

    full = Layout.full(engine.shape.layers)
    cache = empty_cache(engine.llama, full, capacity=len(tokens))
    engine.llama.forward([Feed(cache, tokens, 0)], Depth(full), logit_rows=[], observer=watch)
    parts: dict[str, Any] = {
        part: _part(engine, full, part, cosines, tokens) for part in ("attention", "mlp")
    }
    both = [*product(("attention", "mlp"), range(engine.shape.layers))]
    both.sort(key=lambda unit: -parts[unit[0]]["similarity"][unit[1]])
    parts["ranking"] = {
        **{part: [i for kind, i in both if kind == part] for part in ("attention", "mlp")},
        "joint": [list(unit) for unit in both],
    }
    parts["void"] = traced([np.stack(lengths, axis=1)])
    return {"redundancy": parts, "acceptance": head_of(engine)}


def head_of(engine, *, items=4):
    """An acceptance head of an exit in the middle, trained for a moment."""
    from rheostat.stages.acceptance import trained

    prompts = [f"{PROMPTS[i % 2]} and {i}" for i in range(items)]
    requests = [Request(id=str(i), prompt=prompt) for i, prompt in enumerate(prompts)]
    layer = engine.shape.layers // 2
    return trained(engine, requests, layer=layer, seed=0, say=lambda text: None)


def _part(engine, full, part, cosines, tokens):
    layers = range(engine.shape.layers)
    losses = [
        float(engine.score(tokens[:1], tokens[1:], installed=Installed(depth=depth)).nats.mean())
        for depth in (Depth(full.without(**{part: [i]})) for i in layers)
    ]
    return {
        "similarity": [float(cosines[part, i].mean()) for i in layers],
        "similarity_quantiles": [
            np.quantile(cosines[part, i], np.linspace(0, 1, 21)).tolist() for i in layers
        ],
        "drop_loss": losses,
    }


@dataclass(frozen=True)
class Bench:
    """An engine, its profile, and short ways to run plans on it."""

    engine: Any
    profile: dict[str, Any]
    params: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Parameters without which a method cannot be had, such as a draft model's file."""
    known: dict[Any, Any] = field(default_factory=dict)

    def plan(self, **dials: float) -> Plan:
        """Set methods (or variants, as `name#1`) to dials, fitted to the profile."""
        settings = tuple(self._setting(*name.split("#"), dial=d) for name, d in dials.items())
        return Plan(model="tiny", methods=settings)

    def _setting(self, name, variant="0", *, dial):
        found = catalog.method(name)
        params = {**self.params.get(name, {}), **found.card.variants[int(variant)]}
        fitted = with_params(found, params).fit(self.profile)
        return Setting(name=name, dial=dial, params=params, fitted=fitted)

    def installed(self, **dials: float) -> Installed:
        return self.of(self.plan(**dials))

    def of(self, plan: Plan) -> Installed:
        return catalog.installed(plan, self.engine.shape, self.engine.card.offers)

    def outputs(self, installed, prompts=PROMPTS, *, ledger=None, **sampling):
        """Generate for every prompt in one batch; outputs in the order of the prompts."""
        requests = [Request(id=str(i), prompt=prompt) for i, prompt in enumerate(prompts)]
        settled = Sampling(**{"max_new_tokens": 16, **sampling})
        made = self.engine.generate(requests, settled, installed=installed, ledger=ledger)
        return sorted(made, key=lambda output: int(output.id))

    def reference(self, **dials: float):
        """The outputs of a plan for all prompts, generated once."""
        key = tuple(sorted(dials.items()))
        if key not in self.known:
            self.known[key] = self.outputs(self.installed(**dials))
        return self.known[key]

    def longer(self, **dials: float):
        """Longer answers of a plan for two of the prompts, each alone, generated once."""
        key = ("longer", *sorted(dials.items()))
        if key not in self.known:
            installed = self.installed(**dials)
            made = [self.outputs(installed, [p], max_new_tokens=40)[0] for p in PROMPTS[:2]]
            self.known[key] = made
        return self.known[key]

    def step_seconds(self) -> float:
        """Price of an ordinary step after a context of this length."""
        layers = self.engine.shape.layers
        return self.engine.prices().seconds(1, 64, attention=layers, mlp=layers, head_rows=1)

    def score(self, installed, tokens, *, prompt=8):
        return self.engine.score(tokens[:prompt], tokens[prompt:], installed=installed)


def tokens_of(outputs):
    return [(output.token_ids, output.stop_reason) for output in outputs]


def counted(cost):
    """The deterministic part of a cost."""
    return (cost.flops, cost.bytes, cost.prompt_tokens, cost.new_tokens, cost.calls, cost.price)


def decisions(output):
    trace = output.trace.to_json()
    del trace["seconds_deciding"]
    return trace


def card_of(name):
    """The card of a method or of one of its variants."""
    return catalog.method(name.partition("#")[0]).card


def named(seam=None, *, lossless=None):
    """Names of the methods of a seam and their variants, lossless ones or others.

    Without a seam: of all that decide inside the model's step.
    """
    cards = [found.card for found in catalog.methods().values()]
    return [
        f"{card.name}#{variant}" if variant else card.name
        for card in cards
        if (card.seam == seam if seam else card.seam not in catalog.AROUND)
        and (lossless is None or lossless is (card.exactness != "lossy"))
        for variant in range(len(card.variants))
    ]


COPIES = [n for n in named("draft", lossless=True) if "draft.model" not in card_of(n).needs]
"""Sources that draft without a forward pass."""
CACHES = named("cache")
EVICTING = [name for name in CACHES if "cache.entries" in card_of(name).needs]
"""Those that let entries go, instead of holding them in another form."""
SHORT = {
    **{name: {"sinks": 2, "window": 4, "every": 8} for name in EVICTING},
    "bfp": {"recent": 4, "every": 8, "block": 4},
    "kv_direct": {"window": 4, "every": 8},
}
"""Parameters with which cache decisions act on texts of some dozen tokens."""


@dataclass(frozen=True)
class Everything:
    """The base of the cache seam, with borders: nothing is let go at them."""

    every: int = 8
    newest: int | None = 0

    def entries(self, tokens):
        return tokens

    def observe(self, weights, state):
        raise AssertionError("no attention was asked for")

    def compact(self, held, border):
        raise AssertionError("there is nothing to let go")
