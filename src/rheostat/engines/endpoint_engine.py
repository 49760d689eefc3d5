"""The `endpoint` engine: any OpenAI-compatible server, for everything around a model.

Behind an endpoint nothing inside a model is seen or set: no token ids, no shape, no price of a
pass, no method of the seams `depth`, `draft` and `token`. It says so wherever one is asked for.
"""

from __future__ import annotations

import hashlib
import time
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn, final

from rheostat.engines.base import Output
from rheostat.engines.endpoint_address import parse_address
from rheostat.engines.endpoint_sampler import CARD, EndpointSampler
from rheostat.engines.endpoint_server import meet
from rheostat.engines.sampler import Draw
from rheostat.errors import MethodError, ModelError, WorkloadError
from rheostat.kernel.cost import Cost
from rheostat.kernel.ledger import Ledger
from rheostat.kernel.model_cost import ModelShape
from rheostat.kernel.records import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rheostat.engines.base import OnToken, Request, Sampling, Scored
    from rheostat.engines.endpoint_server import Server
    from rheostat.engines.sampler import Drawn
    from rheostat.kernel.ledger import Reservation
    from rheostat.kernel.model_cost import PriceTable
    from rheostat.kernel.seams import Installed, Layout


def load_endpoint(name: str) -> EndpointEngine:
    """Load `http(s)://HOST/v1#NAME`; raises as `meet`."""
    address = parse_address(name)
    digest = hashlib.sha256(address.name.encode()).hexdigest()
    return EndpointEngine(meet(address), model=address.name, digest=digest)


@final
class EndpointEngine:
    """A model behind an endpoint, with the protocol that every engine has."""

    card = CARD

    def __init__(self, server: Server, *, model: str, digest: str, keeps: object = None) -> None:
        """Hold a server that was met.

        Args:
            digest: of the weights where they are known, else of the address.
            keeps: what has to live as long as the engine, such as a server in this process.
        """
        self.model = model
        self.digest = digest
        self.dtype = "server"
        """Its own number format, which cannot be chosen here."""
        self.special: frozenset[int] = frozenset()
        self.shape = ModelShape(
            layers=0,
            width=0,
            heads=0,
            kv_heads=0,
            head_size=0,
            inner=0,
            vocabulary=0,
            context=server.context or 0,
        )
        """What cannot be seen is 0; no method that this engine serves asks for it."""
        self.server = server
        self._keeps = keeps
        self._sampler: EndpointSampler | None = None

    def encode(self, request: Request, *, raw: bool = False) -> list[int]:
        """Return no ids, which are not known here; raise `WorkloadError` for an empty prompt."""
        texts = [request.prompt or "", *(message["content"] for message in request.messages)]
        if not "".join(texts).strip():
            raise WorkloadError(f"the request `{request.id}` has an empty prompt")
        return []

    def prices(self, installed: Installed | None = None) -> PriceTable:
        """Raise `ModelError`: passes of another machine have no price here."""
        self._refuse("the price of its passes")

    def under(self, installed: Installed) -> EndpointEngine:
        """Return this engine: there is no other."""
        return self

    def pass_work(
        self, n: int, *, context: int, layout: Layout, head_rows: int, mlp_share: float = 1.0
    ) -> Cost:
        """Raise `ModelError`: the model's shape is not known here."""
        self._refuse("the work of its passes")

    def score(
        self, prompt: Sequence[int], continuation: Sequence[int], *, installed: Installed
    ) -> Scored:
        """Raise `ModelError`: token ids are not known here."""
        self._refuse("the model's reading of given tokens")

    def sampler(self) -> EndpointSampler:
        """Return a sampler of this server; whoever asks for it closes it."""
        return EndpointSampler(self.server, model=self.model, keeps=self._keeps)

    def generate(
        self,
        requests: Sequence[Request],
        sampling: Sampling,
        *,
        installed: Installed,
        ledger: Ledger | None = None,
        on_token: OnToken | None = None,
    ) -> Iterator[Output]:
        """Ask for all requests side by side; yield each output when it is finished.

        Raises:
            MethodError: a method or a constraint, none of which can be had here.
            ModelError: the server fails and goes on failing.
        """
        if (
            installed.depth is not None
            or installed.draft is not None
            or installed.token is not None
        ):
            raise MethodError(
                f"`{self.model}` runs behind an endpoint, which serves no method inside the model",
                hint="take the methods out of the plan, or load a model in this process",
            )
        for request in requests:
            self.encode(request)
        if self._sampler is None:
            self._sampler = self.sampler()
            weakref.finalize(self, self._sampler.close)
        self._sampler.check(sampling)
        books = Ledger() if ledger is None else ledger
        batch = _Batch(self._sampler, requests, sampling, books, on_token)
        try:
            yield from batch.outputs()
        finally:
            batch.abandon()

    def _refuse(self, what: str) -> NoReturn:
        raise ModelError(
            f"`{self.model}` runs behind an endpoint, which does not show {what}",
            hint="profiles and plans are for models in this process, such as `smollm2`; an "
            f"endpoint runs without, as in `base:{self.model}`",
        )


