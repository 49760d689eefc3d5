"""Stage `solve`: answers questions by samples under one hard budget, resumable at any moment."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rheostat.engines.base import Sampling
from rheostat.engines.journaled_sampler import JournaledSampler
from rheostat.errors import BudgetError, MethodError, ModelError, UserError
from rheostat.kernel.ledger import Ledger
from rheostat.kernel.policies.by_value import ByValue
from rheostat.kernel.policies.task_features import request_features
from rheostat.kernel.records import Refusal
from rheostat.kernel.samples import SampleStart
from rheostat.stages.sample_folder import open_samples, sampling_json, tasks_json
from rheostat.stages.solve_answers import answer_line, summary_of, write_answers, write_summary
from rheostat.stages.solve_driver import Driver, Limits
from rheostat.stages.solve_plan import check_plan_of
from rheostat.stages.solve_question import Question
from rheostat.workloads.parts import text_hash
from rheostat.workloads.verifier import load_verifier

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rheostat.engines.load_sampler import LoadedSampler
    from rheostat.engines.money import TokenPrices
    from rheostat.kernel.allocation import Allocation
    from rheostat.kernel.budget import Caps
    from rheostat.kernel.plan import Plan
    from rheostat.workloads.tasks import Tasks
    from rheostat.workloads.verifier import Verifier

VERSION = 1
TEMPERATURE = 0.7
_SECONDS_BETWEEN = 2.0


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is asked of a run."""

    tasks: Tasks
    plan: Plan
    """Its method of the seam `sample` draws."""
    budget: Caps
    samples: int = 16
    """N: the most samples of a question."""
    sampling: Sampling | None = None
    """None = that of a recording, else temperature 0.7."""
    verifier: str | Verifier | None = None
    prices: TokenPrices | None = None
    allocation: Allocation = ByValue()  # noqa: RUF009  # it is frozen
    limits: Limits = Limits()  # noqa: RUF009  # it is frozen
    learnt: str = ""
    """Digest of what the allocation has learnt before; empty = nothing."""
    frugal: float = 0.0
    """What the allocation leaves alone, as of `ByValue`; part of what makes a run the same."""
    command: str = ""

    def __post_init__(self) -> None:
        """Refuse numbers outside their range."""
        if self.samples < 1:
            raise UserError(f"`--samples` must be at least 1, got `{self.samples}`")
        if min(self.limits.width, self.limits.in_flight) < 1:
            raise UserError("`--width` and `--in-flight` must be at least 1")
        if self.budget.usd is not None and self.prices is None:
            raise BudgetError(
                "a budget in `usd` needs the prices of tokens",
                hint='give `--prices FILE.json`: {"MODEL": {"prompt": 0.15, "new": 0.6}}, in '
                "dollars a million tokens",
            )


