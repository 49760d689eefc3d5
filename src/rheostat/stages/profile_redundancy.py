"""How redundant each sub-layer is: what it changes, and what the loss does without it.

Ranked on one text, scored on another, because a ranking flatters itself on its own text. One
unit is dropped at a time: the layers below it are computed once and shared by all drops above.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F

from rheostat.engines.torch_model import Feed, Resume
from rheostat.engines.torch_prices import empty_cache
from rheostat.kernel.policies.voids import voids
from rheostat.kernel.seams import Depth, Layout

if TYPE_CHECKING:
    from rheostat.engines.decoder import Decoder
    from rheostat.kernel.seams import Floats

Progress = Callable[[str], None]
HELD_OUT_DROPS = (1, 2, 3, 5, 8, 15)
QUANTILES = 21
ALPHAS = (0.0, 0.05, 0.2, 0.8)
"""Shares at which void layers are traced (`kernel.policies.voids`)."""
KINDS = ("attention", "mlp", "layer")


@dataclass(frozen=True)
class _Seen:
    """The residual stream around every sub-layer of one document."""

    tokens: list[int]
    before: dict[tuple[str, int], torch.Tensor]
    after: dict[tuple[str, int], torch.Tensor]
    nats: torch.Tensor
    """Loss of each next token, [n - 1]."""
    logits: torch.Tensor


def redundancy(
    model: Decoder, rank_on: Sequence[list[int]], score_on: Sequence[list[int]], progress: Progress
) -> dict[str, Any]:
    """Return the profile's `redundancy` part, and the entropies of the ranking text.

    Of a model whose layers cannot be taken apart nothing but the loss is known.

    Args:
        rank_on: documents as token ids, at least two each; the ranking is made on these.
        score_on: documents for the held-out losses.
    """
    layers = model.shape.layers
    progress("reading text with the full model")
    seen = [_read(model, document) for document in rank_on]
    base = float(torch.cat([s.nats for s in seen]).mean())
    found: dict[str, Any] = {"tokens": sum(len(s.nats) for s in seen), "base_loss": base}
    found["entropy"] = _entropy(torch.cat([s.logits for s in seen]))
    if "depth.parts" not in model.offers:
        return found
    found["void"] = traced([_lengths(s) for s in seen])
    for kind in KINDS:
        cosines = [_cosines(seen, kind, layer) for layer in range(layers)]
        drops = []
        for layer in range(layers):
            progress(f"leaving out {kind} {layer + 1} of {layers}")
            drops.append(_drop_loss(model, seen, kind, layer) - base)
        found[kind] = {
            "similarity": [float(c.mean()) for c in cosines],
            "similarity_quantiles": [
                [float(q) for q in np.quantile(c, np.linspace(0, 1, QUANTILES))] for c in cosines
            ],
            "drop_loss": drops,
        }
    found["ranking"] = ranking(found)
    found["held_out"] = _held_out(model, found["ranking"], score_on, progress)
    return found


def ranking(found: dict[str, Any]) -> dict[str, Any]:
    """Order the units of each kind, and attentions with MLPs, by similarity: most first."""
    similarity = {kind: found[kind]["similarity"] for kind in KINDS}
    ranked: dict[str, Any] = {
        kind: sorted(range(len(values)), key=lambda i, values=values: -values[i])  # type: ignore[misc]  # bound now
        for kind, values in similarity.items()
    }
    units = [(-value, kind, i) for kind in KINDS[:2] for i, value in enumerate(similarity[kind])]
    ranked["joint"] = [[kind, i] for _, kind, i in sorted(units)]
    return ranked


def traced(lengths: Sequence[Floats]) -> dict[str, Any]:
    """Return for each alpha the share of tokens for which each layer is void, [alpha][layer].

    Args:
        lengths: of each document's states, [tokens, layers + 1].
    """
    every = np.concatenate(lengths)
    return {
        "alpha": list(ALPHAS),
        "share": [voids(every, alpha).mean(axis=0).tolist() for alpha in ALPHAS],
    }


def without(layers: int, kind: str, dropped: Sequence[int]) -> Depth:
    """Return the layout that leaves out the named units."""
    return Depth(
        Layout.full(layers).without(
            attention=dropped if kind != "mlp" else (), mlp=dropped if kind != "attention" else ()
        )
    )


def _read(model: Decoder, document: list[int]) -> _Seen:
    before: dict[tuple[str, int], torch.Tensor] = {}
    after: dict[tuple[str, int], torch.Tensor] = {}

    def observe(layer: int, kind: str, x: torch.Tensor, y: torch.Tensor) -> None:
        before[kind, layer], after[kind, layer] = x, y

    depth = Depth(Layout.full(model.shape.layers))
    cache = empty_cache(model, depth.layout, capacity=len(document))
    feed = Feed(cache, document, -len(document))
    observer = observe if "depth.parts" in model.offers else None
    logits = model.forward([feed], depth, logit_rows=None, observer=observer).logits
    for layer in range(model.shape.layers if observer else 0):
        before["layer", layer] = before["attention", layer]
        after["layer", layer] = after["mlp", layer]
    return _Seen(document, before, after, _nats(logits, document), logits)


def _cosines(seen: Sequence[_Seen], kind: str, layer: int) -> np.ndarray[Any, Any]:
    parts = [
        F.cosine_similarity(s.before[kind, layer].float(), s.after[kind, layer].float(), dim=-1)
        for s in seen
    ]
    return torch.cat(parts).cpu().double().numpy()


def _lengths(seen: _Seen) -> Floats:
    """Return the lengths of each token's states around the layers, [tokens, layers + 1]."""
    layers = sum(kind == "layer" for kind, _ in seen.before)
    states = [seen.before["layer", 0], *(seen.after["layer", i] for i in range(layers))]
    norms = torch.stack([x.float().norm(dim=-1) for x in states], dim=1)
    lengths: Floats = norms.cpu().double().numpy()
    return lengths


