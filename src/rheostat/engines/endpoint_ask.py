"""A request as the bodies of OpenAI-compatible servers, with what a server refuses left out."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

if TYPE_CHECKING:
    from rheostat.engines.base import Request, Sampling
    from rheostat.engines.endpoint_server import Server

_SEEDS = 2**31 - 1


@final
@dataclass(kw_only=True)
class Offers:
    """What a server was found to offer: asked once, then remembered."""

    logprobs: bool = True
    seed: bool = True
    running: bool = True
    """Usage with every piece."""
    usage: bool = True
    """Usage at the end of a stream."""
    together: bool = True
    """Several answers to one request."""
    limit: str = "max_tokens"
    """What it calls the most tokens that may be written."""

    def dropped(self, refusal: str, sent: dict[str, Any]) -> bool:
        """Give up something optional that a refusal names; return whether there was any."""
        if "max_completion_tokens" in refusal and self.limit == "max_tokens":
            self.limit = "max_completion_tokens"
            return True
        for attribute, fields in _OPTIONAL:
            named = any(name in refusal for name in fields)
            asked = "n" in sent if attribute == "together" else any(name in sent for name in fields)
            if named and asked and getattr(self, attribute):
                setattr(self, attribute, False)
                return True
        return False


_OPTIONAL = (
    ("logprobs", ("logprobs", "top_logprobs")),
    ("running", ("timings_per_token", "continuous_usage_stats")),
    ("usage", ("stream_options",)),
    ("seed", ("seed",)),
    ("together", ("`n`", "'n'", '"n"', "n >", "n must", "one completion choice")),
)


@final
@dataclass(frozen=True, kw_only=True)
class Ask:
    """One call of an endpoint."""

    request: Request
    sampling: Sampling
    limit: int
    """Most new tokens."""
    seed: int
    logprobs: bool = True
    """Ask for log-probabilities where they are offered."""
    answers: int = 1

    @property
    def path(self) -> str:
        """Messages go through the server's chat template, raw text does not."""
        return "/completions" if self.request.prompt is not None else "/chat/completions"

    def body(self, server: Server, offers: Offers) -> dict[str, Any]:
        """Return the JSON that is sent."""
        request, dialect = self.request, server.dialect
        body: dict[str, Any] = {"model": server.address.model, "stream": True}
        if request.prompt is not None:
            body["prompt"] = request.prompt
        else:
            body["messages"] = [dict(message) for message in request.messages]
        body |= dialect.sampling(self.sampling, context=server.context)
        body[offers.limit] = self.limit
        if offers.seed:
            body["seed"] = self.seed
        if self.answers > 1 and offers.together:
            body["n"] = self.answers
        if self.logprobs and offers.logprobs:
            wanted = {"logprobs": 1} if request.prompt is not None else _CHAT_LOGPROBS
            body |= wanted
        if offers.usage:
            body["stream_options"] = {"include_usage": True}
        if offers.running and self.answers == 1:
            body |= dialect.running
        return body


_CHAT_LOGPROBS = {"logprobs": True, "top_logprobs": 1}


def own_seed(seed: int, question: str, index: int) -> int:
    """Return the seed of one sample: it depends on nothing but the three."""
    digest = hashlib.sha256(f"{seed}\n{question}\n{index}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % _SEEDS
