"""The llama-shaped decoder: one lean forward pass over the new tokens of several rows.

Rows are packed: the new tokens of all rows lie behind each other in one matrix, so rows of
different lengths, prompts and drafts run together without padding. Linear layers see one matrix;
attention runs row by row against that row's own cache. A sub-layer that the layout drops, or
that a policy skips for every token, is not executed; a skipped token is not in the matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, final

import numpy as np
import torch
import torch.nn.functional as F

from rheostat.engines.decoder import LEAN, all_rows
from rheostat.engines.device import CPU, OFFERED
from rheostat.engines.file_rows import FileRows, rows_of
from rheostat.engines.mapped_pages import give_back
from rheostat.engines.torch_attention import attention_of, by_key_heads, by_tokens, capped
from rheostat.engines.torch_head import Head
from rheostat.engines.torch_matrix import FIXED
from rheostat.engines.torch_norms import norm_dtype, rms_normed
from rheostat.engines.torch_observed import observed
from rheostat.engines.torch_project import projected
from rheostat.engines.torch_rotary import Rotations
from rheostat.engines.torch_stack import Stacked, View, fused_stack, packed_rows
from rheostat.engines.torch_tree import places_of
from rheostat.engines.torch_weights import (
    Layer,
    fused_levels,
    fused_weights,
    head_path,
    head_weight,
    laid_out_layer,
    layer_bytes,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rheostat.engines.torch_cache import RowCache
    from rheostat.engines.torch_matrix import Forms
    from rheostat.engines.torch_ways import Way
    from rheostat.engines.weights_cache import LoadedModel
    from rheostat.kernel.seams import Bools, Depth, Ints, Layout

Observer = Callable[[int, str, torch.Tensor, torch.Tensor], None]
"""Called with (layer, `attention` or `mlp`, residual stream before, after), each [n, width]."""


@dataclass(frozen=True)
class Feed:
    """The new tokens of one row."""

    cache: RowCache
    tokens: Sequence[int]
    generated: int
    """Index after the prompt of the first new token; negative inside the prompt."""
    parents: Sequence[int] | None = None
    """For each token the index of the one that it hangs on, -1 = what is held; None = a chain."""
    ahead: int = 0
    """Tokens between those that the cache counts and the first new one: written ahead."""

    def places(self, first: int) -> list[int]:
        """Return the places of the new tokens in their text, counted from `first`."""
        return [first + place for place in places_of(self.parents, len(self.tokens))]


class Passed(NamedTuple):
    """What a forward pass gave."""

    logits: torch.Tensor
    """[rows asked for, vocabulary]; or the choices, [rows asked for], -1 = the row has none."""
    mlp_runs: NDArray[np.int64]
    """MLPs executed for each new token, [n]."""
    mlp_widths: tuple[int, ...]
    """For each MLP that was executed, for how many of them."""
    head_again: int = 0
    """Rows of the output head that were multiplied beside one reading of it."""
    entries: int = 0
    """Entries that every attention read, hidden ones included; 0 = those that a row holds."""


class Resume(NamedTuple):
    """Where to enter the stack when what lies below is known: for one chunk of one row."""

    layer: int
    stream: torch.Tensor
    """Residual stream entering that layer, [n, width]."""


class _Ran(NamedTuple):
    """What the layers made of a pass."""

    x: torch.Tensor
    """Residual stream behind them, [n, width]."""
    skipped: Ints
    """MLPs that each token skipped, [n]."""
    widths: Sequence[int]
    """For each MLP, for how many tokens it ran."""


@final
class Llama:
    """Weights in their chosen forms, and the forward pass."""

    packs = True
    branches = True
    joins = staticmethod(all_rows)

    def __init__(  # noqa: PLR0913  # how the weights are held, and where
        self,
        loaded: LoadedModel,
        *,
        dtype: torch.dtype,
        forms: Forms,
        levels: Mapping[str, torch.Tensor] | None = None,
        fused: bool = True,
        device: torch.device = CPU,
    ) -> None:
        """Lay out the weights; the embedding stays in the memory-mapped file.

        Args:
            dtype: format of activations and cache, and of weights that are not in four bits.
            forms: how those are laid out.
            levels: the stacked matrices that are held in four bits, as `load_levels` has them.
            fused: whether compiled operations are used where they can be had.
            device: where everything is; on another than the processor nothing stays in the file.
        """
        self.device = device
        self.shape, self.dtype, self.forms = loaded.shape, dtype, forms
        self._eps = loaded.architecture.eps
        self.architecture = architecture = loaded.architecture
        self.windows = architecture.windows
        self._embedding = FileRows(loaded.tensors["embed.weight"].to(device))
        self.fixed, self.pads = forms.narrow in FIXED, forms.narrow == "fixed"
        self.short_norms = device == CPU and not self.fixed
        """Whether the norm of one row may read a value."""
        self.attend = attention_of(architecture, self.shape, fixed=self.fixed)
        wide, norm = norm_dtype(architecture, dtype), loaded.tensors["norm.weight"]
        self._norm = norm.to(device, wide, copy=True)
        self.layers = []
        for layer in range(self.shape.layers):
            held = fused_levels(levels or {}, layer)
            parts = fused_weights(loaded, layer, dtype, without=held)
            weights = {name: weight.to(device) for name, weight in parts.items()}
            self.layers.append(laid_out_layer(weights, forms, held))
            give_back([*loaded.of_layer(layer), *held.values()])
        give_back((levels or {}).values())
        self._stack, self.fused_reason = self._stacked(fused=fused)
        """The layers with compiled operations; else why there are none."""
        self.reads_parts = self._stack is not None and self._stack.reads_parts
        head, held_in = head_weight(loaded).to(device), forms.held(dtype)
        self._head = Head(head, held_in, forms, head_path(loaded, held_in))
        give_back(loaded.tensors.values())
        self._bytes: dict[int, tuple[float, float]] = {}
        self._kinds = sorted(set(architecture.kinds))
        self._view_of = [self._kinds.index(kind) for kind in architecture.kinds]
        self.turns = [Rotations(rope, self.shape.context, device) for rope in architecture.ropes]

    def _stacked(self, *, fused: bool) -> Stacked:
        """Return the layers with compiled operations, or why there are none."""
        if self.fixed:
            return Stacked(None, "a token's arithmetic is to be the same in every pass")
        if self.device != CPU:
            return Stacked(None, "the compiled ones are those of a processor")
        if not fused:
            return Stacked(None, "they are not asked for")
        if not self.architecture.is_plain(self.shape.head_size):
            return Stacked(None, "the compiled ones are those of the llama shape alone")
        return fused_stack(self.shape, self.layers, self._eps, self.dtype, self.forms)

    @property
    def offers(self) -> frozenset[str]:
        """Capabilities that a method's `needs` may name."""
        # windows count tokens, not the entries that are left, and caps are not seen there
        special = any(self.architecture.windows) or self.architecture.score_cap
        offers = LEAN if self.device == CPU else OFFERED
        return offers - {"cache.entries"} if special else offers

    @property
    def score_scale(self) -> float:
        """Factor of attention scores."""
        return self.architecture.score_scale or self.shape.head_size**-0.5

    @torch.inference_mode()
    def forward(  # noqa: PLR0913  # what is read, what is wanted, and who looks on
        self,
        feeds: Sequence[Feed],
        depth: Depth,
        *,
        logit_rows: Sequence[int] | None,
        choices: bool = False,
        observer: Observer | None = None,
        resume: Resume | None = None,
    ) -> Passed:
        """Read the feeds' tokens, extend their caches, return logits of some of the rows.

        Args:
            feeds: rows with their new tokens, n in all.
            depth: which sub-layers exist and which are decided while running.
            logit_rows: rows (0..n-1) whose logits are wanted; None = all of them.
            choices: the index of each row's largest logit is enough.
            observer: sees the residual stream around every executed sub-layer.
            resume: skip the layers below, whose result is given (their cache stays empty).
        """
        tokens = [t for feed in feeds for t in feed.tokens]
        views = self._views(feeds)
        rows, turns = views[0].rows, views[0].turns
        x = self.embedded(tokens) if resume is None else resume.stream
        first = resume.layer if resume else 0
        if self._stack and self._stack.takes(rows) and not (depth.policy or observer):
            layout = depth.layout.within(first, len(self.layers))
            x = self._stack.run(x, rows, turns, layout=layout, slots=depth.layout)
            widths = [len(tokens)] * sum(layout.mlp)
            ran = _Ran(x, np.zeros(len(tokens), dtype=np.int64), widths)
        else:
            generated = np.array([i for f in feeds for i in f.places(f.generated)], dtype=np.int64)
            ran = self._layered(x, views, depth, generated, first, observer)
        for row in rows:
            row.cache.advance(row.end - row.start)
        x = ran.x if logit_rows is None else rows_of(ran.x, logit_rows)
        headed, again = self._headed(x, choices=choices)
        runs = sum(depth.layout.mlp) - ran.skipped
        return Passed(headed, runs, tuple(w for w in ran.widths if w), again)

    def _layered(  # noqa: PLR0913  # a pass, one layer after the other
        self,
        x: torch.Tensor,
        views: Sequence[View],
        depth: Depth,
        generated: Ints,
        first: int,
        observer: Observer | None,
    ) -> _Ran:
        """Run the layers from `first` on with torch's own operations."""
        policy = depth.policy
        state = policy.begin(generated) if policy else None
        skipped = np.zeros(len(x), dtype=np.int64)
        widths: list[int] = []
        slot = sum(depth.layout.attention[:first])
        for index, layer in enumerate(self.layers[first:], start=first):
            if depth.layout.attention[index]:
                before = x
                x = x + self._attention(layer, x, views[self._view_of[index]], slot)
                slot += 1
                if observer:
                    observer(index, "attention", before, x)
            if not depth.layout.mlp[index]:
                continue
            before = x
            ran = policy.runs(index, state) if policy else None
            x = self._mlp(layer, x, ran)
            widths.append(len(x) if ran is None else int(ran.sum()))
            if ran is not None:
                skipped += ~ran
            if policy and policy.watches(index) and widths[-1]:
                state = observed(policy, index, ran, before, x, state)
            if observer:
                observer(index, "mlp", before, x)
        return _Ran(x, skipped, widths)

    @torch.inference_mode()
    def through(
        self, feeds: Sequence[Feed], x: torch.Tensor, layout: Layout, slots: Layout
    ) -> torch.Tensor:
        """Run a part of the sub-layers over a residual stream, and nothing else of a pass.

        Keys and values are written into the caches, whose lengths do not move.

        Args:
            feeds: rows with their new tokens, n in all.
            x: the stream that enters the part, [n, width].
            layout: the sub-layers of the part.
            slots: the layout that the caches were made for.

        Returns:
            The stream that leaves the part, [n, width].
        """
        views = self._views(feeds)
        rows, turns = views[0].rows, views[0].turns
        if self._stack and self._stack.takes(rows):
            return self._stack.run(x, rows, turns, layout=layout, slots=slots)
        for index, layer in enumerate(self.layers):
            if layout.attention[index]:
                slot = sum(slots.attention[:index])
                x = x + self._attention(layer, x, views[self._view_of[index]], slot)
            if layout.mlp[index]:
                x = self._mlp(layer, x, None)
        return x

    @torch.inference_mode()
    def embedded(self, tokens: Sequence[int] | torch.Tensor) -> torch.Tensor:
        """Return the stream that enters the first layer, [n, width]."""
        x = self._embedding(tokens).to(self.forms.held(self.dtype)).to(self.dtype)
        scale = self.architecture.embedding_scale
        return x if scale == 1 else x * torch.tensor(scale, dtype=self.dtype)

    @torch.inference_mode()
    def headed(self, x: torch.Tensor, *, choices: bool) -> Passed:
        """Return the logits of a stream that left the last layer, or the choices alone."""
        logits, again = self._headed(x, choices=choices)
        return Passed(logits, np.zeros(0, dtype=np.int64), (), again)

    def way(self, *, decided: bool, compacted: bool) -> Way:
        """Return how the layers of a short pass run."""
        return self._stack.way(decided=decided, compacted=compacted) if self._stack else "plain"

    def weight_bytes(
        self, depth: Depth, widths: Sequence[int], rows: int, logits: int, *, choices: bool
    ) -> float:
        """Return the bytes of weights that a pass reads.

        Args:
            depth: which sub-layers exist.
            widths: for every MLP that ran, how many rows it read.
            rows: rows of the pass.
            logits: rows whose logits, or choices alone, are computed.
        """
        shape = self.shape
        total = sum(depth.layout.attention) * self._layer_bytes(rows)[0]
        total += sum(self._layer_bytes(width)[1] for width in widths)
        if logits:
            total += self._head.weight_bytes(logits, whole=not choices) * shape.head_weights
        return total

    def _layer_bytes(self, rows: int) -> tuple[float, float]:
        """Return the mean bytes of an attention's and of an MLP's weights at this width."""
        if rows not in self._bytes:
            self._bytes[rows] = layer_bytes(self.layers, self.shape, rows)
        return self._bytes[rows]

    def _views(self, feeds: Sequence[Feed]) -> list[View]:
        """Return what attentions of every kind see of the feeds; one kind, for most models."""
        places = [i for f in feeds for i in f.places(f.cache.length + f.ahead)]
        for feed in feeds:
            feed.cache.make_room(feed.ahead + len(feed.tokens))
        turns = [rows_of(rope.up_to(max(places, default=-1) + 1), places) for rope in self.turns]
        group = self.shape.heads // self.shape.kv_heads
        packed = partial(packed_rows, feeds, group, dtype=self.dtype, device=self.device)
        rows = {window: packed(window=window) for window in {w for _, w in self._kinds}}
        return [View(rows[window], turns[rope]) for rope, window in self._kinds]

    def _headed(self, x: torch.Tensor, *, choices: bool) -> tuple[torch.Tensor, int]:
        if not len(x):  # the head is not read for nothing
            none = x.new_empty(0, self.shape.vocabulary)
            return (none[:, 0].long() if choices else none), 0
        x = self.normed(x, self._norm)
        if choices:
            return self._head.choices(x)
        return capped(self._head.logits(x), self.architecture.logit_cap), 0

    def normed(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Divide each row by its root mean square; one float32 row takes a short cut."""
        if len(x) > 1 or x.dtype != torch.float32 or not self.short_norms:
            return rms_normed(x, weight, self._eps)
        row = x[0]
        square = float(torch.dot(row, row)) / self.shape.width + self._eps
        return torch.mul(x, square**-0.5).mul_(weight)

    def _attention(self, layer: Layer, x: torch.Tensor, view: View, slot: int) -> torch.Tensor:
        shape, rows = self.shape, view.rows
        normed, q_size = self.normed(x, layer.attention_norm), shape.heads * shape.head_size
        qkv = projected(layer, normed, view.turns, shape=shape, eps=self._eps)
        kv = qkv[:, q_size:].view(-1, 2, shape.kv_heads, shape.head_size)
        outs = []
        for row in rows:
            row.note(slot, x)
            held = row.put(slot, kv)
            asked = by_key_heads(qkv[row.start : row.end, :q_size], shape)
            keys, values = held.permute(1, 2, 0, 3)[:, None]
            mask, scale = row.mask_of(slot, asked), self.architecture.score_scale
            got = self.attend(asked, keys, values, attn_mask=mask, scale=scale)
            outs.append(by_tokens(got, shape))
        out = layer.out(outs[0] if len(outs) == 1 else torch.cat(outs))
        after = layer.attention_post_norm
        return out if after is None else self.normed(out, after)

    def _mlp(self, layer: Layer, x: torch.Tensor, ran: Bools | None) -> torch.Tensor:
        if ran is not None and not ran.any():
            return x
        if ran is None or ran.all():
            return x + self.gated(layer, x)
        chosen = torch.from_numpy(np.flatnonzero(ran)).to(x.device)
        return x.index_add(0, chosen, self.gated(layer, x[chosen]))

    def gated(self, layer: Layer, x: torch.Tensor) -> torch.Tensor:
        """Return what a layer's MLP adds to a stream, [n, width]."""
        hidden = layer.gate_up(self.normed(x, layer.mlp_norm))
        gate, up = hidden[:, : self.shape.inner], hidden[:, self.shape.inner :]
        gelu = self.architecture.activation == "gelu_tanh"
        acted = F.gelu(gate, approximate="tanh") if gelu else F.silu(gate)
        out = layer.down(acted.mul_(up))
        return out if layer.mlp_post_norm is None else self.normed(out, layer.mlp_post_norm)
