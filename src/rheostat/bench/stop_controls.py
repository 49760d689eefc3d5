"""The cuts of the seam `stop` on long recorded samples, beside fixed and random lengths."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from rheostat import catalog
from rheostat.bench.solve_extras import LONG, LONG_SAMPLES, long_samples
from rheostat.bench.solve_recordings import CORE, MODEL, SEED, tasks_named
from rheostat.bench.solve_rules import paired
from rheostat.bench.stop_cuts import at_equal_tokens, cut, written
from rheostat.engines.load_model import load_model
from rheostat.engines.tokenizer import Tokenizer
from rheostat.kernel.plan import Plan, Setting
from rheostat.kernel.policies.stop_early import Length, Lots

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rheostat.bench.stop_cuts import Cut
    from rheostat.kernel.stop import StopPolicy
    from rheostat.stages.recorded import Recorded

CUTS = ("first_solution", "trimr")
DIALS = (0.5, 1.0)
LENGTHS = (4, 8, 12, 16, 20, 24, 28, 32, 40, 48, 64, 96)
"""Of the constant control; the random one ends after so many tokens on average."""


def stop_controls(say: Callable[[str], None]) -> dict[str, Any]:
    """Compare the cuts; return their rows, how the samples were drawn, and the verdicts."""
    questions = long_samples(CORE, say)
    right = _right()
    tokenizer = Tokenizer.of(load_model(MODEL))
    after = {question.id: written(question.samples, tokenizer) for question in questions}
    made: Callable[[StopPolicy | None], Cut] = partial(
        cut, questions=questions, after=after, right=right
    )
    say("cutting samples")
    whole = made(None)
    controls = {
        "fixed_length": [*(made(Length(tokens=n)) for n in LENGTHS), whole],
        "random_length": [*(made(Lots(chance=1 / n)) for n in LENGTHS), whole],
    }
    rows = {}
    for name in CUTS:
        for dial in DIALS:
            own = made(_policy(name, dial))
            rows[f"{name}, {dial:g}"] = {
                "tokens_ratio": float(own.tokens.sum() / whole.tokens.sum()),
                "right": float(own.right.mean()),
                "against_whole": paired(own.right - whole.right, "right"),
                **{f"against_{name}": at_equal_tokens(own, by) for name, by in controls.items()},
            }
    return {
        "rows": {
            "natural end": {
                "tokens_per_sample": float(whole.tokens.mean()),
                "right": float(whole.right.mean()),
            },
            **rows,
        },
        "sampling": LONG.to_json() | {"samples": LONG_SAMPLES},
        "verdicts": {name: _verdict(rows[f"{name}, 1"]) for name in CUTS},
    }


def _policy(name: str, dial: float) -> StopPolicy:
    plan = Plan(model=MODEL, methods=(Setting(name=name, dial=dial),))
    policy = catalog.installed(plan, None, frozenset({"stop"})).stop
    assert policy is not None
    return policy


def _right() -> Callable[[Recorded, str], bool]:
    """Return what says whether a text answers a question."""
    tasks = {name: tasks_named(name, SEED) for name in CORE}
    items = {f"{name}: {item.id}": item for name, of in tasks.items() for item in of.items}

    def right(question: Recorded, text: str) -> bool:
        own = tasks[question.task]
        return bool(own.correct(items[question.id], own.answer(text)))

    return right


def _verdict(row: Mapping[str, Any]) -> dict[str, Any]:
    """A cut must save tokens, and lose less than both controls do at equal tokens."""
    said, better = [], row["tokens_ratio"] < 1
    for control in ("fixed_length", "random_length"):
        gain = row[f"against_{control}"]
        low, high = gain["right_interval"]
        better = better and low > 0
        said.append(f"{gain['right']:+.3f} ({low:+.3f} to {high:+.3f}) over `{control}`")
    return {
        "beats_controls": bool(better),
        "evidence": f"at {row['tokens_ratio']:.2f} of the tokens, right samples at equal tokens: "
        + ", ".join(said),
    }
