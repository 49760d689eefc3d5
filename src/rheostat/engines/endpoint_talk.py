"""One call of an endpoint: sent, read piece by piece, tried again while that costs nothing.

A try is free when the server turned it away (429, 5xx, nobody listening): then it is repeated.
Once a server may have begun to work, a failure is `Lost`: what it took is unknown, so whoever
holds the books decides whether there is room for another.
"""

from __future__ import annotations

import asyncio
import json
import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING, final

import httpx

from rheostat.engines.endpoint_limits import SILENCE, retry_after
from rheostat.engines.endpoint_reply import Broken, Malformed, Reply
from rheostat.engines.endpoint_server import turned_away, unreachable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from rheostat.engines.endpoint_ask import Ask, Offers
    from rheostat.engines.endpoint_server import Server
    from rheostat.errors import ModelError

_MOST_BYTES = 1 << 26
"""Bytes of one answer that are read at most."""
_ERROR_BYTES = 1 << 16
_WORDS = 300


class Lost(Exception):
    """An answer broke off, and what it took is unknown."""


class TurnedAway(Exception):
    """The server did no work and will not do any for this call."""

    def __init__(
        self, error: ModelError, *, context: bool = False, all_calls: bool = False
    ) -> None:
        """Keep why."""
        super().__init__(error.message)
        self.error = error
        self.context = context
        """The prompt and the answer do not fit the model's context."""
        self.all_calls = all_calls
        """No other call would fare better."""


class _Silent(Exception):
    """Nothing came for too long."""


class _Again(Exception):
    """A free try failed."""

    def __init__(self, error: ModelError, after: float | None = None) -> None:
        super().__init__(error.message)
        self.error = error
        self.after = after


