"""`rheostat.solve`: answer questions by samples under one hard budget.

import rheostat

found = rheostat.solve(
    "smollm2",
    "gym:products?min_terms=2&max_terms=2&max_digits=1&size=20",
    budget="tokens=20000",
    out="solved",
)
print(found["right"], found["cost"]["new_tokens"])
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from rheostat import catalog
from rheostat.engines.base import Request, Sampling
from rheostat.engines.load import DTYPES
from rheostat.engines.load_sampler import load_sampler
from rheostat.engines.money import read_prices
from rheostat.engines.ray_sampler import ray_sampler
from rheostat.errors import BudgetError, UserError, WorkloadError
from rheostat.kernel.budget import Caps, parse_budget
from rheostat.kernel.plan import Plan
from rheostat.kernel.policies.by_value import ByValue
from rheostat.stages.sample_folder import sampling_json, sampling_of
from rheostat.stages.settings import Changes, changed, read_plan
from rheostat.stages.solve import TEMPERATURE, Job
from rheostat.stages.solve import solve as solve_job
from rheostat.stages.solve_answers import ANSWERS
from rheostat.stages.solve_driver import Limits
from rheostat.stages.solve_learnt import learnt_from
from rheostat.stages.solve_plan import with_rule
from rheostat.workloads.tasks import load_tasks, tasks_of
from rheostat.workloads.verifier import function_verifier

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rheostat.engines.base import Engine
    from rheostat.engines.load_sampler import LoadedSampler
    from rheostat.kernel.model_cost import ModelShape
    from rheostat.kernel.seams import Installed
    from rheostat.workloads.tasks import Tasks

__all__ = ["SolveOptions", "solve"]

SAMPLES = 16
"""Most samples of a question, where nobody says so."""


class SolveOptions(TypedDict, total=False):
    """What may be said beside the model, the tasks and the budget; defaults as on the command."""

    plan: Plan | str | Path | None
    """A plan, or the path of one; its methods run."""
    changes: Changes
    """Methods set by hand."""
    samples: int | None
    """Most samples of a question; the plan's, else 16."""
    rule: str | None
    """When a question is settled: a method of the seam `sample`; `agreement`, and `best_of_n`
    under a verifier."""
    confidence: float | None
    """Of the rule's promise; 0.95."""
    verifier: str | Callable[..., Any] | None
    """`FILE.py:FUNC`, a command, `reference`, or a function func(text) or func(text, task)."""
    learn: str | Path | None
    """A recording, or another run, whose samples and verdicts teach who gets the next sample; it
    needs a verifier."""
    frugal: float
    """Solutions that a question must promise for every 1,000 tokens that are in vain if it has no
    solution; others are left alone, and the budget may stay unspent; 0. It needs a verifier."""
    prices: str | Path | None
    """JSON file with dollars a million tokens, by model."""
    dtype: str | None
    threads: int | None
    device: str | None
    """As for `rheostat.load`; for a model that is given by name."""
    limits: Limits
    """How much is done side by side."""
    sampling: Mapping[str, Any]
    """Fields of `rheostat.Sampling`; a recording's own where left out, else temperature 0.7."""
    ray: str | None
    """Address of a Ray cluster whose workers draw; `local` starts one on this machine."""
    workers: int | None
    """Of that cluster; as many as its processors can serve."""
    command: str
    progress: Callable[[str], None] | None


def solve(
    model: Engine | str | Path,
    tasks: str | Path | Sequence[Request],
    *,
    budget: str | Caps | None = None,
    out: str | Path,
    **options: Unpack[SolveOptions],
) -> dict[str, Any]:
    """Answer questions under one budget; return totals and the lines of `answers.jsonl`.

    Args:
        model: a model's name or path, `replay:STORE`, or a loaded engine.
        tasks: a .jsonl file, a `gym:` name, or requests.
        budget: hard caps over all questions, such as `tokens=20000,seconds=60`. A plan of samples
            does without: it says how many of each question are drawn at most.
        out: a new folder, or that of the same run, which goes on without drawing anything twice.
        **options: see `SolveOptions`.

    Raises:
        BudgetError: the budget is missing, malformed or has no room for a single sample.
        WorkloadError: tasks that cannot be read, or a verifier that fails.
        ModelError, MethodError, PlanError, OutputError, UserError: as for `load` and `generate`.
    """
    summary = solved(model, tasks, budget=budget, out=out, **options)
    lines = (Path(out) / ANSWERS).read_text(encoding="utf-8").splitlines()
    return summary | {"answers": [json.loads(line) for line in lines]}


