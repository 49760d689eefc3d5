"""The layers of a `transformers` module, found by watching a pass, and left out on request.

Nothing is known of the architecture. A list of as many modules as the model has layers, each
called once, each taking what the one before gave, is the stack; a layer's attention is the child
that asks for the cache, its MLP the only other child that has matrices. Both may be left out where
a layer without them gives back its input, bit by bit.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, final

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rheostat.kernel.seams import Layout

    Look = Callable[[int, str, torch.Tensor, torch.Tensor], None]
    Run = Callable[[], object]


class _Part(NamedTuple):
    """A module, and of what form its result is: None = a tensor, else a tuple of so many."""

    module: nn.Module
    parts: int | None

    def result(self, x: torch.Tensor) -> Any:
        """Return a stream in the form of the module's own result."""
        return x if self.parts is None else (x, *(None,) * (self.parts - 1))


@final
@dataclass(frozen=True)
class HostedLayers:
    """The stack of a module."""

    layers: tuple[_Part, ...]
    attention: tuple[_Part, ...] = ()
    """One a layer; empty where layers cannot be taken apart."""
    mlp: tuple[_Part, ...] = ()

    @property
    def parted(self) -> bool:
        """Whether attentions and MLPs can be left out by themselves."""
        return bool(self.attention)

    @contextmanager
    def within(self, layout: Layout) -> Iterator[None]:
        """Leave out what a layout leaves out; the module is as it was afterwards."""
        if all(layout.attention) and all(layout.mlp):
            yield
            return
        with ExitStack() as stack:
            for i, layer in enumerate(self.layers):
                kept = layout.attention[i], layout.mlp[i]
                if kept == (False, False):
                    stack.enter_context(_passing(layer))
                elif not kept[0]:
                    stack.enter_context(_adding_nothing(self.attention[i]))
                elif not kept[1]:
                    stack.enter_context(_adding_nothing(self.mlp[i]))
            yield

    @contextmanager
    def watched(self, look: Look) -> Iterator[None]:
        """Show the stream, [n, width], around every attention and MLP of a pass.

        A layer is run once more without its MLP, for what lies between the two.
        """
        with ExitStack() as stack:
            for i, layer in enumerate(self.layers):
                stack.enter_context(replaced(layer.module, self._shown(i, look)))
            yield

    def _shown(self, i: int, look: Look) -> Any:
        own = self.layers[i].module.forward

        def forward(*args: Any, **kwargs: Any) -> Any:
            before = _stream(args, kwargs)[0]
            with _adding_nothing(self.mlp[i]):
                between = _first(own(*args, **kwargs))[0]
            out = own(*args, **kwargs)
            look(i, "attention", before, between)
            look(i, "mlp", between, _first(out)[0])
            return out

        return forward

    @contextmanager
    def entered(self, first: int, stream: torch.Tensor) -> Iterator[None]:
        """Enter the stack at a layer with a stream [n, width]; those below pass on what comes."""
        own = self.layers[first].module.forward

        def forward(*args: Any, **kwargs: Any) -> Any:
            if args:
                return own(stream[None], *args[1:], **kwargs)
            return own(**{**kwargs, "hidden_states": stream[None]})

        with ExitStack() as stack:
            for layer in self.layers[:first]:
                stack.enter_context(_passing(layer))
            stack.enter_context(replaced(self.layers[first].module, forward))
            yield


