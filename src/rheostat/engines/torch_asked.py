"""What an engine is asked, looked at before any work: lengths and tokens that fit the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rheostat.errors import ModelError, WorkloadError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rheostat.kernel.model_cost import ModelShape


def check_prompt(ids: Sequence[int], of: str, shape: ModelShape) -> None:
    """Raise when a prompt leaves no room in the context, or holds a token that is none."""
    if len(ids) >= shape.context:
        raise WorkloadError(
            f"the prompt of {of} has {len(ids)} tokens, the model's context "
            f"holds {shape.context} with the answer",
            hint="shorten the prompt",
        )
    _check_ids(ids, of, shape)


def check_scored(prompt: Sequence[int], continuation: Sequence[int], shape: ModelShape) -> None:
    """Raise when a text to score has no prompt, does not fit, or holds a token that is none."""
    tokens = len(prompt) + len(continuation) - 1  # the last one is predicted, not read
    if not prompt:
        raise WorkloadError("there is no prompt to score after", hint="give at least one token")
    if tokens > shape.context:
        raise WorkloadError(
            f"the text to score has {tokens + 1} tokens, the model's context holds {shape.context}",
            hint="shorten it",
        )
    _check_ids([*prompt, *continuation], "the text to score", shape)


def _check_ids(ids: Sequence[int], of: str, shape: ModelShape) -> None:
    """Raise `ModelError` for a token that the model has no row for."""
    worst = max(ids, default=0)
    if worst >= shape.vocabulary:
        raise ModelError(
            f"the tokenizer makes token {worst} of {of}, and the model has rows for "
            f"{shape.vocabulary} tokens",
            hint="the tokenizer is another model's, or its added tokens were never given rows: "
            "put the model's own beside it",
        )
