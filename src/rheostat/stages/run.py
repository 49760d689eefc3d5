"""Stage `run`: answers a file of requests under a plan and a ledger, resumable at any moment."""

from __future__ import annotations

import shlex
import time
from collections import Counter
from dataclasses import replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rheostat import catalog
from rheostat.engines.machine import machine
from rheostat.engines.torch_shared import shared_prefix
from rheostat.errors import MemoryShortError, UserError
from rheostat.kernel.cost import Cost, total
from rheostat.kernel.ledger import Ledger
from rheostat.kernel.seams import Installed
from rheostat.stages.run_folder import PLAN, open_run
from rheostat.stages.settings import ready
from rheostat.stages.shadow import Shadow, watch
from rheostat.workloads.items import load_requests
from rheostat.workloads.load import digest_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rheostat.engines.base import Engine, Output, Request, Sampling
    from rheostat.engines.torch_engine import TorchEngine
    from rheostat.engines.torch_shared import SharedPrefix
    from rheostat.kernel.budget import Caps
    from rheostat.kernel.plan import Plan
    from rheostat.stages.run_folder import RunFolder

VERSION = 1
_SECONDS_BETWEEN = 2.0
"""Least seconds between two reports of progress."""


def run(  # noqa: PLR0913  # the options of the command of the same name
    plan: Plan,
    requests_path: str | Path,
    out: str | Path,
    *,
    sampling: Sampling,
    engine: Engine,
    batch: int = 1,
    label: str | None = None,
    progress: Callable[[str], None] | None = None,
    budget: Caps | None = None,
    shadow: float | None = None,
) -> dict[str, Any]:
    """Answer every request that the folder does not hold yet; return totals of all of them.

    Args:
        requests_path: a JSONL file of requests.
        out: a new folder, or that of the same run (plan, requests and sampling), which resumes.
        batch: requests that run together.
        label: the run's name in reports; None = the folder's name.
        budget: hard caps over all requests, those of earlier starts included.
        shadow: share of the requests that the base answers as well, to refute the certificate.

    Raises:
        UserError: something in the plan, the requests or the folder that the user can mend.
        KeyboardInterrupt: Ctrl-C; its message says what is kept and how to go on.
    """
    if batch < 1:
        raise UserError(f"`--batch` must be at least 1, got `{batch}`")
    requests, path = load_requests(requests_path), Path(out)
    own = ready(plan, engine)
    watched = None if shadow is None else watch(own, shadow, sampling)
    installed = catalog.installed(own, engine.shape, engine.card.offers)
    prompts = [engine.encode(request) for request in requests]  # refuses some before any work
    common = shared_prefix(prompts) if engine.card.name == "torch" else None
    header = {
        "version": VERSION,
        "plan": own.to_json(),
        "label": label,
        "requests": {
            "path": str(requests_path),
            "digest": digest_of(tuple(requests)),
            "count": len(requests),
        },
        "sampling": sampling.to_json(),
        "budget": None if budget is None else budget.to_json(),
        "shadow": shadow,
        "machine": _machine_facts(),
        "command": _command(requests_path, path, sampling, batch, shadow),
    }
    with open_run(path, header, [request.id for request in requests]) as folder:
        left = [request for request in requests if request.id not in folder.finished]
        shade = None if watched is None else Shadow(watched, path)
        ledger = _ledger(budget, folder, shade)
        job = _Job(engine, sampling, installed, ledger, shade, common)
        job.look([request for request in requests if request.id in folder.finished])
        _keep(job.outputs(left, batch), folder, len(requests), progress)
        resumed = len(requests) - len(left)
        summary = {"out": str(path), "resumed": resumed, **_summary(folder, ledger, shade)}
        return summary if common is None else summary | _shared(common, engine, installed, folder)


