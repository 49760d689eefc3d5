"""Searches that are stopped go on where they were, and end in the same plan."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace

import pytest

pytest.importorskip("torch", reason="needs the `torch` extra")

from rheostat.stages.plan import make_plan
from rheostat.stages.profile import cached_profile, make_profile
from rheostat.stages.search_journal import SearchJournal
from stages.conftest import write_lines

HEAD = {"model": "m"}
KILLS = 10
GOAL = {"max_loss": 0.6, "loss": "disagree", "items": 10, "max_new_tokens": 8}


def opened(path, head=HEAD):
    journal = SearchJournal(path)
    journal.begin(head)
    return journal


class Killed(BaseException):
    """The end of a process, as far as the code can tell."""


def refuse():
    raise AssertionError("it was measured before")


# the file


def test_a_measurement_is_made_once(tmp_path):
    path = tmp_path / "j.jsonl"
    assert opened(path).part(["a", 1], lambda: {"x": (0.1, 2)}, about="a") == {"x": [0.1, 2]}
    again = opened(path)
    assert again.part(["a", 1], refuse, about="a") == {"x": [0.1, 2]}
    assert again.part(["a", 2], lambda: 3, about="b") == 3


def test_a_line_that_was_cut_off_is_measured_again(tmp_path):
    path = tmp_path / "j.jsonl"
    journal = opened(path)
    for i in range(3):
        journal.part([i], lambda i=i: i, about=str(i))
    whole = path.read_bytes()
    for cut in range(2, len(whole.splitlines()[-1]) + 1):
        path.write_bytes(whole[:-cut])
        journal = opened(path)
        assert journal.part([1], refuse, about="1") == 1
        assert journal.part([2], lambda: "again", about="2") == "again"
        assert len(path.read_bytes().splitlines()) == len(whole.splitlines())


def test_measurements_of_another_model_are_not_taken(tmp_path):
    path = tmp_path / "j.jsonl"
    opened(path).part(["a"], lambda: 1, about="a")
    other = opened(path, {"model": "n"})
    assert other.part(["a"], lambda: 2, about="a") == 2
    assert opened(path, {"model": "n"}).part(["a"], refuse, about="a") == 2


def test_without_a_file_measurements_live_as_long_as_the_process():
    journal = SearchJournal()
    journal.begin(HEAD)
    assert journal.part(["a"], lambda: 1, about="a") == 1
    assert journal.part(["a"], refuse, about="a") == 1


def test_seconds_are_those_of_what_was_asked_for_each_once(tmp_path):
    path = tmp_path / "j.jsonl"
    journal = opened(path)
    assert journal.seconds == 0
    for name in ("a", "b", "a"):
        journal.part([name], lambda: 1, about=name)
    took = [json.loads(line)["seconds"] for line in path.read_text("utf-8").splitlines()[1:]]
    assert journal.seconds == sum(took) > 0
    journal.count_anew()
    assert journal.seconds == 0
    journal.part(["b"], refuse, about="b")
    assert journal.seconds == took[1]
    again = opened(path)
    again.part(["a"], refuse, about="a")
    assert again.seconds == took[0]


# searches


@pytest.fixture(scope="module")
def profiled(tiny):
    return cached_profile(tiny) or make_profile(tiny)


def decided(plan):
    """What does not depend on the clock."""
    data = json.loads(json.dumps(plan.to_json()))
    for key in ("seconds_ratio", "seconds_interval", "spent"):
        del data["measured"][key]
    return data


@pytest.mark.parametrize("seed", range(3))
def test_after_ten_kills_at_random_moments_the_plan_is_the_same(
    tiny, questions, profiled, tmp_path, monkeypatch, seed
):
    path, rng = tmp_path / "plan.json.search.jsonl", random.Random(seed)
    straight = make_plan(tiny, questions, journal=tmp_path / "straight.jsonl", **GOAL)
    parts = len((tmp_path / "straight.jsonl").read_bytes().splitlines()) - 1
    part = SearchJournal.part
    for kill in range(KILLS):
        left = rng.randint(0, max(1, 2 * parts // KILLS))

        def until_killed(self, key, measure, *, about, kill=kill):
            def measured():
                nonlocal left
                left -= 1
                if left >= 0:
                    return measure()
                if kill % 2:  # in mid-write
                    with path.open("a", encoding="utf-8") as file:
                        file.write('{"key": "0123456789'[: rng.randint(0, 19)])
                raise Killed

            return part(self, key, measured, about=about)

        with monkeypatch.context() as patch:
            patch.setattr(SearchJournal, "part", until_killed)
            with suppress(Killed):
                make_plan(tiny, questions, journal=path, **GOAL)
    resumed = make_plan(tiny, questions, journal=path, **GOAL)
    assert decided(resumed) == decided(straight)
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()[1:]]
    assert len({line["key"] for line in lines}) == len(lines) == parts


def test_a_finished_search_measures_nothing_again(tiny, questions, profiled, tmp_path, monkeypatch):
    path = tmp_path / "j.jsonl"
    first = make_plan(tiny, questions, journal=path, **GOAL)
    monkeypatch.setattr(type(tiny), "generate", refuse)
    monkeypatch.setattr(type(tiny), "score", lambda *_, **__: refuse())
    assert make_plan(tiny, questions, journal=path, **GOAL).predicted == first.predicted


def test_a_search_goes_on_at_the_prices_that_it_began_with(
    tiny, questions, profiled, tmp_path, monkeypatch
):
    path = tmp_path / "j.jsonl"
    first = make_plan(tiny, questions, journal=path, **GOAL)
    prices = type(tiny).prices

    def later(engine, installed=None):
        table = prices(engine, installed)
        return replace(table, mlp=tuple(9 * s for s in table.mlp))

    monkeypatch.setattr(type(tiny), "prices", later)
    assert decided(make_plan(tiny, questions, journal=path, **GOAL)) == decided(first)
    assert make_plan(tiny, questions, **GOAL).predicted != first.predicted


def test_the_order_of_a_files_lines_does_not_matter(tiny, questions, profiled, tmp_path):
    with open(questions, encoding="utf-8") as file:  # noqa: PTH123  # a path as a text
        lines = [json.loads(line) for line in file]
    turned = write_lines(tmp_path / "turned.jsonl", lines[::-1])
    one, other = (make_plan(tiny, path, **GOAL) for path in (questions, turned))
    assert one.methods == other.methods
    assert one.predicted == other.predicted


@pytest.mark.slow
def test_a_process_that_is_killed_leaves_a_journal_that_the_next_one_uses(
    copying, tmp_path, monkeypatch
):
    engine, workload = copying
    out = tmp_path / "plan.json"
    command = [sys.executable, "-c", "from rheostat.cli import main; main()"]
    command += ["plan", engine.model, "--workload", workload, "--lossless", "--items", "8"]
    command += ["--out", str(out)]
    journal = tmp_path / "plan.json.search.jsonl"
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while not (journal.exists() and len(journal.read_bytes().splitlines()) > 1):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = journal.read_bytes().splitlines()[1]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    assert kept in journal.read_bytes().splitlines()
    straight = make_plan(engine, workload, lossless=True, items=8)
    made = json.loads(out.read_text(encoding="utf-8"))
    assert made["methods"] == straight.to_json()["methods"]
    assert made["predicted"] == json.loads(json.dumps(straight.predicted))
