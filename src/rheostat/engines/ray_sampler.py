"""Samples drawn by workers of a Ray cluster: questions are spread, the ledger stays in one place.

Each worker is an actor with a sampler of its own, loaded once. A question stays with one worker,
which reads its prompt once. Reservations are made and settled where the driver runs; a worker only
counts its own work and reports it. Draws on a worker that dies come back as failed, at their
bound; what had ended before is kept by the driver's journal.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple, final

from rheostat.engines.base import Output
from rheostat.engines.load_sampler import LoadedSampler
from rheostat.engines.ray_cluster import joined, workers_that_fit
from rheostat.engines.sampler import Drawn, Held
from rheostat.errors import ModelError, RheostatError
from rheostat.kernel.cost import Cost
from rheostat.kernel.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rheostat.engines.base import EngineCard
    from rheostat.engines.sampler import Draw, Read, Reading, Sampler
    from rheostat.kernel.ledger import Reservation

    Make = Callable[[], LoadedSampler]
    """Loads a worker's sampler; it is sent to the workers."""

DIED = "its worker died"


class Report(NamedTuple):
    """What a worker tells of a draw."""

    found: Drawn | Held
    spent: Cost
    """Of the draw, once it has ended; estimated where its usage is unknown."""


class About(NamedTuple):
    """What a worker knows of its model."""

    card: EngineCard
    model: str
    loaded: dict[str, Any]
    """Fields of `LoadedSampler` but for the sampler."""


class Worker:
    """What runs in an actor."""

    def __init__(self, make: Make) -> None:
        """Load the sampler."""
        self._loaded = make()
        self._accounts: dict[tuple[str, int], Ledger] = {}

    def about(self) -> About:
        """Return what is known of the model."""
        known = self._loaded._asdict()
        sampler: Sampler = known.pop("sampler")
        return About(sampler.card, sampler.model, known)

    def bound(self, draw: Draw) -> Cost:
        """Return what a draw costs at most."""
        return self._loaded.sampler.bound(draw)

    def launch(self, draw: Draw, bound: Cost) -> None:
        """Start a draw."""
        account = self._accounts[draw.key] = Ledger()
        self._loaded.sampler.launch(draw, account.reserve(bound))

    def poll(self) -> list[Report]:
        """Wait for draws, as the sampler does."""
        reports = []
        for found in self._loaded.sampler.poll():
            ended = not isinstance(found, Held)
            spent = self._accounts.pop(found.draw.key).spent if ended else Cost()
            reports.append(Report(found, spent))
        return reports

    def call(self, name: str, *given: object) -> Any:
        """Do what else a sampler does."""
        return getattr(self._loaded.sampler, name)(*given)

    def read(self, reading: Reading, bound: Cost) -> Read:
        """Read choices behind a sample."""
        done: Read = self.call("read", reading, Ledger().reserve(bound))
        return done


class _Flight(NamedTuple):
    draw: Draw
    reservation: Reservation
    worker: int


