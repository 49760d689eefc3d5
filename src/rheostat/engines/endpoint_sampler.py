"""Draws samples from an OpenAI-compatible server."""

from __future__ import annotations

import math
import queue
import random
import time
from dataclasses import dataclass, field, replace
from itertools import count
from typing import TYPE_CHECKING, final

from rheostat.engines.base import EngineCard, Output
from rheostat.engines.endpoint_ask import Ask, own_seed
from rheostat.engines.endpoint_books import PromptSizes, UsdPrices, settled
from rheostat.engines.endpoint_calls import Call, Calls, Piece
from rheostat.engines.endpoint_reply import Usage
from rheostat.engines.sampler import Drawn
from rheostat.errors import MethodError, ModelError
from rheostat.kernel.cost import Cost
from rheostat.kernel.records import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rheostat.engines.base import Sampling, StopReason
    from rheostat.engines.endpoint_reply import Written
    from rheostat.engines.endpoint_server import Server
    from rheostat.engines.sampler import Draw
    from rheostat.kernel.ledger import Reservation

CARD = EngineCard(name="endpoint", offers=frozenset())
"""A server shows nothing of a model's inside."""
SAMPLES = EngineCard(
    name="endpoint", offers=frozenset({"sample", "sample.logprobs", "sample.temperature"})
)
"""Whether it gives log-probabilities shows with its first answer."""


@final
@dataclass(kw_only=True, eq=False)
class _Running:
    """A draw that was launched and has not come back."""

    draw: Draw
    reservation: Reservation
    reason: StopReason = "cancelled"
    """Why it ends early, if it does."""
    losses: int = 0
    """Answers that broke off."""
    earlier: Cost = field(default_factory=Cost)
    """What these cost."""
    unwanted: bool = False
    """Whether it was cancelled."""