def solve(
    loaded: LoadedSampler,
    job: Job,
    out: str | Path,
    *,
    progress: Callable[[str], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Any]:
    """Answer all questions, write `answers.jsonl` and `solve.json`, and return the totals.

    Args:
        out: a new folder, or that of the same run, which goes on without drawing anything twice.
        clock: seconds; deadlines are compared with what has passed on it since the start.

    Raises:
        BudgetError: the budget has no room for a single sample.
        UserError: something in the plan, tasks, verifier or folder that the user can mend.
        ModelError: not one sample could be drawn.
        KeyboardInterrupt: Ctrl-C; its message says what is kept and how to go on.
    """
    folder, verifier = Path(out), job.verifier
    try:
        check_plan_of(job.plan, loaded)
        sampling = job.sampling or loaded.recorded or Sampling(temperature=TEMPERATURE)
        _check_recording(loaded, job)
        if isinstance(verifier, str):
            verifier = load_verifier(verifier, job.tasks)
        header = _header(loaded, job, sampling, "" if verifier is None else verifier.name)
        with open_samples(folder, header) as store:
            sampler = JournaledSampler(loaded.sampler, store)
            ledger = Ledger(job.budget, name="solve")
            questions = _questions(loaded, job, sampling, ledger)
            _check_budget(sampler, questions, ledger)
            driver = Driver(
                sampler=sampler,
                store=store,
                ledger=ledger,
                tasks=job.tasks,
                questions=questions,
                allocation=job.allocation,
                limits=job.limits,
                verifier=verifier,
                clock=clock,
            )
            driver.watch = _watch(driver, progress)
            resumed = len(store.known)
            return {"out": str(out), "resumed": resumed, **_answered(driver, folder)}
    finally:
        loaded.sampler.close()
        if verifier is not None and not isinstance(verifier, str):
            verifier.close()


def _answered(driver: Driver, folder: Path) -> dict[str, Any]:
    try:
        driver.run()
    except KeyboardInterrupt:
        done = _lines(driver)
        write_answers(folder, done)
        raise KeyboardInterrupt(
            f"interrupted: {len(done)} of {len(driver.questions)} questions are answered and "
            f"{len(driver.store.known)} samples kept, the same command goes on from there"
        ) from None
    if driver.failures and len(driver.failures) == len(driver.store.known):
        raise ModelError(
            f"not one of {len(driver.failures)} samples could be drawn: {driver.failures[0]}",
            hint="see to the model or the server, and use another `--out`",
        )
    lines = _lines(driver)
    summary = {
        **summary_of(driver.questions, lines, driver.ledger),
        "epochs": driver.epochs,
        "failed": len(driver.failures),
        "model": driver.sampler.model,
        "seconds": driver.elapsed,
    }
    write_answers(folder, lines)
    write_summary(folder, summary)
    return summary


def _lines(driver: Driver) -> list[dict[str, Any]]:
    return [answer_line(q, driver.tasks) for q in driver.questions if q.finish is not None]


def _header(loaded: LoadedSampler, job: Job, sampling: Sampling, verifier: str) -> dict[str, Any]:
    return {
        "version": VERSION,
        "kind": "solve",
        "model": loaded.sampler.model,
        "digest": loaded.digest,
        "dtype": loaded.dtype,
        "tasks": tasks_json(job.tasks),
        "samples": job.samples,
        "sampling": sampling_json(sampling),
        "plan": job.plan.to_json(),
        "budget": job.budget.to_json(),
        "verifier": verifier,
        "prices": None if job.prices is None else job.prices.to_json(),
        "width": job.limits.width,
        "learnt": job.learnt or None,
        "frugal": job.frugal or None,
        "logprobs": "sample.logprobs" in loaded.sampler.card.offers,
        "command": job.command,
    }


def _questions(
    loaded: LoadedSampler, job: Job, sampling: Sampling, ledger: Ledger
) -> list[Question]:
    policy = loaded.installed.sample
    if policy is None:
        raise MethodError("the plan draws no samples", hint="name a rule, as in `--rule agreement`")
    # where rows share passes, what a cancelled one has cost depends on its neighbours
    cancels = "batched" not in loaded.sampler.card.offers or job.budget.seconds is not None
    return [
        Question(
            request=request,
            sampling=sampling,
            policy=policy,
            start=SampleStart(
                question=request.id,
                samples=job.samples,
                verifier=job.verifier is not None,
                seed=_own_seed(sampling.seed, request.id),
            ),
            account=ledger.child(f"question {number}"),
            features=request_features(request.prompt, request.messages),
            cancels=cancels,
        )
        for number, request in enumerate(job.tasks.items)
    ]


def _own_seed(seed: int, question: str) -> int:
    return int.from_bytes(text_hash(f"{seed}\n{question}")[:6], "big")


def _check_recording(loaded: LoadedSampler, job: Job) -> None:
    if loaded.samples is not None and job.samples > loaded.samples:
        raise ModelError(
            f"`{loaded.sampler.model}` holds {loaded.samples} samples of each question, "
            f"`--samples` asks for {job.samples}",
            hint=f"ask for at most {loaded.samples}; a recording is never added to",
        )


def _check_budget(sampler: JournaledSampler, questions: Sequence[Question], ledger: Ledger) -> None:
    """Refuse prompts that cannot be run, and a budget that has no room for any first sample."""
    refusals: list[Refusal] = []
    for question in questions:
        draw = question.first_draw()
        answer = Ledger(ledger.caps, name="budget").try_reserve(sampler.bound(draw))
        if not isinstance(answer, Refusal):
            refusals = []
            break
        refusals.append(answer)
    if refusals:
        least = min(refusals, key=lambda refusal: refusal.asked)
        raise BudgetError(
            f"the budget has no room for one sample: `{least.cap}` would come to {least.asked:g}, "
            f"its cap is {least.limit:g}",
            hint="give a larger `--budget`, or a smaller `--max-new-tokens`",
        )


def _watch(driver: Driver, progress: Callable[[str], None] | None) -> Callable[[], None]:
    said = float("-inf")

    def watch() -> None:
        nonlocal said
        now = time.monotonic()
        if progress is None or now - said < _SECONDS_BETWEEN:
            return
        said = now
        done = sum(question.finish is not None for question in driver.questions)
        unit = driver.unit()
        left, spent = driver.ledger.remaining(unit), getattr(driver.ledger.spent, unit)
        progress(
            f"answered {done} of {len(driver.questions)} questions with "
            f"{len(driver.store.known)} samples; {unit}: {spent:g} spent"
            + ("" if math.isinf(left) else f", {left:g} left")
        )

    return watch
