"""Tables of hindsight: the last exit and the full mask are the model, others are what they say."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the `torch` extra")

from contract.tiny_engine import LAYERS, PROMPTS, tiny_engine
from engines.tiny_gguf import write_tiny_gguf
from rheostat.engines.base import Request
from rheostat.engines.torch_hindsight import exits, mask_choices
from rheostat.errors import WorkloadError
from rheostat.kernel.oracle.tables import smallest_exits
from rheostat.kernel.seams import Depth, Installed, Layout

ANSWER = [5, 9, 3, 7, 11, 2, 8]
FULL = Layout.full(LAYERS)


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    path = tmp_path_factory.mktemp("hindsight") / "deep.gguf"
    return tiny_engine(write_tiny_gguf(path, layers=LAYERS, seed=2))


@pytest.fixture(scope="module")
def prompt(engine):
    return engine.encode(Request(id="q", prompt=PROMPTS[0]))


def chosen(engine, prompt, layout):
    decision = Installed(depth=Depth(layout))
    return engine.score(prompt, ANSWER, installed=decision).choice


def test_the_last_exit_is_the_model_and_an_early_one_is_a_shallow_model(engine, prompt):
    seen = exits(engine, prompt, ANSWER)
    assert seen.choices.shape == seen.certainty.shape == (len(ANSWER), LAYERS)
    assert (seen.choices[:, -1] == chosen(engine, prompt, FULL)).all()
    for depth in (1, 2):  # up to an exit nothing differs from a model that ends there
        assert (seen.choices[:, depth - 1] == chosen(engine, prompt, FULL.within(0, depth))).all()
    assert ((seen.certainty > 0) & (seen.certainty <= 1)).all()
    assert smallest_exits(seen.choices).max() < LAYERS


def test_a_masks_column_is_what_the_engine_chooses_under_it(engine, prompt):
    masks = [FULL, FULL.without(mlp=[2]), FULL.without(mlp=[1, 3]), FULL.without(attention=[3])]
    table = mask_choices(engine, prompt, ANSWER, masks)
    for column, mask in zip(table.T, masks, strict=True):
        assert column.tolist() == chosen(engine, prompt, mask).tolist()
    assert any((table[:, i] != table[:, 0]).any() for i in (1, 2, 3))


def test_masks_that_are_all_the_full_model_agree(engine, prompt):
    table = mask_choices(engine, prompt, ANSWER, [FULL, FULL])
    assert np.array_equal(table[:, 0], table[:, 1])


@pytest.mark.parametrize(("prompt_ids", "answer"), [([], [1]), ([1], [])])
def test_nothing_to_look_back_on_is_refused(engine, prompt_ids, answer):
    with pytest.raises(WorkloadError, match="nothing to look back on"):
        exits(engine, prompt_ids, answer)
    with pytest.raises(WorkloadError, match="nothing to look back on"):
        mask_choices(engine, prompt_ids, answer, [FULL])
