"""The `token` seam in an engine: the tokens of a row are taken under a constraint.

At every place a token is taken from the model's law restricted to valid tokens, whether it was
drafted or not; a draft is accepted as long as it is what was taken. That is its acceptance under
speculative sampling for a draft of one certain token, and with the same seed the same tokens come
with and without drafts. Without an installed method every token is masked, by the constraint's own
mask where it has one.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple, final

import numpy as np

from rheostat.errors import ConstraintError
from rheostat.kernel.policies.full_mask import drawn_of, likeliest_of, masked
from rheostat.kernel.policies.sampling import penalised
from rheostat.kernel.policies.token_tree import WRITTEN, children, parents_of
from rheostat.kernel.policies.verify import Verified

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rheostat.engines.base import Sampling
    from rheostat.kernel.constraint import Constraint, Taken, TokenChoice
    from rheostat.kernel.seams import Bools, Floats
    from rheostat.kernel.trace import Trace
    from rheostat.workloads.grammar_constraint import TokenTexts

_SHOWN = 40
"""Letters of the text before a dead end that a message shows."""


class Ends(NamedTuple):
    """Tokens that are no text."""

    ends: frozenset[int]
    """They end an answer."""
    special: frozenset[int]
    """They have no place in one."""


@final
class Constrained:
    """What all rows of one call of `generate` share."""

    def __init__(
        self,
        constraint: Constraint,
        sampling: Sampling,
        choice: TokenChoice | None,
        texts: TokenTexts,
        ends: Ends,
    ) -> None:
        self.constraint = constraint
        self.sampling = sampling
        self.choice = choice
        self.texts = texts
        self.ends = ends

    def row(self, name: str) -> ConstrainedRow:
        """Return the state of a new row, named as its request."""
        return ConstrainedRow(self, name, self.constraint.start(), [])


@final
class ConstrainedRow:
    """An answer so far, as the constraint sees it."""

    def __init__(self, shared: Constrained, name: str, state: object, written: list[int]) -> None:
        self._shared = shared
        self._name = name
        self._state = state
        self._written = written

    def fork(self) -> ConstrainedRow:
        """Return a second row of the same answer."""
        state = self._shared.constraint.fork(self._state)
        return ConstrainedRow(self._shared, self._name, state, list(self._written))

    def verified(
        self,
        logits: Floats,
        draft: Sequence[int],
        past: Sequence[int],
        rng: np.random.Generator,
        trace: Trace,
    ) -> Verified:
        """Take tokens until one is not the drafted one, and count it in the trace.

        Args:
            logits: after the past and after each draft token: [k + 1, vocabulary].
            draft: k token ids, or a tree of them.
            past: token ids of the prompt and of what was written.
            rng: the row's own generator.
            trace: the row's record.

        Raises:
            ConstraintError: the constraint admits no token.
        """
        start = time.perf_counter()
        tokens: list[int] = []
        below, at, path = children(parents_of(draft)), WRITTEN, list[int]()
        while True:
            token = self._taken(logits[at + 1], (*past, *tokens), rng, trace)
            tokens.append(token)
            self._advance(token)
            at = next((node for node in below[at + 1] if draft[node] == token), WRITTEN)
            if at == WRITTEN or token in self._shared.ends.ends:
                break
            path.append(at)
        trace.seconds_deciding += time.perf_counter() - start
        return Verified(tokens=tuple(tokens), accepted=len(path), path=tuple(path))

    def weighted(
        self, logits: Floats, past: Sequence[int], rng: np.random.Generator, trace: Trace
    ) -> Taken:
        """Draw a token with its weight and take it in; there may be none."""
        start = time.perf_counter()
        check, choice = _Check(self._shared, self._state), self._shared.choice
        law = self._law(logits, past)
        if choice is None:
            taken = drawn_of(law, check.mask(law > 0), rng, checks=check.calls)
        else:
            taken = choice.weighted(law, check, rng)
        if taken.token is not None:
            self._advance(taken.token)
        trace.constraint_calls += check.calls
        trace.seconds_deciding += time.perf_counter() - start
        return taken

    def end_mass(self, logits: Floats, past: Sequence[int]) -> float:
        """Return the probability that the answer ends here, 0 where it must not."""
        if not self._shared.constraint.may_end(self._state):
            return 0.0
        return float(self._law(logits, past)[sorted(self._shared.ends.ends)].sum())

    def _taken(
        self, logits: Floats, past: Sequence[int], rng: np.random.Generator, trace: Trace
    ) -> int:
        check, choice = _Check(self._shared, self._state), self._shared.choice
        token: int | None = None
        if self._shared.sampling.temperature > 0:
            law = self._law(logits, past)
            if choice is None:
                taken = drawn_of(law, check.mask(law > 0), rng, checks=0)
            else:
                taken = choice.drawn(law, check, rng)
            token = taken.token
        if token is None:  # greedy, or what `top_p` and its like left holds no valid token
            scores = self._scores(logits, past)
            if choice is None:
                taken = likeliest_of(scores, check.mask(scores > -np.inf), checks=0)
            else:
                taken = choice.likeliest(scores, check)
            token = taken.token
        trace.constraint_calls += check.calls
        if token is None:
            raise self._dead_end()
        return token

    def _law(self, logits: Floats, past: Sequence[int]) -> Floats:
        law: Floats = self._shared.sampling.laws(logits[None], past, ())[0]
        return law

    def _scores(self, logits: Floats, past: Sequence[int]) -> Floats:
        penalty = self._shared.sampling.repetition_penalty
        scores: Floats = logits if penalty == 1 else penalised(logits[None], past, (), penalty)[0]
        return scores

    def _advance(self, token: int) -> None:
        if token not in self._shared.ends.ends:
            self._state = self._shared.constraint.advance(self._state, token)
            self._written.append(token)

    def _dead_end(self) -> ConstraintError:
        pieces = self._shared.texts.pieces
        text = b"".join(pieces[token] for token in self._written).decode(errors="replace")
        where = f"after {text[-_SHOWN:]!r}" if text else "at the beginning"
        return ConstraintError(
            f"the constraint `{self._shared.constraint.name}` admits no token {where} "
            f"(token {len(self._written) + 1} of request `{self._name}`)",
            hint="it must refuse beginnings that no answer completes; drawn answers that run into "
            "such a place are dropped with `--particles N`",
        )


@final
class _Check:
    """Asks the constraint about one place of one row, and counts how often."""

    def __init__(self, shared: Constrained, state: object) -> None:
        self.calls = 0
        self._shared = shared
        self._state = state

    def __call__(self, token: int) -> bool:
        self.calls += 1
        constraint, ends = self._shared.constraint, self._shared.ends
        if token in ends.ends:
            return constraint.may_end(self._state)
        return token not in ends.special and constraint.allows(self._state, token)

    def mask(self, possible: Bools) -> Bools:
        """Return which of the possible tokens are valid, [vocabulary]."""
        constraint, ends = self._shared.constraint, self._shared.ends
        own = constraint.mask(self._state)
        if own is None:
            return masked(possible, self)
        self.calls += 1
        valid: Bools = own & possible
        valid[list(ends.special | ends.ends)] = False
        if constraint.may_end(self._state):
            last = list(ends.ends)
            valid[last] = possible[last]
        return valid
