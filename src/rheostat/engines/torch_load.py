"""Load a model into the `torch` engine: weights, forms and prices, each measured once a machine."""

from __future__ import annotations

import functools
import hashlib
import json
import math
from typing import TYPE_CHECKING, NamedTuple

import torch

from rheostat.engines.cache_folder import cache_folder, whole_file
from rheostat.engines.fused_build import fused_library
from rheostat.engines.load_model import load_model
from rheostat.engines.machine import machine
from rheostat.engines.tokenizer import Tokenizer
from rheostat.engines.torch_engine import TorchEngine
from rheostat.engines.torch_forms import choose, with_head, with_levels
from rheostat.engines.torch_levels import load_levels
from rheostat.engines.torch_matrix import Forms, candidates
from rheostat.engines.torch_model import Llama
from rheostat.engines.torch_prices import measured_prices
from rheostat.engines.torch_weights import fused_levels, fused_weights, head_weight
from rheostat.errors import UserError
from rheostat.kernel.model_cost import PriceTable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

    from rheostat.engines.torch_levels import Levels
    from rheostat.engines.torch_matrix import FormName
    from rheostat.engines.weights_cache import LoadedModel

DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "gguf": torch.float32,
    "layercast": torch.float32,
    "reproducible": torch.float32,
}
"""Number formats by the names that users know: `gguf` = the file's own four-bit matrices, and
float32 between them; `layercast` = weights held in bfloat16, arithmetic in float32;
`reproducible` = float32, each token's arithmetic the same whatever is computed beside it."""
FORMS = {
    "layercast": Forms(narrow="cast", wide="cast"),
    "reproducible": Forms(narrow="fixed", wide="fixed"),
}
"""Layouts that are part of the format; those of the others are chosen by measurement."""
FORMAT = 6
"""Version of the cached measurements."""


class _Known(NamedTuple):
    forms: Forms
    prices: PriceTable


def load_torch(
    name: str,
    *,
    dtype: str = "float32",
    threads: int | None = None,
    progress: Callable[[str], None] | None = None,
    remeasure: bool = False,
) -> TorchEngine:
    """Load a model by name or path.

    Args:
        name: an embedded name such as `smollm2`, the path of a GGUF file, of a folder as Hugging
            Face keeps it or of a `.safetensors` file in one, or a hub id.
        dtype: one of `DTYPES`.
        threads: threads of one forward pass; None = the cores this process may use.
        progress: called with a line of text when something takes a while.
        remeasure: measure forms and prices again even when this machine's are cached.

    Raises:
        ModelError: the model is unknown, damaged or out of reach.
        UserError: the number format or the thread count is not one.
    """
    source = _Source.of(name, dtype, threads, progress)
    known = None if remeasure else source.known()
    model = source.model(known, progress)
    if model.fused_reason and progress is not None:
        progress(
            f"steps run on torch's own small operations, which is slower: {model.fused_reason}"
        )
    if known:
        prices = known.prices
    else:
        prices = measured_prices(model, progress=progress)
        measured = {"forms": model.forms.to_json(), "prices": prices.to_json()}
        with whole_file(source.measurements) as partial:
            partial.write_text(json.dumps(measured), encoding="utf-8")
    opener = functools.partial(load_torch, dtype=dtype, threads=threads, progress=progress)
    tokenizer = Tokenizer.of(source.loaded)
    return TorchEngine(source.loaded, model, tokenizer, prices, dtype=dtype, opener=opener)


def load_llama(
    name: str, *, dtype: str, threads: int, progress: Callable[[str], None] | None = None
) -> Llama:
    """Load the weights alone in their fastest forms; no prices are measured. As `load_torch`."""
    source = _Source.of(name, dtype, threads, progress)
    return source.model(source.known(), progress)


class _Source(NamedTuple):
    loaded: LoadedModel
    dtype: str
    measurements: Path
    """Where this machine's measurements of this model, format and thread count are kept."""

    @staticmethod
    def of(
        name: str, dtype: str, threads: int | None, progress: Callable[[str], None] | None
    ) -> _Source:
        if dtype not in DTYPES:
            raise UserError(
                f"there is no dtype `{dtype}` in the `torch` engine",
                hint=f"choose one of: {', '.join(f'`{d}`' for d in DTYPES)}",
            )
        cores = machine().cores
        if threads is not None and not 1 <= threads <= 4 * cores:
            raise UserError(
                f"`--threads` must be from 1 to {4 * cores} on this machine, got `{threads}`",
                hint=f"leave it out for {cores}",
            )
        torch.set_num_threads(threads or cores)
        loaded = load_model(name, progress=progress)
        return _Source(loaded, dtype, _measurements_path(loaded, dtype))

    def known(self) -> _Known | None:
        usable = {FORMS[self.dtype].narrow} if self.dtype in FORMS else None
        return _read(self.measurements, usable or candidates(DTYPES[self.dtype]))

    def model(self, known: _Known | None, progress: Callable[[str], None] | None) -> Llama:
        dtype = DTYPES[self.dtype]
        levels = load_levels(self.loaded) if self.dtype == "gguf" else {}
        forms = FORMS.get(self.dtype) or (known.forms if known else None)
        forms = forms or _chosen(self.loaded, dtype, levels, progress)
        return Llama(self.loaded, dtype=dtype, forms=forms, levels=levels)


def _chosen(
    loaded: LoadedModel,
    dtype: torch.dtype,
    levels: Mapping[str, Levels],
    progress: Callable[[str], None] | None,
) -> Forms:
    """Time the weight forms on some layers, more than a processor's caches hold."""
    if progress is not None:
        progress("choosing the fastest layout of the weights on this machine")
    layers = range(min(8, loaded.shape.layers))
    weights = [w for i in layers for w in fused_weights(loaded, i, dtype).values() if w.ndim == 2]
    head = head_weight(loaded)
    forms = with_head(head, dtype, choose([*weights, head.to(dtype)]))
    held = [matrix for i in layers for matrix in fused_levels(levels, i).values()]
    return with_levels(held, forms) if held else forms


def _measurements_path(loaded: LoadedModel, dtype: str) -> Path:
    key = [FORMAT, machine().name, torch.__version__, torch.get_num_threads(), loaded.digest, dtype]
    key.append(fused_library().library is not None)
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
    return cache_folder() / "measurements" / f"{digest}.json"


def _read(path: Path, forms: Collection[FormName]) -> _Known | None:
    """Return cached measurements in these forms; None when there are none or they are damaged."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        known = _Known(Forms.from_json(data["forms"]), PriceTable.from_json(data["prices"]))
        table = known.prices
        whole = all(len(row) == len(table.tokens) for row in (*table.attention, table.mlp))
        seconds = table.seconds(2, 2, attention=1, mlp=1, head_rows=1)
    except (OSError, ValueError, LookupError, TypeError):
        return None
    usable = {known.forms.narrow, known.forms.wide} <= set(forms)
    return known if usable and whole and 0 < seconds < math.inf else None
