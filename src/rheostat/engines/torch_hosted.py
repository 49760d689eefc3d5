"""A module of `transformers` as a decoder: its own forward pass, our caches and decisions.

The module is handed a cache whose layers write into a row's buffers (`torch_cache`), so drafts are
taken back, samples forked and layers left out as in the lean loop. What it can do is found by
trying when it is loaded: a state that cannot be cut back is refused, layers that cannot be told
apart are never left out. A row takes a pass of its own.
"""

from __future__ import annotations

import inspect
from contextlib import ExitStack
from dataclasses import replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch
from transformers import Cache

from rheostat.engines.device import CPU
from rheostat.engines.hosted_caches import Reading, Slot
from rheostat.engines.hosted_context import context_of
from rheostat.engines.hosted_files import SERVED
from rheostat.engines.hosted_head import HostedHead, found_head
from rheostat.engines.hosted_layers import HostedLayers, found_layers
from rheostat.engines.hosted_matrices import HostedMatrices
from rheostat.engines.hosted_rows import HostedRows
from rheostat.engines.torch_head import largest
from rheostat.engines.torch_matrix import Forms
from rheostat.engines.torch_model import Feed, Passed
from rheostat.engines.torch_prices import empty_cache
from rheostat.engines.torch_tree import tree_mask
from rheostat.errors import ModelError
from rheostat.kernel.model_cost import ModelShape
from rheostat.kernel.seams import Depth, Layout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rheostat.engines.torch_cache import RowCache
    from rheostat.engines.torch_model import Observer, Resume
    from rheostat.engines.torch_ways import Way

OFFERS = frozenset({"draft", "stop", "token"})
TRIED = 6
"""Tokens of the passes that are tried when a module is loaded."""
NEAR = {torch.float32: 1e-3, torch.float64: 1e-6}
"""Share of the largest logit by which two ways of reading the same tokens may differ; in narrower
formats 5 %."""


