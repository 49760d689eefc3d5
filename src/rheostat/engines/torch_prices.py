"""Measure the price table of this machine: seconds of the parts of a forward pass.

Four kinds of pass are timed over n new tokens: the whole stack of layers, the stack without its
MLPs (at several context lengths), no layer at all, and that with the output head. Their
differences are the prices of one attention, one MLP and the head, which is timed as greedy
decoding uses it, for the largest logit of each row. The fastest of the repeats counts, because
everything that disturbs a measurement makes it longer; and a table that is kept is doubted, and
measured again, when a step turns out to be much faster (ours).
"""

from __future__ import annotations

import time
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, final

from rheostat.engines.device import settle
from rheostat.engines.torch_cache import Borders, RowCache
from rheostat.engines.torch_model import Feed
from rheostat.engines.torch_queries import Queries
from rheostat.kernel.model_cost import PriceTable, interpolated
from rheostat.kernel.seams import Depth, Layout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from rheostat.engines.decoder import Decoder
    from rheostat.engines.torch_ways import Way
    from rheostat.kernel.model_cost import ModelShape
    from rheostat.kernel.seams import Bools, Floats, Ints, StepSeconds

TOKENS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
CONTEXTS = (32, 512, 1536)
REPEATS = 3
MOST_REPEATS = 9
"""Repeats on a machine that is busy with other work."""
GAIN = 0.1
"""By how much, of its fastest time, a turn may find a pass faster without asking for another."""
SHORTEST = 2e-3
"""Seconds of a step below which a table is not doubted: chance is as large as they are."""
BUSY = 1.5
"""A table whose step takes so many times what it takes now was measured on a busy machine."""
MOST_TOKENS = 1 << 20
"""No pass reads more new tokens."""


def measured_prices(
    model: Decoder, *, way: Way = "plain", progress: Callable[[str], None] | None = None
) -> PriceTable:
    """Time the parts of a pass and return the table; takes some seconds.

    The kinds of pass take turns, so that a disturbance does not fall on one of them alone, and
    turns go on until one brings nothing new.

    Args:
        way: in which the layers run.
    """
    if progress is not None:
        under = {"decided": ", where MLPs are decided", "compacted": ", where entries are let go"}
        progress(f"measuring what a forward pass costs on this machine{under.get(way, '')}")
    layers = model.shape.layers
    full, off = (True,) * layers, (False,) * layers
    contexts = [c for c in CONTEXTS if c + TOKENS[-1] <= model.shape.context] or [1]
    none, every = Layout(off, off), Layout.full(layers)
    if "depth.parts" not in model.offers:
        return _undivided(model, contexts)
    timed = partial(TimedPass, model, tokens=TOKENS, way=way)
    bare = timed(none, contexts[0], head=False)
    head = timed(none, contexts[0])
    attending = [timed(Layout(full, off), c, head=False) for c in contexts]
    stack = timed(every, contexts[0], head=False)
    _turns((bare, head, *attending, stack))
    return PriceTable(
        tokens=TOKENS,
        contexts=tuple(contexts),
        attention=tuple(_difference(timed.seconds, bare.seconds, layers) for timed in attending),
        mlp=_difference(stack.seconds, attending[0].seconds, layers),
        head=_difference(head.seconds, bare.seconds, 1),
        fixed=bare.seconds[0],
    )


def measured_while_busy(
    model: Decoder,
    prices: PriceTable,
    *,
    way: Way = "plain",
    progress: Callable[[str], None] | None = None,
) -> bool:
    """Return whether an ordinary step is now much faster than the table says; times a few steps.

    One that is slower says nothing: the machine may be busy now.
    """
    layers = model.shape.layers
    context = prices.contexts[0]
    told = prices.seconds(1, context, attention=layers, mlp=layers, head_rows=1)
    if told < SHORTEST:
        return False
    (now,) = pass_seconds(model, Layout.full(layers), context, tokens=(1,), way=way)
    busy = told > BUSY * now
    if busy and progress is not None:
        progress("this machine was busy when it was measured")
    return busy