@final
class RaySampler:
    """The samplers' interface over workers."""

    def __init__(
        self, make: Make, *, address: str, workers: int | None, threads: int | None
    ) -> None:
        """Join or start a cluster and load the workers.

        Args:
            address: of a cluster, as `ray.init` takes it; `local` starts one.
            workers: actors; None = as many as the cluster's processors can serve.
            threads: processors of one worker; None = 1.

        Raises:
            UserError: `ray` is not installed, or there is no cluster there.
            ModelError: the workers cannot load the model.
        """
        self._ray, self._started = joined(address)
        cpus = threads or 1
        self._workers = self._made(make, workers, cpus)
        about: About = self._get(self._workers[0].about.remote())
        self.card, self.model = about.card, about.model
        self.loaded = LoadedSampler(sampler=self, **about.loaded)
        self._home: dict[str, int] = {}
        self._bounds: dict[tuple[str, bool], Cost] = {}
        self._begun: set[str] = set()
        self._flying: dict[tuple[str, int], _Flight] = {}
        self._held: dict[tuple[str, int], _Flight] = {}
        self._polls: dict[Any, int] = {}
        self._dead: set[int] = set()

    def bound(self, draw: Draw) -> Cost:
        """Return what a draw costs at most: the first of a question, or a later one."""
        key = draw.question, draw.question in self._begun
        if key not in self._bounds:
            self._bounds[key] = self._ask(draw.question, "bound", draw)
        return self._bounds[key]

    def launch(self, draw: Draw, reservation: Reservation) -> None:
        """Start a draw on its question's worker."""
        home = self._worker_of(draw.question)
        self._begun.add(draw.question)
        self._flying[draw.key] = _Flight(draw, reservation, home)
        self._workers[home].launch.remote(draw, reservation.bound)

    def resume(self, draw: Draw) -> None:
        """Let a draw that waits go on."""
        flight = self._flying[draw.key] = self._held.pop(draw.key)
        self._workers[flight.worker].call.remote("resume", draw)

    def cancel(self, draw: Draw) -> None:
        """End a draw early."""
        flight = self._held.pop(draw.key, None) or self._flying.get(draw.key)
        if flight is not None:
            self._flying[draw.key] = flight
            self._workers[flight.worker].call.remote("cancel", draw)

    def poll(self) -> Sequence[Drawn | Held]:
        """Wait for the first worker that has something; return what all have by then."""
        lost = [flight for flight in self._flying.values() if flight.worker in self._dead]
        if lost or not self._flying:
            return [self._lost(flight) for flight in lost]
        for worker in {flight.worker for flight in self._flying.values()}:
            if worker not in self._polls.values():
                self._polls[self._workers[worker].poll.remote()] = worker
        self._ray.wait(list(self._polls), num_returns=1)
        done, _ = self._ray.wait(list(self._polls), num_returns=len(self._polls), timeout=0)
        found: list[Drawn | Held] = []
        for poll in done:
            found += self._reports(poll, self._polls.pop(poll))
        return found or self.poll()

    def reading_bound(self, reading: Reading) -> Cost:
        """Return what a reading costs at most."""
        bound: Cost = self._ask(reading.draw.question, "reading_bound", reading)
        return bound

    def read(self, reading: Reading, reservation: Reservation) -> Read:
        """Read choices behind a sample, where its question is."""
        worker = self._workers[self._worker_of(reading.draw.question)]
        done: Read = self._get(worker.read.remote(reading, reservation.bound))
        reservation.settle(done.cost)
        return done

    def close(self) -> None:
        """Cancel whatever runs and let the workers go; a cluster that was started here ends."""
        for flight in [*self._flying.values(), *self._held.values()]:
            flight.reservation.cancel(f"sample {flight.draw.index} was cancelled")
        self._flying.clear()
        self._held.clear()
        for worker in self._workers:
            self._ray.kill(worker)
        if self._started:
            self._ray.shutdown()

    def _made(self, make: Make, workers: int | None, cpus: int) -> list[Any]:
        count = workers_that_fit(self._ray, workers, cpus)
        actor = self._ray.remote(num_cpus=cpus)(Worker)
        return [actor.remote(make) for _ in range(count)]

    def _worker_of(self, question: str) -> int:
        """Return the worker of a question: of those alive, the one with the fewest questions."""
        home = self._home.get(question)
        if home is None or home in self._dead:
            alive = [i for i in range(len(self._workers)) if i not in self._dead]
            if not alive:
                raise ModelError(
                    "every worker died", hint="the same command goes on from what is finished"
                )
            load = Counter(self._home.values())
            home = self._home[question] = min(alive, key=lambda i: (load[i], i))
            self._begun.discard(question)  # the prompt is read there anew
        return home

    def _ask(self, question: str, name: str, given: object) -> Any:
        while True:
            home = self._worker_of(question)
            try:
                return self._get(self._workers[home].call.remote(name, given))
            except self._ray.exceptions.RayActorError:
                self._dead.add(home)

    def _get(self, reference: Any) -> Any:
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            cause = error.cause
            raise (cause if isinstance(cause, RheostatError) else error) from None

    def _reports(self, poll: Any, worker: int) -> list[Drawn | Held]:
        try:
            reports: list[Report] = self._get(poll)
        except self._ray.exceptions.RayActorError:
            self._dead.add(worker)
            gone = [flight for flight in self._flying.values() if flight.worker == worker]
            return [self._lost(flight) for flight in gone]  # what waits there when it is moved
        for found, spent in reports:
            flight = self._flying.pop(found.draw.key)
            if isinstance(found, Held):
                self._held[found.draw.key] = flight
            elif spent.estimated:
                flight.reservation.fail(found.failed)
            else:
                flight.reservation.settle(spent)
        return [found for found, _ in reports]

    def _lost(self, flight: _Flight) -> Drawn:
        del self._flying[flight.draw.key]
        flight.reservation.fail(DIED)
        output = Output(
            id=flight.draw.question,
            text="",
            token_ids=(),
            stop_reason="cancelled",
            cost=flight.reservation.charged,
        )
        return Drawn(draw=flight.draw, output=output, failed=DIED)


def ray_sampler(
    make: Make, *, address: str, workers: int | None = None, threads: int | None = None
) -> LoadedSampler:
    """Return a sampler over workers of the cluster at an address, each made by `make`."""
    return RaySampler(make, address=address, workers=workers, threads=threads).loaded