@final
class EndpointSampler:
    """Draws samples of many questions side by side; a `Sampler`.

    Token ids are not known behind an endpoint, so `token_ids` of an output is empty and new tokens
    are those that the server counts, the end token included. Each sample has a seed of its own;
    whether the same seed gives the same text is the server's promise to make, and most make none.
    Several samples of a question go into one call where the limits say so and the server has `n`.

    An answer that breaks off counts as its whole reservation, marked estimated; it is asked for
    again when its account grants as much once more.
    """

    card = SAMPLES

    def __init__(  # noqa: PLR0913  # what a sampler of a server depends on
        self,
        server: Server,
        *,
        model: str | None = None,
        needs_logprobs: bool = False,
        usd: UsdPrices | None = None,
        elapsed: Callable[[], float] | None = None,
        keeps: object = None,
    ) -> None:
        """Open no connection yet.

        Args:
            model: the name under which the user asked for it.
            needs_logprobs: raise `ModelError` when an answer shows that there are none.
            usd: what the provider asks for.
            elapsed: seconds of the ledger's deadlines that have passed; None = since the first
                draw was launched.
            keeps: what has to live as long, such as a server in this process.
        """
        self._began: float | None = None
        self.model = server.address.name if model is None else model
        self.elapsed = elapsed or self._since_first
        self.on_piece: Callable[[Draw, str], None] | None = None
        """Called by `poll` with new text of a draw that runs."""
        self._server = server
        self._keeps = keeps
        self._needs_logprobs = needs_logprobs
        self._usd = usd or UsdPrices()
        self._sizes = PromptSizes()
        self._calls = Calls(server)
        self._rng = random.Random(0)
        self._keys = count()
        self._waiting: list[_Running] = []
        self._running: dict[int, list[_Running]] = {}
        self._named: dict[tuple[str, int], _Running] = {}
        self._done: list[Drawn] = []
        self._failures = 0
        self._fatal: Exception | None = None

    def check(self, sampling: Sampling) -> None:
        """Raise as `launch` for what this server cannot do."""
        if sampling.constraint is not None or sampling.particles:
            raise MethodError(
                f"`{self.model}` runs behind an endpoint, where no constraint can be held",
                hint="leave `--constraint` out, or load a model in this process, such as `smollm2`",
            )
        self._server.dialect.sampling(sampling, context=None)

    def bound(self, draw: Draw) -> Cost:
        """Return what the draw costs at most, broken answers left out."""
        usage = Usage(self._sizes.bound(draw.request), draw.sampling.max_new_tokens)
        return Cost(
            prompt_tokens=usage.prompt, new_tokens=usage.new, calls=1, usd=self._usd.usd(usage)
        )

    def launch(self, draw: Draw, reservation: Reservation) -> None:
        """Start a draw; it writes no more new tokens than are reserved.

        Raises:
            UserError: a sampling parameter that this server would pass over.
            MethodError: a constraint or particles, which need a model in this process.
        """
        self.check(draw.sampling)
        assert (draw.question, draw.index) not in self._named, "a draw was launched twice"
        if self._began is None:
            self._began = time.monotonic()
        entry = _Running(draw=draw, reservation=reservation)
        self._named[draw.question, draw.index] = entry
        if self._server.limits.together > 1 and self._calls.offers.together:
            self._waiting.append(entry)  # the next `poll` sees which go together
        else:
            self._start([entry])

    def cancel(self, draw: Draw) -> None:
        """End a draw early; what was written until then is charged."""
        entry = self._named.get((draw.question, draw.index))
        if entry is None:
            return
        entry.unwanted = True
        if entry in self._waiting:
            self._waiting.remove(entry)
            self._start([entry])
        for key, entries in self._running.items():
            if entry in entries and all(each.unwanted for each in entries):
                self._calls.cancel(key)

    def poll(self) -> Sequence[Drawn]:
        """Wait until a draw has ended; return all that have. Empty: none is running.

        Draws whose deadline and its grace have passed are ended, as `budget`.

        Raises:
            ModelError: no draw can fare better: the key is refused, the model or what is needed is
                not there, or too many draws in a row came to nothing. Draws that ended were
                returned before.
        """
        for entries in _grouped(self._waiting, self._server.limits.together):
            self._start(entries)
        self._waiting.clear()
        while self._running and not self._done and self._fatal is None:
            self._wait()
        if self._done:
            done, self._done = self._done, []
            return done
        if self._fatal is not None:
            fatal, self._fatal, self._failures = self._fatal, None, 0
            raise fatal
        return []

    def close(self) -> None:
        """End everything that is still running and settle it; nothing of it comes from `poll`."""
        self._calls.close()
        while True:
            try:
                event = self._calls.events.get_nowait()
            except queue.Empty:
                break
            if isinstance(event, Call) and event.key in self._running:
                entries = self._running.pop(event.key)
                settled(event, [entry.reservation for entry in entries], self._usd)
        for entries in self._running.values():  # the loop did not end in time
            for entry in entries:
                entry.reservation.fail("closed while it ran")
        for entry in self._waiting:
            entry.reservation.cancel()
        for held in (self._running, self._named, self._waiting):
            held.clear()

    def _since_first(self) -> float:
        return 0.0 if self._began is None else time.monotonic() - self._began

    def _start(self, entries: list[_Running], *, wait: float = 0.0) -> None:
        """Ask for samples of one question in one call."""
        draw, key = entries[0].draw, next(self._keys)
        ask = Ask(
            request=draw.request,
            sampling=draw.sampling,
            limit=_limit(entries[0]),
            seed=own_seed(draw.sampling.seed, draw.question, draw.index),
            logprobs=self._server.dialect.own_law or draw.sampling.temperature == 1,
            answers=len(entries),
        )
        self._running[key] = entries
        self._calls.start(Call(key=key, ask=ask, shown=self.on_piece is not None, wait=wait))

    def _wait(self) -> None:
        """Take in what has happened, or end what is overdue."""
        try:
            event = self._calls.events.get(timeout=self._patience())
        except queue.Empty:
            self._stop_overdue()
            return
        if isinstance(event, Piece):
            if self.on_piece is not None and event.key in self._running:
                self.on_piece(self._running[event.key][0].draw, event.text)
            return
        self._end(self._running.pop(event.key), event)

    def _patience(self) -> float | None:
        """Return the seconds until the first deadline of a running draw that was not ended."""
        left = min(
            (
                account.caps.seconds + account.caps.grace
                for entries in self._running.values()
                for entry in entries
                if entry.reason != "budget"
                for account in entry.reservation.account.lineage()
                if account.caps.seconds is not None
            ),
            default=math.inf,
        )
        return None if math.isinf(left) else max(left - self.elapsed(), 0.0) + 1e-3

    def _stop_overdue(self) -> None:
        elapsed = self.elapsed()
        overdue = [
            entry
            for entries in self._running.values()
            for entry in entries
            if entry.reservation.account.overdue(elapsed)
        ]
        for entry in overdue:
            entry.reason = "budget"
            self.cancel(entry.draw)

    def _end(self, entries: list[_Running], call: Call) -> None:
        """Settle a call and hand its draws back, or ask for them again."""
        if len(entries) > 1 and call.reply.alone and not call.lost:
            for entry in entries[1:]:  # the server writes one answer a call
                self._start([entry])
            entries = entries[:1]
        reservations = [entry.reservation for entry in entries]
        notes = [_note(reservation.note, call) for reservation in reservations]
        costs = settled(call, reservations, self._usd, notes=notes)
        usage = call.reply.usage or call.reply.running
        if usage is not None:
            self._sizes.learn(entries[0].draw.request, usage.prompt)
        for entry, cost, written in zip(entries, costs, call.reply.answers, strict=False):
            total = entry.earlier + cost
            if call.crash is not None:
                self._fatal = call.crash if isinstance(call.crash, Exception) else None
                self._back(entry, call, written, total, failed=type(call.crash).__name__)
            elif call.lost and not call.cancelled:
                self._ask_again(entry, call, written, total)
            else:
                self._finish(entry, call, written, total)

    def _ask_again(self, entry: _Running, call: Call, written: Written, cost: Cost) -> None:
        """Reserve once more for an answer that broke off; hand the draw back when that fails."""
        was, losses, again = entry.reservation, entry.losses + 1, None
        if losses < self._server.limits.lost and not entry.unwanted:
            again = was.account.try_reserve(was.bound, elapsed=self.elapsed(), note=was.note)
        if again is None or isinstance(again, Refusal):
            without = "" if again is None else f"; no budget to ask again: {again}"
            self._back(entry, call, written, cost, failed=f"{call.lost}{without}")
            return
        entry.reservation, entry.losses, entry.earlier = again, losses, cost
        self._start([entry], wait=self._server.limits.pause(losses, None, self._rng))

    def _finish(self, entry: _Running, call: Call, written: Written, cost: Cost) -> None:
        """Hand a draw back that was answered, cancelled or turned away."""
        turned_away = call.turned_away
        if turned_away is not None and not turned_away.context:
            if turned_away.all_calls:
                self._fatal = turned_away.error
            self._back(entry, call, written, cost, failed=turned_away.error.message)
        elif written.finish == "content_filter":
            self._back(entry, call, written, cost, failed="the server withheld the answer")
        else:
            self._failures = 0
            self._back(entry, call, written, cost)

    def _back(
        self, entry: _Running, call: Call, written: Written, cost: Cost, *, failed: str = ""
    ) -> None:
        del self._named[entry.draw.question, entry.draw.index]
        if failed:
            self._failures += 1
            if self._failures >= self._server.limits.hopeless and self._fatal is None:
                self._fatal = ModelError(
                    f"`{self.model}` failed {self._failures} times in a row: {failed}",
                    hint="the same command goes on when the server is well again",
                )
        usage = call.reply.usage if call.ask.answers == 1 else None
        logprobs = None if failed else _logprobs(written, usage)
        if self._needs_logprobs and logprobs is None and written.finish and written.text:
            self._fatal = self._fatal or self._no_logprobs()
        output = Output(
            id=entry.draw.request.id,
            text="" if failed else written.text,
            token_ids=(),
            stop_reason="cancelled" if failed else _reason(entry, call, written),
            cost=cost,
        )
        self._done.append(Drawn(draw=entry.draw, output=output, logprobs=logprobs, failed=failed))

    def _no_logprobs(self) -> ModelError:
        return ModelError(
            f"`{self.model}` gives no log-probabilities of its tokens, and they are needed here",
            hint="choose a rule that counts answers, or a server that gives them, such as vLLM or "
            "llama.cpp",
        )


