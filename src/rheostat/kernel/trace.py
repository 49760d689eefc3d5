"""What a request's run did, as a record: how far the drafts got and what was skipped."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(kw_only=True)
class Trace:
    """Counts of one request's decisions."""

    steps: int = 0
    """Decoding steps (forward passes after the prompt)."""
    draft_steps: int = 0
    """Steps that verified a draft."""
    proposed: int = 0
    """Draft tokens verified."""
    accepted: int = 0
    """Draft tokens accepted."""
    draft_passes: int = 0
    """Forward passes that drafted tokens."""
    lengths: dict[int, int] = field(default_factory=dict)
    """Draft length -> number of steps."""
    mlp_skipped: int = 0
    """MLPs not executed by a dynamic decision, summed over tokens."""
    cache_bytes: int = 0
    """Bytes that the row's cache takes when it ends, beside what it shares with others."""
    constraint_calls: int = 0
    """Calls of a constraint: a token checked, or all of them by its own mask."""
    reused: int = 0
    """Prompt tokens that were read by an earlier request, whose keys and values were kept."""
    saved: float = 0.0
    """Predicted seconds that reading those again would have taken."""
    seconds_deciding: float = 0.0
    """Measured seconds spent in decisions."""

    def drafted(self, proposed: int, accepted: int) -> None:
        """Count a step."""
        self.steps += 1
        self.lengths[proposed] = self.lengths.get(proposed, 0) + 1
        self.proposed += proposed
        self.accepted += accepted
        self.draft_steps += proposed > 0

    def to_json(self) -> dict[str, Any]:
        """Return plain data (JSON makes the lengths' keys texts)."""
        return asdict(self)
