"""Cost from a model's shape, against numbers worked out by hand."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.kernel.cost import Cost
from rheostat.kernel.model_cost import ModelShape, PriceTable, Work, interpolated, work_cost

SMOLLM2 = ModelShape(
    layers=30,
    width=576,
    heads=9,
    kv_heads=3,
    head_size=64,
    inner=1536,
    vocabulary=49152,
    context=8192,
)
TABLE = PriceTable(
    tokens=(1, 2, 4),
    contexts=(0, 100),
    attention=((1.0, 1.5, 2.0), (3.0, 4.5, 6.0)),
    mlp=(2.0, 2.2, 3.0),
    head=(5.0, 6.0, 8.0),
    fixed=0.5,
)


def test_weights_of_smollm2() -> None:
    assert SMOLLM2.attention_weights == 884_736
    assert SMOLLM2.mlp_weights == 2_654_208
    assert SMOLLM2.head_weights == 28_311_552
    assert ModelShape(**json.loads(json.dumps(SMOLLM2.to_json()))) == SMOLLM2


WEIGHTS = 30 * (884_736 + 2_654_208) + 28_311_552


def test_a_decoding_step_of_smollm2_after_100_tokens() -> None:
    work = Work(
        attention_tokens=30,
        mlp_tokens=30,
        head_tokens=1,
        scores=30 * 101,
        keys_read=30 * 100,
        weight_bytes=4 * WEIGHTS,
        calls=1,
        price=0.02,
    )
    assert work_cost(SMOLLM2, work, cache_bytes=2) == Cost(
        flops=2 * WEIGHTS + 4 * 30 * 101 * 576,
        bytes=4 * WEIGHTS + 2 * 2 * 30 * 100 * 192,
        calls=1,
        price=0.02,
    )


def test_shared_reads_round_once() -> None:
    thirds = Work()
    for _ in range(3):
        thirds.add(Work(weight_bytes=7 / 3))
    assert work_cost(SMOLLM2, thirds, cache_bytes=2).bytes == 7


def test_work_adds_field_by_field() -> None:
    work = Work(calls=1, price=0.5, weight_bytes=0.5)
    work.add(Work(calls=2, price=0.25, mlp_tokens=3))
    assert work == Work(calls=3, price=0.75, weight_bytes=0.5, mlp_tokens=3)


def test_the_price_is_the_sum_of_its_parts() -> None:
    assert TABLE.seconds(2, 0, attention=3, mlp=2, head_rows=1) == 0.5 + 3 * 1.5 + 2 * 2.2 + 5.0
    assert TABLE.seconds(1, 50, attention=1, mlp=0, head_rows=0) == 0.5 + 2.0
    assert TABLE.seconds(0, 50, attention=3, mlp=3, head_rows=1) == 0.0


def test_a_table_survives_json() -> None:
    assert PriceTable.from_json(json.loads(json.dumps(TABLE.to_json()))) == TABLE


@pytest.mark.parametrize(
    ("x", "expected"), [(0, 1.0), (1, 1.0), (2, 3.0), (3, 2.0), (5, 0.0), (9, 0.0)]
)
def test_a_falling_end_stays_level(x: int, expected: float) -> None:
    assert interpolated((1, 2, 5), (1.0, 3.0, 0.0), x) == expected


def test_beyond_a_rising_end_the_line_goes_on() -> None:
    assert interpolated((1, 2, 4), (1.0, 1.5, 2.5), 10) == 5.5


def test_a_single_point_is_constant() -> None:
    assert interpolated((7,), (3.0,), 100) == 3.0


@given(st.lists(st.floats(0, 10), min_size=2, max_size=6), st.integers(0, 50))
def test_interpolation_passes_through_the_points_and_stays_between(
    values: list[float], x: int
) -> None:
    at = [3 * i + 1 for i in range(len(values))]
    assert all(
        interpolated(at, values, p) == pytest.approx(v) for p, v in zip(at, values, strict=True)
    )
    if x <= at[-1]:
        assert min(values) - 1e-9 <= interpolated(at, values, x) <= max(values) + 1e-9
