"""Which settings a search may choose from: every method that fits the engine, along its dial.

Methods with a loss stand in chains: one method with one set of parameters, from its gentlest dial
to its cheapest. Draft sources change no answer and are found by their price alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from rheostat.catalog import installed, methods
from rheostat.errors import UserError
from rheostat.kernel.method import with_params
from rheostat.kernel.plan import Plan, Setting
from rheostat.kernel.seams import Layout

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rheostat.engines.base import Engine
    from rheostat.kernel.method import Card
    from rheostat.kernel.seams import Installed, Seam

DIALS: Mapping[Seam, tuple[float, ...]] = MappingProxyType(
    {
        "draft": (0.125, 0.25, 0.5, 0.75, 1.0),
        "depth": (0.034, 0.067, 0.1, 0.134, 0.2, 0.3, 0.5, 1.0),
        "cache": (0.25, 0.5, 0.75, 0.9),
        "model": (1.0,),
    }
)
"""The dials that are looked at, by the seam."""
LOSSY: tuple[Seam, ...] = ("model", "depth", "cache")
"""The seams whose methods a plan may combine and whose losses a teacher-forced reading shows."""


@dataclass(frozen=True, kw_only=True)
class Chain:
    """A method with a loss, from its gentlest dial to its cheapest."""

    seam: Seam
    options: tuple[Setting, ...]


@dataclass(frozen=True, kw_only=True)
class Space:
    """What may be chosen."""

    chains: tuple[Chain, ...]
    drafts: tuple[str, ...]
    """Draft sources that a replay can price."""
    unpriced: tuple[str, ...]
    """Draft sources that take forward passes, which no replay can price."""
    left_out: tuple[str, ...]
    """Sentences: which methods this model cannot have, and why."""

    @property
    def lossy(self) -> frozenset[str]:
        """Names of the methods with a loss."""
        return frozenset(chain.options[0].name for chain in self.chains)


def space_of(
    engine: Engine,
    profile: Mapping[str, Any],
    *,
    lossy: bool = True,
    formats: Sequence[str] = (),
) -> Space:
    """Return what an engine can be asked for, in the catalogue's order.

    Args:
        profile: what methods are fitted to.
        lossy: whether methods with a loss may be chosen.
        formats: number formats that the user allows beside the base's.
    """
    fitting = [card for card in _cards(engine) if not card.control]
    unpriced = tuple(c.name for c in fitting if c.seam == "draft" and "draft.model" in c.needs)
    drafts = tuple(c.name for c in fitting if c.seam == "draft" and c.name not in unpriced)
    chains: list[Chain] = []
    left_out: list[str] = []
    for card in fitting if lossy else ():
        if card.seam in LOSSY and card.exactness == "lossy":
            for variant in card.variants:
                if card.seam == "model" and variant.get("format") not in formats:
                    continue
                try:
                    chain = _chain(engine, card, variant, profile)
                except UserError as error:  # such as a model with too few layers for it
                    sentence = f"left {card.name} out: {error.message}"
                    left_out += [sentence] if sentence not in left_out else []
                    continue
                chains += [chain] if chain.options else []
    return Space(chains=tuple(chains), drafts=drafts, unpriced=unpriced, left_out=tuple(left_out))


def controls(engine: Engine, seam: Seam) -> list[str]:
    """Return the controls of a seam that this engine can run."""
    return [card.name for card in _cards(engine) if card.seam == seam and card.control]


def reads_profile(engine: Engine) -> bool:
    """Return whether a method of this engine is fitted to a profile."""
    return any(card.reads for card in _cards(engine))


def _cards(engine: Engine) -> list[Card]:
    cards = (found.card for found in methods().values())
    return [card for card in cards if card.needs <= engine.card.offers]


def _chain(
    engine: Engine, card: Card, variant: Mapping[str, Any], profile: Mapping[str, Any]
) -> Chain:
    """Return the settings along a dial that decide differently; dial 0 is the base."""
    fitted = with_params(methods()[card.name], variant).fit(profile)
    whole = Setting(name=card.name, dial=1.0, params=variant, fitted=fitted)
    seen: list[object] = [None]
    options: list[Setting] = []
    for dial in DIALS[card.seam]:
        setting = replace(whole, dial=dial)
        decision = _decided(engine, card.seam, [setting])
        if decision not in seen:
            seen.append(decision)
            options.append(setting)
    if options:
        engine.under(install(engine, options[:1]))  # a format that cannot be had is refused now
    return Chain(seam=card.seam, options=tuple(options))


def install(engine: Engine, settings: Sequence[Setting]) -> Installed:
    """Return the decisions of settings; raise `MethodError` where there are none."""
    plan = Plan(model=engine.model, methods=tuple(settings))
    return installed(plan, engine.shape, engine.card.offers)


def _decided(engine: Engine, seam: Seam, settings: Sequence[Setting]) -> object:
    made = install(engine, settings)
    if seam == "depth" and made.depth is not None and made.depth.policy is None:
        full = made.depth.layout == Layout.full(engine.shape.layers)
        return None if full else made.depth
    return getattr(made, seam)
