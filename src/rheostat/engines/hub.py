"""Models of the Hugging Face hub, fetched once and kept in the hub's own cache."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rheostat.errors import ModelError, UserError

if TYPE_CHECKING:
    from collections.abc import Callable


def hub_folder(name: str, progress: Callable[[str], None] | None) -> Path:
    """Return the folder of a hub id, fetched unless it is in the hub's own cache.

    Raises:
        UserError: `huggingface_hub` is not installed.
        ModelError: it is in neither.
    """
    try:
        import huggingface_hub
        from huggingface_hub import errors
    except ModuleNotFoundError as error:
        raise UserError(
            "models of a hub need the package `huggingface_hub`, which is not installed",
            hint='pip install "rheostat[hub]"',
        ) from error
    patterns = ["*.json", "*.safetensors", "*.jinja"]
    try:
        return Path(
            huggingface_hub.snapshot_download(name, allow_patterns=patterns, local_files_only=True)
        )
    except (errors.LocalEntryNotFoundError, errors.HFValidationError, OSError):
        if progress is not None:
            progress(f"fetching {name} from the hub (once)")
    try:
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=patterns))
    except errors.RepositoryNotFoundError as error:
        raise ModelError(
            f"the hub holds no model `{name}`, or it is not open to you",
            hint="look at its name; for a closed one log in with `hf auth login`",
        ) from error
    except Exception as error:  # the package raises errors of several HTTP libraries
        raise ModelError(
            f"`{name}` is no folder here, nor in the hub's cache, and could not be fetched: "
            f"{_first_line(error)}",
            hint="look at the path; for a model of the hub connect once",
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