@final
class Talk:
    """Calls of one server; made and used inside the event loop."""

    def __init__(self, server: Server, offers: Offers) -> None:
        """Open a pool of connections."""
        limits = server.limits
        self._server, self._offers = server, offers
        self._rng = random.Random(0)
        self._free = asyncio.Semaphore(limits.connections)
        self._client = httpx.AsyncClient(
            headers={"User-Agent": "rheostat"},
            timeout=httpx.Timeout(limits.silence, connect=limits.connect),
            limits=httpx.Limits(max_connections=limits.connections, keepalive_expiry=2.0),
            trust_env=not server.address.loopback,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def answer(
        self, ask: Ask, reply: Reply, *, begun: Callable[[], None], show: Callable[[str], None]
    ) -> None:
        """Fill the reply; raise `TurnedAway` or `Lost`.

        Args:
            begun: called when the call is sent for the first time.
            show: called with each piece of the first answer's text.
        """
        limits = self._server.limits
        async with self._free:
            begun()
            try:
                async with asyncio.timeout(limits.deadline):
                    await self._tries(ask, reply, show)
            except TimeoutError:
                words = f"took over {limits.deadline:g} seconds"
                if reply.accepted:
                    raise Lost(f"an answer {words}") from None
                raise TurnedAway(unreachable(self._server.address, httpx.ReadTimeout(""))) from None

    async def _tries(self, ask: Ask, reply: Reply, show: Callable[[str], None]) -> None:
        limits = self._server.limits
        for number in range(1, limits.tries + 1):
            try:
                await self._agreed(ask, reply, show)
            except _Again as again:
                if number == limits.tries:
                    raise TurnedAway(again.error) from None
                await asyncio.sleep(limits.pause(number, again.after, self._rng))
            else:
                return

    async def _agreed(self, ask: Ask, reply: Reply, show: Callable[[str], None]) -> None:
        """Leave out what the server refuses of what is optional, one after the other."""
        while True:
            body = ask.body(self._server, self._offers)
            refusal = await self._sent(ask.path, body, reply, show)
            if refusal is None:
                return
            status, text = refusal
            if status not in (400, 422) or not self._offers.dropped(text, body):
                raise self._refused(status, text)

    async def _sent(
        self, path: str, body: dict[str, object], reply: Reply, show: Callable[[str], None]
    ) -> tuple[int, str] | None:
        """Send a try and read what comes; return status and text of a refusal."""
        server = self._server
        url = f"{server.address.base}{path}"
        try:
            async with self._client.stream(
                "POST", url, json=body, headers=server.key.header()
            ) as response:
                if response.status_code != httpx.codes.OK:
                    text = await _bounded(response, _ERROR_BYTES)
                    if response.status_code in (408, 409, 425, 429) or response.status_code >= 500:
                        raise self._again(response, text)
                    return response.status_code, text
                reply.accepted = True
                await self._read(response, reply, show)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise _Again(unreachable(server.address, error)) from None
        except (httpx.TimeoutException, _Silent):
            raise Lost(
                f"nothing came for {server.limits.silence:g} seconds (`{SILENCE}` sets how many)"
            ) from None
        except httpx.HTTPError as error:
            raise Lost(f"the connection broke: {error or type(error).__name__}") from None
        except (Malformed, Broken) as error:
            raise Lost(server.key.hidden_in(str(error))) from None
        return None

    async def _read(
        self, response: httpx.Response, reply: Reply, show: Callable[[str], None]
    ) -> None:
        """Read a stream, or an answer in one piece from a server that does not stream."""
        silence = self._server.limits.silence
        try:
            async with asyncio.timeout(silence) as watch:
                async for text in _events(response):
                    show(reply.take(_parsed(text)))
                    # what only keeps the connection open breaks no silence
                    watch.reschedule(asyncio.get_running_loop().time() + silence)
        except TimeoutError:
            raise _Silent from None
        if not reply.complete and reply.alone:
            self._offers.together = False
        elif not reply.complete:
            raise Lost("an answer broke off before its end")

    def _again(self, response: httpx.Response, text: str) -> Exception:
        """Return what to raise for a status that may pass by itself."""
        server = self._server
        error = turned_away(server.address, server.key, response.status_code, text)
        if "insufficient_quota" in text:
            return TurnedAway(error, all_calls=True)
        after = retry_after(response.headers.get("retry-after"), datetime.now(UTC))
        if after is not None and after > server.limits.deadline:
            return TurnedAway(error)
        return _Again(error, after)

    def _refused(self, status: int, text: str) -> TurnedAway:
        server = self._server
        lowered = text.lower()
        context = (
            status in (400, 413, 422)
            and "context" in lowered
            and ("exceed" in lowered or "length" in lowered or "size" in lowered)
        )
        return TurnedAway(
            turned_away(server.address, server.key, status, text),
            context=context,
            all_calls=status in (401, 403, 404, 405),
        )


async def _events(response: httpx.Response) -> AsyncIterator[str]:
    """Yield the JSON texts of an answer."""
    if "event-stream" not in response.headers.get("content-type", ""):
        yield await _bounded(response, _MOST_BYTES)
        return
    async for line in _lines(response):
        name, _, value = line.partition(":")
        if name == "error":  # an event of some servers that has no other name
            raise Broken(value.strip()[:_WORDS])
        if name == "data" and value.strip() == "[DONE]":
            return
        if name == "data":
            yield value


async def _lines(response: httpx.Response) -> AsyncIterator[str]:
    """Yield lines that end in a line feed; other characters that part lines may stand in a text."""
    read, rest = 0, b""
    async for part in response.aiter_bytes():
        read += len(part)
        if read > _MOST_BYTES:
            raise Lost("an answer does not end")
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            yield line.decode("utf-8", errors="replace").rstrip("\r")
    if rest:
        yield rest.decode("utf-8", errors="replace")


async def _bounded(response: httpx.Response, most: int) -> str:
    parts, read = [], 0
    async for part in response.aiter_bytes():
        parts.append(part)
        read += len(part)
        if read > most:
            break
    return b"".join(parts)[:most].decode("utf-8", errors="replace")


def _parsed(text: str) -> object:
    try:
        parsed: object = json.loads(text)
    except (ValueError, RecursionError):
        raise Malformed("a piece of the answer is not JSON") from None
    return parsed
