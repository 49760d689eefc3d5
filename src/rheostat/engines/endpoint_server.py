"""Gets to know a server before any work: is it there, may we, does it serve the model?"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, final

import httpx

from rheostat.engines.endpoint_address import OWN_KEY, USUAL_KEY, Address, Key, key_for
from rheostat.engines.endpoint_dialect import DIALECTS, OTHER, Dialect
from rheostat.engines.endpoint_limits import SILENCE, Limits
from rheostat.errors import ModelError

_SHOWN = 6
"""Names of models that are listed in a message."""
_WORDS = 300
"""Characters of a server's own words that are passed on."""


@final
@dataclass(frozen=True, kw_only=True)
class Server:
    """A server that was met."""

    address: Address
    key: Key
    dialect: Dialect = OTHER
    context: int | None = None
    """Longest prompt and answer together, in tokens; None = it does not say."""
    limits: Limits = field(default_factory=Limits)


def meet(address: Address, *, limits: Limits | None = None, key: Key | None = None) -> Server:
    """Ask a server for its models.

    Raises:
        ModelError: it is down, slow, of another kind, refuses the key, or lacks the model.
    """
    limits = limits or Limits.of_environment()
    key = key_for(address) if key is None else key
    url = f"{address.base}/models"
    try:
        with httpx.Client(
            headers={"User-Agent": "rheostat"},
            timeout=httpx.Timeout(min(limits.silence, 30.0), connect=limits.connect),
            trust_env=not address.loopback,
        ) as client:
            answer = client.get(url, headers=key.header())
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        raise unreachable(address, error) from None
    if answer.status_code != httpx.codes.OK:
        raise turned_away(address, key, answer.status_code, answer.text)
    models = _models(address, answer)
    entry = models.get(address.model)
    if entry is None:
        listed = ", ".join(f"`{name}`" for name in list(models)[:_SHOWN])
        raise ModelError(
            f"the server at `{address.base}` does not serve `{address.model}`",
            hint=f"it serves {key.hidden_in(listed)}" if models else "it serves no model now",
        )
    return Server(
        address=address,
        key=key,
        dialect=DIALECTS.get(str(entry.get("owned_by")), OTHER),
        context=_context(entry),
        limits=limits,
    )


def unreachable(address: Address, error: Exception) -> ModelError:
    """Say that a server cannot be reached, or does not answer in time."""
    if isinstance(error, httpx.TimeoutException) and not isinstance(error, httpx.ConnectTimeout):
        return ModelError(
            f"the server at `{address.base}` did not answer in time",
            hint=f"try again when it is less busy, or set `{SILENCE}` to more seconds",
        )
    return ModelError(
        f"the server at `{address.base}` cannot be reached: {error or type(error).__name__}",
        hint="check that it runs and that the address is right",
    )


def turned_away(address: Address, key: Key, status: int, text: str) -> ModelError:
    """Say why a server turned a request away; what it wrote about a key is not passed on."""
    if status in (401, 403):
        found = "was refused" if key else "is missing"
        return ModelError(
            f"the server at `{address.base}` wants a key, and it {found} ({status})",
            hint=f"set the environment variable `{OWN_KEY}`"
            + (f" or `{USUAL_KEY}`" if address.private else ""),
        )
    if status in (404, 405) and not text.lstrip().startswith("{"):
        return _other_kind(address)
    said = said_by(text, key)
    return ModelError(
        f"the server at `{address.base}` answered {status}{f': {said}' if said else ''}",
        hint="the server's own log may say more",
    )


def said_by(text: str, key: Key) -> str:
    """Return a server's own words on one line, without the key and not at length."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        data = None
    if isinstance(data, dict):
        error = data.get("error", data.get("detail", data.get("message", data)))
        text = str(error.get("message", error) if isinstance(error, dict) else error)
    elif text.lstrip().startswith("<"):
        return ""  # a page for people
    return " ".join(key.hidden_in(text).split())[:_WORDS]


def _models(address: Address, answer: httpx.Response) -> dict[str, dict[str, Any]]:
    """Return what is known of each model by its names."""
    try:
        data = answer.json()["data"]
        entries = [(str(entry["id"]), entry) for entry in data]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise _other_kind(address) from None
    named = dict(entries)
    for _, entry in entries:
        aliases = entry.get("aliases")
        for alias in aliases if isinstance(aliases, list) else ():
            named.setdefault(str(alias), entry)
    return named


def _context(entry: dict[str, Any]) -> int | None:
    meta = entry.get("meta")
    told = meta.get("n_ctx") if isinstance(meta, dict) else entry.get("max_model_len")
    return told if isinstance(told, int) and told > 0 else None


def _other_kind(address: Address) -> ModelError:
    return ModelError(
        f"the server at `{address.base}` does not answer like an OpenAI-compatible one",
        hint="the address ends in `/v1` as a rule, as in `http://localhost:8000/v1#NAME`",
    )
