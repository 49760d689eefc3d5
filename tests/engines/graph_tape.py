"""A capture that works on a processor: it records a step's operations and repeats them.

As a graph does, it knows tensors and not the program: a number of the program that changes from
step to step, or a tensor that is made anew outside, is repeated as it was when it was recorded.
"""

from __future__ import annotations

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

WAITING = {"_local_scalar_dense", "item", "nonzero", "masked_select", "unique_dim", "equal"}
"""Operations whose result a program waits for: a graph cannot hold them."""


class Tape(TorchDispatchMode):
    """Records operations with their tensors, and repeats them into the same results."""

    def __init__(self):
        super().__init__()
        self.operations = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        assert name not in WAITING, f"`{name}` waits for a value"
        out = func(*args, **(kwargs or {}))
        for given in tree_leaves(out):
            for taken in tree_leaves((args, kwargs)):
                if isinstance(given, torch.Tensor) and isinstance(taken, torch.Tensor):
                    assert given.device == taken.device or taken.ndim == 0, f"`{name}` copies"
        self.operations.append((func, args, kwargs or {}, out))
        return out

    def repeat(self):
        """Run what was recorded once more."""
        for func, args, kwargs, out in self.operations:
            again = func(*args, **kwargs)
            for old, new in zip(tree_leaves(out), tree_leaves(again), strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


class Captures:
    """What captures steps, and counts them."""

    def __init__(self):
        self.made = self.repeated = 0

    def __call__(self, step):
        step()  # what is made at a first run is there
        tape = Tape()
        with tape:
            step()
        self.made += 1

        def replay():
            self.repeated += 1
            tape.repeat()

        return replay


def as_it_is(step):
    """Capture nothing: run the step again in place of a replay."""
    return step
