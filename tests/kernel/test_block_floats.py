from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rheostat.kernel.policies.block_floats import decoded, encoded

NUMBERS = arrays(np.float32, (2, 3, 8), elements=st.floats(-100, 100, width=32))


@given(numbers=NUMBERS, bits=st.sampled_from([4, 8]), block=st.sampled_from([1, 2, 4, 8]))
def test_a_number_is_off_by_at_most_a_step_of_its_block(numbers, bits, block):
    made = decoded(*encoded(numbers, bits, block), bits)
    assert made.shape == numbers.shape
    most = np.abs(numbers).reshape(2, 3, -1, block).max(axis=3)
    step = np.exp2(np.floor(np.log2(np.maximum(most, 1e-30))) - bits + 2)
    off = np.abs(made - numbers).reshape(2, 3, -1, block).max(axis=3)
    assert (off <= step * 1.0001 + 1e-30).all()


@given(numbers=NUMBERS, bits=st.sampled_from([4, 8]))
def test_what_is_decoded_codes_to_itself(numbers, bits):
    once = decoded(*encoded(numbers, bits, 4), bits)
    assert (decoded(*encoded(once, bits, 4), bits) == once).all()


@pytest.mark.parametrize(("bits", "taken"), [(4, 4 + 8 / 32), (8, 8 + 8 / 32)])
def test_bits_of_a_number(bits, taken):
    numbers = np.random.default_rng(0).standard_normal((3, 10, 64)).astype(np.float32)
    size = sum(part.nbytes for part in encoded(numbers, bits, 32))
    assert 8 * size / numbers.size == taken


def test_nothing_stays_nothing():
    assert (decoded(*encoded(np.zeros((1, 2, 4), np.float32), 4, 4), 4) == 0).all()
