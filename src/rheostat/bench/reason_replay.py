"""Choices around the model on recorded questions: number format, rule, dial and samples together.

Each format has its own recording of the same questions. A setting is replayed on every question in
every order, as in the suite `solve`, and what it launches is priced: by the format's measured table
for samples that run side by side and for one at a time, by the processor seconds that drawing was
measured to take, in FLOP, and in tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rheostat.kernel.cost_laws import reading_flops
from rheostat.kernel.model_cost import ModelShape, PriceTable
from rheostat.kernel.oracle.samples import majority
from rheostat.stages.replayed import in_orders
from rheostat.stages.replayed import replayed as in_every_order
from rheostat.stages.sample_costs import steps_of
from rheostat.stages.sample_rules import Choice

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from rheostat.engines.sample_store import StoredSample
    from rheostat.kernel.samples import SamplePolicy
    from rheostat.stages.recorded import Recorded

    Floats = NDArray[np.float64]

ROWS = 32
"""Samples that run side by side; a measured table ends there."""
COSTS = ("side_by_side", "one_by_one", "processor_seconds", "flops", "tokens")
LOTS = "random_stop"
"""The rule that stops by lot."""


@dataclass(frozen=True, kw_only=True)
class Format:
    """The recording of all questions in one number format."""

    dtype: str
    questions: Sequence[Recorded]
    costs: Mapping[str, Floats]
    """By name of `COSTS`: of the first n samples, the prompt included,
    [questions, orders, samples + 1]."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a setting came to, a mean over orders for every question."""

    choice: Choice
    right: Floats
    """Share of orders whose answer is right, [questions]."""
    samples: Floats
    """[questions]."""
    costs: Mapping[str, Floats]
    """By name of `COSTS`, [questions]."""

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            **self.choice.to_json(),
            "accuracy": float(self.right.mean()),
            "samples_per_question": float(self.samples.mean()),
            "costs": {name: float(cost.mean()) for name, cost in self.costs.items()},
        }


class Pace(NamedTuple):
    """Processor seconds of drawing samples side by side, as measured."""

    prompt: float
    """Of reading a prompt."""
    step: float
    """Of a token of a sample."""


@dataclass(frozen=True, kw_only=True)
class Prices:
    """What reading and writing cost in one number format on this machine."""

    shape: ModelShape
    table: PriceTable
    pace: Pace

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Prices:
        """Read plain data with a shape, a table and a pace."""
        return Prices(
            shape=ModelShape(**data["shape"]),
            table=PriceTable.from_json(data["table"]),
            pace=Pace(**data["pace"]),
        )

    def prompt(self, tokens: int) -> dict[str, float]:
        """Return the costs of reading a prompt, once for all samples."""
        every = self.shape.layers
        seconds = self.table.seconds(tokens, 0, attention=every, mlp=every, head_rows=1)
        return {
            "side_by_side": seconds,
            "one_by_one": seconds,
            "processor_seconds": self.pace.prompt,
            "flops": reading_flops(self.shape, tokens, 0),
            "tokens": float(tokens),
        }

    def sample(self, prompt: int, sample: StoredSample) -> dict[str, float]:
        """Return the costs of a sample behind a prompt that was read."""
        contexts = range(prompt, prompt + steps_of(sample))
        return {
            "side_by_side": sum(self._step(ROWS, c) for c in contexts),
            "one_by_one": sum(self._step(1, c) for c in contexts),
            "processor_seconds": self.pace.step * len(contexts),
            "flops": sum(reading_flops(self.shape, 1, c) for c in contexts),
            "tokens": float(sample.cost.new_tokens),
        }

    def _step(self, rows: int, context: int) -> float:
        """Return a row's share of the seconds of a step over so many rows."""
        every = self.shape.layers
        step = self.table.seconds(rows, context, attention=every, mlp=every, head_rows=rows)
        return step / rows


def priced(dtype: str, questions: Sequence[Recorded], prices: Prices) -> Format:
    """Return a recording with what its samples cost in every order."""
    tables = [_costs_of(question, prices) for question in questions]
    return Format(
        dtype=dtype,
        questions=questions,
        costs={name: np.array([table[name] for table in tables]) for name in COSTS},
    )


def _costs_of(question: Recorded, prices: Prices) -> dict[str, Floats]:
    """Return the costs of the first n samples in every order, [orders, samples + 1]."""
    read = max(sample.cost.prompt_tokens for sample in question.samples)
    first = prices.prompt(read)
    each = [prices.sample(read, sample) for sample in question.samples]
    found: dict[str, Floats] = {}
    for name in COSTS:
        own = in_orders([sample[name] for sample in each])
        found[name] = np.array([np.cumsum([first[name], *order]) for order in own])
    return found


def replayed(
    policy: SamplePolicy, samples: int, questions: Sequence[Recorded]
) -> list[list[tuple[int, int]]]:
    """Let a policy answer every question in every order, with so many samples at most.

    Returns:
        How many samples it launched and whether its answer is right, [questions, orders].
    """

    return [
        [
            (drawn.samples, int(question.right_answer(drawn.answer)))
            for drawn in in_every_order(policy, samples, question)
        ]
        for question in questions
    ]


def found(choice: Choice, made: Sequence[Sequence[Sequence[int]]], recorded: Format) -> Found:
    """Price what a setting launched, as `replayed` returned it."""
    launched, right = np.moveaxis(np.array(made), 2, 0)
    at = launched[:, :, None]
    return Found(
        choice=choice,
        right=right.mean(axis=1),
        samples=launched.mean(axis=1),
        costs={
            name: np.take_along_axis(costs, at, axis=2)[:, :, 0].mean(axis=1)
            for name, costs in recorded.costs.items()
        },
    )


def hindsight_of(formats: Sequence[Format], cost: str) -> Found:
    """Return the oracle: the cheapest fixed number of samples, in any format, that keeps the base.

    The base is the first format with all samples. Where its answer is right, the cheapest way to a
    right majority is taken, and the cheapest sample where there is nothing to keep.
    """
    right = np.array([_right_first(f.questions) for f in formats])  # [formats, q, orders, n]
    costs = np.array([f.costs[cost][:, :, 1:] for f in formats])
    kept = right[0][:, :, -1]
    keeps = np.where(kept[None, :, :, None], right, True)
    best = np.where(keeps, costs, np.inf).transpose(1, 2, 0, 3)
    flat = best.reshape(*best.shape[:2], -1)
    at = flat.argmin(axis=2)[:, :, None]

    def taken(values: Any) -> Floats:
        rows = values.transpose(1, 2, 0, 3).reshape(flat.shape)
        mean: Floats = np.take_along_axis(rows, at, axis=2)[:, :, 0].mean(axis=1)
        return mean

    numbers = np.broadcast_to(np.arange(1, right.shape[-1] + 1), right.shape)
    return Found(
        choice=Choice("any", "hindsight", 0.0, right.shape[-1]),
        right=taken(right.astype(float)),
        samples=taken(numbers.astype(float)),
        costs={name: taken(np.array([f.costs[name][:, :, 1:] for f in formats])) for name in COSTS},
    )


def _right_first(questions: Sequence[Recorded]) -> NDArray[np.bool_]:
    """Return whether the majority of the first n samples is right, [questions, orders, samples]."""
    return np.array(
        [
            [
                [
                    question.right_answer(majority([s.answer for s in ended[:n]]))
                    for n in range(1, len(ended) + 1)
                ]
                for ended in in_orders(question.ended)
            ]
            for question in questions
        ]
    )
