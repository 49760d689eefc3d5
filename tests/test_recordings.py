"""Recordings that come with the package: what was recorded, of the questions that are asked."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

pytest.importorskip("reasoning_gym", reason="needs the `tasks` extra")

from rheostat.bench.packed_recordings import packed, unpacked
from rheostat.bench.reason import FORMATS
from rheostat.bench.solve_recordings import (
    CALIBRATION_SEED,
    CORE,
    DTYPE,
    MODEL,
    SAMPLES,
    SEED,
    TASKS,
    recorded_samples,
    tasks_named,
)

EVERY = [
    (name, seed, dtype)
    for dtype in FORMATS
    for name in (TASKS if dtype == DTYPE else CORE)
    for seed in (SEED, CALIBRATION_SEED)
]


def refuse(words):
    raise AssertionError(f"something is recorded: {words}")


@pytest.mark.parametrize(("name", "seed", "dtype"), EVERY)
def test_a_suite_has_every_sample_without_a_model(name, seed, dtype):
    questions = recorded_samples(name, seed, refuse, dtype=dtype)
    assert [q.text for q in questions] == [
        item.messages[0]["content"] for item in tasks_named(name, seed).items
    ]
    for question in questions:
        assert len(question.samples) == len(question.right) == SAMPLES
        for sample in question.samples:
            lengths = {len(sample.logprobs), len(sample.entropies), sample.cost.new_tokens}
            assert lengths in ({len(sample.token_ids)}, {len(sample.token_ids) + 1})


def test_what_was_packed_is_what_is_unpacked(tmp_path):
    tasks = tasks_named("products_2", SEED)
    folder = unpacked(f"{MODEL}-products_2-{SEED}", tasks, tmp_path)
    assert unpacked(f"{MODEL}-products_2-{SEED}", tasks, tmp_path) == folder
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    assert folder.name.endswith(hashlib.sha256(packed(folder)).hexdigest()[:8])


def test_a_recording_of_other_questions_is_not_taken(tmp_path):
    tasks = tasks_named("products_2", SEED)
    other = replace(tasks, items=tasks.items[1:])
    assert unpacked(f"{MODEL}-products_2-{SEED}", other, tmp_path) is None
    assert unpacked("nothing", tasks, tmp_path) is None
