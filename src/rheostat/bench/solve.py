"""Suite `solve`: rules of stopping, and ways to divide a budget, on the model's own recordings.

No model runs but to record what is missing. Rules are compared with the majority of all samples at
its tokens, with fixed numbers of samples at equal tokens, and with hindsight; divisions of one
budget, under an exact verifier, with an equal split, with round robin and with hindsight.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from rheostat import catalog
from rheostat.bench.its_hub_peer import its_hub_rules, its_hub_version
from rheostat.bench.result import envelope
from rheostat.bench.solve_bounds import choices, least_in_vain, least_tokens, most_solved
from rheostat.bench.solve_budget import (
    Known,
    Likely,
    best_split,
    difference,
    equal_split,
    run_under,
    taught,
)
from rheostat.bench.solve_cheapest import FINE, AtDial, chosen_rules
from rheostat.bench.solve_frugal import GAIN, beside, chosen, curve_on_halves, frugal_curve
from rheostat.bench.solve_recordings import (
    CALIBRATION_SEED,
    CORE,
    MODEL,
    SAMPLES,
    SAMPLING,
    SEED,
    TASKS,
    recorded_questions,
)
from rheostat.bench.solve_rules import (
    against,
    against_fixed,
    compared,
    figures,
    first_votes,
    hindsight,
    prefill_equivalents,
    verdict,
)
from rheostat.engines.torch_load import load_torch
from rheostat.kernel.cost_laws import fitted
from rheostat.kernel.policies.by_value import ByValue
from rheostat.kernel.policies.in_turn import InTurn
from rheostat.stages import sample_rules
from rheostat.stages.replayed import SHIFTS, drawn_by
from rheostat.stages.sample_rules import rule_settings
from rheostat.workloads.parts import text_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rheostat.bench.journal import Journal
    from rheostat.bench.solve_budget import Spent
    from rheostat.bench.solve_rules import Figures
    from rheostat.kernel.allocation import Allocation
    from rheostat.kernel.cost_laws import PrefillEquivalents
    from rheostat.kernel.samples import Ended, SamplePolicy
    from rheostat.stages.recorded import Recorded
    from rheostat.stages.replayed import Drawn
    from rheostat.workloads.verifier import Verifier

ACTS = frozenset(f"sample.{act}" for act in ("score", "pause", "compare", "probe", "temperature"))
"""What a rule may do besides where a benchmark serves it."""
EACH = 2
"""Samples of each question on average, of the budget that is divided."""
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Of what round robin takes in all, at which runs without a limit are looked at."""
FLIPS = (0.1, 0.3)
"""Shares of answers that noisy verifiers judge wrongly."""
LIKELY = (-0.05, -0.1, -0.15, -0.2, -0.3, -0.4, -0.6, -1.0)
"""Mean nats a token from which the model's own verifier may pass a sample."""
CONTEXTS = (48, 64, 96)
"""Lengths at which the cost of a written token is looked at."""
SOLVED = 0.97
"""Share of round robin's solved questions whose cost is compared."""
FIRST_SUCCESS = "best_of_n"
"""The rule that stops at the first sample that passes the verifier."""


def bench_solve(say: Callable[[str], None], journal: Journal) -> dict[str, Any]:
    """Replay every rule, then divide budgets."""
    result = envelope(
        "solve", "How few samples keep the answer, and who should get the next one?", seed=SEED
    )
    questions = recorded_questions(say)
    questions.sort(key=lambda question: text_hash(question.id))  # tasks mixed, none last
    core = [question for question in questions if question.task in CORE]
    learnt = recorded_questions(say, seed=CALIBRATION_SEED)
    rules = journal.part("rules", partial(_rules, core, say))
    return result | {
        "model": MODEL,
        "tasks": dict(TASKS),
        "questions": {name: sum(q.task == name for q in questions) for name in TASKS},
        "samples": SAMPLES,
        "sampling": SAMPLING.to_json(),
        "orders": SHIFTS,
        "core": list(CORE),
        **rules,
        **journal.part("chosen rules", partial(_chosen, core, learnt, say)),
        "everything": journal.part("everything", partial(_whole, questions, say)),
        "budget": budgets(questions, learnt, journal, say),
        "verdicts": {
            rule["name"]: verdict(rule["against_fixed"], rule["against_lots"])
            for rule in rules["rules"]
            if rule["dial"] == rule["usual"]
        },
    }


def decision(name: str, dial: float) -> SamplePolicy:
    """Return a method's policy at a dial."""
    return sample_rules.decision(name, dial, offers=sample_rules.OFFERS | ACTS)


def first_success() -> SamplePolicy:
    """Return the policy that stops at the first sample that passes the verifier."""
    return decision(FIRST_SUCCESS, catalog.method(FIRST_SUCCESS).card.usual)


