"""Keys and values that are kept from one request to the next: a prefix is read once.

Ours. A conversation is kept as token ids, those that the model itself wrote included, so the text
of the next turn is put behind them and nothing that is held is tokenized or read again. Where a
chat template rewrites what was said before, what both texts begin with alike is still kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, final

from rheostat.engines.torch_offload import brought_back, offloaded
from rheostat.engines.torch_seen import seen
from rheostat.errors import MethodError, WorkloadError
from rheostat.kernel.model_cost import Work

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from rheostat.engines.base import Output
    from rheostat.engines.torch_cache import RowCache
    from rheostat.engines.torch_engine import TorchEngine
    from rheostat.engines.torch_generate import Run
    from rheostat.engines.torch_offload import Offloaded
    from rheostat.kernel.cost import Cost
    from rheostat.kernel.kv_cache import CachePlan
    from rheostat.kernel.seams import Installed, Layout


ROOM = 64
"""Tokens of an answer that a new cache has room for before it grows."""


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
    decided: CachePlan | None = None
    """The cache decision that it was made under."""
    resting: Offloaded | None = None
    """Where the cache lies while it is not in memory."""

    def prompt(self, engine: TorchEngine, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """Return the token ids of the messages: those that are held, and what comes behind."""
        text = engine.tokenizer.chat(messages)
        if self.text and text.startswith(self.text):
            ids = [*self.ids, *engine.tokenizer.encode(text[len(self.text) :])]
        else:
            ids = engine.tokenizer.encode(text)
        if any(message["role"] == "assistant" for message in messages):
            _check_room(len(ids), engine.shape.context)
        engine.check_prompt(ids, "this turn")
        return ids

    def offload(self, engine: TorchEngine, path: Path) -> None:
        """Write the cache to a file and give its memory back.

        Raises:
            MethodError: a cache decision has let go of a part of it.
            OutputError: the file cannot be written.
        """
        if self.decided is not None:
            raise MethodError(
                "a conversation under a cache decision stays in memory",
                hint="take the methods of the seam `cache` out of the plan to offload it",
            )
        if self.cache is not None and self.layout is not None:
            self.resting = offloaded(path, engine, self.cache, self.ids, self.layout)
            self.cache = None

    def held(self, run: Run, prompt: Sequence[int]) -> RowCache:
        """Return the cache of what the prompt begins with; its last token is always left to read.

        A cache that was read under other sub-layers or another cache decision is not of this plan,
        and one that has let go of what it is cut back to cannot go on: both are given up.
        """
        layout, compaction = run.depth.layout, run.compaction
        if self.resting is not None and self.layout == layout:
            self.cache = brought_back(self.resting, run.engine, layout)
        self.resting = None
        if (self.layout, self.decided) != (layout, run.installed.cache):
            self.cache = None
        most = 0 if self.cache is None else min(self.cache.length, len(self.ids), len(prompt) - 1)
        same = next((i for i in range(most) if self.ids[i] != prompt[i]), most)
        if self.cache is None or same < self.cache.settled:
            room, same = len(prompt) + ROOM, 0
            self.cache = compaction.cache(layout, prompt=len(prompt), capacity=room)
            self.layout, self.decided = layout, run.installed.cache
        self.cache.truncate(same)
        compaction.go_on(self.cache, prompt=len(prompt))
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


def reading_cost(engine: TorchEngine, installed: Installed, tokens: int, chunk: int) -> Cost:
    """Return what it costs to read so many tokens as the beginning of a prompt.

    Where a depth method decides while running, every sub-layer is counted.
    """
    depth = engine.depth(installed)
    attentions, mlps = sum(depth.layout.attention), sum(depth.layout.mlp)
    work, prices = Work(), engine.prices(installed)
    for at in range(0, tokens, chunk):
        n = min(chunk, tokens - at)
        read = seen(engine.decoder, depth.layout, n, at)
        work.add(
            Work(
                attention_tokens=attentions * n,
                mlp_tokens=mlps * n,
                scores=read.scores,
                keys_read=read.keys,
                weight_bytes=engine.decoder.weight_bytes(depth, [n] * mlps, n, 0, choices=False),
                calls=1,
                price=prices.seconds(n, at, attention=attentions, mlp=mlps, head_rows=0),
            )
        )
    return engine.cost(work, prompt_tokens=tokens, new_tokens=0)


def _check_room(tokens: int, context: int) -> None:
    if tokens >= context:
        raise WorkloadError(
            f"the conversation is full: with this turn it has {tokens} tokens, the model's context "
            f"holds {context} with the answer",
            hint="begin a new conversation",
        )
