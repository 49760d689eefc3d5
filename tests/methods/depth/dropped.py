"""What a depth decision leaves out, as a set of units."""

from __future__ import annotations

from rheostat.kernel.model_cost import ModelShape


def shape_of(layers):
    return ModelShape(
        layers=layers,
        width=8,
        heads=2,
        kv_heads=1,
        head_size=4,
        inner=16,
        vocabulary=300,
        context=128,
    )


def dropped(depth):
    layout = depth.layout
    return {("attention", i) for i, kept in enumerate(layout.attention) if not kept} | {
        ("mlp", i) for i, kept in enumerate(layout.mlp) if not kept
    }
