"""What an endpoint has written so far: text, log-probabilities, usage, piece by piece.

Chat and raw completions, streamed or in one piece, and the two forms of log-probabilities that
servers use are read here. Whatever does not have the form raises `Malformed`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple, final


class Malformed(ValueError):
    """An answer that is not one of an OpenAI-compatible server."""


class Broken(ValueError):
    """The server says in the middle of an answer that it cannot go on."""


class Usage(NamedTuple):
    """Tokens as the server counts them."""

    prompt: int
    new: int


@final
@dataclass(kw_only=True)
class Written:
    """One answer."""

    parts: list[str] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    unseen_bytes: int = 0
    """Bytes that were written beside the answer, such as reasoning."""
    finish: str | None = None
    by_text: bool | None = None
    """Whether a stop text ended it; None = the server does not say."""

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self.parts)

    @property
    def most_tokens(self) -> int:
        """No fewer tokens than were written: as many as log-probabilities, else as bytes."""
        return len(self.logprobs) or len(self.text.encode()) + self.unseen_bytes


@final
class Reply:
    """The answers of one call."""

    def __init__(self, answers: int = 1) -> None:
        """Start with nothing written."""
        self.answers = tuple(Written() for _ in range(answers))
        self.usage: Usage | None = None
        """What the whole call took, once the server has said it."""
        self.running: Usage | None = None
        """What it took so far, where the server says it with every piece."""
        self.accepted = False
        """Whether the server took the request on."""

    @property
    def complete(self) -> bool:
        """Whether every answer has ended."""
        return all(written.finish is not None for written in self.answers)

    @property
    def alone(self) -> bool:
        """Whether the first answer has ended and no other has begun: the server writes one."""
        first, *others = self.answers
        return first.finish is not None and not any(o.parts or o.finish for o in others)

    def take(self, event: Any) -> str:
        """Take in one event of a stream, or the whole answer; return the first answer's text."""
        if not isinstance(event, dict):
            raise Malformed("a piece of the answer is not an object")
        if event.get("error"):
            raise Broken(_said(event["error"]))
        choices = event.get("choices")
        if not isinstance(choices, list):
            raise Malformed("a piece of the answer has no `choices`")
        ended = not choices
        shown = ""
        for choice in choices:
            if not isinstance(choice, dict):
                raise Malformed("a choice of the answer is not an object")
            index = choice.get("index", 0)
            if not isinstance(index, int) or not 0 <= index < len(self.answers):
                raise Malformed(f"the answer has a choice `{index}` that was not asked for")
            written = self.answers[index]
            piece = _taken(written, choice)
            ended = ended or written.finish is not None
            shown += piece if index == 0 else ""
        self._count(event, ended=ended)
        return shown

    def _count(self, event: dict[str, Any], *, ended: bool) -> None:
        usage = _usage(event.get("usage"), "prompt_tokens", "completion_tokens")
        if usage is not None and not ended:
            self.running = usage
        elif usage is not None:
            # With several answers one server counts them together, another each by itself.
            before = self.usage.new if self.usage is not None and len(self.answers) > 1 else 0
            self.usage = Usage(usage.prompt, usage.new + before)
        timings = event.get("timings")
        if usage is None and isinstance(timings, dict):  # llama.cpp
            read = _usage(timings, "prompt_n", "predicted_n")
            cached = timings.get("cache_n", 0)
            if read is not None and isinstance(cached, int):
                self.running = Usage(read.prompt + cached, read.new)


def _taken(written: Written, choice: dict[str, Any]) -> str:
    """Add a piece to an answer; return its text."""
    inner = choice.get("delta", choice.get("message"))
    if inner is None:
        piece = choice.get("text")
    elif isinstance(inner, dict):
        piece = inner.get("content")
        for name in ("reasoning_content", "reasoning"):
            if isinstance(inner.get(name), str):
                written.unseen_bytes += len(inner[name].encode())
                break
    else:
        raise Malformed("a choice of the answer has no text")
    if piece is not None and not isinstance(piece, str):
        raise Malformed("the text of a choice is not a text")
    written.parts.append(piece or "")
    written.logprobs += _logprobs(choice.get("logprobs"))
    finish = choice.get("finish_reason")
    if isinstance(finish, str):
        written.finish = finish
        if "stop_reason" in choice:  # vLLM: the text that ended it, or null
            written.by_text = isinstance(choice["stop_reason"], str)
    return piece or ""


def _logprobs(data: Any) -> list[float]:
    if not isinstance(data, dict):
        return []
    entries = data.get("content")
    if isinstance(entries, list):
        values: list[Any] = [entry.get("logprob") for entry in entries if isinstance(entry, dict)]
    else:
        values = data.get("token_logprobs") or []
    known = isinstance(values, list) and all(isinstance(value, int | float) for value in values)
    return [float(value) for value in values] if known else []


def _usage(data: Any, prompt: str, new: str) -> Usage | None:
    """Return a count; None where it is missing or cannot be one."""
    if not isinstance(data, dict):
        return None
    usage = Usage(data.get(prompt, -1), data.get(new, -1))
    whole = all(isinstance(n, int) and not isinstance(n, bool) for n in usage)
    return usage if whole and min(usage) >= 0 else None


def _said(error: Any) -> str:
    message = error.get("message") if isinstance(error, dict) else error
    return str(message)
