"""Tasks by a name of reasoning-gym or from a file."""

from __future__ import annotations

import pytest

from rheostat.errors import WorkloadError
from rheostat.workloads.parts import normalised
from rheostat.workloads.tasks import load_tasks

PRODUCTS = "gym:products?min_terms=2&max_terms=2&max_digits=1"


@pytest.fixture(autouse=True)
def _gym():
    pytest.importorskip("reasoning_gym", reason="needs the `tasks` extra")


def test_tasks_of_the_gym_are_distinct_judged_and_the_same_every_time():
    tasks = load_tasks(f"{PRODUCTS}&size=30")
    texts = {normalised(item.messages[0]["content"]) for item in tasks.items}
    assert len(texts) == len(tasks.items) == 30
    assert load_tasks(f"{PRODUCTS}&size=30").digest == tasks.digest
    first = tasks.items[0]
    assert tasks.correct(first, tasks.answer(f"It is {first.reference}.0, I think")) is True
    assert tasks.correct(first, "0") is False
    assert tasks.correct(first, None) is False


def test_an_exhausted_generator_gives_what_it_has():
    tasks = load_tasks("gym:products?min_terms=1&max_terms=1&max_digits=1&size=50")
    assert 1 < len(tasks.items) <= 10


def test_lists_and_words_are_settings():
    tasks = load_tasks("gym:basic_arithmetic?operators=%2B,-&max_terms=2&allow_parentheses=false")
    assert not any(sign in item.messages[0]["content"] for item in tasks.items for sign in "*/(")


def test_tasks_with_many_right_answers_are_judged_by_the_gym():
    tasks = load_tasks("gym:countdown?min_numbers=3&max_numbers=3&size=3")
    assert tasks.correct(tasks.items[0], str(tasks.items[0].reference)) is True


@pytest.mark.parametrize(
    "name",
    [
        "gym:product",
        "gym:products?terms=2",
        "gym:products?min_terms",
        "gym:products?min_terms=5&max_terms=2",
        "gym:products?min_terms=two",
        "gym:products?size=0",
        "gym:products?seed=x",
        "tasks.txt",
        "missing.jsonl",
    ],
)
def test_what_names_no_tasks_is_refused_in_words(name):
    with pytest.raises(WorkloadError) as caught:
        load_tasks(name)
    assert caught.value.hint or "whole number" in caught.value.message


def test_a_file_without_references_judges_nothing(tmp_path):
    path = tmp_path / "tasks.jsonl"
    path.write_text('{"prompt": "1 + 1 ="}\n{"prompt": "1 + 2 =", "reference": "3"}\n')
    first, second = load_tasks(str(path)).items
    tasks = load_tasks(str(path))
    assert tasks.correct(first, "2") is None
    assert tasks.correct(second, tasks.answer("3.0")) is True
