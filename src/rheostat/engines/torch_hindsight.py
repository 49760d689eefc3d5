"""Tables for judging decisions in hindsight, recorded on the `torch` engine.

Exits: behind every layer the model's own norm and output head say which token it would take there;
the text is read by the full model, so each exit sees whole keys and values of all tokens before.
Masks: the text is read once under every mask, and every token sees what that mask left of those
before it. So a table says what one decision does, and not what decisions do to later ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from rheostat.engines.torch_model import Feed, Resume
from rheostat.engines.torch_prices import empty_cache
from rheostat.errors import WorkloadError
from rheostat.kernel.seams import Depth, Layout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from rheostat.engines.torch_engine import TorchEngine
    from rheostat.engines.torch_model import Observer


@dataclass(frozen=True, kw_only=True)
class Exits:
    """What the model would say at every exit, [tokens, layers]; the last exit is the full model."""

    choices: NDArray[np.int64]
    """The likeliest token."""
    certainty: NDArray[np.float64]
    """Its probability."""


def exits(engine: TorchEngine, prompt: Sequence[int], answer: Sequence[int]) -> Exits:
    """Read an answer teacher-forced and look at every exit.

    Args:
        prompt: token ids read first, at least one.
        answer: token ids, at least one; a row of the tables each.

    Raises:
        WorkloadError: an empty prompt or answer.
    """
    text = _Text(engine, prompt, answer)
    streams: list[torch.Tensor] = []

    def observe(_: int, kind: str, __: torch.Tensor, stream: torch.Tensor) -> None:
        if kind == "mlp":
            streams.append(stream[text.rows].clone())

    text.read(Layout.full(engine.shape.layers), rows=[], observer=observe)
    choices, certainty = [], []
    for stream in streams:
        law = engine.llama.headed(stream, choices=False).logits.float().softmax(dim=-1)
        top = law.max(dim=-1)
        choices.append(top.indices)
        certainty.append(top.values)
    return Exits(
        choices=torch.stack(choices, dim=1).numpy(),
        certainty=torch.stack(certainty, dim=1).double().numpy(),
    )


def mask_choices(
    engine: TorchEngine, prompt: Sequence[int], answer: Sequence[int], masks: Sequence[Layout]
) -> NDArray[np.int64]:
    """Return the likeliest token under every mask, [tokens, masks].

    The layers below the first difference from the full model are run once.

    Args:
        prompt: token ids read first, at least one.
        answer: token ids, at least one.
        masks: which sub-layers run.

    Raises:
        WorkloadError: an empty prompt or answer.
    """
    text, full = _Text(engine, prompt, answer), Layout.full(engine.shape.layers)
    first = min((full.first_difference(mask) for mask in masks), default=0)
    shared: list[torch.Tensor] = []

    def observe(layer: int, kind: str, stream: torch.Tensor, _: torch.Tensor) -> None:
        if (layer, kind) == (first, "attention"):
            shared.append(stream)

    text.read(full, rows=[], observer=observe)
    resume = Resume(first, shared[0]) if shared else None
    chosen = [text.read(mask, rows=text.rows, resume=resume) for mask in masks]
    return np.stack([one.numpy() for one in chosen], axis=1)


class _Text:
    """A prompt with its answer, read in one pass."""

    def __init__(self, engine: TorchEngine, prompt: Sequence[int], answer: Sequence[int]) -> None:
        if not prompt or not answer:
            raise WorkloadError(
                "there is nothing to look back on", hint="give a prompt and an answer"
            )
        self._model = engine.llama
        self._tokens = [*prompt, *answer][:-1]
        self.rows = list(range(len(prompt) - 1, len(self._tokens)))
        """Where the answer's tokens are chosen."""

    def read(
        self,
        layout: Layout,
        *,
        rows: Sequence[int],
        observer: Observer | None = None,
        resume: Resume | None = None,
    ) -> torch.Tensor:
        """Return the choices of these rows."""
        cache = empty_cache(self._model, layout, capacity=len(self._tokens))
        feed = Feed(cache, self._tokens, -len(self._tokens))
        return self._model.forward(
            [feed], Depth(layout), logit_rows=rows, choices=True, observer=observer, resume=resume
        ).logits
