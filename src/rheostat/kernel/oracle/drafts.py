"""The cheapest steps that an answer could have taken, knowing it: the bound of draft control.

Before each token the sources guess from what is written until then, whatever the steps were that
wrote it, so the held length of every guess is known. The least price of all ways through the
answer then follows backwards: a step that starts at token i with k <= held(i) drafts pays
c(k + 1) and leads to i + k + 1 (dynamic programming; ours).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rheostat.kernel.policies.replay import StepPrice
    from rheostat.kernel.seams import DraftSource, DraftStart


def oracle_price(
    sources: Sequence[tuple[DraftSource, int]],
    start: DraftStart,
    answer: Sequence[int],
    step_price: StepPrice,
) -> float:
    """Return the least price of the steps that write an answer behind its first token.

    Args:
        sources: draft sources and the longest draft of each.
        start: what they see when the row starts, with the prompt.
        answer: every token written.
        step_price: price of one step.
    """
    held = held_lengths(sources, start, answer)
    read = len(start.prompt)
    least = [0.0] * (len(answer) + 1)
    for i in range(len(answer) - 1, 0, -1):
        least[i] = min(
            step_price(k + 1, read + i - 1) + least[min(i + k + 1, len(answer))]
            for k in range(held[i] + 1)
        )
    return least[1] if len(answer) > 1 else 0.0


def held_lengths(
    sources: Sequence[tuple[DraftSource, int]], start: DraftStart, answer: Sequence[int]
) -> list[int]:
    """Return for each place i how many tokens of the best guess made before it hold from there."""
    best = [0] * len(answer)
    for source, longest in sources:
        state = source.start(start)
        for i, token in enumerate(answer):
            guess = source.guess(state, longest) if longest and i else None
            if guess is not None:
                best[i] = max(best[i], _agreement(guess.tokens[:longest], answer[i:]))
            state = source.commit(state, [token])
    return best


def _agreement(guess: Sequence[int], text: Sequence[int]) -> int:
    held = 0
    for ours, theirs in zip(guess, text, strict=False):
        if ours != theirs:
            break
        held += 1
    return held
