"""What a plan loses, per item, in the three units of a quality loss.

`disagree`: share of the base's greedy tokens that the plan, reading them teacher-forced, does not
choose. `score`: (base score - plan score + 1) / 2 of free-running answers against references.
`nats`: excess nats a token on running text, clipped to [-1, 1].
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Protocol, final

import numpy as np

from rheostat.engines.base import Output, Sampling
from rheostat.errors import PlanError, WorkloadError
from rheostat.kernel.cost import Cost
from rheostat.kernel.seams import Installed
from rheostat.stages.search_journal import SearchJournal
from rheostat.workloads.load import digest_of, load_workload
from rheostat.workloads.scoring import score_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rheostat.engines.base import Engine, Request, Scored
    from rheostat.kernel.plan import Setting
    from rheostat.workloads.load import Workload
    from rheostat.workloads.parts import Part

LossKind = Literal["disagree", "score", "nats"]
BATCH = 8
DOCUMENTS = 8
"""Documents of `prose` that are read where a plan is searched."""
DOCUMENT_TOKENS = 192
END = -1
"""Stands for the end token in `Sample.written`; no draft source proposes it."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """An item with the base's greedy answer to it."""

    request: Request
    prompt: list[int]
    output: Output
    limit: int
    """How many new tokens were allowed."""

    @property
    def answer(self) -> list[int]:
        """The tokens that the base wrote, without the end token."""
        return list(self.output.token_ids)

    @property
    def written(self) -> list[int]:
        """The answer, and an entry for the end token, which took a step as well."""
        return [*self.answer, END] if self.output.stop_reason == "eos" else self.answer

    @property
    def room(self) -> int:
        """How far drafts could reach: to the end of an answer that was cut off, else the limit."""
        return self.limit if self.output.stop_reason == "eos" else len(self.answer)


