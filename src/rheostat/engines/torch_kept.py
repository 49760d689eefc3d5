"""Keys and values that are kept from one request to the next: a prefix is read once.

Ours. A conversation is kept as token ids, those that the model itself wrote included, so the text
of the next turn is put behind them and nothing that is held is tokenized or read again. Where a
chat template rewrites what was said before, what both texts begin with alike is still kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, final

from rheostat.engines.torch_offload import brought_back, offloaded
from rheostat.engines.torch_prices import empty_cache
from rheostat.kernel.model_cost import Work

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from rheostat.engines.base import Output
    from rheostat.engines.torch_cache import RowCache
    from rheostat.engines.torch_engine import TorchEngine
    from rheostat.engines.torch_offload import Offloaded
    from rheostat.kernel.cost import Cost
    from rheostat.kernel.seams import Depth, Layout


@final
@dataclass(kw_only=True)
class Conversation:
    """The tokens of a conversation so far and the cache of them."""

    text: str = ""
    """What the tokens say."""
    ids: list[int] = field(default_factory=list)
    """Tokens read and written."""
    cache: RowCache | None = None
    layout: Layout | None = None
    """The sub-layers that the cache was made for."""
    resting: Offloaded | None = None
    """Where the cache lies while it is not in memory."""

    def prompt(self, engine: TorchEngine, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """Return the token ids of the messages: those that are held, and what comes behind."""
        text = engine.tokenizer.chat(messages)
        if self.text and text.startswith(self.text):
            ids = [*self.ids, *engine.tokenizer.encode(text[len(self.text) :])]
        else:
            ids = engine.tokenizer.encode(text)
        engine.check_prompt(ids, "this turn")
        return ids

    def offload(self, engine: TorchEngine, path: Path) -> None:
        """Write the cache to a file and give its memory back."""
        if self.cache is not None and self.layout is not None:
            self.resting = offloaded(path, engine, self.cache, self.ids, self.layout)
            self.cache = None

    def held(self, engine: TorchEngine, prompt: Sequence[int], depth: Depth) -> RowCache:
        """Return the cache of what the prompt begins with; its last token is always left to read.

        A cache that was read under other sub-layers is not of this plan: it is given up.
        """
        if self.resting is not None and self.layout == depth.layout:
            self.cache = brought_back(self.resting, engine, depth.layout)
        self.resting = None
        if self.cache is None or self.layout != depth.layout:
            self.cache = empty_cache(engine.decoder, depth.layout, capacity=len(prompt) + 64)
            self.layout = depth.layout
        most = min(self.cache.length, len(self.ids), len(prompt) - 1)
        same = next((i for i in range(most) if self.ids[i] != prompt[i]), most)
        self.cache.truncate(same)
        self.ids = list(prompt[:same])
        self.text = ""
        return self.cache

    def keep(
        self,
        engine: TorchEngine,
        messages: Sequence[Mapping[str, str]],
        prompt: list[int],
        output: Output,
    ) -> None:
        """Take in an answer; when tokens reach beyond its text, it is read again as text."""
        self.text, self.ids = engine.tokenizer.chat(messages), prompt
        if engine.tokenizer.decode(output.token_ids) == output.text:
            self.text += output.text
            self.ids = [*prompt, *output.token_ids]


def reading_cost(engine: TorchEngine, depth: Depth, tokens: int, chunk: int) -> Cost:
    """Return what it costs to read so many tokens as the beginning of a prompt.

    Where a depth method decides while running, every sub-layer is counted.
    """
    attentions, mlps = sum(depth.layout.attention), sum(depth.layout.mlp)
    work, prices = Work(), engine.prices()
    for at in range(0, tokens, chunk):
        n = min(chunk, tokens - at)
        held = at + n
        work.add(
            Work(
                attention_tokens=attentions * n,
                mlp_tokens=mlps * n,
                scores=attentions * n * held,
                keys_read=attentions * held,
                weight_bytes=engine.decoder.weight_bytes(depth, [n] * mlps, n, 0, choices=False),
                calls=1,
                price=prices.seconds(n, at, attention=attentions, mlp=mlps, head_rows=0),
            )
        )
    return engine.cost(work, prompt_tokens=tokens, new_tokens=0)