class _Job:
    """What answers requests, and hands them to the base once the certificate is refuted."""

    def __init__(  # noqa: PLR0913  # what a run is made of
        self,
        engine: Engine,
        sampling: Sampling,
        installed: Installed,
        ledger: Ledger,
        shadow: Shadow | None,
        shared: SharedPrefix | None,
    ) -> None:
        self._engine, self._sampling, self._installed = engine, sampling, installed
        generate = engine.generate
        if shared is not None:
            generate = partial(cast("TorchEngine", engine).generate, shared=shared)
        self._generate = generate
        self._ledger, self._shadow = ledger, shadow
        self._account = None if shadow is None else ledger.child("shadow")

    def outputs(self, requests: Sequence[Request], batch: int) -> Iterator[Output]:
        """Answer a batch, then look at those of it that are watched."""
        for at in range(0, len(requests), batch):
            some = requests[at : at + batch]
            given_up = self._shadow is not None and self._shadow.refuted
            yield from self._generate(
                some,
                self._sampling,
                installed=Installed() if given_up else self._installed,
                ledger=self._ledger,
            )
            self.look(some)

    def look(self, requests: Sequence[Request]) -> None:
        """Let the base answer those that are watched; the outputs before this are kept."""
        if self._shadow is not None and self._account is not None:
            self._shadow.look(requests, self._engine, self._installed, self._account)


def _keep(
    outputs: Iterator[Output],
    folder: RunFolder,
    count: int,
    progress: Callable[[str], None] | None,
) -> None:
    """Keep every output when it comes, and say now and then how far the run is."""
    said = float("-inf")
    try:
        while True:
            now = time.monotonic()
            if progress is not None and now - said >= _SECONDS_BETWEEN:
                progress(f"answered {len(folder.finished)} of {count} requests")
                said = now
            output = next(outputs, None)
            if output is None:
                break
            folder.add(output)
        folder.complete()
        if progress is not None:
            progress(f"answered {len(folder.finished)} of {count} requests")
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"interrupted: {len(folder.finished)} of {count} requests are answered and kept, "
            "the same command goes on from there"
        ) from None
    except MemoryShortError as error:
        raise MemoryShortError(
            error.message,
            hint=f"{error.hint}; {len(folder.finished)} of {count} requests are answered and kept, "
            "the same command with a smaller `--batch` goes on from there",
        ) from error


def _ledger(budget: Caps | None, folder: RunFolder, shadow: Shadow | None) -> Ledger:
    """Open the books with what earlier starts of this run have spent."""
    ledger = Ledger(budget, name="run")
    if folder.finished:
        lines = folder.finished.values()
        spent = total(Cost.from_json(line["output"]["cost"]) for line in lines)
        if shadow is not None:
            spent += shadow.spent
        # Their seconds were spent under an earlier deadline.
        ledger.child("earlier").reserve(replace(spent, seconds=0.0)).settle(spent)
    return ledger


def _summary(folder: RunFolder, ledger: Ledger, shadow: Shadow | None) -> dict[str, Any]:
    plan = folder.header["plan"]
    reasons = Counter(line["output"]["stop_reason"] for line in folder.finished.values())
    return {
        "label": folder.header["label"],
        "model": plan["model"],
        "dtype": plan["dtype"],
        "methods": [{k: s[k] for k in ("name", "dial", "params")} for s in plan["methods"]],
        "requests": len(folder.finished),
        "stop_reasons": dict(reasons),
        "cost": ledger.spent.to_json(),
        **({} if shadow is None else {"shadow": shadow.to_json()}),
    }


def _shared(
    shared: SharedPrefix, engine: Engine, installed: Installed, folder: RunFolder
) -> dict[str, Any]:
    """Return what requests begin with alike, and what reading it once saved."""
    reading = cast("TorchEngine", engine).reading_cost
    kept = [line["trace"]["reused"] for line in folder.finished.values()]
    saved = total(reading(tokens, installed) for tokens in kept if tokens)
    found = {"tokens": len(shared.ids), "reused": sum(1 for n in kept if n)}
    return {"shared": found | {"saved": saved.to_json()}}


def _machine_facts() -> dict[str, Any]:
    """Return the machine and the versions that the seconds depend on."""
    versions = {}
    for package in ("torch", "rheostat"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = ""
    return machine().to_json() | versions


def _command(
    requests: str | Path, out: Path, sampling: Sampling, batch: int, shadow: float | None
) -> str:
    """Return the command that makes this run, or goes on with it, from its own plan."""
    parts: list[Any] = ["rheostat", "run", out / PLAN, "--requests", requests, "--out", out]
    written = sampling.to_json()
    if sampling.constraint is not None:
        written["constraint"] = sampling.constraint.name
    for name, value in written.items():
        values = value if name == "stop" else [value]
        for one in values:
            parts += [f"--{name.replace('_', '-')}", one]
    watched = [] if shadow is None else ["--shadow", shadow]
    return shlex.join(str(part) for part in [*parts, "--batch", batch, *watched])
