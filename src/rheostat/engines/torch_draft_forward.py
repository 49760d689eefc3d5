"""The forwards that draft: a part of the plan's own model, or another model.

A part of the own model reads the row's cache and writes its keys and values behind what that
counts, where the verifying pass finds those of the layers that both share, and writes over the
others. Another model has a cache of its own and reads what it has not read yet.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, final

from rheostat.engines.torch_acceptance import loaded_head
from rheostat.engines.torch_model import Feed
from rheostat.engines.torch_parts import PartBooks, check_numbers
from rheostat.engines.torch_prices import empty_cache
from rheostat.errors import MethodError
from rheostat.kernel.model_cost import Work, interpolated
from rheostat.kernel.seams import Depth, Layout
from rheostat.kernel.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from rheostat.engines.torch_engine import TorchEngine
    from rheostat.engines.torch_model import Llama
    from rheostat.engines.torch_row import Row
    from rheostat.kernel.model_cost import PriceTable
    from rheostat.kernel.policies.sampling import Floats
    from rheostat.kernel.seams import Forward, ModelDraft


@final
@dataclass(kw_only=True)
class Draft:
    """A row's draft, finished or in the making."""

    tokens: Sequence[int] = ()
    """A chain, or a `TokenTree` that no forward has drawn."""
    laws: list[Floats] = field(default_factory=list)
    """What each token was drawn from; empty = each was certain."""
    layer: int = 0
    """Where the verifying pass may enter,"""
    streams: list[torch.Tensor] = field(default_factory=list)
    """and the residual stream there of the newest token and all drafted ones but the last."""


@final
@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A draft in the making, and what wants it."""

    row: Row
    ask: ModelDraft
    draft: Draft

    @property
    def newest(self) -> int:
        """The token that is read next."""
        return self.draft.tokens[-1] if self.draft.tokens else self.row.last


class Read(NamedTuple):
    """What a pass over the newest token of every draft gave."""

    logits: torch.Tensor
    """[drafts, vocabulary], or choices [drafts]."""
    scores: Sequence[float | None]
    """The acceptance head's output for each token that was read; None = it was not drafted."""


class OwnPlan(NamedTuple):
    """How a part of the plan's model lies in the plan."""

    whole: Layout
    """What the draft runs."""
    below: Layout
    """What it shares with the verifying pass,"""
    above: Layout
    """and what it runs beside that."""
    layer: int
    """The layer where the verifying pass enters."""


def own_plan(depth: Depth, layout: Layout) -> OwnPlan:
    """Split a part of the plan's sub-layers where it first differs from the plan.

    A depth policy decides within one pass, so nothing of a draft can stand for what it would do.
    """
    whole = depth.layout.shared(layout)
    layer = 0 if depth.policy else whole.first_difference(depth.layout)
    end = len(whole.attention)
    return OwnPlan(whole, whole.within(0, layer), whole.within(layer, end), layer)


