"""Recordings besides the usual samples: greedy ones, long ones, probes, verifications in words.

All of it is made with the model once and kept in the cache folder; a stopped run goes on.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rheostat.bench.solve_recordings import (
    MODEL,
    SAMPLING,
    SEED,
    recorded_samples,
    recorded_store,
    recordings,
)
from rheostat.bench.solve_world import Probes
from rheostat.engines.base import Request
from rheostat.engines.cache_folder import whole_file
from rheostat.engines.load_sampler import load_sampler
from rheostat.engines.sampler import Draw, Reading
from rheostat.kernel.ledger import Ledger
from rheostat.kernel.seams import Installed
from rheostat.methods.sample.self_evaluation import CHOICES, QUESTION
from rheostat.workloads.tasks import tasks_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rheostat.engines.torch_sampler import TorchSampler
    from rheostat.stages.recorded import Recorded

GREEDY = replace(SAMPLING, temperature=0.0)
LONG = replace(SAMPLING, max_new_tokens=128)
LONG_SAMPLES = 4
PROBED = 8
"""Samples of each question that are probed."""
VERIFICATIONS = 2
"""Of each sample, in words."""
VERIFIED_SHARE = 3
"""One of so many questions is verified."""
CRITIQUE = replace(SAMPLING, max_new_tokens=48)
VERIFY = (
    "Question: {question}\nProposed answer: {answer}\n\nIs the proposed answer correct? "
    "Check it briefly, then end with Yes or No."
)
_EACH = 200
"""Probes between two writes."""


def greedy_samples(tasks: Sequence[str], say: Callable[[str], None]) -> list[Recorded]:
    """Return the sample of temperature 0 of every question."""
    return [
        question
        for name in tasks
        for question in recorded_samples(name, SEED, say, sampling=GREEDY, samples=1)
    ]


def long_samples(tasks: Sequence[str], say: Callable[[str], None]) -> list[Recorded]:
    """Return samples that may be four times as long."""
    return [
        question
        for name in tasks
        for question in recorded_samples(name, SEED, say, sampling=LONG, samples=LONG_SAMPLES)
    ]


def probed(
    questions: Sequence[Recorded], say: Callable[[str], None]
) -> dict[str, Mapping[str, Probes]]:
    """Return, by question and text, what the model says of the first samples of each question."""
    path = recordings() / f"{MODEL}-probes-{SEED}.json"
    kept: dict[str, list[float]] = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    wanted = {(q.id, q.ended[i].text): (q, i) for q in questions for i in range(PROBED)}
    missing = [key for key in wanted if _key(*key) not in kept]
    sampler = None
    for n, key in enumerate(missing, 1):
        sampler = sampler or _sampler(say)
        read = _read(sampler, *wanted[key])
        kept[_key(*key)] = [read.first, read.tokens]
        if n % _EACH == 0 or n == len(missing):
            say(f"probed {n} of {len(missing)} samples")
            with whole_file(path) as partial:
                partial.write_text(json.dumps(kept), "utf-8")
    found: dict[str, dict[str, Probes]] = {}
    for question, text in wanted:
        first, tokens = kept[_key(question, text)]
        found.setdefault(question, {})[text] = Probes(first=first, tokens=int(tokens))
    return dict(found)


def _key(question: str, text: str) -> str:
    return f"{question}\n{text}"


def _sampler(say: Callable[[str], None]) -> TorchSampler:
    loaded = load_sampler(
        MODEL, install=lambda *_: Installed(), dtype="float32", threads=1, progress=say
    )
    sampler: TorchSampler = loaded.sampler  # type: ignore[assignment]  # of an embedded model
    return sampler


def _read(sampler: TorchSampler, question: Recorded, index: int) -> Probes:
    request = Request(
        id=question.id, prompt=None, messages=({"role": "user", "content": question.text},)
    )
    reading = Reading(
        draw=Draw(question=question.id, index=index, request=request, sampling=SAMPLING),
        token_ids=question.samples[index].token_ids,
        suffix=QUESTION,
        choices=CHOICES,
    )
    ledger = Ledger(name="probe")
    read = sampler.read(reading, ledger.reserve(sampler.reading_bound(reading)))
    prompt = question.samples[0].cost.prompt_tokens  # of which a driver holds the cache
    return Probes(first=read.probabilities[0], tokens=read.cost.prompt_tokens - prompt)


@dataclass(frozen=True, kw_only=True)
class Critiques:
    """The model's own verifications of samples."""

    questions: Sequence[Recorded]
    """Those that were verified, with the samples that were."""
    texts: Mapping[tuple[str, int], Sequence[str]]
    """By question and sample."""
    new_tokens: float
    """Of a verification, on average."""
    prompt_tokens: float
    solution_tokens: float
    """New tokens of a sample, on average."""


def critiques(questions: Sequence[Recorded], say: Callable[[str], None]) -> Critiques:
    """Return verifications in words of the first samples of some questions."""
    some = [first_samples(question, PROBED) for question in questions[::VERIFIED_SHARE]]
    items = {
        f"{question.id} {i}": Request(
            id=f"{question.id} {i}",
            messages=(
                {
                    "role": "user",
                    "content": VERIFY.format(question=question.text, answer=sample.text.strip()),
                },
            ),
        )
        for question in some
        for i, sample in enumerate(question.samples)
    }
    tasks = tasks_of("verifications", tuple(items.values()))
    made = recorded_store(
        f"{MODEL}-critiques-{SEED}", tasks, say, sampling=CRITIQUE, samples=VERIFICATIONS
    )
    texts = {
        (question.id, i): [sample.text for sample in made[f"{question.id} {i}"]]
        for question in some
        for i in range(len(question.samples))
    }
    every = [sample for samples in made.values() for sample in samples]
    tokens = [n for question in some for n in question.tokens]
    return Critiques(
        questions=some,
        texts=texts,
        new_tokens=sum(sample.cost.new_tokens for sample in every) / len(every),
        prompt_tokens=sum(sample.cost.prompt_tokens for sample in every) / len(made),
        solution_tokens=sum(tokens) / len(tokens),
    )


def first_samples(question: Recorded, samples: int) -> Recorded:
    """Return a question with its first samples alone."""
    return replace(
        question,
        ended=question.ended[:samples],
        right=question.right[:samples],
        samples=question.samples[:samples],
    )