def _undivided(model: Decoder, contexts: Sequence[int]) -> PriceTable:
    """Return the prices of a model that is run as a whole: all of them are its attentions'."""
    layers = model.shape.layers
    whole = [TimedPass(model, Layout.full(layers), c, tokens=TOKENS) for c in contexts]
    _turns(whole)
    nothing = [0.0] * len(TOKENS)
    return PriceTable(
        tokens=TOKENS,
        contexts=tuple(contexts),
        attention=tuple(_difference(timed.seconds, nothing, layers) for timed in whole),
        mlp=_difference(nothing, nothing, 1),
        head=_difference(nothing, nothing, 1),
        fixed=0.0,
    )


def _turns(kinds: Sequence[TimedPass]) -> None:
    """Time the passes in turn, until a turn brings nothing new."""
    for turn in range(MOST_REPEATS):
        gains = [timed.again() for timed in kinds]
        if turn + 1 >= REPEATS and max(gains) <= GAIN:
            break


def pass_seconds(
    model: Decoder,
    layout: Layout,
    context: int,
    *,
    tokens: Sequence[int] = TOKENS,
    way: Way = "plain",
) -> list[float]:
    """Return the seconds of a pass over each n of `tokens` after `context` cached tokens."""
    timed = TimedPass(model, layout, context, tokens=tokens, way=way)
    for _ in range(REPEATS):
        timed.again()
    return timed.seconds


class TimedPass:
    """A kind of pass over n new tokens, and the fastest time seen for every n."""

    def __init__(  # noqa: PLR0913  # what is timed
        self,
        model: Decoder,
        layout: Layout,
        context: int,
        *,
        tokens: Sequence[int],
        head: bool = True,
        way: Way = "plain",
    ) -> None:
        """Fill a cache with `context` tokens.

        Args:
            head: whether every token's choice is computed, or none.
            way: `decided` = every MLP is asked for and watched, and runs; `compacted` = as a row
                whose entries will be let go, its queries kept.
        """
        self._model, self._context = model, context
        self._depth = Depth(layout, _Watching() if way == "decided" else None)
        self._tokens, self._logit_rows = tokens, None if head else ()
        room = context + max(tokens)
        self._cache = empty_cache(model, layout, capacity=room)
        if way == "compacted":
            self._cache.borders = Borders(first=room + 1, every=1)
            slots = sum(layout.attention)
            self._cache.queries = Queries(model.shape, slots, room=room, dtype=model.dtype)
        self._cache.pad(context)
        middle = model.shape.vocabulary // 2  # behind the control tokens
        self._read = [middle + i for i in range(min(max(tokens), middle))]
        self.seconds = [float("inf")] * len(tokens)

    def again(self) -> float:
        """Time every n once more; return the largest share by which one was faster than before."""
        gain = 0.0
        for i, n in enumerate(self._tokens):
            feed = Feed(self._cache, (self._read * n)[:n], 0)
            start = time.perf_counter()
            self._model.forward([feed], self._depth, logit_rows=self._logit_rows, choices=True)
            settle(self._model.device)
            seconds = time.perf_counter() - start
            gain = max(gain, 1 - seconds / self.seconds[i])
            self.seconds[i] = min(self.seconds[i], seconds)
            self._cache.truncate(self._context)
        return gain


@final
class _Watching:
    """A policy that looks at every MLP and lets all of them run."""

    def begin(self, generated: Ints) -> None:
        """Know nothing."""

    def runs(self, layer: int, state: object) -> None:
        """Let all tokens run."""

    def watches(self, layer: int) -> bool:
        """Watch every layer."""
        return True

    def observe(self, layer: int, ran: Bools | None, cosine: Floats, state: object) -> None:
        """Learn nothing."""


