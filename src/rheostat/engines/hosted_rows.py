"""A step of a `transformers` module over many rows, one new token each.

To the module they are texts padded on the left, as in its own batches: their keys and values lie
side by side (`torch_lanes`), and a mask hides what stands before the shorter ones.
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Any, final

import torch
from transformers import Cache

from rheostat.engines.hosted_caches import LaneSlot
from rheostat.engines.torch_lanes import Lanes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rheostat.engines.torch_model import Feed
    from rheostat.kernel.model_cost import ModelShape
    from rheostat.kernel.seams import Layout


@final
class HostedRows:
    """The step of one set of sub-layers."""

    def __init__(self, module: Any, shape: ModelShape, layout: Layout, *, places: bool) -> None:
        """Take the module.

        Args:
            places: whether it takes `position_ids`.
        """
        *slots, attentions = accumulate(layout.attention, initial=0)
        self._module, self._places = module, places
        self._lanes = Lanes(shape, attentions, module.dtype, module.device)
        self._layers = [LaneSlot(self._lanes, slot) for slot in slots]
        layers: list[Any] = self._layers
        self._cache = Cache(layers=layers)

    def __call__(self, feeds: Sequence[Feed]) -> Any:
        """Read a token of every row; return the module's output, whose rows have one token each.

        Keys and values are written behind what the caches count, which does not move.
        """
        device = self._module.device
        held = [feed.cache.length for feed in feeds]
        place, longest = self._lanes.lend([feed.cache for feed in feeds]), max(held)
        for layer in self._layers:
            layer.reads(len(feeds), place, longest)
        options: dict[str, Any] = {}
        if self._places:
            options["position_ids"] = torch.tensor(held, device=device)[:, None]
        if min(held) < longest:
            before = torch.tensor([longest - length for length in held], device=device)
            seen = torch.arange(longest + 1, device=device) >= before[:, None]
            options["attention_mask"] = seen.long()
        return self._module(
            input_ids=torch.tensor([feed.tokens for feed in feeds], device=device),
            past_key_values=self._cache,
            use_cache=True,
            **options,
        )