def _rules(questions: Sequence[Recorded], say: Callable[[str], None]) -> dict[str, Any]:
    """Compare all rules on questions of which the model knows something."""
    fixed = [figures(first_votes(n), questions) for n in range(1, SAMPLES + 1)]
    whole, oracle = fixed[-1], figures(hindsight, questions)
    law = prefill_law(say)
    all_read = prefill_equivalents(whole, questions, law).sum()
    rows = []
    for name, dial, usual in rule_settings():
        say(f"replaying {name} at {dial:g}")
        own = figures(_rule(decision(name, dial)), questions)
        row = {"name": name, "dial": dial, "usual": usual} | compared(own, whole, oracle)
        read = prefill_equivalents(own, questions, law).sum()
        row |= {"pte_ratio": float(read / all_read), "against_fixed": against_fixed(own, fixed)}
        if dial == usual:
            row["against_lots"] = against(own, by_lot(own, whole, questions))
        rows.append(row)
    return {
        "prefill_equivalents": law.to_json(),
        "majority": compared(whole, whole, oracle),
        "oracle": compared(oracle, whole, oracle),
        "fixed": [{"samples": n + 1} | compared(f, whole, oracle) for n, f in enumerate(fixed)],
        "rules": rows,
        "its_hub": _its_hub(questions, whole, oracle, say),
    }


def _chosen(
    questions: Sequence[Recorded], learnt: Sequence[Recorded], say: Callable[[str], None]
) -> dict[str, Any]:
    """Choose rules on the questions learnt."""
    say("choosing rules")
    rules = {AtDial(n, dial): _rule(decision(n, dial)) for n, dial, _ in rule_settings(FINE)}
    return chosen_rules(rules, [q for q in learnt if q.task in CORE], questions)


def prefill_law(say: Callable[[str], None]) -> PrefillEquivalents:
    """Return what a written token costs on this machine, one sample at a time, in tokens read."""
    engine = load_torch(MODEL, dtype="float32", threads=1, progress=say)
    law, _ = fitted(engine.shape, engine.prices(), contexts=CONTEXTS)
    return law


def by_lot(own: Figures, whole: Figures, questions: Sequence[Recorded]) -> Figures:
    """Return stopping by lot at a rule's tokens, all samples at most."""
    share = min(1.0, own.tokens.sum() / whole.tokens.sum())
    return figures(_rule(decision("random_stop", 1.0 - float(share))), questions)


def _its_hub(
    questions: Sequence[Recorded], whole: Figures, oracle: Figures, say: Callable[[str], None]
) -> dict[str, Any]:
    """Run its-hub's own rules on the same samples, where the package is installed."""
    version, found = its_hub_version(), {}
    if version is None:
        return {"version": None, "skipped": "the package its-hub is not installed here"}
    for name, rule in its_hub_rules().items():
        say(f"running {name}")
        found[name] = compared(figures(rule, questions), whole, oracle)
    return {"version": version, "rules": found}


def _whole(questions: Sequence[Recorded], say: Callable[[str], None]) -> dict[str, Any]:
    """Compare the usual settings on every task by itself, the ladder included."""
    found: dict[str, Any] = {}
    for task in TASKS:
        say(f"replaying {task}")
        own = [question for question in questions if question.task == task]
        whole, oracle = figures(first_votes(SAMPLES), own), figures(hindsight, own)
        rows: dict[str, Figures] = {"majority": whole, "oracle": oracle}
        rows |= {
            name: figures(_rule(decision(name, dial)), own)
            for name, dial, usual in rule_settings()
            if dial == usual
        }
        found[task] = {
            "any_right": sum(any(question.right) for question in own) / len(own),
            "right": sum(sum(q.right) for q in own) / len(own) / SAMPLES,
            "no_answer": sum(e.answer is None for q in own for e in q.ended) / len(own) / SAMPLES,
            "rules": {
                name: {
                    "tokens_per_question": float(row.tokens.mean()),
                    "tokens_ratio": float(row.tokens.sum() / whole.tokens.sum()),
                    "agreement": float(row.agrees.mean()),
                    "accuracy": float(row.right.mean()),
                }
                for name, row in rows.items()
            },
        }
    return found


