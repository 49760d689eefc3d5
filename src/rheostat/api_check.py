"""`rheostat.check`: hold a plan's certificate against texts that it was not made from.

import rheostat

found = rheostat.check("plan.json", "today.jsonl")
print(found["verdict"], found["interval"])
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rheostat.engines.load import load_engine, torch_extra, unmovable
from rheostat.errors import PlanError
from rheostat.kernel.plan import Plan
from rheostat.stages.settings import read_plan, ready

if TYPE_CHECKING:
    from collections.abc import Callable

    from rheostat.engines.base import Engine

__all__ = ["check"]


def check(  # noqa: PLR0913  # what is checked, on what, and where it is kept
    plan: Plan | str | Path,
    workload: str | Path,
    *,
    engine: Engine | None = None,
    state: str | Path | None = None,
    items: int | None = None,
    seed: int = 0,
    threads: int | None = None,
    device: str | None = None,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Confirm or refute a certificate on new items, or say how many more it takes.

    All checks of a certificate share one confidence sequence: they may be repeated as often as
    one likes, and an item counts once. They speak of the mean over all texts that were checked.

    Args:
        plan: a plan with a certificate, or the path of one.
        workload: a built-in name (items that the plan was made from are left out) or a .jsonl file
            (refused when it holds any of them).
        engine: the loaded model; None loads the plan's.
        state: the file in which checks are kept; None = `PLAN.checks.jsonl` beside the plan's.
        items: most items to measure in this check; None = until it is decided.
        seed: draws the order of the items.
        threads: of the model, where it is loaded here.
        device: as for `rheostat.load`, where the model is loaded here.
        progress: called with a line of text when something takes a while.

    Returns:
        `verdict` (`pass`, `fail` or `undecided`), `interval`, `mean`, `limit`, `confidence`,
        `items`, `new_items`, `needed` (about how many more; None = too many) and more.

    Raises:
        PlanError: no certificate, an edited plan, one of another model, or no place for the state.
        WorkloadError: items that the plan was made from.
        UserError: a device for an engine that is loaded.
    """
    with torch_extra():
        from rheostat.stages.check import STATE, check, checked_certificate, unseen

    if engine is not None and device is not None:
        raise unmovable()
    held = plan if isinstance(plan, Plan) else read_plan(Path(plan))
    if state is None and isinstance(plan, Plan):
        raise PlanError("a plan without a file needs `state`", hint="name the file of its checks")
    kept = Path(f"{plan}{STATE}" if state is None else state)
    new = unseen(checked_certificate(held), str(workload), seed=seed)
    model = engine or load_engine(
        held.model, dtype=held.dtype, threads=threads, device=device, progress=progress
    )
    own = ready(held, model, notice=progress)
    return check(own, new, model, kept, items=items, say=progress or _silent)


def _silent(_: str) -> None:
    return
