"""What the suites share: contestants decide about drafts, answer in turn, and are counted alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rheostat.catalog import installed
from rheostat.engines.base import Sampling
from rheostat.kernel.plan import Plan
from rheostat.workloads.counting import counts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rheostat.engines.base import Output, Request
    from rheostat.engines.torch_engine import TorchEngine
    from rheostat.kernel.plan import Setting
    from rheostat.kernel.seams import Installed


def decision_of(engine: TorchEngine, *settings: Setting) -> Installed:
    """Return what these settings decide on this engine; none = the base."""
    plan = Plan(model=engine.model, methods=settings)
    return installed(plan, engine.shape, engine.card.offers)


def in_turn(names: Iterable[str], first: int) -> list[str]:
    """Return the names in their order, another one of them first for every `first`."""
    every = list(names)
    start = first % max(len(every), 1)
    return every[start:] + every[:start]


def answered(engine: TorchEngine, item: Request, decision: Installed, new_tokens: int) -> Output:
    """Answer one item greedily."""
    sampling = Sampling(max_new_tokens=new_tokens)
    return next(iter(engine.generate([item], sampling, installed=decision)))


def contested(
    engine: TorchEngine,
    item: Request,
    decisions: Mapping[str, Installed],
    *,
    first: int,
    new_tokens: int,
) -> dict[str, dict[str, Any]]:
    """Let everyone answer an item, `base` among them; return what is counted of each answer."""
    outputs = {
        name: answered(engine, item, decisions[name], new_tokens)
        for name in in_turn(decisions, first)
    }
    base = outputs["base"]
    counting = item.reference is None or counts(base.text, base.token_ids, item.reference)
    return {
        name: {
            "counts": counting,
            "same": output.token_ids == base.token_ids,
            "tokens": len(output.token_ids),
            "seconds": output.cost.seconds,
            "price": output.cost.price,
            "steps": output.trace.steps,
            "passes": output.trace.draft_passes,
            "proposed": output.trace.proposed,
            "accepted": output.trace.accepted,
            "deciding": output.trace.seconds_deciding,
        }
        for name, output in outputs.items()
    }
