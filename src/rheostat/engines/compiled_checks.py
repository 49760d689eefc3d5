"""Compiled functions are compared with torch's once a machine: what was found right stays so.

A comparison runs torch operations that nothing else needs, whose code then counts as memory of
the process. That it went well is noted beside the library, whose name stands for its source,
compiler and processor; a library that was found wrong is compared again at the next start (ours).
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import torch

from rheostat.engines.cache_folder import whole_file
from rheostat.engines.fused_build import fused_library
from rheostat.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Callable


def found_right(name: str, agrees: Callable[[], bool]) -> bool:
    """Return whether functions of the compiled library are right, compared where they never were.

    Args:
        name: of the functions, their number formats included; part of a file's name.
        agrees: compares them; called with the library loaded.
    """
    path = fused_library().path
    if path is None:
        return False
    note = path.with_name(f"{path.stem}-{name}-torch-{torch.__version__}.right")
    if note.exists():
        return True
    if not agrees():
        return False
    with suppress(OutputError), whole_file(note) as partial:  # on a full disk: again next time
        partial.touch()
    return True
