"""What recorded samples cost, in tokens and in the seconds that were predicted of each.

A prompt that is read once for all samples of a question is on the account of one of them in the
recording; here it belongs to the question, so that the samples may come in any order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from rheostat.stages.replayed import in_orders

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from rheostat.engines.sample_store import StoredSample
    from rheostat.stages.recorded import Recorded

    Floats = NDArray[np.float64]

Unit = Literal["seconds", "tokens"]


class _Parts(NamedTuple):
    """The cost of a sample."""

    read: float
    """Of its question's prompt, where that is on its account."""
    own: float


def steps_of(sample: StoredSample) -> int:
    """Return the passes of a sample beside those that read its question's prompt."""
    return sample.cost.calls - bool(sample.cost.prompt_tokens)


def costs_of(questions: Sequence[Recorded]) -> Mapping[Unit, Floats]:
    """Return the costs of the first n samples of each question in every order.

    Returns:
        By unit, the prompt included: [questions, orders, samples + 1]; no `seconds` where some
        sample has no predicted price.
    """
    every = [sample for question in questions for sample in question.samples]
    apart = [sample for sample in every if not sample.cost.prompt_tokens]
    reading = bool(apart)  # else every sample pays for reading the prompt
    made: dict[Unit, Floats] = {"tokens": _summed(questions, _tokens, reading=reading)}
    if all(sample.cost.price > 0 for sample in every):
        steps = sum(map(steps_of, apart))
        a_step = sum(sample.cost.price for sample in apart) / steps if steps else 0.0

        def seconds(sample: StoredSample) -> _Parts:
            price = sample.cost.price
            own = min(steps_of(sample) * a_step, price) if sample.cost.prompt_tokens else price
            return _Parts(price - own, own)

        made["seconds"] = _summed(questions, seconds, reading=reading)
    return made


def _tokens(sample: StoredSample) -> _Parts:
    return _Parts(float(sample.cost.prompt_tokens), float(sample.cost.new_tokens))


def _summed(
    questions: Sequence[Recorded], parts: Callable[[StoredSample], _Parts], *, reading: bool
) -> Floats:
    """Return the sums over the first samples, [questions, orders, samples + 1]."""
    made = []
    for question in questions:
        split = [parts(sample) for sample in question.samples]
        first = max(read for read, _ in split) if reading else 0.0
        each = [own if reading else read + own for read, own in split]
        made.append([np.cumsum([first, *order]) for order in in_orders(each)])
    return np.array(made)
