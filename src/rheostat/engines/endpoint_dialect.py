"""What the kinds of OpenAI-compatible servers call their own parameters, and what they leave out.

The interface itself knows `temperature`, `top_p`, `seed`, `stop`, `n` and log-probabilities. Other
parameters have names of each server's own; one that a server would pass over in silence is refused
here. Facts were read from the servers' documents and, for llama.cpp, checked against its server.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, final

from rheostat.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rheostat.engines.base import Sampling

_WINDOW = 1 << 16
"""Tokens that llama.cpp looks back for repetitions where its context is not known."""


@final
@dataclass(frozen=True, kw_only=True)
class Dialect:
    """A kind of server."""

    name: str
    own: bool = True
    """Whether it takes parameters beside the interface's."""
    states_defaults: bool = True
    """Send values that limit nothing too: the server's own defaults may be others."""
    no_top_k: int = -1
    """The `top_k` that sets no limit."""
    repetition: str = "repetition_penalty"
    window: bool = False
    """Whether the penalty looks back over a window that has to be given."""
    running: Mapping[str, Any] = field(default_factory=dict)
    """Asks for the usage so far with every piece of an answer."""
    own_law: bool = True
    """Whether log-probabilities are at temperature 1 whatever the answer was drawn at."""

    def sampling(self, asked: Sampling, *, context: int | None) -> dict[str, Any]:
        """Return the parameters of a request; raise `UserError` for one it would pass over."""
        body: dict[str, Any] = {"temperature": asked.temperature, "top_p": asked.top_p}
        own: dict[str, Any] = {}
        for name, value, neutral, sent in (
            ("top_k", asked.top_k, asked.top_k == 0, asked.top_k or self.no_top_k),
            ("min_p", asked.min_p, asked.min_p == 0, asked.min_p),
            (
                self.repetition,
                asked.repetition_penalty,
                asked.repetition_penalty == 1,
                asked.repetition_penalty,
            ),
        ):
            if not neutral and not self.own:
                option = "repetition_penalty" if name == self.repetition else name
                raise UserError(
                    f"`--{option.replace('_', '-')} {value}` would be passed over by {self.name}",
                    hint="leave it out, or use llama.cpp or vLLM",
                )
            if not neutral or (self.own and self.states_defaults):
                own[name] = sent
        if self.window and asked.repetition_penalty != 1:
            own["repeat_last_n"] = context or _WINDOW
        if asked.stop:
            body["stop"] = list(asked.stop)
        return body | own


_RUNNING = {"stream_options": {"include_usage": True, "continuous_usage_stats": True}}
OTHER = Dialect(name="this server", states_defaults=False)
"""Any other server: what it does not know it should refuse."""
DIALECTS: Mapping[str, Dialect] = {
    "llamacpp": Dialect(
        name="llama.cpp",
        no_top_k=0,
        repetition="repeat_penalty",
        window=True,
        running={"timings_per_token": True},
    ),
    "vllm": Dialect(name="vLLM", running=_RUNNING),
    "sglang": Dialect(name="SGLang", running=_RUNNING, own_law=False),
    "library": Dialect(name="Ollama", own=False),
}
"""By what `/models` says who owns a model."""
