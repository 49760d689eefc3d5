"""Suite `constrain`: what a constraint costs with few checks, with plain tries, and with masks.

Every prompt is answered greedily and with drawn tokens by the base (the constraint's own mask, or
every token checked where it has none), by AWRS at dial 0 (every token checked one by one), by AWRS
at dial 1, and by the control. Deciding counts the time from logits to a token. Particles are drawn
for the first prompt of each task, and are not judged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from rheostat.bench.constrain_tasks import TASKS
from rheostat.bench.contest import decision_of, in_turn
from rheostat.bench.result import envelope
from rheostat.engines.base import Request, Sampling
from rheostat.engines.torch_load import load_torch
from rheostat.kernel.plan import Setting

if TYPE_CHECKING:
    from collections.abc import Callable

    from rheostat.bench.constrain_tasks import Task
    from rheostat.bench.journal import Journal
    from rheostat.engines.base import Output
    from rheostat.engines.torch_engine import TorchEngine

SEED = 500000
NEW_TOKENS = 48
PARTICLES = 8
TEMPERATURES: Mapping[str, float] = {"greedy": 0.0, "drawn": 1.0}
CONTESTANTS: Mapping[str, Setting | None] = {
    "mask": None,
    "every token": Setting(name="awrs", dial=0.0),
    "awrs": Setting(name="awrs", dial=1.0),
    "fixed_tries": Setting(name="fixed_tries", dial=1.0),
}

Answers = Mapping[str, Mapping[str, Any]]
"""What is kept of every contestant's answer to a prompt."""


def bench_constrain(say: Callable[[str], None], journal: Journal) -> dict[str, Any]:
    """Answer every task in both ways, one thread."""
    engine = load_torch("smollm2", threads=1, progress=say)
    result = envelope("constrain", "do few checks keep a constraint, and in less time?", seed=SEED)
    cells = [
        constrain_cell(engine, task, way, say, journal) for task in TASKS for way in TEMPERATURES
    ]
    together = [particles_cell(engine, task, say, journal) for task in TASKS]
    return result | {
        "new_tokens": NEW_TOKENS,
        "threads": torch.get_num_threads(),
        "vocabulary": engine.shape.vocabulary,
        "cells": cells,
        "particles": together,
        "verdicts": {"awrs": constrain_verdict(cells)},
    }


def constrain_cell(
    engine: TorchEngine, task: Task, way: str, say: Callable[[str], None], journal: Journal
) -> dict[str, Any]:
    """Let every contestant answer the prompts of a task, each of them first in turn."""
    answered: list[Answers] = []
    for i, prompt in enumerate(task.prompts):
        name = f"{task.name}, {way}, prompt {i + 1}"
        say(f"{name} of {len(task.prompts)}")
        answered.append(journal.part(name, partial(_answers, engine, task, prompt, way, first=i)))
    return {
        "task": task.name,
        "way": way,
        "prompts": len(answered),
        "contestants": {name: _summed(answered, name) for name in CONTESTANTS},
    }


def particles_cell(
    engine: TorchEngine, task: Task, say: Callable[[str], None], journal: Journal
) -> dict[str, Any]:
    """Draw particles for the first prompt of a task, and one answer beside them."""
    say(f"{task.name}, {PARTICLES} particles")

    def drawn() -> dict[str, Any]:
        one, many = (
            _answer(engine, task, task.prompts[0], "drawn", CONTESTANTS["awrs"], particles=n)
            for n in (0, PARTICLES)
        )
        population = many.population
        assert population is not None
        return {
            "task": task.name,
            "particles": PARTICLES,
            "probability": population.probability,
            "effective": population.effective,
            "valid": sum(
                task.valid(p.text)
                for p in population.particles
                if p.weight > 0 and p.stop_reason == "eos"
            ),
            "tokens_per_second": many.cost.new_tokens / many.cost.seconds,
            "alone_tokens_per_second": one.cost.new_tokens / one.cost.seconds,
        }

    kept: dict[str, Any] = journal.part(f"{task.name}, particles", drawn)
    return kept


def _answers(
    engine: TorchEngine, task: Task, prompt: str, way: str, *, first: int
) -> dict[str, dict[str, Any]]:
    outputs = {
        name: _answer(engine, task, prompt, way, CONTESTANTS[name])
        for name in in_turn(CONTESTANTS, first)
    }
    return {name: _kept(task, outputs[name], outputs["mask"]) for name in CONTESTANTS}


def _answer(  # noqa: PLR0913  # who answers what, and how
    engine: TorchEngine,
    task: Task,
    prompt: str,
    way: str,
    setting: Setting | None,
    *,
    particles: int = 0,
) -> Output:
    decision = decision_of(engine, *([setting] if setting else []))
    sampling = Sampling(
        max_new_tokens=NEW_TOKENS,
        temperature=TEMPERATURES[way],
        seed=SEED,
        constraint=task.constraint,
        particles=particles,
    )
    request = Request(id=prompt, messages=({"role": "user", "content": prompt},))
    return next(iter(engine.generate([request], sampling, installed=decision)))


def _kept(task: Task, output: Output, base: Output) -> dict[str, Any]:
    ended = output.stop_reason == "eos"
    return {
        "tokens": len(output.token_ids) + ended,
        "calls": output.trace.constraint_calls,
        "deciding": output.trace.seconds_deciding,
        "seconds": output.cost.seconds,
        "ended": ended,
        "valid": task.valid(output.text) if ended else None,
        "same": output.token_ids == base.token_ids,
    }


def _summed(answered: Sequence[Answers], name: str) -> dict[str, Any]:
    own = [answers[name] for answers in answered]
    tokens = sum(answer["tokens"] for answer in own)
    return {
        "tokens": tokens,
        "calls_a_token": sum(answer["calls"] for answer in own) / tokens,
        "deciding_seconds_a_token": sum(answer["deciding"] for answer in own) / tokens,
        "seconds_a_token": sum(answer["seconds"] for answer in own) / tokens,
        "ended": sum(answer["ended"] for answer in own),
        "invalid": sum(answer["valid"] is False for answer in own),
        "same_as_mask": sum(answer["same"] for answer in own) / len(own),
    }


def constrain_verdict(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """AWRS must call less than plain tries in most cells and never more, decide faster than the
    base in all of them, and never be wrong.
    """
    found = [cell["contestants"] for cell in cells]
    calls = [
        (
            c["awrs"]["calls_a_token"],
            min(c["fixed_tries"]["calls_a_token"], c["every token"]["calls_a_token"]),
        )
        for c in found
    ]
    fewer, more = sum(own < other for own, other in calls), sum(own > other for own, other in calls)
    faster = sum(
        c["awrs"]["deciding_seconds_a_token"] < c["mask"]["deciding_seconds_a_token"] for c in found
    )
    wrong = sum(c["awrs"]["invalid"] for c in found)
    parted = sum(
        cell["contestants"]["awrs"]["same_as_mask"] < 1 for cell in cells if cell["way"] == "greedy"
    )
    called_less = fewer > len(cells) / 2 and not more
    return {
        "beats_controls": called_less and faster == len(cells) and not wrong and not parted,
        "evidence": f"fewer calls than plain tries and single checks of all tokens in {fewer}, "
        f"more in {more}, less time than the base's mask in {faster} of {len(cells)} cells; "
        f"{wrong} invalid answers, other greedy tokens in {parted} cells",
    }
