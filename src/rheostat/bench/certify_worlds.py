"""Populations of losses with a known mean, for judging bounds: drawn, or recorded and resampled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

VALUES = np.linspace(0.0, 1.0, 41)
"""What a drawn loss can be."""
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

    def means(self) -> Floats:
        """Return the mean losses, [trials, settings]."""

    def losses(self, setting: int, trials: Ints) -> Floats:
        """Return the losses of one setting in some of the trials, [len(trials), items]."""

    def unordered(self, setting: int, trials: Ints) -> Floats:
        """Return the same in any order, for bounds that do not look at it."""


@dataclass(frozen=True)
class Drawn:
    """Every setting's losses are independent draws from a law of its own."""

    laws: Floats
    """Probabilities of the values 0, 1/40, …, 1, [settings, values]."""

    @property
    def truths(self) -> Floats:
        """Means of the laws."""
        return np.asarray(self.laws @ VALUES)

    def sample(self, trials: int, items: int, rng: np.random.Generator) -> DrawnSample:
        """Draw for every setting and trial how many items have each value."""
        return DrawnSample(self.laws, trials, items, rng)


class DrawnSample:
    """Losses as counts of values, put in a random order where a sequence is asked for."""

    def __init__(self, laws: Floats, trials: int, items: int, rng: np.random.Generator) -> None:
        """Draw the counts of a setting when it is first asked about."""
        self._laws, self._trials, self._items, self._rng = laws, trials, items, rng
        self._counts: dict[int, Ints] = {}

    def _of(self, setting: int) -> Ints:
        if setting not in self._counts:
            law = self._laws[setting]
            self._counts[setting] = self._rng.multinomial(self._items, law, self._trials)
        return self._counts[setting]

    def means(self) -> Floats:
        """Return the mean losses, [trials, settings]."""
        columns = [self._of(j) @ VALUES / self._items for j in range(len(self._laws))]
        return np.stack(columns, axis=1)

    def losses(self, setting: int, trials: Ints) -> Floats:
        """Return the losses of one setting in some of the trials, in a random order."""
        return self._rng.permuted(self.unordered(setting, trials), axis=1)

    def unordered(self, setting: int, trials: Ints) -> Floats:
        """Return the same in the order of their sizes."""
        counts = self._of(setting)[trials]
        flat = np.repeat(np.tile(VALUES, len(trials)), counts.ravel())
        return np.asarray(flat.reshape(len(trials), self._items))


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

    def means(self) -> Floats:
        """Return the mean losses, [trials, settings]."""
        found = np.empty((len(self.rows), self.table.shape[1]))
        for j, column in enumerate(self.table.T):
            found[:, j] = column[self.rows].mean(axis=1)
        return found

    def losses(self, setting: int, trials: Ints) -> Floats:
        """Return the losses of one setting in some of the trials, [len(trials), items]."""
        return np.asarray(self.table[:, setting][self.rows[trials]])

    unordered = losses


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


LAWS: Mapping[str, Callable[[float], Floats]] = {"0/1": binary, "shares": shares, "nats": nats}
