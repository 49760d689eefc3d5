"""What the `torch` engine is told of a model beside its weights, and how it loads another one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rheostat.engines.torch_engine import TorchEngine
    from rheostat.kernel.model_cost import ModelShape


class Named(Protocol):
    """What an engine knows of a model beside its weights."""

    @property
    def name(self) -> str:
        """The name or path that the user gave."""

    @property
    def digest(self) -> str:
        """SHA-256 over what the model was loaded from."""

    @property
    def shape(self) -> ModelShape:
        """The numbers that decide its cost."""

    @property
    def eos_ids(self) -> frozenset[int]:
        """Tokens that end an answer."""

    @property
    def special_ids(self) -> frozenset[int]:
        """All control tokens."""


class Opener(Protocol):
    """Loads a model by its name or path."""

    def __call__(self, name: str, *, dtype: str = ...) -> TorchEngine:
        """Load it, in this engine's number format unless another is named."""
