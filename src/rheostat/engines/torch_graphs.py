"""Capture and replay of a step as a CUDA graph: its launches are recorded once, then repeated.

What is captured is what the documentation of torch's `torch.cuda.graph` asks for: the same tensors
at the same addresses every time, warmed up on a side stream before, and nothing that waits for a
value. Whether a step keeps to that is tested on a processor with a capture that records
operations and repeats them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

Step = Callable[[], None]
Capture = Callable[[Step], Step]
"""Takes a step over static tensors; returns what does the same over what they hold by then."""

WARM_UPS = 3
"""Runs before a capture, in which libraries allocate and choose what they keep."""


def captured_on_cuda(step: Step) -> Step:
    """Capture a step on the current CUDA device."""
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch's own
    here = torch.cuda.current_stream()
    side.wait_stream(here)
    with torch.cuda.stream(side):
        for _ in range(WARM_UPS):
            step()
    here.wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    replay: Step = graph.replay
    return replay
