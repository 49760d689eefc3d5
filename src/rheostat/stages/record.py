"""Stage `record`: samples of every question are kept, to judge policies without a model."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rheostat.engines.machine import machine
from rheostat.engines.sample_store import stored
from rheostat.engines.sampler import Draw, Held
from rheostat.errors import ModelError, UserError
from rheostat.kernel.cost import Cost, total
from rheostat.kernel.ledger import Ledger
from rheostat.stages.sample_folder import open_samples, sampling_json, tasks_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rheostat.engines.base import Sampling
    from rheostat.engines.load_sampler import LoadedSampler
    from rheostat.engines.sample_store import SampleStore
    from rheostat.engines.sampler import Drawn, Sampler
    from rheostat.workloads.tasks import Tasks

VERSION = 1
AHEAD = 256
"""Draws that are launched at a time: enough to keep every row of an engine busy."""
_SECONDS_BETWEEN = 2.0


def record(  # noqa: PLR0913  # the options of the command of the same name
    loaded: LoadedSampler,
    tasks: Tasks,
    out: str | Path,
    *,
    samples: int,
    sampling: Sampling,
    command: str = "",
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Draw the samples that the store does not hold yet; return what the store then holds.

    Args:
        out: a new folder, or that of the same recording, which goes on.
        samples: how many of each question.

    Raises:
        UserError: something in the options, the tasks or the folder that the user can mend.
        ModelError: some draws failed; the same command tries them again.
        KeyboardInterrupt: Ctrl-C; what is finished is kept.
    """
    if samples < 1:
        raise UserError(f"`--samples` must be at least 1, got `{samples}`")
    sampler = loaded.sampler
    if "simulated" in sampler.card.offers and loaded.recorded is not None:
        raise ModelError(
            f"`{sampler.model}` is a recording already", hint="name the model that it was made of"
        )
    header = {
        "version": VERSION,
        "kind": "recording",
        "model": sampler.model,
        "digest": loaded.digest,
        "dtype": loaded.dtype,
        "machine": machine().name,
        "tasks": tasks_json(tasks),
        "samples": samples,
        "sampling": sampling_json(sampling),
        "logprobs": "sample.logprobs" in sampler.card.offers,
        "command": command,
    }
    with open_samples(Path(out), header) as store:
        try:
            failed = _drawn_all(
                store, sampler, list(_draws(tasks, samples, sampling)), tasks, progress
            )
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"interrupted: {len(store.known)} of {samples * len(tasks.items)} samples are "
                "recorded and kept, the same command goes on from there"
            ) from None
        finally:
            sampler.close()
        if failed:
            raise ModelError(
                f"{len(failed)} of {samples * len(tasks.items)} samples failed, such as: "
                f"{failed[0]}",
                hint="the others are kept, and the same command tries these again",
            )
        return {"out": str(out), **summary(store, tasks)}


def _draws(tasks: Tasks, samples: int, sampling: Sampling) -> Iterator[Draw]:
    for request in tasks.items:
        for index in range(samples):
            yield Draw(question=request.id, index=index, request=request, sampling=sampling)


def _drawn_all(
    store: SampleStore,
    sampler: Sampler,
    draws: list[Draw],
    tasks: Tasks,
    progress: Callable[[str], None] | None,
) -> list[str]:
    """Draw what is missing; return why draws failed."""
    missing = iter([d for d in draws if (d.question, d.index) not in store.known])
    ledger, failed, said, running = Ledger(name="record"), list[str](), 0.0, 0

    def launched() -> int:
        draw = next(missing, None)
        if draw is None:
            return 0
        sampler.launch(draw, ledger.reserve(sampler.bound(draw)))
        return 1

    while True:
        while running < AHEAD and launched():
            running += 1
        ended = [one for one in sampler.poll() if not isinstance(one, Held)]
        if not ended:
            return failed
        running -= len(ended)
        failed += [drawn.failed for drawn in ended if drawn.failed]
        store.add(_kept(drawn, tasks) for drawn in ended if not drawn.failed)
        if progress is not None and time.monotonic() - said >= _SECONDS_BETWEEN:
            said = time.monotonic()
            progress(
                f"recorded {len(store.known)} of {len(draws)} samples, "
                f"{ledger.spent.new_tokens} new tokens since the start"
            )


def _kept(drawn: Drawn, tasks: Tasks) -> Any:
    return stored(drawn, tasks.answer(drawn.output.text))


def summary(store: SampleStore, tasks: Tasks) -> dict[str, Any]:
    """Return counts of what a store holds, and the shares of right samples and right majorities."""
    answers: dict[str, list[str | None]] = {}
    costs: list[Cost] = []
    for sample in store.all():
        answers.setdefault(sample.question, []).append(sample.answer)
        costs.append(sample.cost)
    by_id = {request.id: request for request in tasks.items}
    single: list[float] = []
    majority: list[bool] = []
    for question, given in answers.items():
        right = [tasks.correct(by_id[question], answer) for answer in given]
        if None in right:
            continue
        single.append(sum(map(bool, right)) / len(right))
        votes = Counter(answer for answer in given if answer is not None)
        majority.append(bool(votes) and bool(right[given.index(votes.most_common(1)[0][0])]))
    every = [answer for given in answers.values() for answer in given]
    return {
        "questions": len(answers),
        "samples": len(every),
        "no_answer": every.count(None),
        "right": sum(single) / len(single) if single else None,
        "majority_right": sum(majority) / len(majority) if majority else None,
        "cost": total(costs).to_json(),
    }