def empty_cache(model: Decoder, layout: Layout, *, capacity: int) -> RowCache:
    """Return a cache with a slot for every attention that the layout keeps."""
    return RowCache(
        model.shape,
        sum(layout.attention),
        capacity=capacity,
        dtype=model.dtype,
        device=model.device,
    )


def _difference(longer: Sequence[float], shorter: Sequence[float], units: int) -> tuple[float, ...]:
    return tuple(max((a - b) / units, 1e-9) for a, b in zip(longer, shorter, strict=True))


def step_seconds(prices: PriceTable, layout: Layout, *, rows: int = 1) -> StepSeconds:
    """Return what a step over n new tokens of one row costs after a context.

    Beside other rows, each of which brings one token, a step has to pay for the time that the
    others lose as well. With c the cost of a pass and b rows, a row that writes e tokens raises
    the tokens a second of all exactly when e exceeds c(b - 1 + n) b / c(b) - (b - 1); that is
    what is returned, times c(b), and for b = 1 it is c(n).
    """

    def passed(n: int, context: int) -> float:
        return prices.seconds(
            n,
            context,
            attention=sum(layout.attention),
            mlp=sum(layout.mlp),
            head_rows=n,
        )

    def seconds(n: int, context: int) -> float:
        beside = (rows - 1) * passed(rows, context) if rows > 1 else 0.0
        return passed(rows - 1 + n, context) * rows - beside

    return seconds


def most_seconds(prices: PriceTable, shape: ModelShape, layout: Layout) -> Callable[[int], float]:
    """Return a bound on a row's share of a pass that reads n of its tokens, whatever else it reads.

    A pass over m >= n tokens costs f(m), and the row's share is f(m) n / m. With a table that only
    rises f is piecewise linear, so f(m) / m is largest at n or at a measured point.
    """
    table = _rising_table(prices, shape.context)
    attentions, mlps = sum(layout.attention), sum(layout.mlp)

    def passes(n: int) -> float:
        return table.seconds(n, 0, attention=attentions, mlp=mlps, head_rows=n)

    measured = [(m, passes(m) / m) for m in table.tokens]

    def most(n: int) -> float:
        return max(passes(n), *(n * each for m, each in measured if m > n))

    return most


def most_parts(prices: PriceTable, shape: ModelShape, layout: Layout) -> Callable[[int], float]:
    """Return a bound as `most_seconds` for a pass whose parts may read different numbers of tokens.

    Each part is bounded by itself.
    """
    table = _rising_table(prices, shape.context)
    kinds = (
        (float(sum(layout.attention)), table.attention[0]),
        (float(sum(layout.mlp)), table.mlp),
        (1.0, table.head),
    )

    def share(row: Sequence[float], n: int) -> float:
        whole = interpolated(table.tokens, row, n)
        pairs = zip(table.tokens, row, strict=True)
        return max(whole, *(n * seconds / m for m, seconds in pairs if m > n))

    return lambda n: table.fixed + sum(count * share(row, n) for count, row in kinds)


def _rising_table(prices: PriceTable, context: int) -> PriceTable:
    """Return a table over the given one at every context: the dearest context, never falling."""
    tokens = (*prices.tokens, MOST_TOKENS)
    contexts = (*prices.contexts, context)

    def attention(n: int) -> float:
        at_contexts = [interpolated(prices.tokens, row, n) for row in prices.attention]
        return max(interpolated(prices.contexts, at_contexts, c) for c in contexts)

    def rising(values: Iterable[float]) -> tuple[float, ...]:
        return tuple(accumulate(values, max))

    return PriceTable(
        tokens=tokens,
        contexts=(0,),
        attention=(rising(attention(n) for n in tokens),),
        mlp=rising(interpolated(prices.tokens, prices.mlp, n) for n in tokens),
        head=rising(interpolated(prices.tokens, prices.head, n) for n in tokens),
        fixed=prices.fixed,
    )
