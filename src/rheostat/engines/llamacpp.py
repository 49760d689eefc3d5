"""llama.cpp in this process: its own server on the loopback interface, met like any endpoint.

The package `xllamacpp` carries it. The server takes a free port and ends with the engine.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import xllamacpp

from rheostat.engines.cache_folder import file_digest
from rheostat.engines.embedded import gguf_path
from rheostat.engines.endpoint_address import Address, Key
from rheostat.engines.endpoint_engine import EndpointEngine
from rheostat.engines.endpoint_limits import Limits
from rheostat.engines.endpoint_server import meet
from rheostat.engines.gguf_header import check_gguf_header
from rheostat.engines.machine import machine
from rheostat.errors import ModelError, UserError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SLOTS = 4
"""Answers that it writes side by side; more wait."""
CONTEXT = 2048
"""Tokens of prompt and answer together in each."""
_ALIAS = "model"


def load_llamacpp(
    name: str, *, threads: int | None = None, progress: Callable[[str], None] | None = None
) -> EndpointEngine:
    """Load `llamacpp:FILE.gguf` or `llamacpp:smollm2`.

    Args:
        name: what stands after the colon: a GGUF file's path or an embedded name.
        threads: threads of one forward pass; None = the cores this process may use.

    Raises:
        ModelError: the file is unknown or damaged, or llama.cpp cannot load it.
        UserError: the thread count is not one, or an extra is missing.
    """
    if threads is not None and threads < 1:
        raise UserError(f"`--threads` must be at least 1, got `{threads}`")
    path = gguf_path(name, progress)
    try:
        check_gguf_header(path)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"`{path}` cannot be read as a GGUF file: {error}", hint="fetch it again"
        ) from error
    if progress is not None:
        progress(f"loading {name} into llama.cpp")
    started = _start(path, threads or machine().cores)
    address = Address(base=f"{started.listening_address}/v1", model=_ALIAS)
    limits = replace(Limits.of_environment(), connections=SLOTS)
    server = meet(address, limits=limits, key=Key())
    return EndpointEngine(server, model=f"llamacpp:{name}", digest=file_digest(path), keeps=started)


def _start(path: Path, threads: int) -> Any:
    """Return a server that listens on a free port of this machine."""
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.model_alias = {_ALIAS}
    params.n_ctx, params.n_parallel = SLOTS * CONTEXT, SLOTS
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.port = 0
    params.ui = False
    params.cache_ram_mib = 0  # prompts that left a slot are not kept
    params.verbosity = 0
    try:
        return xllamacpp.Server(params)
    except RuntimeError as error:
        raise ModelError(
            f"llama.cpp cannot load `{path}`: {error}",
            hint="the file may be damaged, or of a shape that this version of it does not know",
        ) from error