@final
class Hosted:
    """A causal language model of `transformers`."""

    fixed = False
    pads = False
    packs = False
    reads_parts = False

    def __init__(self, module: Any, name: str) -> None:
        """Try what the module can do; it is put into evaluation mode and otherwise left alone.

        Raises:
            ModelError: it keeps a state that is no cache of keys and values, or one that cannot
                be cut back.
        """
        self._module = module.eval()
        self._name = name
        self.dtype: torch.dtype = module.dtype
        self.device: torch.device = module.device
        self.config = module.config.get_text_config(decoder=True)
        takes = inspect.signature(module.forward).parameters
        self._places = "position_ids" in takes
        self._picks = "logits_to_keep" in takes
        self._asked: list[int] | None = []
        self._rows: dict[Layout, Cache] = {}
        self._reading = Reading(self._asked)
        self._layers: HostedLayers | None = None
        self._matrices = HostedMatrices(module, module.get_output_embeddings())
        self.shape = self._seen_shape()
        self._tokens = [97 * (i + 1) % self.shape.vocabulary for i in range(TRIED)]
        self._check_cut()
        self._layers = found_layers(
            module, self.shape.layers, lambda: self._tried(self._tokens), self._asked
        )
        self._asked = None  # what asks for the cache is known now
        self._reading.asked = None
        self._head = found_head(module, lambda: self._tried(self._tokens))
        self.branches = self._branches()
        self._steps: dict[Layout, HostedRows] = {}
        self._joined = self._joins()

    @property
    def windows(self) -> tuple[int, ...]:
        """Every entry is handed to the module, which hides those outside its windows."""
        return (0,) * self.shape.layers

    @property
    def offers(self) -> frozenset[str]:
        """Capabilities that a method's `needs` may name."""
        if self._layers is None:
            return OFFERS
        parts = {"depth.parts"} if self._layers.parted else set()
        return OFFERS | {"depth.static"} | parts

    @property
    def score_scale(self) -> float:
        """Factor of attention scores, which the module applies itself."""
        return float(self.shape.head_size**-0.5)

    @torch.inference_mode()
    def forward(  # noqa: PLR0913  # as of the lean loop
        self,
        feeds: Sequence[Feed],
        depth: Depth,
        *,
        logit_rows: Sequence[int] | None,
        choices: bool = False,
        observer: Observer | None = None,
        resume: Resume | None = None,
    ) -> Passed:
        """Read rows that `joins` takes; arguments and result as of `torch_model.Llama.forward`."""
        if len(feeds) > 1:
            return self._step(feeds, depth.layout, logit_rows, choices=choices)
        (feed,) = feeds
        assert depth.policy is None  # it is not offered
        n, layout = len(feed.tokens), depth.layout
        head = self._head if choices else None
        if head is not None and not head.takes(n if logit_rows is None else len(logit_rows)):
            head = None
        feed.cache.make_room(feed.ahead + n)
        seen: list[torch.Tensor] = []
        with ExitStack() as stack:
            stack.enter_context(self._matrices.within(n))
            if self._layers is not None:
                stack.enter_context(self._layers.within(layout))
                if resume is not None:
                    stack.enter_context(self._layers.entered(resume.layer, resume.stream))
                if observer is not None:
                    stack.enter_context(self._layers.watched(observer))
            if head is not None:
                seen = stack.enter_context(head.caught())
            logits = self._logits(feed, layout, logit_rows, seen)
        feed.cache.advance(n)
        first, again = resume.layer if resume else 0, 0
        mlps = sum(layout.within(first, self.shape.layers).mlp)
        if choices:
            logits, again = self._chosen_of(logits, head)
        return Passed(logits, np.full(n, sum(layout.mlp), dtype=np.int64), (n,) * mlps, again)

    def joins(self, feeds: Sequence[Feed]) -> bool:
        """Rows of one new token each do, where trying them gave what they give alone."""
        return self._joined and all(map(_is_step, feeds))

    def _step(
        self,
        feeds: Sequence[Feed],
        layout: Layout,
        logit_rows: Sequence[int] | None,
        *,
        choices: bool,
    ) -> Passed:
        """Read one token of every row."""
        n, mlps = len(feeds), sum(layout.mlp)
        rows = list(range(n) if logit_rows is None else logit_rows)
        head = self._head if choices and self._head and self._head.takes(len(rows)) else None
        seen: list[torch.Tensor] = []
        if layout not in self._steps:
            step = HostedRows(self._module, self.shape, layout, places=self._places)
            self._steps[layout] = step
        with ExitStack() as stack:
            stack.enter_context(self._matrices.within(n))
            if self._layers is not None:
                stack.enter_context(self._layers.within(layout))
            if head is not None:
                seen = stack.enter_context(head.caught())
            out = self._steps[layout](feeds)
        for feed in feeds:
            feed.cache.advance(1)
        logits: torch.Tensor = (seen[0] if seen else out.logits)[rows, 0]
        logits, again = self._chosen_of(logits, head) if choices else (logits, 0)
        runs, entries = np.full(n, mlps, dtype=np.int64), max(f.cache.length for f in feeds)
        return Passed(logits, runs, (n,) * mlps, again, entries)

    def lay_out(self, forms: Forms | None) -> Forms:
        """Lay matrices and head out once more in these forms; None = the fastest, timed here.

        On a device there is one layout.
        """
        if self.device != CPU:
            return Forms()
        forms = forms or self._chosen()
        self._matrices.lay_out(forms)
        if self._head is not None:
            self._head.lay_out(forms)
        return forms

    def _chosen_of(self, logits: torch.Tensor, head: HostedHead | None) -> tuple[torch.Tensor, int]:
        """Return the choices, by the head where `logits` is what entered it: as of `Head`."""
        if head is not None:
            return head.choices(logits)
        return largest(logits), 0

    def _chosen(self) -> Forms:
        forms = self._matrices.chosen(Forms())
        return forms if self._head is None else self._head.chosen(forms)

    def way(self, *, decided: bool, compacted: bool) -> Way:
        """Every pass is the module's."""
        return "plain"

    def weight_bytes(
        self, depth: Depth, widths: Sequence[int], rows: int, logits: int, *, choices: bool
    ) -> float:
        """Return the bytes of weights that a pass reads."""
        shape = self.shape
        weights = sum(depth.layout.attention) * shape.attention_weights
        weights += len(widths) * shape.mlp_weights
        head = float(self.dtype.itemsize)
        if choices and self._head is not None:
            head = self._head.weight_bytes(logits)
        return weights * self.dtype.itemsize + bool(logits) * head * shape.head_weights

    def _logits(
        self,
        feed: Feed,
        layout: Layout,
        logit_rows: Sequence[int] | None,
        seen: Sequence[torch.Tensor],
    ) -> torch.Tensor:
        """Return the logits of some rows; in their place what entered the head, where it is seen.

        Args:
            seen: grows by what enters the head, if somebody catches it.
        """
        n, held = len(feed.tokens), feed.cache.entries + feed.ahead
        options: dict[str, Any] = {}
        if self._places:
            places = feed.places(feed.cache.length + feed.ahead)
            options["position_ids"] = torch.tensor([places], device=self.device)
        if feed.parents is not None:
            mask = tree_mask(feed.parents, held, self.dtype)
            options["attention_mask"] = mask[None, None].to(self.device)
        rows = range(n) if logit_rows is None else logit_rows
        picked = self._picks and len(rows) < n
        if picked:
            options["logits_to_keep"] = torch.tensor(
                list(rows), device=self.device, dtype=torch.long
            )
        out = self._module(
            input_ids=torch.tensor([list(feed.tokens)], device=self.device),
            past_key_values=self._row(feed, layout),
            use_cache=True,
            **options,
        )
        self._reading.feed = None  # a row that has ended is not held on to
        logits: torch.Tensor = (seen[0] if seen else out.logits)[0]
        return logits if picked or logit_rows is None else logits[list(rows)]

    def _row(self, feed: Feed, layout: Layout) -> Cache:
        """Return a cache of `transformers` whose layers are the slots of a row."""
        self._reading.feed = feed
        if layout not in self._rows:
            *slots, _ = accumulate(layout.attention, initial=0)
            layers: list[Any] = [Slot(self._reading, slot) for slot in slots]
            self._rows[layout] = Cache(layers=layers)
        return self._rows[layout]

    def _seen_shape(self) -> ModelShape:
        """Return the shape, from the configuration and from the module's own cache."""
        config, module = self.config, self._module
        with torch.inference_mode():
            out = module(torch.tensor([[0, 0]], device=self.device), use_cache=True)
        own = getattr(out, "past_key_values", None)
        held = [getattr(layer, "keys", None) for layer in getattr(own, "layers", ())]
        values = [getattr(layer, "values", None) for layer in getattr(own, "layers", ())]
        sizes = {None if t is None else (t.shape[1], t.shape[3]) for t in (*held, *values)}
        if len(sizes) != 1 or None in sizes or len(held) != config.num_hidden_layers:
            raise ModelError(
                f"`{self._name}` ({config.model_type}) keeps a state that is no cache of keys and "
                "values of one size, so it cannot be run here",
                hint=SERVED,
            )
        ((kv_heads, size),) = (s for s in sizes if s is not None)
        embedding, head = module.get_input_embeddings(), module.get_output_embeddings()
        heads, width = config.num_attention_heads, embedding.weight.shape[1]
        shape = ModelShape(
            layers=config.num_hidden_layers,
            width=width,
            heads=heads,
            kv_heads=kv_heads,
            head_size=size,
            inner=1,
            vocabulary=head.weight.shape[0],
            context=context_of(config),
            tied=head.weight is embedding.weight,
        )
        return _with_inner(shape, module)

    def _check_cut(self) -> None:
        """Raise `ModelError` unless tokens read one by one, and taken back, give the same."""
        whole, cache = self._tried(self._tokens), self._cache()
        parts = [self._tried(self._tokens[:2], cache), self._tried(self._tokens[3:], cache)]
        cache.truncate(2)
        parts[1:] = [self._tried([token], cache) for token in self._tokens[2:4]]
        parts.append(self._tried(self._tokens[4:], cache))
        if not self._near(torch.cat(parts), whole):
            raise ModelError(
                f"`{self._name}` ({self.config.model_type}) keeps a state that cannot be cut back "
                "to an earlier token, so it cannot be run here",
                hint=SERVED,
            )

    def _branches(self) -> bool:
        """Return whether a token may be hidden from others, found by trying.

        Not behind a window: a module takes a mask of ours as it is, for all of its layers.
        """
        if _has_window(self.config):
            return False
        parents = (-1, 0, 1, 0)
        tree = self._tokens[:4]
        try:
            found = self._tried(tree, parents=parents)
        except (RuntimeError, ValueError, TypeError):
            return False
        chain = self._tried(tree[:3])
        other = self._tried([tree[0], tree[3]])
        return self._near(found, torch.cat([chain, other[1:]]))

    def _joins(self) -> bool:
        """Return whether rows of several lengths step together as alone, found by trying."""
        caches = [self._cache() for _ in range(3)]
        for n, cache in enumerate(caches):
            self._tried(self._tokens[: 2 * n + 1], cache)
        depth, steps = Depth(Layout.full(self.shape.layers)), self._tokens[:2]
        twins = [cache.copied(room=TRIED) for cache in caches]
        alone = [[self._tried([t], twin) for t in steps] for twin in twins]
        try:
            found = [
                self.forward([Feed(c, [t], 0) for c in caches], depth, logit_rows=None).logits
                for t in steps
            ]
        except (RuntimeError, ValueError, TypeError, IndexError):
            return False
        return self._near(torch.stack(found, dim=1), torch.stack([torch.cat(a) for a in alone]))

    def _near(self, one: torch.Tensor, other: torch.Tensor) -> bool:
        limit = NEAR.get(self.dtype, 0.05) * float(other.abs().max())
        return bool((one - other).abs().max() <= limit)

    def _cache(self) -> RowCache:
        return empty_cache(self, Layout.full(self.shape.layers), capacity=TRIED)

    def _tried(
        self,
        tokens: Sequence[int],
        cache: RowCache | None = None,
        parents: Sequence[int] | None = None,
    ) -> torch.Tensor:
        feed = Feed(cache or self._cache(), tokens, 0, parents)
        return self.forward([feed], Depth(Layout.full(self.shape.layers)), logit_rows=None).logits


def _is_step(feed: Feed) -> bool:
    """Return whether a feed is one token behind all of a row's own."""
    return len(feed.tokens) == 1 and not feed.ahead and feed.parents is None


def _has_window(config: Any) -> bool:
    """Return whether a configuration names a window, or pieces, that attention looks within."""
    return any(
        isinstance(value, int) and not isinstance(value, bool) and value > 0
        for name, value in config.to_dict().items()
        if "window" in name or ("chunk" in name and "attention" in name)
    )


def _with_inner(shape: ModelShape, module: Any) -> ModelShape:
    """Return the shape with an MLP of as many weights as the module's layers have on average."""
    every = sum(p.numel() for p in module.parameters() if p.ndim > 1)
    head = module.get_output_embeddings().weight.numel()
    embeddings = {
        id(m.weight): m.weight.numel()
        for m in module.modules()
        if isinstance(m, torch.nn.Embedding)
    }
    tied = shape.tied
    in_layers = every - sum(embeddings.values()) - (0 if tied else head)
    mlp = in_layers / shape.layers - shape.attention_weights
    return replace(shape, inner=max(round(mlp / (3 * shape.width)), 1))