def budgets(
    questions: Sequence[Recorded],
    learnt: Sequence[Recorded],
    journal: Journal,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Divide one budget among all questions; how frugally is chosen on the others before."""
    policy = first_success()
    say("choosing how frugal a run should be")
    before = journal.part("frugal", partial(curve_on_halves, learnt, policy, EACH))
    frugal = chosen(before)
    found = journal.part("budget", partial(_budgets, questions, learnt, frugal, say))
    say("running at every frugality")
    curve = partial(frugal_curve, questions, taught(learnt), policy, EACH)
    return {
        **found,
        "frugal": frugal,
        "frugal_chosen_on": before,
        "frugal_curve": journal.part("frugal curve", curve),
    }


def _budgets(
    questions: Sequence[Recorded],
    learnt: Sequence[Recorded],
    frugal: float,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Divide one budget among all questions under an exact verifier.

    Args:
        questions: whose samples are drawn.
        learnt: others, whose samples some allocations know.
        frugal: the setting of frugal runs.
        say: told of progress.
    """
    policy = first_success()
    split = equal_split(questions, EACH)
    tokens = int(split.tokens.sum())
    hopeless = [not any(question.right) for question in questions]

    of = partial(_totals, hopeless)
    whole = run_under(questions, policy, InTurn(), tokens=None)
    everything = whole.tokens.sum()
    wanted = SOLVED * whole.solved.sum()
    least = likely_enough(learnt)
    found: dict[str, Any] = {
        "questions": len(questions),
        "unsolvable": sum(hopeless),
        "tokens": tokens,
        "equal_split": of(split),
        "hindsight_solved": best_split(questions, tokens) / len(questions),
        "round_robin_without_limit": of(whole),
        "bounds": bounds(questions, split, whole),
        "own_verifier_passes_from": least,
        "allocations": {},
    }
    for name, allocation in allocations(learnt, frugal).items():
        say(f"dividing a budget by {name}")
        own = run_under(questions, policy, allocation, tokens=tokens)
        free = run_under(questions, policy, allocation, tokens=None)
        reached = free.tokens_until(wanted)
        noisy = {
            label: of(run_under(questions, policy, allocation, tokens=tokens, verifier=verifier))
            for label, verifier in verifiers(questions, least).items()
        }
        found["allocations"][name] = {
            **of(own),
            "noisy_verifiers": noisy,
            **difference(own, split),
            "unsolvable_ratio_to_equal_split": beside(own, split, questions)["unsolvable_ratio"],
            "curve": _at_shares(free, everything),
            "tokens_to_reach_solved": reached,
            "ratio_to_round_robin": reached / everything if reached is not None else None,
        }
    return found


def _totals(hopeless: Sequence[bool], spent: Spent) -> dict[str, Any]:
    return {
        "tokens": float(spent.tokens.sum()),
        "solved": float(spent.solved.mean()),
        "tokens_on_unsolvable": float(spent.tokens[hopeless].sum()),
    }


def _at_shares(free: Spent, everything: float) -> list[dict[str, float]]:
    """Return what a run without a limit had solved at shares of some tokens."""
    return [
        {"share": share, "solved": free.solved_at(share * everything) / len(free.solved)}
        for share in SHARES
    ]


def verifiers(questions: Sequence[Recorded], least: float) -> dict[str, Verifier]:
    """Return verifiers that err, by name; the model's own passes samples of at least such nats."""
    noisy: dict[str, Verifier] = {f"{flips:g}": Known(questions, flips) for flips in FLIPS}
    return noisy | {"own log-probability": Likely(questions, least)}


def likely_enough(learnt: Sequence[Recorded]) -> float:
    """Return the nats at which the model's own verifier solves most of other questions."""
    tokens = int(equal_split(learnt, EACH).tokens.sum())

    def solved(least: float) -> float:
        judge = Likely(learnt, least)
        run = run_under(learnt, first_success(), ByValue(), tokens=tokens, verifier=judge)
        return float(run.solved.mean())

    return max(LIKELY, key=solved)


def allocations(learnt: Sequence[Recorded] = (), frugal: float = 0.0) -> dict[str, Allocation]:
    """Return the ways to divide a budget, by name; some have learnt from other questions."""
    found: dict[str, Allocation] = {
        "round_robin": InTurn(),
        "by_value": ByValue(),
        "by_value, frugal": ByValue(frugal=frugal),
    }
    if learnt:
        known = taught(learnt)
        found["by_value, learnt"] = ByValue(learnt=known)
        found["by_value, learnt, frugal"] = ByValue(learnt=known, frugal=frugal)
    return found


def bounds(questions: Sequence[Recorded], split: Spent, whole: Spent) -> dict[str, float]:
    """Return what no policy passes that sees kinds of tasks and which samples are right."""
    found, tokens = choices(questions), float(split.tokens.sum())
    hopeless = [not any(question.right) for question in questions]
    vain = split.tokens[hopeless].sum()
    return {
        "most_solved": most_solved(found, tokens) / len(questions),
        "gain": GAIN,
        "least_unsolvable_ratio_at_gain": float(
            least_in_vain(found, split.solved.sum() + GAIN * len(questions), tokens) / vain
        ),
        "least_ratio_to_round_robin": float(
            least_tokens(found, SOLVED * whole.solved.sum()) / whole.tokens.sum()
        ),
    }


def _rule(policy: SamplePolicy) -> Callable[[Sequence[Ended], str], Drawn]:
    return lambda ended, name: drawn_by(policy, ended, name=name)
