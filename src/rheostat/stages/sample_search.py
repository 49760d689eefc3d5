"""Search settings of samples by replay: number format, rule, dial and most samples together.

Every setting answers every question in every order of its recorded samples, and so does the base:
the majority of all samples in the first format. A loss is a mean over orders, a question at a time;
which setting is cheap is told by the costs of what it launched. No model runs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, final

import numpy as np

from rheostat.kernel.certify.fallback import frozen_path
from rheostat.kernel.plan import Setting
from rheostat.stages.goal import WORTH
from rheostat.stages.intervals import mean_interval, ratio_interval, standard_error
from rheostat.stages.replayed import orders_of, replayed
from rheostat.stages.sample_rules import FIXED, Choice, decision

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from rheostat.stages.goal import SolveLoss
    from rheostat.stages.recordings import Format
    from rheostat.stages.replayed import Drawn
    from rheostat.stages.sample_costs import Unit

    Floats = NDArray[np.float64]
    Say = Callable[[str], None]

SERVER = "server"
"""The number format of what runs elsewhere."""
_ROUNDING = 1e-12
"""Means of eighths that are a limit count as kept."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Figures:
    """What a setting came to on some questions, means over orders, [questions] each."""

    right: Floats
    """Share of orders whose answer is right."""
    losses: Floats
    samples: Floats
    costs: Mapping[Unit, Floats]


@dataclass(frozen=True, kw_only=True, eq=False)
class Way:
    """A setting with what it came to where plans are chosen."""

    choice: Choice
    unit: Unit
    """What prices are counted in."""
    figures: Figures = field(repr=False)
    base: Figures = field(repr=False)

    @property
    def name(self) -> str:
        """The setting in words."""
        own = self.choice
        place = "from the server" if own.dtype == SERVER else f"in {own.dtype}"
        if own.rule != FIXED:
            return f"{own.rule} at {own.dial:g} of at most {own.samples} samples {place}"
        if own.samples == 1:
            return f"1 sample {place}"
        return f"the majority of {own.samples} samples {place}"

    @property
    def price_ratio(self) -> float:
        """Its price, as a share of the base's."""
        return float(self.figures.costs[self.unit].sum() / self.base.costs[self.unit].sum())

    @property
    def loss(self) -> float:
        """Mean loss."""
        return float(self.figures.losses.mean())

    @property
    def cautious(self) -> float:
        """Mean loss plus one standard error: what the search compares with the limit."""
        return self.loss + standard_error(self.figures.losses.tolist())

    @property
    def settings(self) -> tuple[Setting, ...]:
        """The rule as a plan holds it."""
        return (Setting(name=self.choice.rule, dial=self.choice.dial),)

    def frozen(self) -> dict[str, Any]:
        """Return what it sets."""
        own = self.choice
        methods = [{"name": own.rule, "dial": own.dial, "params": {}}]
        return {"dtype": own.dtype, "samples": own.samples, "methods": methods}

    def to_json(self, *, kept: bool) -> dict[str, Any]:
        """Return the frontier's entry."""
        return {
            "setting": self.name,
            **self.frozen(),
            "price_ratio": self.price_ratio,
            "loss": self.loss,
            "loss_interval": list(mean_interval(self.figures.losses.tolist())),
            "items": len(self.figures.losses),
            "accuracy": float(self.figures.right.mean()),
            "samples_per_question": float(self.figures.samples.mean()),
            "costs": shares(self.figures, self.base),
            "kept": kept,
        }


def shares(own: Figures, base: Figures) -> dict[str, list[float]]:
    """Return costs as shares of the base's, each with its 95 % interval over questions."""
    found: dict[str, list[float]] = {}
    for unit, costs in own.costs.items():
        whole = base.costs[unit]
        interval = ratio_interval(costs.tolist(), whole.tolist())
        found[unit] = [float(costs.sum() / whole.sum()), *interval]
    return found


class Searched(NamedTuple):
    """What the search came to."""

    base: Way
    ways: Sequence[Way]
    """All settings that were replayed."""
    kept: int
    """How many of them keep to the limit."""
    allowed: Sequence[Way]
    """Those that do and make the plan cheaper."""
    chosen: Way
    """The cheapest of them, or the base."""