def solved(
    model: Engine | str | Path,
    tasks: str | Path | Sequence[Request],
    *,
    budget: str | Caps | None = None,
    out: str | Path,
    **options: Unpack[SolveOptions],
) -> dict[str, Any]:
    """Do what `solve` does and return the totals alone."""
    asked = _tasks(tasks)
    model = str(model) if isinstance(model, Path) else model
    if options.get("ray") is not None and not isinstance(model, str):
        raise UserError(
            "workers load the model themselves: a loaded engine cannot be sent to them",
            hint="give the model's name or path",
        )
    name = model if isinstance(model, str) else model.model
    plan = _plan(name, options)
    caps = _caps(budget, plan)
    verifier = options.get("verifier")
    prices = options.get("prices")
    allocation = _allocation(options)
    job = Job(
        tasks=asked,
        plan=plan,
        budget=caps,
        samples=_samples(options, plan),
        verifier=function_verifier(verifier) if callable(verifier) else verifier,
        prices=None if prices is None else read_prices(Path(prices), name),
        allocation=allocation,
        limits=options.get("limits", Limits()),
        learnt="" if allocation.learnt is None else allocation.learnt.digest,
        frugal=allocation.frugal,
        command=options.get("command", ""),
    )
    offers = frozenset({"sample.compare"})
    if verifier:
        offers |= {"sample.verifier", "sample.score"}

    def install(shape: ModelShape | None, offered: frozenset[str]) -> Installed:
        return catalog.installed(plan, shape, offered | offers)

    needs = frozenset().union(*(catalog.method(s.name).card.needs for s in plan.methods))
    load = partial(
        load_sampler,
        model,
        install=install,
        dtype=options.get("dtype") or plan.dtype,
        device=options.get("device"),
        prices=job.prices,
        needs=needs,
    )
    loaded = _loaded(load, options)
    job = replace(job, sampling=_sampling(loaded, plan, options.get("sampling", {})))
    found = solve_job(loaded, job, out, progress=options.get("progress"))
    return found | {"notices": _notices(job)}


def _allocation(options: SolveOptions) -> ByValue:
    """Return who gets the next sample; refuse what needs a verifier where there is none."""
    verified = bool(options.get("verifier"))
    frugal, learn = options.get("frugal", 0.0), options.get("learn")
    if learn is not None and not verified:
        raise UserError(
            "only runs with a verifier learn from earlier samples",
            hint="give `--verifier reference`, or leave `--learn` out",
        )
    if not 0.0 <= frugal < math.inf:
        raise UserError(
            f"`--frugal` must be 0 or more, got `{frugal}`",
            hint="it counts solutions per 1,000 tokens in vain, such as 16",
        )
    if frugal and not verified:
        raise UserError(
            "only runs with a verifier know what a solution is: `--frugal` counts them",
            hint="give `--verifier reference`, or leave `--frugal` out",
        )
    return ByValue(learnt=None if learn is None else learnt_from(Path(learn)), frugal=frugal)


def _loaded(load: Callable[..., LoadedSampler], options: SolveOptions) -> LoadedSampler:
    """Load the sampler here, or one in each worker."""
    address, threads = options.get("ray"), options.get("threads")
    if address is None:
        return load(threads=threads, progress=options.get("progress"))
    return ray_sampler(
        partial(load, threads=threads or 1),
        address=address,
        workers=options.get("workers"),
        threads=threads,
    )


def _plan(model: str, options: SolveOptions) -> Plan:
    given = options.get("plan")
    if given is None:
        given = Plan(model=model, dtype=options.get("dtype") or DTYPES[0])
    elif not isinstance(given, Plan):
        given = read_plan(Path(given))
    rule = options.get("rule")
    named = given if rule is None else with_rule(given, rule=rule)
    own = changed(named, options.get("changes", Changes()))
    verified = options.get("verifier") is not None
    return with_rule(own, confidence=options.get("confidence"), verified=verified)


def _sampling(loaded: LoadedSampler, plan: Plan, given: Mapping[str, Any]) -> Sampling:
    """Return a recording's options, the plan's or the usual ones, with those that are given."""
    usual = Sampling(temperature=TEMPERATURE)
    if plan.draws:
        usual = sampling_of(plan.draws["sampling"])
    return replace(loaded.recorded or usual, **given)


def _notices(job: Job) -> list[str]:
    """Say where a run differs from what its plan of samples was made for."""
    draws = job.plan.draws
    if not draws or job.sampling is None:
        return []
    own = sampling_json(job.sampling) | {"samples": job.samples}
    made_for = {**draws["sampling"], "samples": draws["samples"]}
    differ = [f"`{name}`" for name, value in made_for.items() if own.get(name) != value]
    if differ:
        return [f"the plan was made for another {' and '.join(differ)}: its claims are void here"]
    return [] if job.plan.predicted else ["another rule was set by hand: the claims are void here"]


def _samples(options: SolveOptions, plan: Plan) -> int:
    """Return the most samples of a question."""
    given = options.get("samples")
    return int(plan.draws.get("samples", SAMPLES)) if given is None else given


def _caps(budget: str | Caps | None, plan: Plan) -> Caps:
    """Return the budget; a plan of samples needs none."""
    if isinstance(budget, Caps):
        return budget
    if budget is not None:
        return parse_budget(budget)
    if not plan.draws:
        raise BudgetError(
            "how much may be spent is not said",
            hint="give a budget, such as `--budget tokens=20000`; a plan that "
            "`rheostat plan MODEL --tasks T` made does without",
        )
    return Caps()


def _tasks(tasks: str | Path | Sequence[Request]) -> Tasks:
    if isinstance(tasks, str | Path):
        return load_tasks(str(tasks))
    if not tasks:
        raise WorkloadError("there are no tasks", hint="give at least one request")
    return tasks_of("requests", tasks)
