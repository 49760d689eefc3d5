"""A model's name to the engine that runs it; an engine's packages are imported when it is used."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rheostat.engines.scripted import load_scripted
from rheostat.errors import ModelError, UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rheostat.engines.base import Engine

DTYPES = ("float32", "bfloat16", "gguf")
"""Number formats that can be asked for; an engine in another one has no choice of format."""
_LATER = ("http", "https", "llamacpp", "replay")
"""Prefixes of names that belong to engines of later versions."""
_EXTRA = frozenset({"torch", "gguf", "tokenizers", "safetensors", "jinja2"})
"""Packages of the extra `torch`."""


def load_engine(
    name: str,
    *,
    dtype: str = "float32",
    threads: int | None = None,
    progress: Callable[[str], None] | None = None,
) -> Engine:
    """Load a model by name or path.

    Args:
        name: `scripted:SPEC.json`, an embedded name such as `smollm2`, or the path of a GGUF file.
        dtype: `float32`, `bfloat16`, or `gguf` for the four-bit weights of the file itself; the
            scripted engine computes in float64 whatever is asked.
        threads: threads of one forward pass; None = the cores this process may use.
        progress: called with a line of text when something takes a while.

    Raises:
        ModelError: the model is unknown, damaged or out of reach, or its engine does not exist.
        UserError: the number format or the thread count is not one, or an extra is missing.
    """
    if not name.strip():
        raise ModelError("the model's name is empty", hint="give a name such as `smollm2`")
    prefix, colon, rest = name.partition(":")
    if colon and prefix in _LATER:
        raise ModelError(
            f"`{name}` needs an engine that this version of Rheostat does not have",
            hint="it has two: `torch` (an embedded name such as `smollm2`, or the path of a "
            ".gguf file) and `scripted:SPEC.json`",
        )
    if colon and prefix == "scripted":
        _check_dtype(dtype)
        return load_scripted(rest)
    return _load_torch(name, dtype, threads, progress)


@contextmanager
def torch_extra() -> Iterator[None]:
    """Import what needs the `torch` engine; raise `UserError` when its extra is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        raise UserError(
            f"the `torch` engine needs the package `{error.name}`, which is not installed",
            hint='pip install "rheostat[torch]"',
        ) from error


def _check_dtype(dtype: str) -> None:
    # A plan of a scripted model names the format that it is computed in.
    if dtype not in (*DTYPES, "float64"):
        raise UserError(
            f"there is no dtype `{dtype}`", hint="choose `float32`, `bfloat16` or `gguf`"
        )


def _load_torch(
    name: str, dtype: str, threads: int | None, progress: Callable[[str], None] | None
) -> Engine:
    if progress is not None:
        progress(f"loading {name}")
    with torch_extra():
        from rheostat.engines.torch_load import load_torch
    return load_torch(name, dtype=dtype, threads=threads, progress=progress)
