"""Licences that a user has to accept before a model is fetched, and the record that they did."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, final

from rheostat.engines.cache_folder import cache_folder, whole_file
from rheostat.errors import ModelError, UserError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@final
@dataclass(frozen=True, kw_only=True)
class Licence:
    """A licence with terms of use."""

    title: str
    url: str
    """Where its text is."""
    policy: str
    """Where the uses are named that it forbids."""


LICENCES: Mapping[str, Licence] = MappingProxyType(
    {
        "gemma": Licence(
            title="Gemma Terms of Use",
            url="https://ai.google.dev/gemma/terms",
            policy="https://ai.google.dev/gemma/prohibited_use_policy",
        )
    }
)
"""By the name with which they are accepted."""


def accept_licence(name: str) -> str:
    """Record that the user accepts a licence, for all later calls; return where it can be read.

    Raises:
        UserError: no model here has such a licence.
    """
    licence = LICENCES.get(name)
    if licence is None:
        known = ", ".join(f"`{known}`" for known in LICENCES)
        raise UserError(f"there is no licence `{name}` to accept", hint=f"choose {known}")
    shown = f"{licence.title} ({licence.url}; forbidden uses: {licence.policy})"
    with whole_file(_record(name)) as partial:
        partial.write_text(f"accepted: {shown}\n", encoding="utf-8")
    return shown


def check_accepted(name: str, model: str) -> None:
    """Raise `ModelError` unless the user has accepted the licence of a model."""
    if not _record(name).is_file():
        licence = LICENCES[name]
        raise ModelError(
            f"`{model}` comes under the {licence.title}, which you have not accepted",
            hint=f"read {licence.url} and {licence.policy}; if you agree, "
            f"run `rheostat --accept-licence {name}` once",
        )


def _record(name: str) -> Path:
    return cache_folder() / "licences" / name
