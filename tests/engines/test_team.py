"""The team of our compiled loops: torch's threads where there are any, its own elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the `torch` extra")

from rheostat.engines.fused_build import fused_library

COMMON = """
import os, sys
from ctypes import c_long, c_void_p
import numpy as np
from rheostat.engines.fused_build import fused_library

library = fused_library().library
library.float_product.argtypes = (*(c_void_p,) * 3, *(c_long,) * 6)
draw = np.random.default_rng(0)
matrix = draw.standard_normal((9, 64, 48), dtype=np.float32)  # panels, columns, rows
x = draw.standard_normal((11, 64), dtype=np.float32)

def product(threads):
    out = np.empty((11, 9 * 48), dtype=np.float32)
    given = (matrix.ctypes.data, x.ctypes.data, out.ctypes.data, 11, 64, 9 * 48, 0, 0)
    for _ in range(20):
        library.float_product(*given, threads)
    return out
"""
ALONE = """
assert "torch" not in sys.modules
sys.stdout.buffer.write(b"".join(product(n).tobytes() for n in (1, 2, 3)))
assert not library.team_is_borrowed()
"""
FORKED = """
torch.set_num_threads(2)
torch.ones(1 << 20).sum()  # wakes torch's threads
before = product(2)
assert library.team_is_borrowed() == (sys.platform == "linux")
child = os.fork()
if not child:
    same = all(np.array_equal(product(n), before) for n in (1, 2, 3))
    os._exit(0 if same and not library.team_is_borrowed() else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert np.array_equal(product(2), before)
"""


@pytest.fixture(autouse=True)
def _compiled():
    if fused_library().library is None:
        pytest.skip(fused_library().reason)


def run(script):
    command = [sys.executable, "-c", script]
    return subprocess.run(command, check=True, capture_output=True, timeout=60).stdout


def test_without_torch_the_team_has_threads_of_its_own_and_the_same_bits():
    ones = np.frombuffer(run(COMMON + ALONE), dtype=np.float32).reshape(3, -1)
    assert np.isfinite(ones).all()
    assert ones[0].any()
    assert (ones == ones[0]).all()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_a_forked_process_does_not_wait_for_its_parents_threads():
    run("import torch" + COMMON + FORKED)


@pytest.mark.skipif(sys.platform != "linux", reason="torch's threads are borrowed on Linux")
def test_beside_torch_the_team_is_made_of_its_threads():
    assert fused_library().library.team_is_borrowed()
