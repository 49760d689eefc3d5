"""Suite `reason`: number format, stopping rule and samples chosen together, on questions to solve.

The core tasks are recorded in every format. On questions of another seed, the cheapest setting of
everything together is chosen that keeps the accuracy of the base within a limit: 16 samples in
float32 and their majority. On the published questions it is then held against what each choice
alone reaches at its cost, against chance and fixed numbers in its own format, and against
hindsight. No model runs but to record and to price.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rheostat.bench.reason_frontier import beside, cheapest, hull, over
from rheostat.bench.reason_replay import (
    COSTS,
    LOTS,
    ROWS,
    Format,
    Pace,
    Prices,
    found,
    hindsight_of,
    priced,
    replayed,
)
from rheostat.bench.result import envelope
from rheostat.bench.solve_recordings import (
    CALIBRATION_SEED,
    CORE,
    DTYPE,
    MODEL,
    SAMPLES,
    SAMPLING,
    SEED,
    TASKS,
    recorded_samples,
    tasks_named,
    untested,
)
from rheostat.engines.base import Sampling
from rheostat.engines.sampler import Draw, Held
from rheostat.engines.torch_load import load_torch
from rheostat.engines.torch_sampler import TorchSampler
from rheostat.kernel.ledger import Ledger
from rheostat.stages.replayed import SHIFTS
from rheostat.stages.sample_costs import steps_of
from rheostat.stages.sample_rules import FIXED, Choice, decision, rule_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rheostat.bench.journal import Journal
    from rheostat.bench.reason_replay import Found
    from rheostat.engines.base import Request
    from rheostat.engines.torch_engine import TorchEngine
    from rheostat.stages.recorded import Recorded

    Say = Callable[[str], None]

FORMATS = (DTYPE, "bfloat16", "gguf")
NUMBERS = (4, 8, 16)
"""Most samples of a question under a rule that stops."""
LIMITS = (0.0, 0.02, 0.05, 0.1)
"""Shares of all questions that a plan may answer wrongly and the base does not."""
TIMED, REPEATS = 1, 3
"""Questions of each task on which drawing is timed, and how often."""
CHOSEN_BY = ("side_by_side", "one_by_one")
"""The costs that plans are chosen by."""
BASE = Choice(DTYPE, FIXED, 0.0, SAMPLES)


def bench_reason(say: Say, journal: Journal) -> dict[str, Any]:
    """Choose on some questions, then show on others; record and price what is missing."""
    result = envelope(
        "reason", "do format, rule and samples together beat each of them alone?", seed=SEED
    )
    before = formats_of(CALIBRATION_SEED, journal, say)
    chosen = chosen_from(replays(before, "before", journal, say))
    formats = formats_of(SEED, journal, say)
    shown = shown_on(formats, replays(formats, "shown", journal, say), chosen)
    return result | {
        "model": MODEL,
        "tasks": {name: TASKS[name] for name in CORE},
        "samples": SAMPLES,
        "sampling": SAMPLING.to_json(),
        "orders": SHIFTS,
        "chosen_on": {"seed": CALIBRATION_SEED, "questions": len(before[0].questions)},
        "questions": len(formats[0].questions),
        "formats": {own.dtype: told(own) for own in formats},
        **shown,
        "verdicts": {cost: verdict(shown["plans"], cost) for cost in CHOSEN_BY},
    }


def formats_of(seed: int, journal: Journal, say: Say) -> list[Format]:
    """Return the questions of a seed in every format, priced."""
    made = []
    for dtype, questions in questions_of(seed, say).items():
        prices = Prices.from_json(journal.part(f"prices {dtype}", partial(measured, dtype, say)))
        made.append(priced(dtype, questions, prices))
    return made


def questions_of(seed: int, say: Say) -> dict[str, list[Recorded]]:
    """Return the core tasks' questions in every format, after recording what is missing."""
    made: dict[str, list[Recorded]] = {}
    for dtype in FORMATS:
        own = [q for name in CORE for q in recorded_samples(name, seed, say, dtype=dtype)]
        made[dtype] = own if seed == SEED else untested(own)
    return made


