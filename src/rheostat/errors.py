"""Errors a user can cause, each one sentence with a hint.

RheostatError                exit code 1 when it reaches the command line unclassified
  UserError                  exit code 2: the user can mend it
    ModelError               a model that is unknown, damaged, or not reachable
    WorkloadError            a file of prompts, tasks or requests that cannot be read
    MethodError              an unknown method, a bad dial or parameter, an unserved need
    PlanError                a plan of another model, version or machine
    OutputError              a folder of another run, or one that cannot be written
    ConstraintError          a constraint that is malformed, or that admits no token
    BudgetError              a budget that is malformed or would be exceeded
    MemoryShortError         weights, caches or a pass that do not fit into memory
"""

from __future__ import annotations


class RheostatError(Exception):
    """Base of all errors that Rheostat raises on purpose."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        """Keep the sentence and the hint apart so that a front end can lay them out."""
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        """Return the sentence, and the hint on a line of its own."""
        return f"{self.message}\nhint: {self.hint}" if self.hint else self.message


class RefutedError(RheostatError):
    """A certificate that data refute."""

    exit_code = 3


class UserError(RheostatError):
    """Something that the user can mend."""

    exit_code = 2


class ModelError(UserError):
    """A model that is unknown, damaged or out of reach."""


class WorkloadError(UserError):
    """Prompts, tasks or requests that cannot be read."""


class MethodError(UserError):
    """An unknown method, a bad dial or parameter, or a need that the engine does not serve."""


class PlanError(UserError):
    """A plan of another model or version, or a plan that cannot be made."""


class OutputError(UserError):
    """An output folder of another run, or one that cannot be written."""


class ConstraintError(UserError):
    """A constraint that is malformed, or that admits no token where one is needed."""


class BudgetError(UserError):
    """A budget that is malformed or would be exceeded."""


class MemoryShortError(UserError):
    """Weights, caches or a pass that do not fit into memory; what was finished before is kept."""


class UndecidedError(UserError):
    """Too little data to confirm or refute a certificate."""
