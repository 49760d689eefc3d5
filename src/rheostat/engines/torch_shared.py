"""The beginning that all requests of a run have in common: read once, copied for each (ours).

Which tokens these are depends on the requests alone, not on the order in which they are answered or
on where a run was stopped, so a prompt is always read in the same passes: first what is common,
then its own. The row that reads it pays for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rheostat.engines.torch_cache import RowCache
    from rheostat.kernel.seams import Layout

LEAST = 64
"""Fewest tokens that are worth keeping."""


@final
class SharedPrefix:
    """Token ids, and their keys and values for each set of sub-layers that has read them."""

    def __init__(self, ids: Sequence[int]) -> None:
        """Hold nothing yet."""
        self.ids = list(ids)
        self._caches: dict[Layout, RowCache] = {}

    def begins(self, prompt: Sequence[int]) -> bool:
        """Return whether a prompt begins with these tokens and goes on."""
        n = len(self.ids)
        return len(prompt) > n and list(prompt[:n]) == self.ids

    def copy(self, layout: Layout, prompt: Sequence[int], *, room: int) -> RowCache | None:
        """Return a row's own copy with room for more tokens; None = not read, or not its prompt."""
        held = self._caches.get(layout)
        return held.copied(room=room) if held is not None and self.begins(prompt) else None

    def keep(self, layout: Layout, cache: RowCache) -> None:
        """Take in the cache of a row that has read these tokens and no more."""
        assert cache.length == len(self.ids)
        self._caches[layout] = cache.copied(room=0)


def shared_prefix(prompts: Sequence[Sequence[int]]) -> SharedPrefix | None:
    """Return what all prompts begin with; None where that is too little, or there is one prompt.

    At least one token of every prompt is left to read: its logits are wanted.
    """
    if len(prompts) < 2:
        return None
    low, high = min(map(list, prompts)), max(map(list, prompts))
    most = min(map(len, prompts)) - 1
    same = next((i for i in range(most) if low[i] != high[i]), most)
    return SharedPrefix(low[:same]) if same >= LEAST else None
