"""The peer: `transformers` running the same file, de-quantised, in the same format and threads."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple, final

import torch

from rheostat.engines.embedded import EMBEDDED, embedded_file
from rheostat.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable


class Timed(NamedTuple):
    """Tokens written per row, and the seconds that all rows took together."""

    rows: list[list[int]]
    seconds: float

    @property
    def tokens_per_second(self) -> float:
        """Tokens of all rows a second, prompt reading included."""
        return sum(map(len, self.rows)) / self.seconds


@final
class Transformers:
    """A causal language model of `transformers`, with its own `generate`."""

    def __init__(self, name: str, dtype: torch.dtype, say: Callable[[str], None]) -> None:
        """Load an embedded model's file."""
        try:
            from transformers import AutoModelForCausalLM, GgufConfig
        except ImportError:
            raise UserError(
                "this suite compares with `transformers`, which is not installed",
                hint='pip install "rheostat[dev]"',
            ) from None
        path = embedded_file(EMBEDDED[name], progress=say)
        say(f"loading {name} into transformers")
        self._model: Any = AutoModelForCausalLM.from_pretrained(
            path.parent,
            gguf_file=path.name,
            dtype=dtype,
            quantization_config=GgufConfig(dequantize=True),
        ).eval()  # type: ignore[no-untyped-call]  # transformers' own

    def generate(self, prompts: list[list[int]], *, new_tokens: int, eos: list[int]) -> Timed:
        """Decode greedily; all prompts must have one length."""
        inputs = torch.tensor(prompts)
        start = time.perf_counter()
        with torch.inference_mode():
            out = self._model.generate(
                inputs,
                attention_mask=torch.ones_like(inputs),
                do_sample=False,
                max_new_tokens=new_tokens,
                eos_token_id=eos,
                pad_token_id=eos[0],
            )
        seconds = time.perf_counter() - start
        return Timed([_until(row, eos) for row in out[:, inputs.shape[1] :].tolist()], seconds)


def _until(row: list[int], ends: list[int]) -> list[int]:
    found = [i for i, token in enumerate(row) if token in ends]
    return row[: found[0]] if found else row