def told(own: Format) -> dict[str, Any]:
    """Return what a recording holds, and the price and the processor seconds of a token."""
    samples = [sample for question in own.questions for sample in question.samples]
    steps = sum(steps_of(sample) for sample in samples)

    def a_step(name: str) -> float:
        whole = own.costs[name][:, 0]  # one order holds all samples
        return float((whole[:, -1] - whole[:, 0]).sum() / steps)

    return {
        "right_samples": sum(sum(q.right) for q in own.questions) / len(samples),
        "new_tokens_per_sample": sum(s.cost.new_tokens for s in samples) / len(samples),
        "a_token": {name: a_step(name) for name in COSTS[:3]},
    }


def measured(dtype: str, say: Say) -> dict[str, Any]:
    """Return a format's price table, and the processor seconds of drawing side by side.

    Processor seconds, because this suite may run beside other work.
    """
    engine = load_torch(MODEL, dtype=dtype, threads=1, progress=say)
    say(f"drawing in {dtype}")
    requests = [item for name in CORE for item in tasks_named(name, SEED).items[:TIMED]]
    runs = [_drawing(engine, requests, i) for i in range(REPEATS + 1)][1:]  # the first warms up
    pace = Pace(*(float(np.median(column)) for column in zip(*runs, strict=True)))
    prices = {"shape": engine.shape.to_json(), "table": engine.prices().to_json()}
    return prices | {"pace": pace._asdict()}


def _drawing(engine: TorchEngine, requests: Sequence[Request], seed: int) -> Pace:
    """Read all prompts for a token each; then draw many samples, and leave out the reading."""
    once = _drawn(engine, requests, Sampling(temperature=0.7, max_new_tokens=1, seed=seed), 1)
    many = _drawn(engine, requests, replace(SAMPLING, seed=seed), ROWS)
    reading = once.seconds / len(requests)
    return Pace(reading, (many.seconds - len(requests) * reading) / many.steps)


class _Drawn(NamedTuple):
    seconds: float
    steps: int


def _drawn(
    engine: TorchEngine, requests: Sequence[Request], sampling: Sampling, samples: int
) -> _Drawn:
    """Draw samples of every question in turn, a pass of up to `ROWS` rows at a time."""
    sampler, ledger, calls = TorchSampler(engine, rows=ROWS), Ledger(name="reason"), 0
    began = time.process_time()
    for request in requests:
        for index in range(samples):
            draw = Draw(question=request.id, index=index, request=request, sampling=sampling)
            sampler.launch(draw, ledger.reserve(sampler.bound(draw)))
    while ended := sampler.poll():
        calls += sum(own.output.cost.calls for own in ended if not isinstance(own, Held))
    return _Drawn(time.process_time() - began, calls - len(requests))


def choices() -> list[Choice]:
    """Return every setting: fixed numbers, and rules at their dials under several numbers."""
    rules = [(name, dial) for name, dial, _ in rule_settings() if name != FIXED]
    fixed = [Choice(dtype, FIXED, 0.0, n) for dtype in FORMATS for n in range(1, SAMPLES + 1)]
    return fixed + [
        Choice(dtype, name, dial, n) for dtype in FORMATS for name, dial in rules for n in NUMBERS
    ]


def replays(
    formats: Sequence[Format], label: str, journal: Journal, say: Say
) -> dict[Choice, Found]:
    """Replay every setting, a format at a time."""
    every: dict[Choice, Found] = {}
    for own in formats:
        asked = [choice for choice in choices() if choice.dtype == own.dtype]
        part = partial(_replays, asked, own.questions, say)
        made = journal.part(f"{label} {own.dtype}", part)
        every |= {c: found(c, drawn, own) for c, drawn in zip(asked, made, strict=True)}
    return every


def _replays(asked: Sequence[Choice], questions: Sequence[Recorded], say: Say) -> list[Any]:
    made, said = [], ""
    for choice in asked:
        now = f"replaying {choice.rule} in {choice.dtype}"
        if now != said:
            say(said := now)
        made.append(replayed(decision(choice.rule, choice.dial), choice.samples, questions))
    return made


