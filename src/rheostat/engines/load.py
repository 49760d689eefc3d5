"""A model's name to the engine that runs it; an engine's packages are imported when it is used."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from rheostat.engines.enough_memory import loading_told, memory_told
from rheostat.engines.scripted import load_scripted
from rheostat.errors import ModelError, UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from rheostat.engines.base import Engine

DTYPES = ("float32", "bfloat16", "gguf", "layercast", "reproducible")
"""Number formats that can be asked for; an engine in another one has no choice of format."""
_OWN_DTYPES = ("float64", "server")
"""Number formats of engines that have no other."""
_PACKAGES = {
    "torch": frozenset({"torch", "gguf", "tokenizers", "safetensors", "jinja2"}),
    "endpoint": frozenset({"httpx"}),
    "llamacpp": frozenset({"httpx", "xllamacpp"}),
    "transformers": frozenset({"transformers"}),
}
"""Packages of the extras, which are called like what they are for."""


def unmovable() -> UserError:
    """Return the refusal of a device for an engine that is loaded."""
    return UserError(
        "a loaded engine runs where it is: `device` cannot move it",
        hint="load it there, as in `rheostat.load(MODEL, device=…)`, or leave `device` out",
    )


def load_engine(  # noqa: PLR0913  # what a loaded model depends on
    name: str,
    *,
    dtype: str = "float32",
    threads: int | None = None,
    device: str | None = None,
    cuda_graphs: bool = False,
    progress: Callable[[str], None] | None = None,
) -> Engine:
    """Load a model by name or path.

    Args:
        name: an embedded name such as `smollm2`, the path of a GGUF file or of a folder as Hugging
            Face keeps it, a hub id, `http(s)://HOST/v1#NAME`, `llamacpp:` before a GGUF file or an
            embedded name, or `scripted:SPEC.json`.
        dtype: `float32`, `bfloat16`, `gguf` for the four-bit weights of the file itself,
            `layercast` for bfloat16 weights in float32 arithmetic, or `reproducible` for float32
            that gives the same tokens in every batch; an endpoint has a format of its own and the
            scripted engine float64, whatever is asked.
        threads: threads of one forward pass; None = the cores this process may use.
        device: `cpu` (None), `cuda`, `cuda:1` or `mps`; for models in this process alone.
        cuda_graphs: capture steps of one token a row as CUDA graphs, on `cuda` alone.
        progress: called with a line of text when something takes a while.

    Raises:
        ModelError: the model is unknown, damaged or out of reach, or its engine does not exist.
        UserError: the number format or the thread count is not one, or an extra is missing.
    """
    if not name.strip():
        raise ModelError("the model's name is empty", hint="give a name such as `smollm2`")
    prefix, colon, rest = name.partition(":")
    if cuda_graphs:
        with torch_extra():
            from rheostat.engines.device import check_graphs
        check_graphs(device, dtype)
    if device is not None and colon and prefix in ("scripted", "llamacpp", "http", "https"):
        raise UserError(
            f"`--device` is for models on the `torch` engine, and `{name}` is not one",
            hint="leave it out",
        )
    if colon and prefix == "replay":
        raise ModelError(
            f"`{name}` holds recorded samples and answers nothing else",
            hint="`rheostat solve` draws from it",
        )
    if colon and prefix in ("scripted", "llamacpp", "http", "https"):
        _check_dtype(dtype)
    if colon and prefix == "scripted":
        return load_scripted(rest)
    if colon and prefix == "llamacpp":
        with _extra("llamacpp"):
            from rheostat.engines.llamacpp import load_llamacpp
        return load_llamacpp(rest, threads=threads, progress=progress)
    if colon and prefix in ("http", "https"):
        with _extra("endpoint"):
            from rheostat.engines.endpoint_engine import load_endpoint
        return load_endpoint(name)
    load = partial(_load_torch, name, threads=threads, device=device, progress=progress)
    with memory_told(lambda: loading_told(name, dtype)):
        return load(dtype=dtype, cuda_graphs=cuda_graphs)


def load_live(
    model: object,
    tokenizer: object,
    *,
    dtype: str | None = None,
    threads: int | None = None,
    progress: Callable[[str], None] | None = None,
) -> Engine:
    """Return an engine for a model of `transformers` that is in memory.

    Arguments and errors as of `load_hosted.load_live`.
    """
    with _extra("torch"), _extra("transformers"):
        from rheostat.engines import load_hosted
    with memory_told(lambda: loading_told(type(model).__name__, dtype)):
        return load_hosted.load_live(
            model, tokenizer, dtype=dtype, threads=threads, progress=progress
        )


def torch_extra() -> AbstractContextManager[None]:
    """Import what needs the `torch` engine; raise `UserError` when its extra is missing."""
    return _extra("torch")


@contextmanager
def _extra(name: str) -> Iterator[None]:
    """Import what needs an extra; raise `UserError` when it is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _PACKAGES[name]:
            raise
        raise UserError(
            f"the `{name}` engine needs the package `{error.name}`, which is not installed",
            hint=f'pip install "rheostat[{name}]"',
        ) from error


def _check_dtype(dtype: str) -> None:
    # A plan of a scripted model or an endpoint names the format that it is computed in.
    if dtype not in (*DTYPES, *_OWN_DTYPES):
        raise UserError(
            f"there is no dtype `{dtype}`",
            hint=f"choose one of: {', '.join(f'`{d}`' for d in DTYPES)}",
        )


def _load_torch(  # noqa: PLR0913  # what a loaded model depends on
    name: str,
    *,
    dtype: str,
    threads: int | None,
    device: str | None,
    cuda_graphs: bool,
    progress: Callable[[str], None] | None,
) -> Engine:
    if progress is not None:
        progress(f"loading {name}")
    with torch_extra():
        from rheostat.engines.hf_config import UnsupportedShapeError
        from rheostat.engines.torch_load import load_torch
    try:
        return load_torch(
            name,
            dtype=dtype,
            threads=threads,
            device=device,
            cuda_graphs=cuda_graphs,
            progress=progress,
        )
    except UnsupportedShapeError as error:
        if cuda_graphs:
            raise UserError(
                f"{error.message}: it runs on its own module, whose steps are not captured",
                hint="leave `--cuda-graphs` out",
            ) from error
        try:
            from rheostat.engines.load_hosted import load_hosted
        except ModuleNotFoundError as missing:
            if (missing.name or "").partition(".")[0] != "transformers":
                raise
            raise error from missing
        return load_hosted(name, error, dtype=dtype, device=device, progress=progress)
