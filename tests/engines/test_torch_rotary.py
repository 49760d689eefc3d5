"""Rotations are the same however far they were made before."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="needs the `torch` extra")

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rheostat.engines.architecture import Rope, scaled_rope
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


def test_the_far_end_of_a_long_context_is_turned_as_in_transformers():
    transformers = pytest.importorskip("transformers", reason="needs the package `transformers`")
    context, last = 131072, 50
    scaling = {
        "rope_type": "llama3",
        "rope_theta": 5e5,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    config = transformers.LlamaConfig(
        hidden_size=64,
        num_attention_heads=1,
        max_position_embeddings=context,
        rope_parameters=dict(scaling),
    )
    theirs = transformers.models.llama.modeling_llama.LlamaRotaryEmbedding(config)
    rope = scaled_rope(64, 5e5, scaling, context)
    found = Rotations(rope, context, torch.device("cpu")).up_to(context)
    assert len(found) == context
    places = torch.arange(context - last, context)
    cos, sin = theirs(torch.zeros(1), places[None])
    turned = torch.complex(cos, sin)[0, :, :32]
    assert (found[-last:] - turned).abs().max() < 2.0**-24 * context
    angles = torch.outer(places.double(), torch.tensor(rope.frequencies, dtype=torch.float64))
    wanted = torch.polar(torch.ones_like(angles), angles)
    assert (found[-last:] - wanted).abs().max() < 2.0**-23 * context
