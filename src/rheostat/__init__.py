"""Rheostat: adaptive computation for language models.

`import rheostat` loads nothing else; each name is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rheostat.api import generate, list_methods, load, plan, report
    from rheostat.api_check import check
    from rheostat.api_plan_samples import plan_samples
    from rheostat.api_session import Session
    from rheostat.api_solve import solve
    from rheostat.engines.base import Engine, Output, Request, Sampling
    from rheostat.errors import RheostatError
    from rheostat.kernel.plan import Plan, Setting

    __version__: str

__all__ = [
    "Engine",
    "Output",
    "Plan",
    "Request",
    "RheostatError",
    "Sampling",
    "Session",
    "Setting",
    "__version__",
    "check",
    "generate",
    "list_methods",
    "load",
    "plan",
    "plan_samples",
    "report",
    "solve",
]

_HOMES = {
    "rheostat.api": ("generate", "list_methods", "load", "plan", "report"),
    "rheostat.api_check": ("check",),
    "rheostat.api_plan_samples": ("plan_samples",),
    "rheostat.api_session": ("Session",),
    "rheostat.api_solve": ("solve",),
    "rheostat.engines.base": ("Engine", "Output", "Request", "Sampling"),
    "rheostat.errors": ("RheostatError",),
    "rheostat.kernel.plan": ("Plan", "Setting"),
}
"""Module -> the public names that it defines."""


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name == "__version__":
        return import_module("importlib.metadata").version("rheostat")  # 50 ms by itself
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    raise AttributeError(f"module `rheostat` has no attribute `{name}`")


def __dir__() -> list[str]:
    """Return the public names."""
    return list(__all__)
