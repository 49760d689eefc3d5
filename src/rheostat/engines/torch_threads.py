"""How many threads our own compiled loops run on: all, or one where that was faster of late."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

import torch

from rheostat.kernel.policies.all_or_one import AllOrOne

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
_CHOICES: dict[tuple[str, int, int], AllOrOne] = {}


def on_threads(name: str, rows: int, work: Callable[[int], T]) -> T:
    """Do a piece of work on as many threads as were faster of late; they change no bit of it.

    Args:
        name: what it is, its sizes included; times of one name and of about as many rows are
            compared, so work of another size must have another name.
        rows: tokens that it treats.
        work: takes the number of threads.
    """
    threads = torch.get_num_threads()
    if threads == 1:
        return work(1)
    choice = _CHOICES.setdefault((name, rows.bit_length(), threads), AllOrOne())
    start = time.perf_counter()
    done = work(threads if choice.all() else 1)
    choice.note(time.perf_counter() - start)
    return done