def chosen_from(every: Mapping[Choice, Found]) -> list[dict[str, Any]]:
    """Choose, for each limit and cost, the cheapest setting that keeps the base's accuracy."""
    base, plans = every[BASE], []
    allowed = [own for choice, own in every.items() if choice.rule != LOTS]
    for cost in CHOSEN_BY:
        for limit in LIMITS:
            own = cheapest(allowed, base, cost, loss=limit)
            ratio = float(own.costs[cost].sum() / base.costs[cost].sum())
            plans.append(
                {
                    "by": cost,
                    "limit": limit,
                    "choice": own.choice.to_json(),
                    "chosen_at": {
                        "accuracy": float(own.right.mean()),
                        "base_accuracy": float(base.right.mean()),
                        "ratio": ratio,
                    },
                }
            )
    return plans


def alone(every: Mapping[Choice, Found]) -> dict[str, list[Found]]:
    """Return the settings that change one thing of the base, by what they change."""
    singles: dict[str, list[Found]] = {"precision": [], "samples": []}
    for choice, own in every.items():
        if choice.rule == FIXED and choice.samples == SAMPLES:
            singles["precision"].append(own)
        if choice.dtype == DTYPE and choice.rule == FIXED:
            singles["samples"].append(own)
        elif choice.dtype == DTYPE and choice.rule != LOTS and choice.samples == SAMPLES:
            singles.setdefault(choice.rule, []).append(own)
    return singles


def shown_on(
    formats: Sequence[Format],
    every: Mapping[Choice, Found],
    chosen: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Hold the chosen settings against everything else on the published questions."""
    base, singles = every[BASE], alone(every)
    oracle = {cost: hindsight_of(formats, cost) for cost in COSTS}
    best = {cost: hull([f for c, f in every.items() if c.rule != LOTS], cost) for cost in COSTS}
    lots = [own for choice, own in every.items() if choice.rule == LOTS]
    return {
        "base": _told(base, base),
        "oracle": {cost: _told(own, base) for cost, own in oracle.items()},
        "singles": {name: [_told(own, base) for own in group] for name, group in singles.items()},
        "lots": [_told(own, base) for own in lots if own.choice.dtype == DTYPE],
        "best": {cost: [_told(own, base) for own in group] for cost, group in best.items()},
        "plans": [_held_against(plan, every, singles, oracle[plan["by"]]) for plan in chosen],
    }


def _told(own: Found, base: Found) -> dict[str, Any]:
    return own.to_json() | beside(own, base)


def _held_against(
    plan: Mapping[str, Any],
    every: Mapping[Choice, Found],
    singles: Mapping[str, Sequence[Found]],
    oracle: Found,
) -> dict[str, Any]:
    """Compare a chosen setting with each choice alone, and with controls in its own format."""
    cost, own, base = plan["by"], every[Choice(**plan["choice"])], every[BASE]
    in_format = {
        rule: [f for c, f in every.items() if (c.dtype, c.rule) == (own.choice.dtype, rule)]
        for rule in (FIXED, LOTS)
    }
    saved = base.costs[cost].sum() - own.costs[cost].sum()
    return {
        **plan,
        **_told(own, base),
        "over_singles": {name: over(own, group, cost) for name, group in singles.items()},
        "over_fixed_numbers": over(own, in_format[FIXED], cost),
        "over_lots": over(own, in_format[LOTS], cost),
        "share_of_oracle_saving": float(
            saved / (base.costs[cost].sum() - oracle.costs[cost].sum())
        ),
    }


def verdict(plans: Sequence[Mapping[str, Any]], cost: str) -> dict[str, Any]:
    """Return whether every plan chosen by a cost is on or above what each choice alone reaches."""
    below, worst = [], []
    for plan in plans:
        if plan["by"] != cost:
            continue
        for name, gain in plan["over_singles"].items():
            low, high = gain["interval"]
            said = f"{gain['gain']:+.3f} ({low:+.3f} to {high:+.3f}) over {name}"
            worst.append((gain["gain"], f"{said} within {plan['limit']:g}"))
            if gain["lies"] == "below":
                below.append(f"{said} within {plan['limit']:g}")
    least = min(worst)[1]
    return {
        "holds": not below,
        "evidence": f"accuracy at equal cost: below {'; '.join(below)}"
        if below
        else f"accuracy at equal cost, the least gain of all: {least}",
    }