def _limit(entry: _Running) -> int:
    return min(entry.draw.sampling.max_new_tokens, entry.reservation.bound.new_tokens)


def _grouped(entries: Sequence[_Running], most: int) -> list[list[_Running]]:
    """Put samples together that differ in nothing but their seeds, in the order of launch."""
    groups: list[list[_Running]] = []
    for entry in entries:
        last = groups[-1] if groups else []
        if last and len(last) < most and _alike(last[0], entry):
            last.append(entry)
        else:
            groups.append([entry])
    return groups


def _alike(one: _Running, other: _Running) -> bool:
    drawn = one.draw.sampling.temperature > 0 and one.draw.question == other.draw.question
    same = replace(one.draw.sampling, seed=other.draw.sampling.seed) == other.draw.sampling
    return drawn and same and _limit(one) == _limit(other)


def _note(note: str, call: Call) -> str:
    why = call.lost or (str(call.turned_away) if call.turned_away is not None else "")
    return f"{note}: {why}" if why else note


def _reason(entry: _Running, call: Call, written: Written) -> StopReason:
    if call.turned_away is not None:
        return "context"
    if written.finish is None or (entry.unwanted and call.ask.answers > 1):
        return entry.reason
    if written.finish != "length":
        by_text = written.by_text if written.by_text is not None else bool(entry.draw.sampling.stop)
        return "stop" if by_text else "eos"
    alone = call.ask.answers == 1
    if alone and call.reply.usage is not None and call.reply.usage.new < call.ask.limit:
        return "context"
    return "length" if call.ask.limit == entry.draw.sampling.max_new_tokens else "budget"


def _logprobs(written: Written, usage: Usage | None) -> tuple[float, ...] | None:
    """Return log-probabilities when there is one for each token, but for the end token maybe."""
    values = written.logprobs
    whole = usage is None or usage.new - len(values) in (0, 1)
    known = all(math.isfinite(value) and value <= 1e-3 for value in values)
    return tuple(values) if values and whole and known else None
