"""Our rows' keys and values as `transformers` asks a cache for them, a layer each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transformers.cache_utils import CacheLayerMixin

if TYPE_CHECKING:
    import torch

    from rheostat.engines.torch_lanes import Lanes
    from rheostat.engines.torch_model import Feed


class Reading:
    """What is read by the pass that runs, and who has asked for the cache."""

    def __init__(self, asked: list[int] | None) -> None:
        self.asked = asked
        self.feed: Feed | None = None


class _Layer(CacheLayerMixin):  # type: ignore[no-untyped-call]  # transformers' own
    """A layer whose buffers are there from the beginning, and have no end."""

    is_sliding = False

    def __init__(self, slot: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # transformers' own
        self.is_initialized = True
        self._slot = slot

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Do nothing: the buffers are there."""

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return the keys that a mask covers, and the first one's place."""
        return self.get_seq_length() + query_length, 0

    def get_max_length(self) -> int:
        """Return -1: there is none."""
        return -1


class Slot(_Layer):  # type: ignore[no-untyped-call]  # as of its base
    """One attention's part of a row's cache, as `transformers` asks for it."""

    def __init__(self, reading: Reading, slot: int) -> None:
        super().__init__(slot)
        self._reading = reading

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write new keys and values, [1, kv_heads, n, size] each; return all T of them alike."""
        reading, slot = self._reading, self._slot
        if reading.asked is not None:
            reading.asked.append(slot)
        assert reading.feed is not None
        cache, ahead, n = reading.feed.cache, reading.feed.ahead, key_states.shape[2]
        room = cache.room(slot, n, ahead)
        room[:, 0] = key_states[0].transpose(0, 1)
        room[:, 1] = value_states[0].transpose(0, 1)
        keys, values = cache.held(slot, n, ahead).permute(1, 2, 0, 3)[:, None]
        return keys, values

    def get_seq_length(self) -> int:
        """Return the tokens held."""
        feed = self._reading.feed
        assert feed is not None
        return feed.cache.length + feed.ahead


class LaneSlot(_Layer):  # type: ignore[no-untyped-call]  # as of its base
    """One attention's part of the rows' lanes, as `transformers` asks for it."""

    def __init__(self, lanes: Lanes, slot: int) -> None:
        super().__init__(slot)
        self._lanes = lanes
        self._rows = self._place = self._longest = 0

    def reads(self, rows: int, place: int, longest: int) -> None:
        """Say what the next pass reads: rows that hold at most so many tokens before a place."""
        self._rows, self._place, self._longest = rows, place, longest

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write new keys and values, [rows, kv_heads, 1, size] each; return all of them alike."""
        first, end = self._place - self._longest, self._place + 1
        held = self._lanes.stretch(self._slot, self._rows, first, end)
        held[:, -1, 0] = key_states[:, :, 0]
        held[:, -1, 1] = value_states[:, :, 0]
        keys, values = held.permute(2, 0, 3, 1, 4)
        return keys, values

    def get_seq_length(self) -> int:
        """Return the tokens of the longest row."""
        return self._longest
