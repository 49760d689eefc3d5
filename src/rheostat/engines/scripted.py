"""The scripted engine: a complete engine over a toy model, for tests, docs and simulation.

Everything is deterministic: the law of every token is written in the spec, so statistics can be
checked against truth, and time is simulated: a pass takes its price in seconds. Rows are priced as
if each ran alone, so neither a row's tokens nor its cost depends on its neighbours.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, final

import numpy as np

from rheostat.engines.base import EngineCard, Output, Scored
from rheostat.engines.constrained import Constrained, Ends
from rheostat.engines.particles import refuse_unserved
from rheostat.engines.scripted_model import ScriptedSpec, ToyModel, read_spec
from rheostat.engines.scripted_particles import answered_together
from rheostat.engines.scripted_row import Row, stop_overdue
from rheostat.engines.scripted_words import SpacedWords, word_texts
from rheostat.engines.stopping import row_stop
from rheostat.engines.transcript import Transcript
from rheostat.errors import MethodError, WorkloadError
from rheostat.kernel import signals
from rheostat.kernel.cost import Cost
from rheostat.kernel.ledger import Ledger
from rheostat.kernel.model_cost import Work, work_cost
from rheostat.kernel.policies.token_tree import clipped, parents_of, path_to
from rheostat.kernel.policies.verify import verify_sampled
from rheostat.kernel.records import Refusal
from rheostat.kernel.seams import DraftStart
from rheostat.workloads.compiled_constraint import compiled

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rheostat.engines.base import OnToken, Request, Sampling, StopReason
    from rheostat.kernel.constraint import TokenChoice
    from rheostat.kernel.model_cost import PriceTable
    from rheostat.kernel.seams import Drafter, Installed, Layout
    from rheostat.kernel.stop import StopPolicy


@dataclass(frozen=True, kw_only=True)
class _Job:
    sampling: Sampling
    drafter: Drafter | None
    limits: Constrained | None
    stop: StopPolicy | None
    books: Ledger
    on_token: OnToken | None


def load_scripted(path: str | Path) -> ScriptedEngine:
    """Load `scripted:SPEC.json`."""
    return ScriptedEngine(read_spec(Path(path)), model=f"scripted:{path}")


@final
class ScriptedEngine:
    """A toy model behind the protocol that every engine has."""

    card = EngineCard(name="scripted", offers=frozenset({"draft", "token", "stop"}))

    def __init__(self, spec: ScriptedSpec, *, model: str = "scripted:") -> None:
        """Index the spec."""
        self.model = model
        self.digest = hashlib.sha256(spec.model_dump_json().encode()).hexdigest()
        self.dtype = "float64"
        self.shape = spec.shape()
        self.toy = ToyModel(spec)
        self.special = frozenset({self.toy.end})
        self.durations = dict(spec.durations)
        self._prices = spec.prices()

    def encode(self, request: Request, *, raw: bool = False) -> list[int]:
        """Return the ids of the prompt's words; the words of messages are put one after another."""
        text = request.prompt
        if text is None:
            text = " ".join(message["content"] for message in request.messages)
        ids = self.toy.ids(text)
        if not ids:
            raise WorkloadError(f"the request `{request.id}` has an empty prompt")
        if len(ids) > self.shape.context:
            raise WorkloadError(
                f"the prompt of `{request.id}` has {len(ids)} tokens, "
                f"the context of `{self.model}` has {self.shape.context}"
            )
        return list(ids)

    def prices(self, installed: Installed | None = None) -> PriceTable:
        """Return the spec's table."""
        return self._prices

    def under(self, installed: Installed) -> ScriptedEngine:
        """Return this engine: there is no other."""
        return self

    def pass_work(
        self, n: int, *, context: int, layout: Layout, head_rows: int, mlp_share: float = 1.0
    ) -> Cost:
        """Return flops and bytes of a pass over n words after so many cached ones."""
        return replace(
            self._pass_cost(n, cached=context, head_rows=head_rows), price=0.0, seconds=0.0
        )

    def generate(
        self,
        requests: Sequence[Request],
        sampling: Sampling,
        *,
        installed: Installed,
        ledger: Ledger | None = None,
        on_token: OnToken | None = None,
    ) -> Iterator[Output]:
        """Run the requests step by step together; yield each output when it is finished."""
        _refuse_depth(installed)
        books = Ledger() if ledger is None else ledger
        limits = self.constrained(sampling, installed.token)
        if limits is not None and sampling.particles:
            refuse_unserved(installed)
            for request in requests:
                yield answered_together(self, request, limits, books, on_token)
            return
        job = _Job(
            sampling=sampling,
            drafter=installed.draft,
            limits=limits,
            stop=installed.stop,
            books=books,
            on_token=on_token,
        )
        prompts = [tuple(self.encode(request)) for request in requests]
        live: list[Row] = []
        try:
            for request, prompt in zip(requests, prompts, strict=True):
                row = self._admit(request, prompt, job)
                if isinstance(row, Output):
                    yield row
                else:
                    live.append(row)
            while live:
                for row in live:
                    self._step(row, job)
                stop_overdue(live, job.books)
                finished = [row for row in live if row.stop_reason is not None]
                live = [row for row in live if row.stop_reason is None]
                yield from [row.finish() for row in finished]
        finally:
            for row in live:
                row.abandon()

    def score(
        self, prompt: Sequence[int], continuation: Sequence[int], *, installed: Installed
    ) -> Scored:
        """Read a continuation teacher-forced."""
        _refuse_depth(installed)
        tokens = np.asarray(continuation, dtype=np.int64)
        logits = self._logits(tuple(prompt), (), continuation)[: len(tokens)]
        nats = -signals.log_softmax(logits)[np.arange(len(tokens)), tokens]
        read = len(prompt) + len(tokens)
        cost = self._pass_cost(read, cached=0, head_rows=len(tokens))
        return Scored(
            nats=nats,
            choice=logits.argmax(axis=-1),
            margin=signals.margin(logits),
            cost=replace(cost, prompt_tokens=read),
        )

    def constrained(self, sampling: Sampling, choice: TokenChoice | None) -> Constrained | None:
        """Return what takes words under the constraint that is asked for."""
        if sampling.constraint is None:
            return None
        end = frozenset({self.toy.end})
        texts = word_texts(self.toy.vocabulary)
        constraint = SpacedWords(compiled(sampling.constraint, texts), len(self.toy.vocabulary))
        return Constrained(constraint, sampling, choice, texts, Ends(end, end))

    def pass_cost(self, n: int, *, cached: int) -> Cost:
        """Return the cost of a pass over n words after some that are cached."""
        return self._pass_cost(n, cached=cached, head_rows=1)

    def _admit(self, request: Request, prompt: tuple[int, ...], job: _Job) -> Row | Output:
        wanted, drafter, books = job.sampling.max_new_tokens, job.drafter, job.books
        allowed = min(wanted, self.shape.context - len(prompt))
        if allowed == 0:
            return _unstarted(request.id, "context")
        limit = int(
            min(
                allowed,
                books.remaining("tokens") - len(prompt),
                books.remaining("new_tokens"),
                books.remaining("calls"),  # a pass writes at least one token
            )
        )
        if limit < 1:
            return _unstarted(request.id, "budget")
        bound = self._bound(len(prompt), limit, drafts=drafter is not None)
        answer = books.try_reserve(bound, elapsed=books.root.spent.seconds, note=request.id)
        if isinstance(answer, Refusal):
            return _unstarted(request.id, "budget")
        show = None if job.on_token is None else partial(job.on_token, request.id)
        row = Row(
            id=request.id,
            prompt=prompt,
            limit=limit,
            full="budget" if limit < allowed else "context" if limit < wanted else "length",
            reservation=answer,
            transcript=Transcript(job.sampling.stop, show),
            rng=_row_generator(job.sampling.seed, request.id),
            limits=None if job.limits is None else job.limits.row(request.id),
            stop=row_stop(job.stop, job.sampling.seed, request.id),
        )
        if drafter is not None:
            row.draft_state = drafter.start(
                DraftStart(prompt=prompt, special=self.special, step_seconds=self._step_seconds)
            )
        return row

    def _bound(self, prompt: int, limit: int, *, drafts: bool) -> Cost:
        """Return the most that a row can take: a token a pass, the rest drafted in vain."""
        price = self._seconds(prompt)
        longest = 0.0
        for n in range(1, limit):
            longest = max(longest, self._seconds(n if drafts else 1))
            price += longest
        return Cost(prompt_tokens=prompt, new_tokens=limit, calls=limit, price=price)

    def _step(self, row: Row, job: _Job) -> None:
        before = len(row.written)
        first = row.passes == 0
        draft: Sequence[int] = ()
        if job.drafter is not None and not first:
            most = row.limit - before - 1
            draft = clipped(job.drafter.propose(row.draft_state, most), most)
        logits, past = self._logits(row.prompt, row.written, draft), (*row.prompt, *row.written)
        if row.limits is not None:
            verified = row.limits.verified(logits, draft, past, row.rng, row.trace)
        else:
            verified = verify_sampled(job.sampling.laws(logits, past, draft), draft, row.rng)
        read = len(row.prompt) if first else 1
        cached = 0 if first else len(row.prompt) + before - 1
        cost = self._pass_cost(read + len(draft), cached=cached, head_rows=len(draft) + 1)
        taken = row.take(verified.tokens, self.toy)
        if job.drafter is not None:
            row.draft_state = job.drafter.commit(row.draft_state, taken)
        if not first:
            row.trace.drafted(len(draft), min(verified.accepted, len(taken)))
        prompt_tokens = read if first else 0
        new_tokens = len(row.written) - before
        row.count(replace(cost, prompt_tokens=prompt_tokens, new_tokens=new_tokens))

    def _logits(
        self, prompt: tuple[int, ...], written: Sequence[int], draft: Sequence[int]
    ) -> signals.Floats:
        """Return the logits after the written tokens and after each draft token: [k + 1, V]."""
        parents = parents_of(draft)
        paths = [path_to(parents, node) for node in range(-1, len(draft))]
        return np.stack(
            [self.toy.logits(prompt, (*written, *(draft[i] for i in path))) for path in paths]
        )

    def _step_seconds(self, n: int, context: int) -> float:
        return self._seconds(n)

    def _seconds(self, n: int) -> float:
        return self._prices.seconds(n, 0, attention=1, mlp=1, head_rows=1)

    def _pass_cost(self, n: int, *, cached: int, head_rows: int) -> Cost:
        price, shape = self._seconds(n), self.shape
        work = Work(
            attention_tokens=n,
            mlp_tokens=n,
            head_tokens=head_rows,
            scores=n * (cached + n),
            keys_read=cached,
            weight_bytes=8 * (shape.attention_weights + shape.mlp_weights + shape.head_weights),
            calls=1,
            price=price,
        )
        return replace(work_cost(shape, work, cache_bytes=8), seconds=price)


def _refuse_depth(installed: Installed) -> None:
    if installed.depth is not None:
        raise MethodError(
            "the scripted engine has no layers, so it serves no method of the `depth` seam",
            hint="take the method out of the plan or load a model that has weights",
        )


def _row_generator(seed: int, request_id: str) -> np.random.Generator:
    digest = hashlib.sha256(f"{seed}\n{request_id}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))


def _unstarted(request_id: str, reason: StopReason) -> Output:
    return Output(id=request_id, text="", token_ids=(), stop_reason=reason, cost=Cost())
