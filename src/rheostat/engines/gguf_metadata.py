"""Typed reading of a GGUF file's metadata, with every gap and mismatch put in words."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar, final

from rheostat.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

T = TypeVar("T")

_NAMED_TOKENS = {"bos": "bos", "eos": "eos", "eot": "eot", "unk": "unknown", "pad": "padding"}
DAMAGED_HINT = "it may be damaged or half downloaded: fetch it again"
# Each changes the forward pass or the set of weights; only the listed values leave them as is.
_HARMLESS: Mapping[str, tuple[object, ...]] = {
    "rope.scaling.type": ("none",),
    "rope.scaling.factor": (0.0, 1.0),
    "rope.scale_linear": (0.0, 1.0),
    "attention.scale": (0.0,),
    "attention.sliding_window": (0,),
    "attn_logit_softcapping": (0.0,),
    "final_logit_softcapping": (0.0,),
    "expert_count": (0,),
}


@final
@dataclass(frozen=True, kw_only=True)
class Metadata:
    """The key-value part of a GGUF file."""

    path: Path
    values: Mapping[str, Any]

    def value(self, key: str, kind: type[T], default: T | None = None) -> T:
        """Return a single value of a Python type; raise `ModelError` when absent or of another."""
        found = self.values.get(key, default)
        if found is None:
            raise ModelError(f"`{self.path}` lacks the entry `{key}`", hint=DAMAGED_HINT)
        if type(found) is not kind:
            raise ModelError(
                f"`{self.path}` holds `{key}` as {type(found).__name__}, not {kind.__name__}",
                hint=DAMAGED_HINT,
            )
        return found

    def size(self, key: str, default: int | None = None) -> int:
        """Return a positive integer."""
        found = self.value(key, int, default)
        if found < 1:
            raise ModelError(f"`{self.path}` holds `{key}` as {found}", hint=DAMAGED_HINT)
        return found

    def positive(self, key: str, default: float | None = None) -> float:
        """Return a finite number above zero."""
        found = self.value(key, float, default)
        if not 0 < found < float("inf"):
            raise ModelError(f"`{self.path}` holds `{key}` as {found}", hint=DAMAGED_HINT)
        return found

    def items(self, key: str, kind: type[T]) -> tuple[T, ...]:
        """Return the items of a list, all of one Python type."""
        found = self.value(key, list)
        if not all(type(item) is kind for item in found):
            raise ModelError(f"`{self.path}` holds items of `{key}` that are not {kind.__name__}")
        return tuple(found)

    def check_pass(self, family: str, *, windowed: bool = False) -> None:
        """Refuse entries that ask for a forward pass other than the family's.

        Args:
            family: the architecture's name, which begins its entries.
            windowed: whether its layers have windows.
        """
        harmless: dict[str, tuple[object, ...]] = {"split.count": (0, 1)}
        harmless |= {f"{family}.{key}": values for key, values in _HARMLESS.items()}
        if windowed:
            del harmless[f"{family}.attention.sliding_window"]
        for key, values in harmless.items():
            found = self.values.get(key)
            if found is not None and found not in values:
                raise ModelError(
                    f"`{self.path}` sets `{key}` to `{found}`, which is not supported",
                    hint=f"use a plain {family}: one file, no rope scaling, "
                    f"{'' if windowed else 'window, '}soft caps or experts",
                )


@final
@dataclass(frozen=True, kw_only=True)
class GgufTokenizer:
    """The tokenizer's raw material, as the file holds it."""

    model: str
    pre: str
    """Name of the rule that cuts text before merging."""
    tokens: tuple[str, ...]
    kinds: tuple[int, ...]
    """llama.cpp's type of each token: 1 normal, 3 control, 4 user-defined, 5 unused."""
    merges: tuple[str, ...]
    ids: Mapping[str, int]
    """Named tokens: `bos`, `eos`, `eot`, `unk`, `pad` where the file names them."""
    adds_bos: bool
    """Whether every text is to start with the `bos` token."""
    scores: tuple[float, ...] = ()
    """SentencePiece's rank of each token, higher = merged earlier; empty = it has merges."""
    adds_space: bool = False
    """Whether every text is to start with a space."""


def read_tokenizer(metadata: Metadata) -> GgufTokenizer:
    """Read the tokenizer's entries and check that they fit each other."""
    tokens = metadata.items("tokenizer.ggml.tokens", str)
    kinds = metadata.items("tokenizer.ggml.token_type", int)
    named = {
        name: metadata.value(f"tokenizer.ggml.{long}_token_id", int)
        for name, long in _NAMED_TOKENS.items()
        if f"tokenizer.ggml.{long}_token_id" in metadata.values
    }
    model = metadata.value("tokenizer.ggml.model", str)
    pieces = model == "llama"
    scores = metadata.items("tokenizer.ggml.scores", float) if pieces else ()
    whole = len(kinds) == len(tokens) and len(set(tokens)) == len(tokens) > 0
    whole = whole and len(scores) in ((len(tokens),) if pieces else (0,))
    if not whole or any(not 0 <= token < len(tokens) for token in named.values()):
        raise ModelError(
            f"`{metadata.path}` holds a tokenizer whose entries do not fit each other",
            hint=DAMAGED_HINT,
        )
    return GgufTokenizer(
        model=model,
        pre=metadata.value("tokenizer.ggml.pre", str, "default"),
        tokens=tokens,
        kinds=kinds,
        # Tokenizers other than BPE have no merges; which ones are supported is told elsewhere.
        merges=metadata.items("tokenizer.ggml.merges", str) if model == "gpt2" else (),
        ids=MappingProxyType(named),
        adds_bos=metadata.value("tokenizer.ggml.add_bos_token", bool, pieces),
        scores=scores,
        adds_space=metadata.value("tokenizer.ggml.add_space_prefix", bool, pieces),
    )
