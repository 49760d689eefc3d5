"""What a plan loses, item by item, in the three units."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the `torch` extra")

from rheostat.engines.base import Sampling
from rheostat.errors import PlanError
from rheostat.kernel.seams import Depth, Installed, Layout
from rheostat.stages.losses import base_samples, check_references, disagree, evaluator
from rheostat.workloads.load import load_workload
from stages.conftest import write_lines

KINDS = ("disagree", "score", "nats")
TOKENS = 10


def nothing_said(_):
    return


def gutted(engine):
    off = (False,) * engine.shape.layers
    return Installed(depth=Depth(Layout(off, off)))


@pytest.fixture(scope="module")
def workload(questions):
    return load_workload(questions, part="test", limit=5)


@pytest.fixture(scope="module")
def samples(tiny, workload):
    return base_samples(tiny, workload, Sampling(max_new_tokens=TOKENS), nothing_said)


@pytest.fixture(scope="module")
def measured(tiny, workload, samples):
    return {kind: evaluator(kind, tiny, workload, samples, "test") for kind in KINDS}


@pytest.mark.parametrize(("kind", "loss"), [("disagree", 0.0), ("score", 0.5), ("nats", 0.0)])
def test_the_base_loses_nothing_against_itself(measured, kind, loss):
    values = measured[kind](Installed()).values
    assert values == pytest.approx([loss] * len(values))


def test_a_model_without_sub_layers_disagrees(tiny, measured):
    assert measured["disagree"](gutted(tiny)).mean > 0.3


def test_disagreement_is_the_share_of_other_choices(tiny, samples):
    sample, lossy = samples[0], Installed(depth=Depth(Layout.full(10).without(mlp=[0, 1, 2])))
    text = [*sample.prompt, *sample.answer]
    choices = [
        tiny.score(text[:at], text[at : at + 1], installed=lossy).choice[0]
        for at in range(len(sample.prompt), len(text))
    ]
    other = sum(c != t for c, t in zip(choices, sample.answer, strict=True))
    (loss,) = disagree(tiny, [sample], lossy).values
    assert other > 0
    assert loss == other / len(sample.answer)


def test_excess_nats_are_clipped_to_one(tiny, measured):
    assert all(-1 <= value <= 1 for value in measured["nats"](gutted(tiny)).values)


def test_a_static_layout_skips_nothing_while_running(tiny, measured):
    assert measured["disagree"](gutted(tiny)).mlp_share == 1.0


def test_a_better_answer_than_the_base_s_scores_under_one_half(tmp_path, tiny, samples):
    lossy = gutted(tiny)
    request = samples[0].request
    sampling = Sampling(max_new_tokens=TOKENS)
    wanted = next(iter(tiny.generate([request], sampling, installed=lossy))).text
    line = {"prompt": request.prompt, "reference": wanted}
    workload = load_workload(write_lines(tmp_path / "one.jsonl", [line]), part="all")
    ours = base_samples(tiny, workload, sampling, nothing_said)
    loss = evaluator("score", tiny, workload, ours, "test")(lossy)
    assert loss.values == (0.0,)


def test_scores_need_references(tmp_path, tiny):
    lines = [{"prompt": "the cat", "reference": "x"}, {"prompt": "the hat"}]
    workload = load_workload(write_lines(tmp_path / "some.jsonl", lines), part="all")
    with pytest.raises(PlanError, match="needs a reference in every item of"):
        check_references("score", workload)


def test_a_sample_counts_the_end_token_as_written(copying):
    engine, path = copying
    workload = load_workload(path, part="test", limit=2)
    whole, *_ = base_samples(engine, workload, Sampling(max_new_tokens=40), nothing_said)
    cut, *_ = base_samples(engine, workload, Sampling(max_new_tokens=4), nothing_said)
    assert (len(whole.written), len(whole.answer), whole.room) == (13, 12, 40)
    assert (len(cut.written), len(cut.answer), cut.room) == (4, 4, 4)


def test_items_without_an_answer_are_left_out_and_refused_when_all_are(tmp_path, copying):
    engine, _ = copying
    path = write_lines(tmp_path / "silent.jsonl", [{"prompt": "w1"}, {"prompt": "w2"}])
    workload = load_workload(path, part="all")
    with pytest.raises(PlanError, match="wrote nothing for any item"):
        base_samples(engine, workload, Sampling(), nothing_said)


def test_losses_keep_the_order_of_the_items(tiny, samples):
    lossy = Installed(depth=Depth(Layout.full(10).without(mlp=[0, 1, 2])))
    together = disagree(tiny, samples, lossy).values
    assert together == tuple(disagree(tiny, [s], lossy).values[0] for s in samples)
    assert np.isfinite(together).all()
