"""Losses measured ahead by workers of a Ray cluster, in the order in which a race asks for them.

A race says which settings it is about to measure on which items, in its order; workers begin with
the first of them. What has ended goes into the journal, with the worker's own seconds, whether the
race still asks for it or not; what nobody wants any more is not begun. Each worker is an actor with
the model loaded once. A worker that dies is replaced, and what it was at is measured again. Prices
and judgements stay in the process that began, and nothing is timed there while workers run.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from rheostat.catalog import installed as install
from rheostat.engines.load import load_engine
from rheostat.engines.ray_cluster import joined, workers_that_fit
from rheostat.errors import ModelError, RheostatError
from rheostat.kernel.plan import Plan, Setting
from rheostat.stages.losses import evaluator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rheostat.engines.base import Engine
    from rheostat.stages.losses import Evaluate, LossKind, Sample, Wanted
    from rheostat.stages.search_journal import SearchJournal
    from rheostat.workloads.load import Workload
    from rheostat.workloads.parts import Part

DEATHS = 3
"""Workers that one measurement may end before it is given up."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Where workers run."""

    address: str
    """As `ray.init` takes it; `local` starts one on this machine."""
    threads: int = 1
    """Processors of one worker."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What losses are measured on."""

    kind: LossKind
    workload: Workload
    samples: tuple[Sample, ...]
    part: Part


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """Which model a worker loads, and how."""

    model: str
    digest: str
    dtype: str
    threads: int
    version: str = field(default_factory=lambda: metadata.version("rheostat"))
    """Of Rheostat where the search began."""

    @staticmethod
    def of(engine: Engine, threads: int) -> Loaded:
        """Return what loads the same model; a path is made whole, as workers may be elsewhere."""
        path = Path(engine.model)
        here = path.is_file() or (path / "config.json").is_file()
        return Loaded(
            model=str(path.resolve()) if here else engine.model,
            digest=engine.digest,
            dtype=engine.dtype,
            threads=threads,
        )


class Worker:
    """What runs in an actor; it loads the model when it is first asked."""

    def __init__(self, loaded: Loaded, job: Job) -> None:
        """Keep what to load."""
        self._loaded, self._job = loaded, job
        self._ready: tuple[Engine, Evaluate] | None = None

    def measure(
        self, settings: Sequence[Setting], among: tuple[int, int]
    ) -> tuple[dict[str, Any], float]:
        """Return what settings lose on some of the items, as plain data, and the seconds it took.

        Raises:
            ModelError: the model or the version of Rheostat here is another one.
        """
        engine, evaluate = self._ready = self._ready or self._load()
        plan = Plan(model=engine.model, methods=tuple(settings))
        start = time.perf_counter()
        decision = install(plan, engine.shape, engine.card.offers)
        loss = evaluate(decision, slice(*among)).to_json()
        return loss, time.perf_counter() - start

    def _load(self) -> tuple[Engine, Evaluate]:
        own, job = self._loaded, self._job
        if (here := metadata.version("rheostat")) != own.version:
            raise ModelError(
                f"a worker of the Ray cluster runs Rheostat {here}, and this is {own.version}",
                hint="install the same version on each machine",
            )
        engine = load_engine(own.model, dtype=own.dtype, threads=own.threads)
        if engine.digest != own.digest:
            raise ModelError(
                f"a worker of the Ray cluster has another model under `{own.model}`",
                hint="give each machine the same file",
            )
        return engine, evaluator(job.kind, engine, job.workload, job.samples, job.part)


@final
class Ahead:
    """Measures in workers what was said to come, into the journal."""

    def __init__(self, loaded: Loaded, job: Job, journal: SearchJournal, cluster: Cluster) -> None:
        """Join or start a cluster.

        Raises:
            UserError: `ray` is not installed, there is no cluster there, or it is too small.
        """
        self._journal = journal
        self._ray, self._started = joined(cluster.address)
        self._idle: list[Any] = []
        self._queue: deque[Wanted] = deque()
        self._running: dict[Any, tuple[Wanted, Any]] = {}
        self._deaths: Counter[str] = Counter()
        try:
            count = workers_that_fit(self._ray, None, cluster.threads)
            actor = self._ray.remote(num_cpus=cluster.threads)(Worker)
            sent = self._ray.put(loaded), self._ray.put(job)
            self._new: Callable[[], Any] = partial(actor.remote, *sent)
            self._idle += [self._new() for _ in range(count)]
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let the workers go; a cluster that was started here ends."""
        for worker in [*self._idle, *(worker for _, worker in self._running.values())]:
            self._ray.kill(worker)
        if self._started:
            self._ray.shutdown()

    def begin(self, wanted: Sequence[Wanted]) -> None:
        """Take note of what is to come, in its order, in place of what was noted before."""
        running = self._at_work()
        self._queue = deque(own for own in wanted if own not in running)
        self._send()

    def finish(self, key: Any) -> None:
        """Return when the journal has a measurement, or if none of it was noted.

        Raises:
            RheostatError: what a worker raised, or workers died of it again and again.
        """
        while any(own.key == key for own in (*self._queue, *self._at_work())):
            self._collect()

    def _at_work(self) -> list[Wanted]:
        return [own for own, _ in self._running.values()]

    def _send(self) -> None:
        while self._idle and self._queue:
            own, worker = self._queue.popleft(), self._idle.pop()
            among = own.among.start, own.among.stop
            self._running[worker.measure.remote(own.settings, among)] = own, worker

    def _collect(self) -> None:
        """Wait for a worker; keep what it measured, and begin what is next."""
        (asked, *_), _ = self._ray.wait(list(self._running), num_returns=1)
        own, worker = self._running.pop(asked)
        try:
            data, seconds = self._ray.get(asked)
        except self._ray.exceptions.RayActorError as error:
            self._died(own, error)
            self._queue.appendleft(own)
            worker = self._new()
        except self._ray.exceptions.RayTaskError as error:
            self._idle.append(worker)
            cause = error.cause
            raise (cause if isinstance(cause, RheostatError) else error) from None
        else:
            self._journal.keep(own.key, data, seconds, about=own.about)
        self._idle.append(worker)
        self._send()

    def _died(self, own: Wanted, error: Exception) -> None:
        """Count a death; raise where another worker would die as well."""
        if "creation task" in str(error):
            raise ModelError(
                f"the Ray cluster's workers cannot start: {str(error).splitlines()[-1]}",
                hint="each machine needs the same version of Rheostat with the same extras",
            ) from error
        self._deaths[own.about] += 1
        if self._deaths[own.about] == DEATHS:
            raise ModelError(
                f"{DEATHS} workers died while they measured {own.about}",
                hint="they may lack memory; the same command goes on from what is finished",
            ) from error


@contextmanager
def spread(
    here: Evaluate, engine: Engine, job: Job, journal: SearchJournal, cluster: Cluster | None
) -> Iterator[Evaluate]:
    """Return what a search measures with: the evaluator as it is, or with workers' help."""
    if cluster is None:
        yield here
        return
    ahead = Ahead(Loaded.of(engine, cluster.threads), job, journal, cluster)
    try:
        yield replace(here, elsewhere=ahead)
    finally:
        ahead.close()
