"""The recordings that policies are judged on: they come with the package or are made here, once.

One-digit products, sums and arithmetic are what a small model sometimes knows; more terms and more
digits are a ladder on which it hardly ever does. Ours; seeds and prompts as in the suite's head.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from rheostat.bench.packed_recordings import unpacked
from rheostat.engines.base import Sampling
from rheostat.engines.cache_folder import cache_folder
from rheostat.engines.load_sampler import load_sampler
from rheostat.engines.sample_store import FILE, SampleStore
from rheostat.kernel.seams import Installed
from rheostat.stages.record import record
from rheostat.stages.recorded import recorded_question
from rheostat.workloads.tasks import load_tasks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from rheostat.engines.sample_store import StoredSample
    from rheostat.stages.recorded import Recorded
    from rheostat.workloads.tasks import Tasks

MODEL = "smollm2"
DTYPE = "float32"
"""The number format of the usual recordings."""
SAMPLES = 16
SEED, CALIBRATION_SEED = 500000, 100000
SAMPLING = Sampling(temperature=0.7, max_new_tokens=32)
_TWO = "min_terms=2&max_terms=2"
_PLAIN = "allow_parentheses=false&allow_negation=false"
TASKS: Mapping[str, str] = MappingProxyType(
    {
        "products": f"gym:products?{_TWO}&max_digits=1&size=80",
        "chain_sum": f"gym:chain_sum?{_TWO}&max_digits=1&size=60",
        "basic_arithmetic": f"gym:basic_arithmetic?{_TWO}&max_digits=1&{_PLAIN}&size=50",
        "products_2": f"gym:products?{_TWO}&max_digits=2&size=35",
        "chain_sum_3": "gym:chain_sum?min_terms=3&max_terms=3&max_digits=1&size=35",
        "chain_sum_22": f"gym:chain_sum?{_TWO}&min_digits=2&max_digits=2&size=35",
    }
)
"""With a seed added; reasoning-gym's own texts; the last three are the ladder."""
CORE = ("products", "chain_sum", "basic_arithmetic")


def recorded_questions(say: Callable[[str], None], *, seed: int = SEED) -> list[Recorded]:
    """Return every question, after recording what is missing.

    Args:
        seed: `SEED` for what is published, `CALIBRATION_SEED` for what constants may be chosen on:
            without the questions whose text is among those of `SEED`.
    """
    questions = [question for name in TASKS for question in recorded_samples(name, seed, say)]
    return questions if seed == SEED else untested(questions)


def untested(questions: Sequence[Recorded]) -> list[Recorded]:
    """Return the questions whose text is not among those that are published."""
    tested = {
        item.messages[0]["content"] for name in TASKS for item in tasks_named(name, SEED).items
    }
    return [question for question in questions if question.text not in tested]


def recordings() -> Path:
    """Return the folder where recordings are kept."""
    return cache_folder() / "recordings"


def tasks_named(name: str, seed: int) -> Tasks:
    """Return one of `TASKS`."""
    return load_tasks(f"{TASKS[name]}&seed={seed}")


def recorded_samples(  # noqa: PLR0913  # what and how
    name: str,
    seed: int,
    say: Callable[[str], None],
    *,
    sampling: Sampling = SAMPLING,
    samples: int = SAMPLES,
    dtype: str = DTYPE,
) -> list[Recorded]:
    """Return the questions of one of `TASKS` with their samples, after recording what is missing.

    A recording that was stopped goes on.
    """
    tasks = tasks_named(name, seed)
    folder = recording_named(name, seed, sampling=sampling, dtype=dtype)
    by_question = recorded_store(
        folder, tasks, say, sampling=sampling, samples=samples, dtype=dtype
    )
    return [recorded_question(name, tasks, item, by_question[item.id]) for item in tasks.items]


def recording_named(
    name: str, seed: int, *, sampling: Sampling = SAMPLING, dtype: str = DTYPE
) -> str:
    """Return the name of the recording of one of `TASKS`."""
    apart = _apart(sampling) + ([] if dtype == DTYPE else [dtype])
    return "-".join([MODEL, name, str(seed), *apart])


def recorded_store(  # noqa: PLR0913  # where, what and how
    folder: str,
    tasks: Tasks,
    say: Callable[[str], None],
    *,
    sampling: Sampling,
    samples: int,
    dtype: str = DTYPE,
) -> dict[str, list[StoredSample]]:
    """Return the samples of a recording by question, after recording what is missing.

    One that comes with the package goes before what this machine has recorded.
    """
    path = unpacked(folder, tasks, recordings()) or recordings() / folder
    if not _held(path, {(item.id, i) for item in tasks.items for i in range(samples)}):
        loaded = load_sampler(
            MODEL, install=lambda *_: Installed(), dtype=dtype, threads=1, progress=say
        )
        record(loaded, tasks, path, samples=samples, sampling=sampling, progress=say)
    store = SampleStore(path, create=False)
    by_question: dict[str, list[StoredSample]] = {}
    for sample in store.all():
        by_question.setdefault(sample.question, []).append(sample)
    store.close()
    return by_question


def _apart(sampling: Sampling) -> list[str]:
    """Return what tells a recording from the usual one."""
    usual = SAMPLING.to_json()
    return [f"{name}={value}" for name, value in sampling.to_json().items() if value != usual[name]]


def _held(folder: Path, wanted: set[tuple[str, int]]) -> bool:
    """Return whether a store holds all that is wanted."""
    if not (folder / FILE).is_file():
        return False
    store = SampleStore(folder, create=False)
    held = wanted <= store.known
    store.close()
    return held
