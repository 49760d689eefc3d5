"""How long an endpoint may take, how often it is asked again, and how much runs side by side."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, final

from rheostat.errors import UserError

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping
    from datetime import datetime

SILENCE, CONNECTIONS = "RHEOSTAT_ENDPOINT_SILENCE", "RHEOSTAT_ENDPOINT_CONNECTIONS"
TOGETHER = "RHEOSTAT_ENDPOINT_TOGETHER"
"""Environment variables that set the limits of the same names."""


@final
@dataclass(frozen=True, kw_only=True)
class Limits:
    """Times are seconds."""

    connections: int = 8
    """Calls that run side by side; more wait."""
    together: int = 1
    """Samples of one question that a call asks for at most. With more than one the prompt is read
    and paid once, and a sample's text depends on which others it was asked for with."""
    connect: float = 10.0
    silence: float = 120.0
    """Longest wait for the next piece of an answer, the first included."""
    deadline: float = 1800.0
    """Longest that a call may take, tries included."""
    tries: int = 6
    """Tries of a call that a server turned away, the first included."""
    lost: int = 3
    """Times that an answer may break off before its sample is given up."""
    wait: float = 0.5
    """Wait before the second try; it doubles with every try."""
    longest_wait: float = 30.0
    hopeless: int = 8
    """Samples in a row that come to nothing before the endpoint is given up."""

    @staticmethod
    def of_environment(environment: Mapping[str, str] = os.environ) -> Limits:
        """Return the limits with what the environment sets; raise `UserError` for no number."""
        return Limits(
            silence=_number(environment, SILENCE, Limits.silence),
            connections=int(_number(environment, CONNECTIONS, Limits.connections)),
            together=int(_number(environment, TOGETHER, Limits.together)),
        )

    def pause(self, tries: int, asked: float | None, rng: random.Random) -> float:
        """Return the wait after so many tries: at least what the server asked for, and jitter.

        The jitter is a half to one and a half of the wait, so that calls which were turned away
        together do not come back together.
        """
        own = min(self.wait * 2.0 ** (tries - 1), self.longest_wait)
        return (asked or 0.0) + own * (0.5 + rng.random())


def retry_after(text: str | None, now: datetime) -> float | None:
    """Read a `Retry-After`: seconds or a date; None where there is none that can be read."""
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            then = parsedate_to_datetime(text)
        except ValueError:
            return None
        seconds = (then - now).total_seconds() if then.tzinfo is not None else math.nan
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _number(environment: Mapping[str, str], name: str, default: float) -> float:
    text = environment.get(name, "").strip()
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 1 <= value <= 1e6:
        raise UserError(f"`{name}` must be a number from 1, got `{text}`", hint="or leave it out")
    return value