@contextmanager
def replaced(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """Let a module compute something else for a while."""
    held = module.__dict__.get("forward")
    module.forward = forward
    try:
        yield
    finally:
        if held is None:
            del module.forward
        else:
            module.forward = held


def found_layers(module: nn.Module, count: int, run: Run, asked: list[int]) -> HostedLayers | None:
    """Return the stack of a module; None where there is none that can be told.

    Args:
        module: the language model.
        count: its layers.
        run: runs it over a few tokens.
        asked: grows by one entry whenever the module asks for its cache.
    """
    for held in module.modules():
        if isinstance(held, nn.ModuleList) and len(held) == count:
            layers = _chained(list(held), run)
            if layers is not None:
                return _taken_apart(layers, run, asked)
    return None


def _chained(layers: Sequence[nn.Module], run: Run) -> tuple[_Part, ...] | None:
    """Return the modules if each takes what the one before gave."""
    streams: list[tuple[torch.Tensor | None, Any]] = []
    with ExitStack() as stack:
        for layer in layers:
            stack.enter_context(replaced(layer, _noting(layer.forward, streams)))
        run()
    if len(streams) != len(layers) or any(x is None for x, _ in streams):
        return None
    pairs = zip(streams[1:], streams, strict=False)
    if not all(torch.equal(after[0], _first(before[1])) for after, before in pairs):  # type: ignore[arg-type]  # none is None
        return None
    return tuple(_Part(m, _form(out)) for m, (_, out) in zip(layers, streams, strict=True))


def _noting(own: Callable[..., Any], streams: list[tuple[torch.Tensor | None, Any]]) -> Any:
    def forward(*args: Any, **kwargs: Any) -> Any:
        out = own(*args, **kwargs)
        streams.append((_stream(args, kwargs), out))
        return out

    return forward


def _taken_apart(layers: tuple[_Part, ...], run: Run, asked: list[int]) -> HostedLayers:
    """Return the layers with their parts where that leaves each a sum."""
    whole = HostedLayers(layers)
    attention: list[_Part] = []
    mlp: list[_Part] = []
    for layer in layers:
        children = [child for child in layer.module.children() if _matrices(child)]
        forms: dict[int, tuple[bool, int | None]] = {}
        with ExitStack() as stack:
            for child in children:
                stack.enter_context(replaced(child, _asking(child, asked, forms)))
            run()
        asking = [c for c in children if forms.get(id(c), (False, None))[0]]
        others = [c for c in children if c not in asking and id(c) in forms]
        if len(asking) != 1 or len(others) != 1:
            return whole
        attention.append(_Part(asking[0], forms[id(asking[0])][1]))
        mlp.append(_Part(others[0], forms[id(others[0])][1]))
    parted = HostedLayers(layers, tuple(attention), tuple(mlp))
    return parted if _are_sums(parted, run) else whole


def _asking(child: nn.Module, asked: list[int], forms: dict[int, tuple[bool, int | None]]) -> Any:
    own = child.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        before = len(asked)
        out = own(*args, **kwargs)
        forms[id(child)] = len(asked) > before, _form(out)
        return out

    return forward


def _are_sums(parted: HostedLayers, run: Run) -> bool:
    """Return whether a layer without its parts gives back its input."""
    streams: list[tuple[torch.Tensor | None, Any]] = []
    with ExitStack() as stack:
        for layer, one, other in zip(parted.layers, parted.attention, parted.mlp, strict=True):
            stack.enter_context(_adding_nothing(one))
            stack.enter_context(_adding_nothing(other))
            own = layer.module.forward
            stack.enter_context(replaced(layer.module, _noting(own, streams)))
        try:
            run()
        except (RuntimeError, TypeError, ValueError, AttributeError):
            return False  # a part whose result another part needs
    return all(x is not None and torch.equal(x, _first(out)) for x, out in streams)


def _passing(layer: _Part) -> Any:
    return replaced(layer.module, lambda *args, **kwargs: layer.result(_stream(args, kwargs)))


def _adding_nothing(part: _Part) -> Any:
    def forward(*args: Any, **kwargs: Any) -> Any:
        x = _stream(args, kwargs)
        assert x is not None
        return part.result(torch.zeros_like(x))

    return replaced(part.module, forward)


def _stream(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return args[0] if args else kwargs.get("hidden_states")


def _first(out: Any) -> torch.Tensor:
    first: torch.Tensor = out[0] if isinstance(out, tuple) else out
    return first


def _form(out: Any) -> int | None:
    return len(out) if isinstance(out, tuple) else None


def _matrices(module: nn.Module) -> bool:
    return any(parameter.ndim > 1 for parameter in module.parameters())
