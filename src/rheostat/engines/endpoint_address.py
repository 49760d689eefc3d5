"""Where an endpoint is, which model is asked for there, and the key that nobody gets to see."""

from __future__ import annotations

import ipaddress
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, final
from urllib.parse import quote, urlsplit

from rheostat.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

FORM = "write it like `http://localhost:8000/v1#NAME`"
OWN_KEY, USUAL_KEY = "RHEOSTAT_API_KEY", "OPENAI_API_KEY"
"""Environment variables that may hold a key; the first one wins."""


@final
@dataclass(frozen=True, kw_only=True)
class Address:
    """The two parts of `http(s)://HOST/v1#NAME`."""

    base: str
    """Without a slash at its end."""
    model: str

    @property
    def name(self) -> str:
        """The name as users write it."""
        return f"{self.base}#{self.model}"

    @property
    def loopback(self) -> bool:
        """Whether the server is on this machine."""
        host = urlsplit(self.base).hostname or ""
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"

    @property
    def private(self) -> bool:
        """Whether what is sent there cannot be read on the way."""
        return self.loopback or self.base.startswith("https:")


@final
class Key:
    """A key: it goes into a request's header, and never into a text."""

    def __init__(self, secret: str = "") -> None:
        """Hold the secret; empty = there is no key."""
        self._secret = secret

    def __repr__(self) -> str:
        """Say whether there is a key."""
        return "Key(hidden)" if self._secret else "Key(none)"

    def __bool__(self) -> bool:
        """Return whether there is a key."""
        return bool(self._secret)

    def header(self) -> dict[str, str]:
        """Return the header that carries it; empty without a key."""
        return {"Authorization": f"Bearer {self._secret}"} if self._secret else {}

    def hidden_in(self, text: str) -> str:
        """Return a text from elsewhere with the key taken out, however it was written."""
        if not self._secret:
            return text
        for form in (self._secret, quote(self._secret, safe=""), json.dumps(self._secret)[1:-1]):
            text = text.replace(form, "(key)")
        return text


def parse_address(name: str) -> Address:
    """Read `http(s)://HOST/v1#NAME`; raise `ModelError` for anything else."""
    base, _, model = name.partition("#")
    if "@" in base.partition("://")[2].partition("/")[0]:
        raise ModelError(
            "an endpoint's address holds a user name or a password, which would be written down",
            hint=f"leave it out and put the key into the environment variable `{OWN_KEY}`",
        )
    try:
        parts = urlsplit(base)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ModelError(f"`{base}` is not an address: {error}", hint=FORM) from error
    if parts.scheme not in ("http", "https") or not host:
        raise ModelError(f"`{base}` is not the address of a server", hint=FORM)
    if parts.query:
        raise ModelError(
            f"the address of `{parts.scheme}://{host}` holds a query, which would be written down",
            hint=f"leave it out; a key belongs into the environment variable `{OWN_KEY}`",
        )
    if not model.strip():
        raise ModelError(f"`{name}` does not say which model is meant", hint=FORM)
    return Address(base=base.rstrip("/"), model=model.strip())


def key_for(address: Address, environment: Mapping[str, str] = os.environ) -> Key:
    """Return the key of the environment for this address.

    The usual variable is meant for the service whose name it carries: it goes to this machine and
    over encrypted connections alone. Rheostat's own goes wherever the user points.
    """
    names = (OWN_KEY, USUAL_KEY) if address.private else (OWN_KEY,)
    for name in names:
        secret = environment.get(name, "").strip()
        if not secret:
            continue
        if not (secret.isascii() and secret.isprintable()):
            raise ModelError(
                f"the key in `{name}` holds characters that no header can carry",
                hint="copy it again, without line breaks",
            )
        return Key(secret)
    return Key()