def _drop_loss(model: Decoder, seen: Sequence[_Seen], kind: str, layer: int) -> float:
    depth = without(model.shape.layers, kind, [layer])
    losses = []
    for s in seen:
        cache = empty_cache(model, depth.layout, capacity=len(s.tokens))
        resume = Resume(layer, s.before["attention", layer])
        feed = Feed(cache, s.tokens, -len(s.tokens))
        logits = model.forward([feed], depth, logit_rows=None, resume=resume).logits
        losses.append(_nats(logits, s.tokens))
    return float(torch.cat(losses).mean())


def _held_out(
    model: Decoder, ranked: dict[str, Any], documents: Sequence[list[int]], progress: Progress
) -> dict[str, Any]:
    layers = model.shape.layers
    drops = [k for k in HELD_OUT_DROPS if k <= layers]
    base = document_loss(model, documents, Depth(Layout.full(layers)))
    result: dict[str, Any] = {
        "tokens": sum(len(d) - 1 for d in documents),
        "base_loss": base,
        "k": drops,
    }
    for kind in KINDS:
        losses = []
        for k in drops:
            progress(f"leaving out the {k} most similar of kind {kind}, on other text")
            depth = without(layers, kind, ranked[kind][:k])
            losses.append(document_loss(model, documents, depth) - base)
        result[kind] = losses
    return result


def document_loss(model: Decoder, documents: Sequence[list[int]], depth: Depth) -> float:
    """Return the mean nats a token over documents, each read in one pass."""
    losses = []
    for document in documents:
        cache = empty_cache(model, depth.layout, capacity=len(document))
        logits = model.forward([Feed(cache, document, -len(document))], depth, logit_rows=None)
        losses.append(_nats(logits.logits, document))
    return float(torch.cat(losses).mean())


def _nats(logits: torch.Tensor, document: list[int]) -> torch.Tensor:
    return F.cross_entropy(logits[:-1].float().cpu(), torch.tensor(document[1:]), reduction="none")


def _entropy(logits: torch.Tensor) -> dict[str, Any]:
    logp = F.log_softmax(logits.float().cpu(), dim=-1)
    nats = -(logp.exp() * logp).sum(dim=-1).double().numpy()
    return {
        "mean": float(nats.mean()),
        "median": float(np.median(nats)),
        "p90": float(np.quantile(nats, 0.9)),
        "tokens": len(nats),
    }