@dataclass(frozen=True, kw_only=True)
class Loss:
    """Losses of the items under one setting."""

    values: tuple[float, ...]
    """One entry an item."""
    skipped: int = 0
    """MLPs of the layout that a dynamic decision left out, summed over answer tokens."""
    possible: int = 0
    """MLPs of the layout, summed over answer tokens."""

    @property
    def mean(self) -> float:
        """Mean over items."""
        return float(np.mean(self.values))

    @property
    def mlp_share(self) -> float:
        """Share of the layout's MLPs that a dynamic decision let run, over answer tokens."""
        return 1.0 - self.skipped / self.possible if self.possible else 1.0

    def and_then(self, later: Loss) -> Loss:
        """Return the losses of these items and of later ones."""
        return Loss(
            values=(*self.values, *later.values),
            skipped=self.skipped + later.skipped,
            possible=self.possible + later.possible,
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {"values": list(self.values), "skipped": self.skipped, "possible": self.possible}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Loss:
        """Read what `to_json` wrote."""
        return Loss(**{**data, "values": tuple(data["values"])})


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A measurement that is about to be asked for."""

    key: Any
    """What the journal keeps it under."""
    about: str
    """The same in words."""
    settings: tuple[Setting, ...]
    among: slice


class Elsewhere(Protocol):
    """What measures ahead of those who ask, into the journal."""

    def begin(self, wanted: Sequence[Wanted]) -> None:
        """Take note of what is to come, in its order, in place of what was noted before."""

    def finish(self, key: Any) -> None:
        """Return when the journal has a measurement, or if none of it was noted."""


@final
@dataclass(frozen=True)
class Evaluate:
    """Measures a setting on a fixed set of items, or on some of them."""

    items: tuple[Request, ...]
    """What is measured on, an entry a loss."""
    measure: Callable[[Installed, slice], Loss]
    elsewhere: Elsewhere | None = None
    """Measures ahead what it is told of; None = everything is measured when it is asked for."""

    def __call__(self, installed: Installed, among: slice = slice(None)) -> Loss:
        """Return the losses of a setting."""
        return self.measure(installed, among)


def base_samples(
    engine: Engine,
    workload: Workload,
    sampling: Sampling,
    say: Callable[[str], None],
    journal: SearchJournal | None = None,
) -> list[Sample]:
    """Let the base answer every item, in batches; items with empty answers are left out."""
    outputs: dict[str, Output] = {}
    known = journal or SearchJournal()
    for at in range(0, len(workload.items), BATCH):
        batch = workload.items[at : at + BATCH]
        words = f"the base answers {at + 1} to {at + len(batch)} of {len(workload.items)} items"
        say(words)
        lines = known.part(
            ["answers", digest_of(batch), sampling.to_json()],
            partial(_answers, engine, batch, sampling),
            about=words,
        )
        outputs |= {line["id"]: _output(line) for line in lines}
    samples = [
        Sample(
            request=item,
            prompt=engine.encode(item),
            output=outputs[item.id],
            limit=sampling.max_new_tokens,
        )
        for item in workload.items
        if outputs[item.id].token_ids
    ]
    if not samples:
        raise PlanError(
            f"the base wrote nothing for any item of `{workload.name}`",
            hint="raise `--max-new-tokens` or use another workload",
        )
    return samples


def _answers(engine: Engine, batch: Sequence[Request], sampling: Sampling) -> list[dict[str, Any]]:
    made = engine.generate(batch, sampling, installed=Installed())
    return [output.to_json() for output in made]


def _output(line: Mapping[str, Any]) -> Output:
    return Output(
        id=line["id"],
        text=line["text"],
        token_ids=tuple(line["token_ids"]),
        stop_reason=line["stop_reason"],
        cost=Cost.from_json(line["cost"]),
    )


def evaluator(
    kind: LossKind, engine: Engine, workload: Workload, samples: Sequence[Sample], part: Part
) -> Evaluate:
    """Return the function that measures a setting's losses on these items."""
    if kind == "nats":
        return nats(engine, load_workload("prose", part=part, limit=DOCUMENTS).items)
    items = tuple(sample.request for sample in samples)
    if kind == "disagree":
        return Evaluate(items, lambda own, among: disagree(engine, samples[among], own))
    check_references(kind, workload)
    return Evaluate(items, lambda own, among: score(engine, workload, samples[among], own))


def check_references(kind: LossKind, *workloads: Workload) -> None:
    """Raise `PlanError` when a loss needs references that a workload does not have."""
    for workload in workloads:
        if kind == "score" and any(item.reference is None for item in workload.items):
            raise PlanError(
                f"`--loss score` needs a reference in every item of `{workload.name}`",
                hint='add "reference" to every line, or use `--loss disagree`',
            )


def disagree(engine: Engine, samples: Sequence[Sample], installed: Installed) -> Loss:
    """Read the base's answers teacher-forced and count other choices."""
    values, skipped, tokens = [], 0, 0
    for sample in samples:
        scored = engine.score(sample.prompt, sample.answer, installed=installed)
        values.append(disagreement(scored, sample.answer))
        skipped += scored.trace.mlp_skipped
        tokens += len(sample.answer)
    return _loss(values, installed, skipped, tokens)


def disagreement(scored: Scored, answer: Sequence[int]) -> float:
    """Return the share of the answer's tokens that were not chosen when it was read."""
    return float(np.mean(scored.choice != np.asarray(answer)))


def score(
    engine: Engine, workload: Workload, samples: Sequence[Sample], installed: Installed
) -> Loss:
    """Answer freely and compare scores with the base's."""
    sampling = Sampling(max_new_tokens=max(s.limit for s in samples))
    outputs: dict[str, Output] = {}
    for at in range(0, len(samples), BATCH):
        batch = [s.request for s in samples[at : at + BATCH]]
        outputs |= {
            o.id: o
            for o in engine.generate(batch, sampling, installed=replace(installed, draft=None))
        }
    values = []
    for sample in samples:
        reference = sample.request.reference or ""
        own, base = (
            score_text(workload.kind, text, reference)
            for text in (outputs[sample.request.id].text, sample.output.text)
        )
        values.append((base - own + 1) / 2)
    skipped = sum(o.trace.mlp_skipped for o in outputs.values())
    tokens = sum(len(o.token_ids) for o in outputs.values())
    return _loss(values, installed, skipped, tokens)


def nats(engine: Engine, items: Sequence[Request]) -> Evaluate:
    """Return the function that measures excess nats on documents; the base reads them now."""
    documents = [beginning(engine, item)[:DOCUMENT_TOKENS] for item in items]
    base = [engine.score(d[:1], d[1:], installed=Installed()).nats.mean() for d in documents]

    def measured(installed: Installed, among: slice) -> Loss:
        values, skipped = [], 0
        for document, nats in zip(documents[among], base[among], strict=True):
            scored = engine.score(document[:1], document[1:], installed=installed)
            values.append(float(np.clip(scored.nats.mean() - nats, -1, 1)))
            skipped += scored.trace.mlp_skipped
        tokens = sum(len(d) - 1 for d in documents[among])
        return _loss(values, installed, skipped, tokens)

    return Evaluate(tuple(items), measured)


def beginning(engine: Engine, item: Request) -> list[int]:
    """Return the tokens of a text, or of as much of it as the model's context takes."""
    text = item.prompt or ""
    try:
        return engine.encode(item)
    except WorkloadError:
        if len(text) < 2:
            raise
    return beginning(engine, replace(item, prompt=text[: len(text) // 2]))


def _loss(values: Sequence[float], installed: Installed, skipped: int, tokens: int) -> Loss:
    mlps = 0 if installed.depth is None else sum(installed.depth.layout.mlp)
    return Loss(values=tuple(values), skipped=skipped, possible=mlps * tokens)