@final
class Replays:
    """Settings replayed on the questions of one part, against the base there."""

    def __init__(self, formats: Sequence[Format], loss: SolveLoss, samples: int) -> None:
        """Let the base answer.

        Args:
            formats: of the same questions in the same order, the base's first.
            loss: what is measured.
            samples: recorded of each question.
        """
        self._formats = {own.dtype: own for own in formats}
        self._orders = {f.dtype: [orders_of(q) for q in f.questions] for f in formats}
        self._known: dict[Choice, Figures] = {}
        self._loss = loss
        self.of_base = Choice(formats[0].dtype, FIXED, 0.0, samples)
        self._answered = self._drawn(self.of_base)
        self._right = _right(formats[0], self._answered)
        self.base = self.figures(self.of_base)

    @property
    def dtypes(self) -> tuple[str, ...]:
        """The number formats, the base's first."""
        return tuple(self._formats)

    def figures(self, choice: Choice) -> Figures:
        """Return what a setting comes to; it is replayed once."""
        if choice not in self._known:
            self._known[choice] = self._figures(choice)
        return self._known[choice]

    def _figures(self, choice: Choice) -> Figures:
        recorded, drawn = self._formats[choice.dtype], self._drawn(choice)
        right = _right(recorded, drawn)
        losses = self._right - right if self._loss == "wrong" else _differs(drawn, self._answered)
        launched = np.array([[one.samples for one in own] for own in drawn])
        at = launched[:, :, None]
        return Figures(
            right=right.mean(axis=1),
            losses=losses.mean(axis=1),
            samples=launched.mean(axis=1),
            costs={
                unit: np.take_along_axis(costs, at, axis=2)[:, :, 0].mean(axis=1)
                for unit, costs in recorded.costs.items()
            },
        )

    def _drawn(self, choice: Choice) -> list[list[Drawn]]:
        policy = decision(choice.rule, choice.dial)
        questions, orders = self._formats[choice.dtype].questions, self._orders[choice.dtype]
        return [
            replayed(policy, choice.samples, question, own)
            for question, own in zip(questions, orders, strict=True)
        ]


def search(  # noqa: PLR0913  # what is searched, for what, and who is told
    replays: Replays,
    settings: Sequence[Choice],
    *,
    limit: float,
    unit: Unit,
    mean: bool,
    say: Say,
) -> Searched:
    """Replay settings and choose the cheapest that keeps to a limit.

    Args:
        settings: what may be chosen beside the base.
        limit: largest loss.
        unit: what prices are counted in.
        mean: compare the mean loss with the limit, and not that + 1 standard error: where other
            data certify.
        say: told of progress.
    """
    ways = []
    for at, choice in enumerate(settings):
        say(f"replaying {choice.rule} in {choice.dtype}: setting {at + 1} of {len(settings)}")
        figures = replays.figures(choice)
        ways.append(Way(choice=choice, unit=unit, figures=figures, base=replays.base))
    base = Way(choice=replays.of_base, unit=unit, figures=replays.base, base=replays.base)
    kept = [own for own in ways if (own.loss if mean else own.cautious) <= limit + _ROUNDING]
    allowed = [own for own in kept if own.price_ratio <= 1 - WORTH]
    order = sorted(allowed, key=lambda own: (own.price_ratio, own.cautious, own.choice))
    return Searched(base, ways, len(kept), allowed, order[0] if order else base)


def path_of(found: Searched) -> list[Way]:
    """Return the path from the base: what no other setting beats in price and loss, gentlest first.

    It follows from the search alone, so that data that were kept apart may test it.
    """
    best: list[Way] = []
    for own in sorted(found.allowed, key=lambda p: (p.price_ratio, p.cautious, p.choice)):
        if not best or own.cautious < best[-1].cautious:
            best.append(own)
    return frozen_path(best, loss=lambda p: p.cautious, price=lambda p: p.price_ratio)


def _right(recorded: Format, drawn: Sequence[Sequence[Drawn]]) -> Floats:
    """Return whether answers are right, [questions, orders]."""
    pairs = zip(recorded.questions, drawn, strict=True)
    return np.array([[q.right_answer(one.answer) for one in own] for q, own in pairs], float)


def _differs(drawn: Sequence[Sequence[Drawn]], base: Sequence[Sequence[Drawn]]) -> Floats:
    """Return whether answers are others than the base's, [questions, orders]."""
    pairs = [zip(own, other, strict=True) for own, other in zip(drawn, base, strict=True)]
    return np.array([[one.answer != two.answer for one, two in pair] for pair in pairs], float)
