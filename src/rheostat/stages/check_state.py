"""What earlier checks of a plan have measured: one confidence sequence over all of them.

A JSONL file: a head that names the certificate, then a line an item, brought to the disk when it
is measured. So looks add up however often one looks, an item counts once, and a check that was
stopped goes on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rheostat.errors import OutputError
from rheostat.stages.durable_files import dumped, json_lines, to_disk, writing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

OTHER_STATE = "name another file with `--state`"


@dataclass
class CheckState:
    """The items measured so far, in the order in which they were."""

    path: Path
    certificate: str
    """The certificate's seal."""
    losses: dict[str, float] = field(default_factory=dict)
    """Mark of an item -> its loss."""
    workloads: list[str] = field(default_factory=list)
    """Where the items came from."""

    def add(self, workload: str, losses: Mapping[str, float]) -> None:
        """Keep new items of a workload, on the disk as well."""
        with writing(self.path), self.path.open("a", encoding="utf-8", newline="\n") as file:
            for item, loss in losses.items():
                file.write(dumped({"item": item, "loss": loss, "workload": workload}))
            to_disk(file)
        self._count(workload, losses)

    def _count(self, workload: str, losses: Mapping[str, float]) -> None:
        self.losses.update(losses)
        if losses and workload not in self.workloads:
            self.workloads.append(workload)

    @property
    def values(self) -> Sequence[float]:
        """The losses in order."""
        return tuple(self.losses.values())


def open_state(path: Path, certificate: str) -> CheckState:
    """Read the checks in a file, or begin one.

    Raises:
        OutputError: the file is of another certificate, damaged, or cannot be written.
    """
    state, lines = CheckState(path, certificate), json_lines(path)
    if not lines:
        with writing(path), path.open("w", encoding="utf-8", newline="\n") as file:
            file.write(dumped({"certificate": certificate}))
            to_disk(file)
        return state
    if lines[0].get("certificate") != certificate:
        raise OutputError(f"`{path}` holds checks of another certificate", hint=OTHER_STATE)
    _mend(path, lines)
    try:
        for line in lines[1:]:
            state._count(str(line["workload"]), {str(line["item"]): float(line["loss"])})
    except (KeyError, TypeError, ValueError) as error:
        raise OutputError(f"`{path}` is damaged: {error}", hint=OTHER_STATE) from error
    return state


def _mend(path: Path, lines: Sequence[Mapping[str, object]]) -> None:
    """Write the whole lines again where the last one was cut off."""
    whole = "".join(dumped(line) for line in lines)
    with writing(path):
        if path.read_text(encoding="utf-8", errors="replace") != whole:
            path.write_text(whole, encoding="utf-8", newline="\n")
