"""Whether a model can draft for another one: the same tokens, and room for as long a text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rheostat.errors import MethodError

if TYPE_CHECKING:
    from rheostat.engines.torch_engine import TorchEngine


def check_drafts_for(draft: TorchEngine, engine: TorchEngine) -> None:
    """Refuse a draft model whose tokens are others, or whose context is shorter.

    Raises:
        MethodError: it says how they differ.
    """
    sizes = draft.shape.vocabulary, engine.shape.vocabulary
    hint = "a draft model has to be of the same family, with the same tokenizer"
    if sizes[0] != sizes[1]:
        raise MethodError(
            f"`{draft.model}` cannot draft for `{engine.model}`: its vocabulary has {sizes[0]} "
            f"tokens, the model's {sizes[1]}",
            hint=hint,
        )
    own, other = engine.tokenizer.vocabulary, draft.tokenizer.vocabulary
    differing = sorted(own.items() ^ other.items(), key=lambda pair: (pair[1], pair[0]))
    if differing:
        token, number = differing[0]
        raise MethodError(
            f"`{draft.model}` cannot draft for `{engine.model}`: their vocabularies differ, first "
            f"in token {number}, which is `{token}` in one of them alone",
            hint=hint,
        )
    if draft.shape.context < engine.shape.context:
        raise MethodError(
            f"`{draft.model}` cannot draft for `{engine.model}`: it reads {draft.shape.context} "
            f"tokens at most, the model {engine.shape.context}",
            hint="a draft model needs at least the model's context",
        )
