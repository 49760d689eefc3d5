"""A model's name to its weights, wherever they are kept."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from rheostat.engines.embedded import EMBEDDED
from rheostat.engines.hf_folder import is_folder, load_folder
from rheostat.engines.hub import hub_folder
from rheostat.engines.weights_cache import load_weights

if TYPE_CHECKING:
    from collections.abc import Callable

    from rheostat.engines.weights_cache import LoadedModel

HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")


def load_model(name: str, *, progress: Callable[[str], None] | None = None) -> LoadedModel:
    """Load an embedded model, a GGUF file, a folder, a `.safetensors` file or a hub id.

    Raises:
        ModelError: there is no such model, it is damaged, or it is not supported.
        UserError: a package that it needs is missing.
    """
    if name in EMBEDDED or not (is_folder(name) or _is_hub_id(name)):
        return load_weights(name, progress=progress)
    return load_folder(folder_of(name, progress), name=name, progress=progress)


def folder_of(name: str, progress: Callable[[str], None] | None) -> str:
    """Return the path of a folder, of a file in one, or of what the hub holds under an id."""
    return name if is_folder(name) else str(hub_folder(name, progress))


def _is_hub_id(name: str) -> bool:
    """Return whether a name has a hub id's form and is no file here."""
    is_file = name.lower().endswith(".gguf") or Path(name).expanduser().exists()
    return bool(HUB_ID.fullmatch(name)) and not is_file
