"""A race: settings are measured on ever more items, and only as long as they may be the plan.

A setting leaves when its loss is surely over the limit, or when one that costs no more surely loses
less on the same items. It waits while a cheaper one keeps to the limit on as many items, and goes
on if that one fails: what is taken in the end is what measuring everything would have led to. In a
chain, nothing behind a dial that loses far too much is measured. No measurement is made twice.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, final

import numpy as np

from rheostat.kernel.policies.racing import surely_over, surely_worse
from rheostat.stages.losses import BATCH, Loss, Wanted
from rheostat.workloads.load import digest_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from rheostat.kernel.certify.losses import Range
    from rheostat.kernel.plan import Setting
    from rheostat.kernel.seams import Installed
    from rheostat.stages.drafting import Drafted
    from rheostat.stages.losses import Evaluate
    from rheostat.stages.search_journal import SearchJournal

    Floats = NDArray[np.float64]

FIRST = BATCH
"""Items of the first round; later rounds double, so that batches stay the same."""
FAR_BEYOND = 3.0
"""A chain goes no further once the loss is over this multiple of the limit."""
OVER = "its loss is over the limit"
BEATEN = "another one costs no more and loses less"
WAITED = "a cheaper one keeps to the limit"


@dataclass(kw_only=True, eq=False)
class Entrant:
    """A setting with a loss, and what is known of it so far."""

    name: str
    settings: tuple[Setting, ...]
    decision: Installed
    chain: str = ""
    """Entrants of one chain follow one another from gentle to cheap; empty = it is in none."""
    alone: Drafted | None = None
    """What it costs without drafts,"""
    drafted: Drafted | None = None
    """and with those that pay over the base, if they do."""
    loss: Loss = field(default_factory=lambda: Loss(values=()))
    left: str = ""
    """Why it left the race."""

    @property
    def ratio(self) -> float:
        """Price with drafts, as a share of the base's."""
        assert self.drafted is not None
        return self.drafted.ratio

    @property
    def dynamic(self) -> bool:
        """Whether what it saves shows only when it runs."""
        return self.decision.depth is not None and self.decision.depth.policy is not None


@final
class Race:
    """Measures entrants for one limit."""

    def __init__(  # noqa: PLR0913  # what is measured, against what, where it is kept and told
        self,
        evaluate: Evaluate,
        journal: SearchJournal,
        *,
        kind: str,
        scale: Range,
        neutral: float,
        limit: float | None,
        held: Callable[[Loss], float],
        price: Callable[[Entrant], None],
        say: Callable[[str], None],
    ) -> None:
        """Begin without entrants.

        Args:
            kind: the unit of the losses.
            scale: their range.
            neutral: what the base loses against itself.
            limit: the loss that is allowed; None = none is stated, and losses are compared alone.
            held: what of a loss is held against the limit.
            price: prices an entrant, as its losses tell.
        """
        self._evaluate = evaluate
        self._journal = journal
        self._kind = kind
        self._scale = scale
        self._neutral = neutral
        self._limit = limit
        self._held = held
        self._price = price
        self._say = say
        self.seen: list[Entrant] = []
        """All that were measured."""

    def screen(self, entrants: Sequence[Entrant], end: int) -> None:
        """Measure every entrant on the first items, along its chain."""
        self._say(f"measuring {len(entrants)} settings on {end} items")
        self._announce(entrants, end)
        over: set[str] = set()
        for at, entrant in enumerate(entrants):
            if entrant.chain in over:
                entrant.left = OVER
                continue
            self.measure(entrant, end)
            if self._far(entrant.loss.mean):
                over.add(entrant.chain or entrant.name)
                self._announce([e for e in entrants[at + 1 :] if e.chain not in over], end)
        self._judge(entrants)

    def run(self, entrants: Sequence[Entrant], ends: Sequence[int]) -> None:
        """Measure entrants up to each of `ends` items in turn, from the cheapest on."""
        for end in ends:
            live = sorted(_staying(entrants), key=lambda e: (e.ratio, e.name))
            self._say(
                f"racing {len(live)} settings on {end} of {len(self._evaluate.items)} items; "
                f"{len(entrants) - len(live)} have left"
            )
            self._announce(live, end)
            measured: list[Entrant] = []
            for entrant in live:
                self.measure(entrant, end)
                measured.append(entrant)
                if any(self._keeps(other) for other in measured if other.ratio <= entrant.ratio):
                    self._announce([], end)
                    break
            self._judge(measured)
        for entrant in _staying(entrants):
            if len(entrant.loss.values) < ends[-1]:
                entrant.left = WAITED

    def _keeps(self, entrant: Entrant) -> bool:
        return self._limit is not None and self._held(entrant.loss) <= self._limit

    def measure(self, entrant: Entrant, end: int) -> None:
        """Measure an entrant on the items up to `end` that it was not measured on."""
        done = len(entrant.loss.values)
        if done < end:
            own = self._wanted(entrant, end)
            self._say(f"measuring what {own.about} loses")
            if self._evaluate.elsewhere is not None:
                self._evaluate.elsewhere.finish(own.key)
            data = self._journal.part(
                own.key,
                lambda: self._evaluate(entrant.decision, own.among).to_json(),
                about=own.about,
            )
            entrant.loss = entrant.loss.and_then(Loss.from_json(data))
            if entrant.dynamic:
                self._price(entrant)
        if entrant not in self.seen:
            self.seen.append(entrant)

    def _announce(self, entrants: Sequence[Entrant], end: int) -> None:
        """Say what is to be measured, in its order, where something is measured ahead."""
        if self._evaluate.elsewhere is not None:
            wanted = [self._wanted(e, end) for e in entrants if len(e.loss.values) < end]
            self._evaluate.elsewhere.begin([w for w in wanted if not self._journal.knows(w.key)])

    def _wanted(self, entrant: Entrant, end: int) -> Wanted:
        """Return the measurement of an entrant on the items up to `end` that it lacks."""
        among = slice(len(entrant.loss.values), end)
        items = digest_of(self._evaluate.items[among])
        return Wanted(
            key=["loss", self._kind, [s.to_json() for s in entrant.settings], items],
            about=f"{entrant.name} on items {among.start + 1} to {end}",
            settings=entrant.settings,
            among=among,
        )

    def _far(self, loss: float) -> bool:
        if self._limit is None:
            return False
        return loss - self._neutral > FAR_BEYOND * (self._limit - self._neutral)

    def _judge(self, entrants: Sequence[Entrant]) -> None:
        """Say who leaves; each is judged by what all had lost before anyone left."""
        units = {id(entrant): self._unit(entrant) for entrant in self.seen}
        for entrant in _staying(entrants):
            own = units[id(entrant)]
            if self._limit is not None and surely_over(own, self._scale.limit_to_unit(self._limit)):
                entrant.left = OVER
            elif any(
                other.ratio <= entrant.ratio and surely_worse(own, units[id(other)])
                for other in self.seen
                if other is not entrant
            ):
                entrant.left = BEATEN

    def _unit(self, entrant: Entrant) -> Floats:
        return np.asarray(self._scale.to_unit(entrant.loss.values), dtype=np.float64)


def _staying(entrants: Sequence[Entrant]) -> list[Entrant]:
    return [entrant for entrant in entrants if not entrant.left]
