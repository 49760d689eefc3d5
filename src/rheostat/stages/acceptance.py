"""Train the acceptance head of SpecDec++ (arXiv 2405.19715) on the model's own text.

The draft is the model's early exit after `layer` layers. At each place of an answer a token y is
drawn from the draft after the true text; its label is min(1, p(y) / q(y)), with p the model's law
and q the draft's. The loss is a cross-entropy with soft labels that weighs refusals six times.

Ours: at every second place y is the draft's likeliest token, and its label whether the model would
choose it, because greedy decoding uses the head as well; every y is read after the true text in a
pass of its own, where the paper reads one text of mixed tokens.
"""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F

from rheostat.engines.base import Sampling
from rheostat.engines.torch_acceptance import AcceptanceHead, saved_head
from rheostat.engines.torch_model import Feed
from rheostat.engines.torch_prices import empty_cache
from rheostat.errors import WorkloadError
from rheostat.kernel.seams import Installed, Layout
from rheostat.workloads.load import load_workload

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rheostat.engines.base import Request
    from rheostat.engines.torch_engine import TorchEngine

WORKLOADS = ("edit", "copy", "summarise", "chat")
ITEMS = 12
"""Of each workload."""
NEW_TOKENS = 64
REFUSAL_WEIGHT = 6.0
EPOCHS = 3
BATCH = 32
RATE = 1e-3
HELD_OUT = 0.2
"""Share of the texts that the head is judged on."""


class Examples(NamedTuple):
    """Drafted tokens, one after another text by text."""

    hidden: torch.Tensor
    """The draft's last hidden state of each, [n, width]."""
    labels: torch.Tensor
    """The probability that each is accepted, [n]."""


def acceptance(
    engine: TorchEngine, *, layer: int, seed: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """Train a head for drafts that leave after `layer` layers; return the profile's part.

    Items are those of the built-in workloads' calibration part.
    """
    read = [load_workload(n, part="calibration", limit=ITEMS, seed=seed).items for n in WORKLOADS]
    # the workloads in turn, so that the last items, which judge the head, are of all kinds
    mixed = [item for group in zip_longest(*read) for item in group if item is not None]
    return trained(engine, mixed, layer=layer, seed=seed, say=say)


def trained(
    engine: TorchEngine,
    items: Sequence[Request],
    *,
    layer: int,
    seed: int,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Train a head on the answers to these items, and judge it on the last of them."""
    draw = torch.Generator().manual_seed(seed)
    texts = []
    for i, item in enumerate(items):
        say(f"acceptance head: answer {i + 1} of {len(items)}")
        sampling = Sampling(max_new_tokens=NEW_TOKENS)
        (output,) = engine.generate([item], sampling, installed=Installed())
        if len(output.token_ids) > 1:
            prompt = engine.encode(item)
            texts.append(examples(engine, prompt, output.token_ids, layer=layer, draw=draw))
    held_out = max(1, round(HELD_OUT * len(texts)))
    if len(texts) <= held_out:
        raise WorkloadError(
            f"only {len(texts)} of the answers are long enough to train an acceptance head on",
            hint="give more items",
        )
    say("acceptance head: training")
    own, others = _joined(texts[:-held_out]), _joined(texts[-held_out:])
    head = fitted_head(own, draw=draw, seed=seed)
    with torch.no_grad():
        loss = float(weighted_loss(head.logits(others.hidden), others.labels))
        share = corrected_mean(own.labels).expand(len(others.labels))
        constant = float(weighted_loss(share, others.labels))
    return {
        "layer": layer,
        "head": saved_head(head),
        "weight": REFUSAL_WEIGHT,
        "accepted": float(own.labels.mean()),
        "examples": len(own.labels),
        "held_out": {"examples": len(others.labels), "loss": loss, "constant_loss": constant},
    }


def examples(
    engine: TorchEngine,
    prompt: Sequence[int],
    answer: Sequence[int],
    *,
    layer: int,
    draw: torch.Generator,
) -> Examples:
    """Draft a token at every place of an answer, read it there, and say how likely it is kept."""
    llama, full = engine.llama, Layout.full(engine.shape.layers)
    below, above = full.within(0, layer), full.within(layer, engine.shape.layers)
    text = [*prompt, *answer]
    cache = empty_cache(llama, full, capacity=len(text))
    feed = Feed(cache, text, -len(prompt))
    stream = llama.through([feed], llama.embedded(text), below, full)
    places = slice(len(prompt) - 1, len(text) - 1)
    q, p = (
        llama.headed(x[places], choices=False).logits.float().softmax(dim=-1)
        for x in (stream, llama.through([feed], stream, above, full))
    )
    tokens = torch.multinomial(q, 1, generator=draw)[:, 0]
    labels = (p.gather(1, tokens[:, None]) / q.gather(1, tokens[:, None]))[:, 0].clamp(max=1.0)
    likeliest, every = q.argmax(dim=-1), torch.arange(len(tokens)) % 2 == 0
    tokens = torch.where(every, likeliest, tokens)
    labels = torch.where(every, (p.argmax(dim=-1) == likeliest).float(), labels)
    cache.advance(len(text))
    hidden = []
    for place in reversed(range(len(tokens))):  # each writes over the text behind its place
        cache.truncate(len(prompt) + place)
        token = [int(tokens[place])]
        one = Feed(cache, token, place)
        hidden.append(llama.through([one], llama.embedded(token), below, full))
    return Examples(torch.cat(hidden[::-1]).float().clone(), labels.clone())


def fitted_head(own: Examples, *, draw: torch.Generator, seed: int) -> AcceptanceHead:
    """Minimise the weighted loss by AdamW."""
    head = AcceptanceHead.new(own.hidden.shape[1], seed=seed)
    parameters = [t.requires_grad_() for t in head.tensors.values()]
    steps = EPOCHS * -(-len(own.labels) // BATCH)
    optimiser = torch.optim.AdamW(parameters, lr=RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(EPOCHS):
        order = torch.randperm(len(own.labels), generator=draw)
        for at in range(0, len(order), BATCH):
            chosen = order[at : at + BATCH]
            optimiser.zero_grad()
            loss = weighted_loss(head.logits(own.hidden[chosen]), own.labels[chosen])
            loss.backward()  # type: ignore[no-untyped-call]  # torch's own
            optimiser.step()
            schedule.step()
    return AcceptanceHead({name: t.detach() for name, t in head.tensors.items()})


def weighted_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the cross-entropy of soft labels [n] with weighted refusals, over their mass."""
    refused = REFUSAL_WEIGHT * (1 - labels)
    total = labels * F.softplus(-logits) + refused * F.softplus(logits)
    return total.sum() / (labels + refused).sum()


def corrected_mean(labels: torch.Tensor) -> torch.Tensor:
    """Return the constant log-odds with the smallest weighted loss on these labels."""
    kept = labels.mean().clamp(1e-4, 1 - 1e-4)
    return torch.log(kept / (REFUSAL_WEIGHT * (1 - kept)))


def _joined(texts: Sequence[Examples]) -> Examples:
    hidden, labels = zip(*texts, strict=True)
    return Examples(torch.cat(hidden), torch.cat(labels))
