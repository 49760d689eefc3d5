"""c(n): seconds of a forward pass over n new tokens, per context, number format and threads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from rheostat.engines.torch_load import load_llama
from rheostat.engines.torch_prices import TOKENS, pass_seconds
from rheostat.kernel.seams import Layout

if TYPE_CHECKING:
    from collections.abc import Callable

    from rheostat.engines.decoder import Decoder
    from rheostat.engines.torch_engine import TorchEngine

CONTEXTS = (32, 1024)
TOKENS_ELSEWHERE = (1, 2, 4, 8, 16, 32)
"""The measured n under other number formats and thread counts than the user's."""


def cost_curves(engine: TorchEngine, progress: Callable[[str], None]) -> list[dict[str, Any]]:
    """Measure c(n) as the user runs the model, and in the other formats and thread counts."""
    own_threads = torch.get_num_threads()
    curves = []
    others = {(dtype, threads) for dtype in ("float32", "bfloat16") for threads in {1, own_threads}}
    if not engine.reloads:  # one in memory, or on a module of its own
        others = set()
    for dtype, threads in [
        (engine.dtype, own_threads),
        *sorted(others - {(engine.dtype, own_threads)}),
    ]:
        own = (dtype, threads) == (engine.dtype, own_threads)
        try:
            model = (
                engine.decoder
                if own
                else load_llama(engine.model, dtype=dtype, threads=threads, progress=progress)
            )
            for context in CONTEXTS:
                if context + max(TOKENS) > engine.shape.context:
                    continue
                progress(f"timing passes: {dtype}, threads {threads}, context {context}")
                tokens = TOKENS if own else TOKENS_ELSEWHERE
                curves.append(
                    {
                        "dtype": dtype,
                        "threads": threads,
                        "context": context,
                        "tokens": list(tokens),
                        "seconds": _seconds(model, context, tokens),
                    }
                )
        finally:
            torch.set_num_threads(own_threads)
    return curves


def _seconds(model: Decoder, context: int, tokens: tuple[int, ...]) -> list[float]:
    return pass_seconds(model, Layout.full(model.shape.layers), context, tokens=tokens)
