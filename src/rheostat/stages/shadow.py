"""Shadow: the base answers a share of a run's requests too, and a refuted certificate ends it.

Which requests are taken is a hash of (seed, id) and known beforehand. Each is answered by the
base and read by the plan, on the same ledger; the losses form one confidence sequence. Once it
lies over the certificate's limit the rest of the run is answered by the base.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np

from rheostat.engines.base import Sampling
from rheostat.errors import BudgetError, PlanError
from rheostat.kernel.certify.betting import refuted_after
from rheostat.kernel.cost import Cost, total
from rheostat.kernel.seams import Installed
from rheostat.stages.check import checked_certificate, decision, interval
from rheostat.stages.durable_files import dumped, json_lines, to_disk, writing
from rheostat.stages.goal import NEUTRAL, RANGES
from rheostat.stages.losses import disagreement
from rheostat.workloads.marks import mark

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from rheostat.engines.base import Engine, Request
    from rheostat.kernel.ledger import Ledger
    from rheostat.kernel.plan import Plan

SHADOW = "shadow.jsonl"
OBSERVABLE = "disagree"
"""The one loss that requests without references show."""
TRIALS, FURTHEST = 200, 100_000


@dataclass(frozen=True, kw_only=True)
class Watch:
    """What is watched: a share of the requests, for a certificate."""

    share: float
    seed: int
    certificate: Mapping[str, Any]

    def takes(self, request: Request) -> bool:
        """Return whether a request is answered twice; never one that the plan was made from."""
        text = f"{self.seed}\0{request.id}".encode()
        place = int.from_bytes(hashlib.sha256(text).digest()[:8], "big") / 2**64
        return place < self.share and not self._used(request)

    def _used(self, request: Request) -> bool:
        own = {mark(True, request), mark(False, request)}
        return any(own & set(self.certificate[part]["items"]) for part in ("search", "data"))

    def delay(self) -> int | None:
        """Return about how many requests it takes to refute a plan that loses twice the limit.

        The median over simulated runs whose losses are all or nothing, the widest spread of such
        a mean. None = over 100,000 requests, or twice the limit is more than there is to lose.
        """
        kind, limit = self.certificate["loss"], self.certificate["limit"]
        scale = RANGES[kind]
        twice = NEUTRAL[kind] + 2 * (limit - NEUTRAL[kind])
        if not limit < twice <= scale.high:
            return None
        mean = scale.limit_to_unit(twice)
        draw, alpha = np.random.default_rng(0), 1 - self.certificate["confidence"]
        looks = 64
        while looks <= FURTHEST * self.share:
            losses = (draw.random((TRIALS, looks)) < mean).astype(np.float64)
            when = refuted_after(losses, scale.limit_to_unit(limit), alpha)
            if (when > 0).mean() > 0.5:
                median = float(np.median(np.where(when > 0, when, looks)))
                return round(median / self.share)
            looks *= 4
        return None

    def expectation(self) -> str:
        """Say when a broken certificate would be noticed."""
        delay = self.delay()
        when = "not within 100,000 requests" if delay is None else f"after about {delay} requests"
        return (
            f"shadowing {self.share:g} of the requests: a plan that loses twice the "
            f"certified {self.certificate['limit']:g} would be refuted {when}"
        )


def watch(plan: Plan, share: float, sampling: Sampling) -> Watch:
    """Return the watch over a run.

    Raises:
        PlanError: a share out of range, no certificate, or a loss that requests do not show.
    """
    if not 0 < share <= 1:
        raise PlanError(
            f"`--shadow` must be over 0 and at most 1, got `{share:g}`",
            hint="it is the share of the requests that the base answers too, such as 0.05",
        )
    certificate = checked_certificate(plan)
    if certificate["loss"] != OBSERVABLE:
        raise PlanError(
            f"`--shadow` cannot observe the loss `{certificate['loss']}`: requests carry neither "
            "references nor held-out text",
            hint="certify `--loss disagree`, or use `rheostat check` on a workload",
        )
    if not sampling.plainly_greedy:
        raise PlanError(
            "`--shadow` observes greedy answers, which the certificate is about",
            hint="leave out `--temperature`, `--repetition-penalty` and `--constraint`",
        )
    return Watch(share=share, seed=sampling.seed, certificate=certificate)


@final
class Shadow:
    """The shadowed requests of one run, kept in the run's folder."""

    def __init__(self, watched: Watch, folder: Path) -> None:
        """Read what an earlier start of the run has measured."""
        self.watched = watched
        self._path = folder / SHADOW
        self._lines: dict[str, dict[str, Any]] = {
            str(line["id"]): line for line in json_lines(self._path)
        }
        with writing(self._path):
            text = "".join(dumped(line) for line in self._lines.values())
            self._path.write_text(text, encoding="utf-8", newline="\n")

    @property
    def losses(self) -> list[float]:
        """The losses in the order in which they were measured; of whole answers with a token."""
        found = (line["loss"] for line in self._lines.values())
        return [float(loss) for loss in found if loss is not None]

    @property
    def spent(self) -> Cost:
        """What all of them cost."""
        return total(Cost.from_json(line["cost"]) for line in self._lines.values())

    @property
    def refuted(self) -> bool:
        """Whether the rest of the run belongs to the base."""
        return decision(self.losses, self.watched.certificate) == "fail"

    def look(
        self, requests: Iterable[Request], engine: Engine, installed: Installed, account: Ledger
    ) -> None:
        """Measure those of the requests that are watched and were not measured yet.

        A request that no budget is left for is passed over.
        """
        for request in self._left(requests):
            try:
                loss, cost = self._measured(request, engine, installed, account)
            except BudgetError:
                return
            line = {"id": request.id, "loss": loss, "cost": cost.to_json()}
            with writing(self._path), self._path.open("a", encoding="utf-8", newline="\n") as file:
                file.write(dumped(line))
                to_disk(file)
            self._lines[request.id] = line

    def _left(self, requests: Iterable[Request]) -> Iterator[Request]:
        for request in requests:
            if self.refuted:
                return
            if request.id not in self._lines and self.watched.takes(request):
                yield request

    def _measured(
        self, request: Request, engine: Engine, installed: Installed, account: Ledger
    ) -> tuple[float | None, Cost]:
        limit, prompt = self.watched.certificate["max_new_tokens"], engine.encode(request)
        reading = account.reserve(_most(engine, len(prompt) + limit), note=f"shadow {request.id}")
        sampling = Sampling(max_new_tokens=limit)
        (output,) = engine.generate([request], sampling, installed=Installed(), ledger=account)
        if output.stop_reason == "budget" or not output.token_ids:
            reading.cancel()
            return None, output.cost
        read = engine.score(prompt, list(output.token_ids), installed=installed)
        reading.settle(read.cost)
        return disagreement(read, output.token_ids), output.cost + read.cost

    def to_json(self) -> dict[str, Any]:
        """Return the part of a run's summary about its shadow."""
        losses, certificate = self.losses, self.watched.certificate
        return {
            "share": self.watched.share,
            "requests": len(self._lines),
            "mean": float(np.mean(losses)) if losses else None,
            "interval": list(interval(losses, certificate)),
            "limit": certificate["limit"],
            "refuted": self.refuted,
            "refuted_by": next(reversed(self._lines)) if self.refuted else None,
            "expected_delay": self.watched.delay(),
            "cost": self.spent.to_json(),
        }


def _most(engine: Engine, tokens: int) -> Cost:
    """Return what reading so many tokens takes at most: as if each were read by itself."""
    layers = engine.shape.layers
    step = engine.prices().seconds(1, tokens, attention=layers, mlp=layers, head_rows=1)
    return Cost(prompt_tokens=tokens, calls=tokens, price=tokens * step)
