"""Calls of an endpoint in an event loop with a thread of its own; what happens comes in a queue.

This is the one place where two threads meet: the loop alone touches a call while it runs, and hands
it over with its last event.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, final

from rheostat.engines.endpoint_ask import Offers
from rheostat.engines.endpoint_reply import Reply
from rheostat.engines.endpoint_talk import Lost, Talk, TurnedAway

if TYPE_CHECKING:
    from rheostat.engines.endpoint_ask import Ask
    from rheostat.engines.endpoint_server import Server

_CLOSING = 10.0
"""Seconds that the loop gets to end what runs."""


@final
@dataclass(kw_only=True)
class Call:
    """A call and what came of it."""

    key: int
    ask: Ask
    shown: bool = False
    """Whether pieces of its text are wanted while it runs."""
    wait: float = 0.0
    """Seconds before it is sent."""
    reply: Reply = field(init=False)
    started: float | None = None
    """The loop's shared seconds when it was sent; None = it never was."""
    seconds: float = 0.0
    """Measured seconds, shared among the calls that ran at the same time."""
    turned_away: TurnedAway | None = None
    lost: str = ""
    cancelled: bool = False
    crash: BaseException | None = None
    """An error of Rheostat's own."""

    def __post_init__(self) -> None:
        """Start with nothing written."""
        self.reply = Reply(self.ask.answers)


@final
@dataclass(frozen=True)
class Piece:
    """New text of a call that runs."""

    key: int
    text: str


@final
class Calls:
    """Starts and cancels calls of one server; used from one thread."""

    def __init__(self, server: Server) -> None:
        """Start nothing yet."""
        self.events: queue.SimpleQueue[Piece | Call] = queue.SimpleQueue()
        """Pieces, and each call once when it has ended."""
        self.offers = Offers()
        self._server = server
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._talk: Talk | None = None
        self._shared = _SharedSeconds()
        self._thread: threading.Thread | None = None

    def start(self, call: Call) -> None:
        """Start a call."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            work = partial(self._work, self._loop)
            self._thread = threading.Thread(target=work, name="endpoint", daemon=True)
            self._thread.start()
        self._loop.call_soon_threadsafe(self._begin, self._loop, call)

    def cancel(self, key: int) -> None:
        """End a call early; nothing happens when it has ended."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._end, key)

    def close(self) -> None:
        """End all calls, each of which comes to the queue, and the thread."""
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_CLOSING)
            self._loop = self._thread = None

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            loop.run_forever()
        finally:
            loop.run_until_complete(self._finish())
            loop.close()

    async def _finish(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=_CLOSING / 2) if tasks else None
        if self._talk is not None:
            await self._talk.close()
            self._talk = None

    def _begin(self, loop: asyncio.AbstractEventLoop, call: Call) -> None:
        if self._talk is None:  # httpx binds its pool to the loop that runs
            self._talk = Talk(self._server, self.offers)
        task = loop.create_task(self._run(call, self._talk))
        self._tasks[call.key] = task
        task.add_done_callback(lambda done: self._done(call, done))

    def _end(self, key: int) -> None:
        task = self._tasks.get(key)
        if task is not None:
            task.cancel()

    async def _run(self, call: Call, talk: Talk) -> None:
        def begun() -> None:
            call.started = self._shared.enter()

        def show(text: str) -> None:
            if call.shown and text:
                self.events.put(Piece(call.key, text))

        try:
            await asyncio.sleep(call.wait)
            await talk.answer(call.ask, call.reply, begun=begun, show=show)
        except TurnedAway as error:
            call.turned_away = error
        except Lost as error:
            call.lost = str(error)
        finally:
            if call.started is not None:
                call.seconds = self._shared.leave() - call.started

    def _done(self, call: Call, task: asyncio.Task[None]) -> None:
        del self._tasks[call.key]
        call.cancelled = task.cancelled()
        call.crash = None if call.cancelled else task.exception()
        self.events.put(call)


@final
class _SharedSeconds:
    """A clock that runs 1/n as fast while n calls run: their seconds add up to what passed."""

    def __init__(self) -> None:
        self._running = 0
        self._at = time.perf_counter()
        self._total = 0.0

    def enter(self) -> float:
        """Count a call in; return the clock."""
        self._advance()
        self._running += 1
        return self._total

    def leave(self) -> float:
        """Count a call out; return the clock."""
        self._advance()
        self._running -= 1
        return self._total

    def _advance(self) -> None:
        now = time.perf_counter()
        self._total += (now - self._at) / max(self._running, 1)
        self._at = now