@final
class _Batch:
    """The requests of one call of `generate`."""

    def __init__(
        self,
        sampler: EndpointSampler,
        requests: Sequence[Request],
        sampling: Sampling,
        books: Ledger,
        on_token: OnToken | None,
    ) -> None:
        self._sampler, self._books = sampler, books
        self._waiting = [
            Draw(question=request.id, index=0, request=request, sampling=sampling)
            for request in reversed(requests)
        ]
        self._running: dict[str, Draw] = {}
        start, before = time.monotonic(), books.root.spent.seconds
        sampler.elapsed = lambda: before + time.monotonic() - start
        sampler.on_piece = (
            None if on_token is None else lambda draw, text: on_token(draw.request.id, text)
        )

    def outputs(self) -> Iterator[Output]:
        """Yield outputs as they come, launching as many requests as the budget has room for."""
        while self._waiting or self._running:
            yield from self._launched()
            for drawn in self._sampler.poll():
                del self._running[drawn.draw.question]
                yield _checked(drawn, self._sampler.model)

    def abandon(self) -> None:
        """End what still runs."""
        for draw in self._running.values():
            self._sampler.cancel(draw)
        while self._running:
            with suppress(ModelError):  # said once already
                for drawn in self._sampler.poll():
                    del self._running[drawn.draw.question]

    def _launched(self) -> Iterator[Output]:
        """Launch what the budget has room for; yield what it never will have room for."""
        while self._waiting:
            draw = self._waiting[-1]
            bound = self._sampler.bound(draw)
            answer = self._reserved(draw, bound)
            if isinstance(answer, Refusal) and self._running:
                return  # others may give back what they reserved
            self._waiting.pop()
            if isinstance(answer, Refusal):
                answer = self._reserved(draw, self._most_new(bound))
            if isinstance(answer, Refusal) or answer.bound.new_tokens < 1:
                if not isinstance(answer, Refusal):
                    answer.cancel()
                yield _unstarted(draw.question)
            else:
                self._running[draw.question] = draw
                self._sampler.launch(draw, answer)

    def _reserved(self, draw: Draw, bound: Cost) -> Reservation | Refusal:
        """Reserve in an account of the request's own: an overrun closes that one alone."""
        account = self._books.child(f"call {len(self._books.children)}")
        return account.try_reserve(
            bound, elapsed=self._sampler.elapsed(), note=f"request {draw.question}"
        )

    def _most_new(self, bound: Cost) -> Cost:
        """Return the bound with as few new tokens as the budget still holds."""
        left = min(
            self._books.remaining("tokens") - bound.prompt_tokens,
            self._books.remaining("new_tokens"),
            bound.new_tokens,
        )
        return Cost(prompt_tokens=bound.prompt_tokens, new_tokens=int(max(left, 0)), calls=1)


def _unstarted(name: str) -> Output:
    return Output(id=name, text="", token_ids=(), stop_reason="budget", cost=Cost())


def _checked(drawn: Drawn, model: str) -> Output:
    """Return the output of a draw; raise `ModelError` when nothing came of it."""
    if drawn.failed:
        raise ModelError(
            f"`{model}` gave no answer to `{drawn.draw.question}`: {drawn.failed}",
            hint="the same command goes on from what is finished",
        )
    return drawn.output
