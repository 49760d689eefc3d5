"""The `token` seam: what an answer must be, and which token is taken under that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from rheostat.kernel.seams import Bools, Floats


class Constraint(Protocol):
    """What an answer must be, token by token. A state belongs to one row."""

    name: str
    """As the user wrote it."""

    def start(self) -> Any:
        """Return the state of an empty answer."""

    def allows(self, state: Any, token: int) -> bool:
        """Return whether the token may come next, so that a valid answer can still follow."""

    def mask(self, state: Any) -> Bools | None:
        """Return `allows` of every token at once, [vocabulary]; None = only one by one."""

    def advance(self, state: Any, token: int) -> Any:
        """Take in a token that is allowed; return the state, which may be the same object."""

    def may_end(self, state: Any) -> bool:
        """Return whether the answer is valid as it stands."""

    def fork(self, state: Any) -> Any:
        """Return a second state that is advanced by itself."""


class Taken(NamedTuple):
    """A token that a constraint admits."""

    token: int | None
    """None = every possible token was checked and none is valid."""
    log_weight: float
    """Logarithm of w with E[w 1[token = i]] = p_i if i is valid, else 0; 0 where none is asked."""
    checks: int
    """Tokens checked."""


class TokenChoice(Protocol):
    """Takes a valid token: a decision about which tokens are checked, and in which order.

    Each method draws by the same law, p restricted to valid tokens and renormalised; `check` says
    of a token whether it is valid.
    """

    def likeliest(self, scores: Floats, check: Callable[[int], bool]) -> Taken:
        """Return the valid token of the largest score, the lower id among equal ones.

        `scores` is [vocabulary]; -inf = impossible.
        """

    def drawn(self, law: Floats, check: Callable[[int], bool], rng: np.random.Generator) -> Taken:
        """Draw a valid token from `law` [vocabulary]; its weight is not asked for."""

    def weighted(
        self, law: Floats, check: Callable[[int], bool], rng: np.random.Generator
    ) -> Taken:
        """Draw a valid token from `law` [vocabulary], with its weight."""
