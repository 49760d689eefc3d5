"""Populations of losses with a known mean, for judging bounds: drawn, or recorded and resampled."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

VALUES = np.linspace(0.0, 1.0, 41)
"""What a drawn loss can be."""
SLOTS = 2**16
"""Equally likely slots of a table that a loss is drawn from."""
NATS_SPREAD = 0.05
"""Standard deviation of a document's excess nats, on the scale [0, 1] of losses from -1 to 1."""


class World(Protocol):
    """Settings with true losses, and samples of items on which each has a loss in [0, 1]."""

    @property
    def truths(self) -> Floats:
        """True mean losses of the settings, [settings]."""

    def sample(self, trials: int, items: int, rng: np.random.Generator) -> Sampled:
        """Draw the items of many trials."""


class Sampled(Protocol):
    """Losses on drawn items."""

    @property
    def items(self) -> int:
        """How many items a trial has."""

    @property
    def means(self) -> Floats:
        """The mean losses, [trials, settings]."""

    @property
    def failures(self) -> Floats:
        """How many losses are over 0, [trials, settings]."""

    def losses(self, setting: int, trials: Ints) -> Floats:
        """Return the losses of one setting in some of the trials, [len(trials), items]."""


@dataclass(frozen=True)
class Drawn:
    """Every setting's losses are independent draws from a law of its own."""

    slots: NDArray[np.uint8]
    """What is drawn from uniformly: the places of losses in `VALUES`, [settings, SLOTS]."""

    @classmethod
    def of(cls, laws: Floats) -> Drawn:
        """Return a world of laws, probabilities of `VALUES`, [settings, values].

        Probabilities become whole numbers of slots, and the mean is rounded up with them.
        """
        return cls(np.stack([_slots(law) for law in laws]))

    @property
    def truths(self) -> Floats:
        """Means of the laws that are drawn from."""
        return np.asarray(VALUES[self.slots].mean(axis=1))

    def sample(self, trials: int, items: int, rng: np.random.Generator) -> DrawnSample:
        """Draw every setting's losses."""
        size = (trials, items)
        return DrawnSample(
            np.stack([table[rng.integers(0, SLOTS, size, np.uint16)] for table in self.slots])
        )


@dataclass(frozen=True)
class DrawnSample:
    """Losses as places in `VALUES`, [settings, trials, items]."""

    places: NDArray[np.uint8]

    @property
    def items(self) -> int:
        """How many items a trial has."""
        return int(self.places.shape[2])

    @cached_property
    def means(self) -> Floats:
        """The mean losses, [trials, settings]."""
        sums = self.places.sum(axis=2, dtype=np.uint32).T
        return np.asarray(sums / (self.items * (len(VALUES) - 1)))

    @cached_property
    def failures(self) -> Floats:
        """How many losses are over 0, [trials, settings]."""
        return np.asarray(np.count_nonzero(self.places, axis=2).T, dtype=np.float64)

    def losses(self, setting: int, trials: Ints) -> Floats:
        """Return the losses of one setting in some of the trials, [len(trials), items]."""
        return np.asarray(VALUES[self.places[setting, trials]])


@dataclass(frozen=True)
class Recorded:
    """Losses of real items: whole items are drawn with replacement, the truth is their mean."""

    table: Floats
    """[items, settings]"""

    @property
    def truths(self) -> Floats:
        """Mean losses over all recorded items."""
        return np.asarray(self.table.mean(axis=0))

    def sample(self, trials: int, items: int, rng: np.random.Generator) -> RecordedSample:
        """Draw items; every setting is measured on the same ones."""
        return RecordedSample(self.table, rng.integers(0, len(self.table), (trials, items)))


@dataclass(frozen=True)
class RecordedSample:
    """Rows of a table that were drawn, [trials, items]."""

    table: Floats
    rows: Ints

    @property
    def items(self) -> int:
        """How many items a trial has."""
        return int(self.rows.shape[1])

    @cached_property
    def means(self) -> Floats:
        """The mean losses, [trials, settings]."""
        return self._drawn @ self.table / self.items

    @cached_property
    def failures(self) -> Floats:
        """How many losses are over 0, [trials, settings]."""
        return np.asarray(self._drawn @ (self.table > 0.0).astype(np.float64))

    @cached_property
    def _drawn(self) -> Floats:
        """How often each item was drawn, [trials, items of the table]."""
        height, width = len(self.rows), len(self.table)
        flat = self.rows + width * np.arange(height)[:, None]
        counts = np.bincount(flat.ravel(), minlength=height * width)
        return counts.reshape(height, width).astype(np.float64)

    def losses(self, setting: int, trials: Ints) -> Floats:
        """Return the losses of one setting in some of the trials, [len(trials), items]."""
        return np.asarray(self.table[:, setting][self.rows[trials]])


def binary(mean: float) -> Floats:
    """Return the law of a loss that is 0 or 1."""
    law = np.zeros_like(VALUES)
    law[0], law[-1] = 1 - mean, mean
    return law


def shares(mean: float) -> Floats:
    """Return the law of a share of tokens: nothing for half of the items, a skewed rest."""
    body = _tilted(np.exp(-4 * VALUES), min(2 * mean, 0.98))
    law = min(2 * mean / float(body @ VALUES), 1.0) / 2 * body
    law[0] += 1 - law.sum()
    return np.asarray(law)


def nats(mean: float) -> Floats:
    """Return the law of clipped excess nats scaled to [0, 1]: a bell around 0.5."""
    return _tilted(np.exp(-(((VALUES - 0.5) / NATS_SPREAD) ** 2) / 2), mean)


def _tilted(weights: Floats, mean: float) -> Floats:
    """Tilt a law exponentially until it has this mean."""
    low, high = -400.0, 400.0
    for _ in range(80):
        middle = (low + high) / 2
        log = np.log(np.maximum(weights, 1e-300)) + middle * VALUES
        law = np.exp(log - log.max())
        law /= law.sum()
        low, high = (middle, high) if float(law @ VALUES) < mean else (low, middle)
    return np.asarray(law)


def _slots(law: Floats) -> NDArray[np.uint8]:
    """Return places of values in ascending order, as often as the law says, [SLOTS].

    The mean is the law's, or over it by less than one slot that moves from the law's lowest value
    to its highest.
    """
    ends = np.rint(np.cumsum(law) * SLOTS).astype(np.int64)
    ends[np.flatnonzero(law)[-1] :] = SLOTS
    table = np.repeat(np.arange(len(VALUES)), np.diff(ends, prepend=0))
    low, high = table[0], table[-1]
    missing = float(law @ VALUES) * SLOTS - float(VALUES[table].sum())
    moved = math.ceil(round(missing / float(VALUES[high] - VALUES[low]), 6)) if high > low else 0
    if moved > 0:
        table[:moved] = high
    elif moved < 0:
        table[moved:] = low
    return np.sort(table).astype(np.uint8)


LAWS: Mapping[str, Callable[[float], Floats]] = {"0/1": binary, "shares": shares, "nats": nats}
