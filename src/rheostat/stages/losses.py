"""What a plan loses, per item, in the three units of a quality loss.

`disagree`: share of the base's greedy tokens that the plan, reading them teacher-forced, does not
choose. `score`: (base score - plan score + 1) / 2 of free-running answers against references.
`nats`: excess nats a token on running text, clipped to [-1, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from rheostat.engines.base import Sampling
from rheostat.errors import PlanError, WorkloadError
from rheostat.kernel.seams import Installed
from rheostat.workloads.load import load_workload
from rheostat.workloads.scoring import score_text

if TYPE_CHECKING:
    from rheostat.engines.base import Engine, Output, Request, Scored
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
    mlp_share: float
    """Share of the layout's MLPs that a dynamic decision let run, over answer tokens."""

    @property
    def mean(self) -> float:
        """Mean over items."""
        return float(np.mean(self.values))


Evaluate = Callable[[Installed], Loss]
"""Measures a setting on a fixed set of items."""


def base_samples(
    engine: Engine, workload: Workload, sampling: Sampling, say: Callable[[str], None]
) -> list[Sample]:
    """Let the base answer every item, in batches; items with empty answers are left out."""
    samples: dict[str, Sample] = {}
    for at in range(0, len(workload.items), BATCH):
        say(
            f"the base answers {at + 1} to {min(at + BATCH, len(workload.items))} "
            f"of {len(workload.items)} items"
        )
        batch = {item.id: item for item in workload.items[at : at + BATCH]}
        for output in engine.generate(list(batch.values()), sampling, installed=Installed()):
            request = batch[output.id]
            samples[output.id] = Sample(
                request=request,
                prompt=engine.encode(request),
                output=output,
                limit=sampling.max_new_tokens,
            )
    kept = [samples[item.id] for item in workload.items if samples[item.id].output.token_ids]
    if not kept:
        raise PlanError(
            f"the base wrote nothing for any item of `{workload.name}`",
            hint="raise `--max-new-tokens` or use another workload",
        )
    return kept


def evaluator(
    kind: LossKind, engine: Engine, workload: Workload, samples: Sequence[Sample], part: Part
) -> Evaluate:
    """Return the function that measures a setting's losses on these items."""
    if kind == "disagree":
        return lambda installed: disagree(engine, samples, installed)
    if kind == "nats":
        return nats(engine, load_workload("prose", part=part, limit=DOCUMENTS).items)
    check_references(kind, workload)
    return lambda installed: score(engine, workload, samples, installed)


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
    return Loss(values=tuple(values), mlp_share=_share(installed, skipped, tokens))


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
    return Loss(values=tuple(values), mlp_share=_share(installed, skipped, tokens))


def nats(engine: Engine, items: Sequence[Request]) -> Evaluate:
    """Return the function that measures excess nats on documents; the base reads them now."""
    documents = [beginning(engine, item)[:DOCUMENT_TOKENS] for item in items]
    base = [engine.score(d[:1], d[1:], installed=Installed()).nats.mean() for d in documents]

    def measured(installed: Installed) -> Loss:
        values, skipped = [], 0
        for document, nats in zip(documents, base, strict=True):
            scored = engine.score(document[:1], document[1:], installed=installed)
            values.append(float(np.clip(scored.nats.mean() - nats, -1, 1)))
            skipped += scored.trace.mlp_skipped
        tokens = sum(len(d) - 1 for d in documents)
        return Loss(values=tuple(values), mlp_share=_share(installed, skipped, tokens))

    return measured


def beginning(engine: Engine, item: Request) -> list[int]:
    """Return the tokens of a text, or of as much of it as the model's context takes."""
    text = item.prompt or ""
    try:
        return engine.encode(item)
    except WorkloadError:
        if len(text) < 2:
            raise
    return beginning(engine, replace(item, prompt=text[: len(text) // 2]))


def _share(installed: Installed, skipped: int, tokens: int) -> float:
    if installed.depth is None or not tokens:
        return 1.0
    return 1.0 - skipped / max(tokens * sum(installed.depth.layout.mlp), 1)
