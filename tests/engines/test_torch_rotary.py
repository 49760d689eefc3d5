"""Rotations are the same however far they were made before."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="needs the `torch` extra")

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rheostat.engines.architecture import Rope
from rheostat.engines.torch_rotary import BLOCK, Rotations

ROPE = Rope(frequencies=tuple(10_000 ** (-i / 16) for i in range(16)), scale=1.25)
CONTEXT = 5 * BLOCK + 7


@settings(max_examples=30, deadline=None)
@given(asked=st.lists(st.integers(0, CONTEXT), min_size=1, max_size=5))
def test_what_was_asked_for_before_changes_no_bit(asked):
    whole = Rotations(ROPE, CONTEXT, torch.device("cpu")).up_to(CONTEXT)
    grown = Rotations(ROPE, CONTEXT, torch.device("cpu"))
    for count in asked:
        held = grown.up_to(count)
        assert count <= len(held) <= CONTEXT
        assert torch.equal(held, whole[: len(held)])


def test_they_are_those_of_the_definition():
    found = Rotations(ROPE, CONTEXT, torch.device("cpu")).up_to(CONTEXT)
    places = torch.arange(CONTEXT, dtype=torch.float64)
    angles = torch.outer(places, torch.tensor(ROPE.frequencies, dtype=torch.float64))
    wanted = torch.polar(torch.full_like(angles, ROPE.scale), angles)
    near = 2.0**-23 * CONTEXT  # angles are rounded to float32
    assert (found - wanted).abs().max() < near