@final
class OwnPart:
    """Drafts with some of the plan's sub-layers."""

    def __init__(
        self, engine: TorchEngine, depth: Depth, forward: Forward, prices: PriceTable
    ) -> None:
        """Load the acceptance head, if the forward has one."""
        assert forward.layout is not None
        self._llama, self._prices = engine.llama, prices
        self._books = PartBooks(engine.llama, self._prices)
        self._slots = depth.layout
        self._plan = own_plan(depth, forward.layout)
        self._head = loaded_head(forward.head) if forward.head else None
        if self._head is not None and self._head.width != engine.shape.width:
            raise MethodError(
                f"the acceptance head is for models of width {self._head.width}, `{engine.model}` "
                f"has {engine.shape.width}",
                hint=f"train one with `rheostat profile {engine.model} --acceptance`",
            )

    def read(self, drawings: Sequence[Drawing], *, choices: bool) -> Read:
        """Read the newest token of every draft and count it."""
        feeds = [
            Feed(d.row.cache, [d.newest], len(d.row.new) - 1, ahead=len(d.draft.tokens))
            for d in drawings
        ]
        works = [d.row.work for d in drawings]
        self._books.begun(works)
        self._books.part(feeds, works, self._plan.whole)
        tokens = [d.newest for d in drawings]
        x = self._llama.embedded(tokens)
        x = self._llama.through(feeds, x, self._plan.below, self._slots)
        if self._plan.layer:
            for i, d in enumerate(drawings):
                d.draft.layer = self._plan.layer
                d.draft.streams.append(x[i : i + 1])
        x = self._llama.through(feeds, x, self._plan.above, self._slots)
        passed = self._llama.headed(x, choices=choices)
        self._books.head([1] * len(works), works, passed.head_again, choices=choices)
        check_numbers(passed.logits)
        return Read(passed.logits, self._scores(drawings, x))

    def _scores(self, drawings: Sequence[Drawing], x: torch.Tensor) -> list[float | None]:
        scores: list[float | None] = [None] * len(drawings)
        drafted = [i for i, d in enumerate(drawings) if d.draft.tokens]
        if self._head is None or not drafted:
            return scores
        price = head_seconds(self._prices, self._head.weights, self._llama, len(drafted))
        for i, score in zip(drafted, self._head.scores(x[drafted]), strict=True):
            scores[i] = score
            share = 1 / len(drafted)
            drawings[i].row.work.add(
                Work(
                    others=self._head.weights,
                    weight_bytes=4 * self._head.weights * share,
                    price=price * share,
                )
            )
        return scores


@final
class OtherModel:
    """Drafts with a model of its own weights and caches."""

    def __init__(self, other: TorchEngine, path: str, *, chunk: int) -> None:
        """Take the model; it reads `chunk` tokens of a row at most in one pass."""
        self._other = other
        self._path = path
        self._chunk = chunk
        self._depth = Depth(Layout.full(other.shape.layers))

    def read(self, drawings: Sequence[Drawing], *, choices: bool) -> Read:
        """Read what each draft's row has not read yet, its newest token last, and count it."""
        feeds = [self._feed(d, choices=choices) for d in drawings]
        logits = self._passed(
            [d.row for d in drawings], feeds, [[len(f.tokens) - 1] for f in feeds], choices=choices
        )
        return Read(logits, [None] * len(drawings))

    def _feed(self, drawing: Drawing, *, choices: bool) -> Feed:
        """Return the last tokens to read; read those before them, a chunk at a time."""
        row = drawing.row
        cache = row.caches.get(self._path)
        if cache is None:
            room = len(row.prompt) + row.max_new
            cache = empty_cache(self._other.llama, self._depth.layout, capacity=room)
            row.caches[self._path] = cache
        text = [*row.prompt, *row.new, *drawing.draft.tokens]
        while len(text) - cache.length > self._chunk:
            part = text[cache.length : cache.length + self._chunk]
            self._passed([row], [Feed(cache, part, 0)], [[]], choices=choices)
        return Feed(cache, text[cache.length :], 0)

    def _passed(
        self,
        rows: Sequence[Row],
        feeds: Sequence[Feed],
        wanted: Sequence[Sequence[int]],
        *,
        choices: bool,
    ) -> torch.Tensor:
        works = [Work() for _ in rows]
        traces = [Trace() for _ in rows]
        logits = self._other.passed(feeds, self._depth, wanted, works, traces, choices=choices)
        for row, work in zip(rows, works, strict=True):
            row.beside += self._other.cost(work, prompt_tokens=0, new_tokens=0)
        return logits


def head_seconds(prices: PriceTable, weights: int, llama: Llama, n: int) -> float:
    """Price an acceptance head over n rows as the share of an MLP that it has in weights."""
    share = weights / llama.shape.mlp_weights
    return share * interpolated(prices.tokens, prices.mlp, n)
