"""One budget over recorded questions with an exact verifier: who gets the next sample?

The driver itself runs, on samples from memory; what a sample will cost is not told before.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np

from rheostat.bench.solve_recordings import SAMPLES, SAMPLING
from rheostat.engines.base import EngineCard, Request
from rheostat.engines.journaled_sampler import JournaledSampler
from rheostat.engines.replay import most_of
from rheostat.engines.sample_store import SampleStore
from rheostat.engines.simulated_sampler import Outcome, SimulatedSampler
from rheostat.kernel.allocation import QuestionView
from rheostat.kernel.budget import Caps
from rheostat.kernel.ledger import Ledger
from rheostat.kernel.oracle.samples import best_split as cheapest_first
from rheostat.kernel.policies.success_model import examples
from rheostat.kernel.policies.task_features import text_features
from rheostat.kernel.samples import SampleStart
from rheostat.stages.solve_driver import Driver, Limits
from rheostat.stages.solve_learnt import ORDERS
from rheostat.stages.solve_question import Question
from rheostat.workloads.answers import AnswerKind
from rheostat.workloads.parts import text_hash
from rheostat.workloads.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rheostat.engines.sample_store import StoredSample
    from rheostat.engines.sampler import Draw
    from rheostat.kernel.allocation import Allocation
    from rheostat.kernel.cost import Cost
    from rheostat.kernel.policies.success_model import Examples
    from rheostat.kernel.samples import SamplePolicy
    from rheostat.stages.recorded import Recorded
    from rheostat.workloads.verifier import Verifier

RESAMPLES = 4000


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What a run under a budget did, for every question: [questions]."""

    tokens: np.ndarray[Any, np.dtype[np.float64]]
    solved: np.ndarray[Any, np.dtype[np.bool_]]
    curve: tuple[tuple[float, int], ...]
    """(tokens, right answers drawn) after every sample, in the order of their launch."""

    def tokens_until(self, solved: float) -> float | None:
        """Return the tokens after which so many questions had a right sample; None = never."""
        return next((tokens for tokens, had in self.curve if had >= solved), None)

    def solved_at(self, tokens: float) -> int:
        """Return how many questions had a right sample within so many tokens."""
        return max((had for spent, had in self.curve if spent <= tokens), default=0)


@final
class _Memory:
    """Recorded samples as outcomes."""

    card = EngineCard(name="replay", offers=frozenset({"sample", "simulated"}))
    model = "recordings"

    def __init__(self, questions: Sequence[Recorded]) -> None:
        self._samples: dict[tuple[str, int], StoredSample] = {}
        for question in questions:
            for index, sample in enumerate(question.samples):
                light = replace(
                    sample, question=question.id, index=index, logprobs=None, entropies=None
                )
                self._samples[question.id, index] = light

    def bound(self, draw: Draw) -> Cost:
        sample = self._samples[draw.question, draw.index]
        return most_of(sample.cost, SAMPLING.max_new_tokens)

    def outcome(self, draw: Draw) -> Outcome:
        sample = self._samples[draw.question, draw.index]
        return Outcome(sample.drawn(draw), 1.0 + sample.cost.new_tokens)

    def close(self) -> None:
        pass


@final
class Known:
    """The verifier that knows which recorded answers are right, and says so but for some flips.

    Whether an answer of a question is judged wrongly is drawn once, from its name.
    """

    name = "known"

    def __init__(self, questions: Sequence[Recorded], flips: float = 0.0) -> None:
        """Know the questions.

        Args:
            questions: with their recorded samples.
            flips: share of answers that are judged wrongly.
        """
        self._right: Mapping[str, Recorded] = {question.id: question for question in questions}
        self._flips = flips

    def score(self, request: Request, text: str, answer: str | None) -> float:
        """Return 1 for an answer that is taken to be right."""
        if answer is None:
            return 0.0
        right = self._right[request.id].right_answer(answer)
        lot = int.from_bytes(text_hash(f"{request.id} {answer}")[:4], "big") / 2**32
        return float(right != (lot < self._flips))

    def close(self) -> None:
        """Hold nothing."""


@final
class Likely:
    """The model itself as the verifier: a sample passes when its tokens were likely enough."""

    name = "own log-probability"

    def __init__(self, questions: Sequence[Recorded], least: float) -> None:
        """Know the recorded log-probabilities; `least` in mean nats a token."""
        self._least = least
        self._nats = {
            (question.id, ended.text): ended.logprob
            for question in questions
            for ended in question.ended
        }

    def score(self, request: Request, text: str, answer: str | None) -> float:
        """Return 1 for a likely sample that gives an answer."""
        nats = self._nats[request.id, text]
        return float(answer is not None and nats is not None and nats >= self._least)

    def close(self) -> None:
        """Hold nothing."""


