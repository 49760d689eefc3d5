"""Samples drawn side by side on the `torch` engine: prompts are read once, rows are refilled.

A question's prompt is read by the first sample that needs it; the others share its keys and values,
or begin from a copy of them. Ended rows make room for waiting samples between two steps. A pass is
filled up with idle rows to widths at which this machine gives every row the same numbers whatever
stands beside it: in float32 a sample's text depends on (question, index, seed) alone (ours).
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, final

import torch

from rheostat.engines.base import EngineCard
from rheostat.engines.money import TokenPrices
from rheostat.engines.sampler import Drawn, Held
from rheostat.engines.stopping import row_stop
from rheostat.engines.torch_model import Feed
from rheostat.engines.torch_prices import empty_cache, most_seconds
from rheostat.engines.torch_probe import Probe
from rheostat.engines.torch_row import Row
from rheostat.engines.torch_tokens import Laws, drawn_tokens
from rheostat.engines.torch_widths import unit_of
from rheostat.engines.transcript import Transcript
from rheostat.errors import MethodError
from rheostat.kernel.cost import Cost
from rheostat.kernel.model_cost import Work
from rheostat.kernel.seams import Depth, Installed, Layout
from rheostat.kernel.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rheostat.engines.base import StopReason
    from rheostat.engines.sampler import Draw, Read, Reading
    from rheostat.engines.torch_cache import RowCache
    from rheostat.engines.torch_engine import TorchEngine
    from rheostat.kernel.ledger import Reservation

CHUNK = 256
"""Prompt tokens of one forward pass."""
ROWS = 32
"""Rows of a step in float32: up to so many, one kernel of products serves all widths."""
WIDE_ROWS = 128
"""Rows of a step in other formats, which promise no identity."""
HELD_BYTES = 1 << 30
"""Prompts are kept for later samples up to so many bytes of keys and values."""


@dataclass(frozen=True)
class _Prompt:
    cache: RowCache
    logits: torch.Tensor
    """After its last token, [1, vocabulary]."""
    bytes: int
    """Of its keys and values, which samples may share."""

    def begun(self, *, room: int, shared: bool) -> RowCache:
        """Return a cache of the same tokens with room for more; they are shared, or copied."""
        return self.cache.fork(capacity=room) if shared else self.cache.copied(room=room)


@dataclass
class _Sample:
    draw: Draw
    row: Row
    logprobs: list[float] = field(default_factory=list)
    entropies: list[float] = field(default_factory=list)
    pauses: tuple[int, ...] = ()
    """Those that it will come to."""
    reads: bool = False
    """Whether the question's prompt is on this sample's account."""


@final
class TorchSampler:
    """The samplers' interface over a loaded model."""

    card = EngineCard(
        name="torch",
        offers=frozenset(
            {
                "sample",
                "sample.logprobs",
                "sample.temperature",
                "sample.pause",
                "sample.probe",
                "stop",
                "batched",
            }
        ),
    )

    def __init__(
        self,
        engine: TorchEngine,
        *,
        installed: Installed | None = None,
        rows: int | None = None,
        prices: TokenPrices | None = None,
    ) -> None:
        """Draw up to `rows` samples side by side under a plan's decisions on `depth` and `stop`.

        Without `rows` there are as many as the number format is good for; `prices` say what
        tokens cost in money.

        Raises:
            MethodError: the plan holds a method of another seam.
        """
        decided = installed or Installed()
        if decided.draft or decided.token or decided.cache:
            raise MethodError(
                "samples drawn side by side take neither drafts nor methods of the `token` and "
                "`cache` seams",
                hint="take them out of the plan, as in `--set NAME=off`",
            )
        self.engine = engine
        self.model = engine.model
        self.depth = decided.depth or Depth(Layout.full(engine.shape.layers))
        self._stop = decided.stop
        self._exact = exact = engine.decoder.dtype == torch.float32
        self._rows = rows = rows or (ROWS if exact else WIDE_ROWS)
        self._money = prices or TokenPrices(prompt=0.0, new=0.0)
        self._prompts: dict[str, _Prompt] = {}
        self._encoded: dict[str, list[int]] = {}
        self._reading: set[str] = set()
        """Questions whose prompt is on the account of a sample that was launched."""
        self._waiting: deque[_Sample] = deque()
        self._live: list[_Sample] = []
        self._held: dict[tuple[str, int], _Sample] = {}
        self._resumed: deque[_Sample] = deque()
        self._ended: list[Drawn | Held] = []
        self._idle = [self._cache(1) for _ in range(rows)]
        exact = exact and engine.dtype != "gguf"
        exact = exact and engine.decoder.packs
        self._unit = unit_of(engine.decoder, self.depth, self._idle) if exact else 1
        self._most = most_seconds(engine.prices(), engine.shape, self.depth.layout)

    def bound(self, draw: Draw) -> Cost:
        """Return the most that a draw costs; the prompt counts unless it is read already."""
        prompt = len(self._prompt_ids(draw))
        new = min(draw.sampling.max_new_tokens, self.engine.shape.context - prompt)
        reads = draw.question not in self._prompts and draw.question not in self._reading
        parts = [min(CHUNK, prompt - at) for at in range(0, prompt, CHUNK)] if reads else []
        # idle rows of a step are paid by those that run: at most a whole unit of them
        price = sum(self._most(n) for n in parts) + new * self._most(self._unit)
        return self._money.priced(
            Cost(
                prompt_tokens=prompt if reads else 0,
                new_tokens=new,
                calls=len(parts) + new,
                price=price,
            )
        )

    def launch(self, draw: Draw, reservation: Reservation) -> None:
        """Let a draw wait for a row."""
        prompt = self._prompt_ids(draw)
        fits = self.engine.shape.context - len(prompt)
        wanted = draw.sampling.max_new_tokens
        full: StopReason = "length" if wanted <= fits else "context"
        new = min(wanted, fits)
        if reservation.bound.new_tokens < new:
            new, full = reservation.bound.new_tokens, "budget"
        row = Row(
            id=draw.question,
            prompt=prompt,
            cache=self._idle[0],  # its own comes when it gets a row
            max_new=new,
            full=full,
            chance=f"{draw.sampling.seed}\n{draw.question}\n{draw.index}",
            decoder=self.engine.tokenizer.stream(),
            transcript=Transcript(draw.sampling.stop),
            reservation=reservation,
            stop=row_stop(self._stop, draw.sampling.seed, f"{draw.question}\n{draw.index}"),
        )
        reads = draw.question not in self._prompts and draw.question not in self._reading
        if reads:
            self._reading.add(draw.question)
        self._waiting.append(_Sample(draw, row, reads=reads, pauses=draw.pauses))

    def resume(self, draw: Draw) -> None:
        """Let a draw that waits have a row again, before those that were not begun."""
        self._resumed.append(self._held.pop(draw.key))

    def reading_bound(self, reading: Reading) -> Cost:
        """Return what a reading costs at most: the prompt counts unless it is read already."""
        prompt = self._prompt_ids(reading.draw)
        held = len(prompt) if reading.draw.question in self._prompts else 0
        return self._money.priced(Probe(self.engine, self.depth, reading).bound(prompt, held))

    def read(self, reading: Reading, reservation: Reservation) -> Read:
        """Read a text after a sample on a copy of its question's cache."""
        prompt = self._prompts.get(reading.draw.question)
        cache = self._cache(1) if prompt is None else prompt.cache
        done = Probe(self.engine, self.depth, reading).read(self._prompt_ids(reading.draw), cache)
        done = replace(done, cost=self._money.priced(done.cost))
        reservation.settle(done.cost)
        return done

    def cancel(self, draw: Draw) -> None:
        """End a draw; what it has cost stays charged."""
        held = self._held.pop(draw.key, None)
        if held is not None:
            held.row.stop_reason = "cancelled"
            self._end(held)
            return
        for samples in (self._waiting, self._live, self._resumed):
            for sample in samples:
                if sample.draw.key == draw.key:
                    samples.remove(sample)
                    self._read_for_others(sample)
                    sample.row.stop_reason = "cancelled"
                    self._end(sample)
                    return

    def poll(self) -> Sequence[Drawn | Held]:
        """Step until a sample has ended or waits; return all that do."""
        while not self._ended and (self._live or self._waiting or self._resumed):
            self._refill()
            if self._live:
                self._step()
        ended, self._ended = self._ended, []
        return ended

    def close(self) -> None:
        """Cancel whatever runs and forget the prompts."""
        gone = [*self._live, *self._waiting, *self._resumed, *self._held.values()]
        for samples in (self._live, self._waiting, self._resumed, self._held):
            samples.clear()
        for sample in gone:
            sample.row.stop_reason = "cancelled"
            self._end(sample)
        self._ended = []
        self._prompts.clear()
        self._reading.clear()

    def _refill(self) -> None:
        while self._resumed and len(self._live) < self._rows:
            self._live.append(self._resumed.popleft())
        while self._waiting and len(self._live) < self._rows:
            sample = self._waiting.popleft()
            start = time.perf_counter()
            prompt = self._prompts.get(sample.draw.question) or self._read(sample)
            self._reading.discard(sample.draw.question)
            shared = self.engine.decoder.reads_parts
            sample.row.cache = prompt.begun(room=sample.row.max_new, shared=shared)
            self._live.append(sample)
            self._take([sample], prompt.logits)
            sample.row.seconds += time.perf_counter() - start
            self._let_go()

    def _read(self, sample: _Sample) -> _Prompt:
        row, logits = sample.row, torch.empty(0)
        sample.reads = True
        cache = self._cache(len(row.prompt))
        for at in range(0, len(row.prompt), CHUNK):
            feed = Feed(cache, row.prompt[at : at + CHUNK], at - len(row.prompt))
            last = at + CHUNK >= len(row.prompt)
            wanted = [len(feed.tokens) - 1] if last else []
            logits = self.engine.passed([feed], self.depth, [wanted], [row.work], [row.trace])
        prompt = _Prompt(cache, logits, cache.bytes)
        self._prompts[sample.draw.question] = prompt
        self._forget_prompts()
        return prompt

    def _forget_prompts(self) -> None:
        """Forget the oldest prompts that no waiting sample relies on when they take much memory."""
        needed = {sample.draw.question for sample in self._waiting}
        held = sum(prompt.bytes for prompt in self._prompts.values())
        for question in [*self._prompts][:-1]:
            if held > HELD_BYTES and question not in needed:
                held -= self._prompts.pop(question).bytes

    def _step(self) -> None:
        start = time.perf_counter()
        rows = [sample.row for sample in self._live]
        idle = self._idle[: -len(rows) % self._unit]
        feeds = [Feed(row.cache, [row.last], len(row.new) - 1) for row in rows]
        feeds += [Feed(cache, [0], 0) for cache in idle]
        beside, none = Work(), Trace()
        works = [row.work for row in rows] + [beside] * len(idle)
        traces = [row.trace for row in rows] + [none] * len(idle)
        # a row may have other numbers beside others: then each takes a pass of its own
        width = 1 if self._exact and not self.engine.decoder.packs else len(feeds)
        parts = [slice(at, at + width) for at in range(0, len(feeds), width)]
        logits = torch.cat(
            [
                self.engine.passed(
                    feeds[part], self.depth, [[0]] * len(feeds[part]), works[part], traces[part]
                )
                for part in parts
            ]
        )
        for cache in idle:
            cache.truncate(0)
        self._take(self._live, logits[: len(rows)])
        seconds = (time.perf_counter() - start) / len(rows)
        for row in rows:
            row.work.add(_share(beside, len(rows)))
            row.seconds += seconds
        self._let_go()

    def _take(self, samples: Sequence[_Sample], logits: torch.Tensor) -> None:
        """Draw and write a token for every row of the logits, [n, vocabulary]."""
        laws = [Laws(s.draw.sampling, s.row.rng, (*s.row.prompt, *s.row.new)) for s in samples]
        taken = drawn_tokens(logits, laws)
        for sample, token, logprob, entropy in zip(samples, *taken, strict=True):
            before = len(sample.row.new)
            sample.row.take((token,), self.engine.eos)
            if len(sample.row.new) > before:
                sample.logprobs.append(logprob)
                sample.entropies.append(entropy)

    def _let_go(self) -> None:
        ended = [sample for sample in self._live if sample.row.stop_reason is not None]
        if ended:
            self._live = [sample for sample in self._live if sample.row.stop_reason is None]
            for sample in ended:
                self._end(sample)
        waits = [s for s in self._live if s.pauses and len(s.row.new) >= s.pauses[0]]
        if waits:
            self._live = [sample for sample in self._live if sample not in waits]
            for sample in waits:
                self._hold(sample)

    def _hold(self, sample: _Sample) -> None:
        sample.pauses = sample.pauses[1:]
        self._held[sample.draw.key] = sample
        self._ended.append(
            Held(
                draw=sample.draw,
                tokens=len(sample.row.new),
                token_ids=tuple(sample.row.new),
                text=sample.row.transcript.text,
                logprobs=tuple(sample.logprobs),
            )
        )

    def _end(self, sample: _Sample) -> None:
        row = sample.row
        read = len(row.prompt) if sample.reads and row.work.calls else 0
        counted = self.engine.cost(row.work, prompt_tokens=read, new_tokens=len(row.new))
        cost = self._money.priced(replace(counted, seconds=row.seconds))
        assert row.reservation is not None
        row.reservation.charge(cost)
        if row.stop_reason == "cancelled":
            row.reservation.cancel(f"sample {sample.draw.index} was cancelled")
        else:
            row.reservation.close()
        output = row.output(cost)
        kept = len(output.token_ids)
        self._ended.append(
            Drawn(
                draw=sample.draw,
                output=output,
                logprobs=tuple(sample.logprobs[:kept]),
                entropies=tuple(sample.entropies[:kept]),
            )
        )

    def _read_for_others(self, gone: _Sample) -> None:
        """Read the prompt on a cancelled sample's account where others wait that rely on it."""
        question = gone.draw.question
        if not gone.reads or question in self._prompts:
            return
        self._reading.discard(question)
        if any(sample.draw.question == question for sample in self._waiting):
            self._read(gone)

    def _prompt_ids(self, draw: Draw) -> list[int]:
        if draw.question not in self._encoded:
            self._encoded[draw.question] = self.engine.encode(draw.request)
        return self._encoded[draw.question]

    def _cache(self, capacity: int) -> RowCache:
        return empty_cache(self.engine.decoder, self.depth.layout, capacity=capacity)


def _share(work: Work, rows: int) -> Work:
    """Return what each of the running rows pays of the idle ones."""
    shared = {name: value / rows for name, value in vars(work).items()}
    counted = ("attention_tokens", "mlp_tokens", "head_tokens", "scores", "keys_read")
    whole = {name: round(shared[name]) for name in counted}
    return Work(**shared | whole | {"calls": 0})
