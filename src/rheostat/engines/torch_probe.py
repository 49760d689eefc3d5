"""Probabilities of one-token choices after a sample and a short text, on the `torch` engine.

The sample's tokens and the text are read behind a copy of its question's keys and values, in one
pass where they fit: the sample, and every other one of the question, is left as it was.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, final

from rheostat.engines.sampler import Read
from rheostat.engines.torch_model import Feed
from rheostat.engines.torch_prices import most_seconds
from rheostat.errors import MethodError, WorkloadError
from rheostat.kernel.cost import Cost
from rheostat.kernel.model_cost import Work
from rheostat.kernel.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rheostat.engines.sampler import Reading
    from rheostat.engines.torch_cache import RowCache
    from rheostat.engines.torch_engine import TorchEngine
    from rheostat.kernel.seams import Depth

CHUNK = 256
"""Tokens of one forward pass."""


@final
class Probe:
    """One reading of one sample."""

    def __init__(self, engine: TorchEngine, depth: Depth, reading: Reading) -> None:
        """Encode the text and the choices.

        Raises:
            MethodError: choices that begin with the same token.
        """
        encode = engine.tokenizer.encode
        self._engine, self._depth = engine, depth
        self._behind = [*reading.token_ids, *encode(reading.suffix)]
        self._choices = [encode(choice)[0] for choice in reading.choices]
        if len(set(self._choices)) < len(self._choices) or len(self._choices) < 2:
            raise MethodError(
                f"the choices {', '.join(f'`{c}`' for c in reading.choices)} do not begin with "
                "tokens that differ",
                hint="choices are told apart by their first token",
            )

    def bound(self, prompt: Sequence[int], held: int) -> Cost:
        """Return what it costs at most when so many prompt tokens are in the cache.

        Raises:
            WorkloadError: the prompt, the sample and the text do not fit the context.
        """
        context = self._engine.shape.context
        if len(prompt) + len(self._behind) > context:
            raise WorkloadError(
                f"a question about a sample does not fit behind it into {context} tokens",
                hint="give a smaller `--max-new-tokens`",
            )
        read = len(prompt) - held + len(self._behind)
        parts = [min(CHUNK, read - at) for at in range(0, read, CHUNK)]
        most = most_seconds(self._engine.prices(), self._engine.shape, self._depth.layout)
        return Cost(prompt_tokens=read, calls=len(parts), price=sum(map(most, parts)))

    def read(self, prompt: Sequence[int], cache: RowCache) -> Read:
        """Return the choices' probabilities.

        Args:
            cache: holds the prompt's first tokens, or none; it is not written to.
        """
        engine, start = self._engine, time.perf_counter()
        tokens = [*prompt[cache.length :], *self._behind]
        work, trace = Work(), Trace()
        twin = cache.copied(room=len(tokens))
        for at in range(0, len(tokens), CHUNK):
            feed = Feed(twin, tokens[at : at + CHUNK], at - len(tokens))
            last = [len(feed.tokens) - 1] if at + CHUNK >= len(tokens) else []
            logits = engine.passed([feed], self._depth, [last], [work], [trace])
        mass = logits[0, self._choices].double().softmax(dim=-1)
        cost = engine.cost(work, prompt_tokens=len(tokens), new_tokens=0)
        return Read(
            probabilities=tuple(mass.tolist()),
            cost=replace(cost, seconds=time.perf_counter() - start),
        )