def run_under(
    questions: Sequence[Recorded],
    policy: SamplePolicy,
    allocation: Allocation,
    *,
    tokens: int | None,
    verifier: Verifier | None = None,
) -> Spent:
    """Let an allocation spend a budget of tokens, prompts included, on the questions.

    Args:
        questions: with their recorded samples.
        policy: of every question.
        allocation: who gets the next sample.
        tokens: the budget; None = no limit.
        verifier: None = the one that knows; solved is what is truly right.
    """
    ledger = Ledger(Caps(tokens=tokens), name="bench")
    items = [Request(id=question.id, prompt=question.id) for question in questions]
    asked = [
        Question(
            request=item,
            sampling=SAMPLING,
            policy=policy,
            start=SampleStart(question=item.id, samples=SAMPLES, verifier=True),
            account=ledger.child(f"question {number}"),
            features=text_features(questions[number].text),
        )
        for number, item in enumerate(items)
    ]
    with tempfile.TemporaryDirectory() as folder:
        store = SampleStore(Path(folder), create=True)
        Driver(
            sampler=JournaledSampler(SimulatedSampler(_Memory(questions)), store),
            store=store,
            ledger=ledger,
            tasks=Tasks(name="", digest="", items=tuple(items), kind=AnswerKind("number")),
            questions=asked,
            allocation=allocation,
            limits=Limits(),
            verifier=verifier or Known(questions),
        ).run()
        curve = _curve(questions, store.order())
        store.close()
    solved = [
        one.finish is not None and question.right_answer(one.finish.answer)
        for one, question in zip(asked, questions, strict=True)
    ]
    spent = [float(one.account.spent.tokens) for one in asked]
    return Spent(tokens=np.array(spent), solved=np.array(solved), curve=curve)


def _curve(
    questions: Sequence[Recorded], order: Sequence[tuple[str, int]]
) -> tuple[tuple[float, int], ...]:
    by_id, had, spent, points = {q.id: q for q in questions}, set[str](), 0.0, []
    for name, index in order:
        cost = by_id[name].samples[index].cost
        spent += cost.prompt_tokens + cost.new_tokens
        if by_id[name].right[index]:
            had.add(name)
        points.append((spent, len(had)))
    return tuple(points)


def taught(questions: Sequence[Recorded]) -> Examples:
    """Return all samples of recorded questions as what an allocation may learn from."""
    views = [
        QuestionView(
            id=question.id,
            seen=tuple(
                replace(ended, verified=right)
                for ended, right in zip(question.ended, question.right, strict=True)
            ),
            wanted=0,
            samples=len(question.ended),
            bound=0.0,
            features=text_features(question.text),
            verifier=True,
        )
        for question in questions
    ]
    return examples(views, ORDERS)


def equal_split(questions: Sequence[Recorded], each: int) -> Spent:
    """Return what a fixed number of samples of every question solves, and takes."""
    solved = [any(question.right[:each]) for question in questions]
    tokens = [
        float(sum(question.tokens[:each]) + _prompt_tokens(question)) for question in questions
    ]
    return Spent(tokens=np.array(tokens), solved=np.array(solved), curve=())


def best_split(questions: Sequence[Recorded], tokens: float) -> int:
    """Return the oracle: most questions that any division of the tokens solves."""
    costs = []
    for question in questions:
        if any(question.right):
            first = question.right.index(True)
            costs.append(sum(question.tokens[: first + 1]) + _prompt_tokens(question))
    return cheapest_first(costs, tokens)


def difference(own: Spent, other: Spent) -> dict[str, Any]:
    """Return the gain in solved questions with its paired interval."""
    gains = own.solved.astype(float) - other.solved.astype(float)
    drawn = np.random.default_rng(0).integers(0, len(gains), (RESAMPLES, len(gains)))
    return {
        "solved_gain": float(gains.mean()),
        "solved_gain_interval": np.quantile(gains[drawn].mean(axis=1), [0.025, 0.975]).tolist(),
    }


def _prompt_tokens(question: Recorded) -> int:
    return sum(sample.cost.prompt_tokens for sample in question.samples)
