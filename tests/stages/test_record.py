"""Recordings: what is finished is kept, nothing is drawn twice."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from rheostat.errors import ModelError, OutputError
from stages import sample_runs
from stages.sample_runs import NAMES, SAMPLES, ending, recorded, samples_in, write_inputs


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return write_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="module")
def undisturbed(inputs, tmp_path_factory):
    model, tasks = inputs
    folder = tmp_path_factory.mktemp("undisturbed") / "store"
    recorded(ending(model), tasks, folder)
    return samples_in(folder)


def test_every_sample_is_kept_with_its_answer_and_its_tokens(undisturbed):
    assert len(undisturbed) == SAMPLES * len(NAMES)
    for sample in undisturbed:
        assert sample.answer == next((w for w in sample.text.split() if w.isdigit()), None)
        assert len(sample.logprobs) == len(sample.entropies) == len(sample.token_ids)
        assert sample.cost.new_tokens == len(sample.token_ids)


@pytest.mark.parametrize("after", [0, 7, 33])
def test_a_killed_recording_goes_on_and_draws_nothing_twice(inputs, undisturbed, tmp_path, after):
    model, tasks = inputs
    program = [sys.executable, sample_runs.__file__, "record", model, tasks]
    done = subprocess.run(
        [*program, str(tmp_path / "store"), str(after)],
        check=False,
        env=sample_runs.program_environment(),
    )
    assert done.returncode == -signal.SIGKILL
    kept = samples_in(tmp_path / "store") if after else []
    assert len(kept) >= after
    made = ending(model)
    recorded(made, tasks, tmp_path / "store")
    assert samples_in(tmp_path / "store") == undisturbed
    assert len(made.sampler.launches) == len(undisturbed) - len(kept)


def test_a_finished_recording_draws_nothing(inputs, tmp_path):
    model, tasks = inputs
    first = recorded(ending(model), tasks, tmp_path / "store")
    made = ending(model)
    assert recorded(made, tasks, tmp_path / "store") == first
    assert made.sampler.launches == []
    assert first["samples"] == SAMPLES * len(NAMES)
    assert first["no_answer"] >= SAMPLES


def test_ctrl_c_says_what_is_kept(inputs, tmp_path):
    model, tasks = inputs

    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="of 36 samples are recorded and kept"):
        recorded(ending(model, after=5, end=interrupt), tasks, tmp_path / "store")


def test_another_recording_or_other_files_are_refused(inputs, tmp_path):
    model, tasks = inputs
    recorded(ending(model), tasks, tmp_path / "store")
    with pytest.raises(OutputError, match="samples a question differ"):
        recorded(ending(model), tasks, tmp_path / "store", samples=SAMPLES + 1)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("dear")
    with pytest.raises(OutputError, match=r"letter\.txt"):
        recorded(ending(model), tasks, tmp_path / "other")


def test_a_recording_is_not_recorded_again(inputs, tmp_path):
    model, tasks = inputs
    recorded(ending(model), tasks, tmp_path / "store")
    with pytest.raises(ModelError, match="is a recording already"):
        recorded(sample_runs.loaded(f"replay:{tmp_path / 'store'}"), tasks, tmp_path / "again")
