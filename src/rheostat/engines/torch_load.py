"""Load a model into the `torch` engine: weights, forms and prices, each measured once a machine."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple

import torch

from rheostat.engines.device import CPU, check_graphs, checked_device
from rheostat.engines.enough_memory import check_memory
from rheostat.engines.load_model import load_model
from rheostat.engines.machine import machine
from rheostat.engines.mapped_pages import give_back, trim
from rheostat.engines.notice import Notice
from rheostat.engines.tokenizer import Tokenizer
from rheostat.engines.torch_engine import TorchEngine
from rheostat.engines.torch_float_ops import float_ops
from rheostat.engines.torch_forms import choose, with_head, with_levels
from rheostat.engines.torch_graphed import Graphed
from rheostat.engines.torch_graphs import captured_on_cuda
from rheostat.engines.torch_levels import load_levels
from rheostat.engines.torch_matrix import FIXED, Forms, candidates, cast_candidates
from rheostat.engines.torch_measured import Known, keep_known, measurements_path, read_known
from rheostat.engines.torch_model import Llama
from rheostat.engines.torch_prices import measured_prices, measured_while_busy
from rheostat.engines.torch_ways import Tables
from rheostat.engines.torch_weights import fused_levels, fused_weights, head_weight
from rheostat.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from rheostat.engines.decoder import Decoder
    from rheostat.engines.torch_graphs import Capture
    from rheostat.engines.torch_matrix import FormName
    from rheostat.engines.torch_named import Opener
    from rheostat.engines.torch_ways import Way
    from rheostat.engines.weights_cache import LoadedModel
    from rheostat.kernel.model_cost import PriceTable

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
_ELSEWHERE = {"reproducible": Forms("fixed", "fixed"), "layercast": Forms("cast", "cast")}
"""Layouts on another device than the processor, where they are not plain."""


def load_torch(  # noqa: PLR0913  # what a loaded model depends on
    name: str,
    *,
    dtype: str = "float32",
    threads: int | None = None,
    device: str | None = None,
    cuda_graphs: bool = False,
    progress: Callable[[str], None] | None = None,
    remeasure: bool = False,
) -> TorchEngine:
    """Load a model by name or path.

    Args:
        name: an embedded name such as `smollm2`, the path of a GGUF file, of a folder as Hugging
            Face keeps it or of a `.safetensors` file in one, or a hub id.
        dtype: one of `DTYPES`.
        threads: threads of one forward pass; None = the cores this process may use.
        device: `cpu` (None), `cuda`, `cuda:1` or `mps`.
        cuda_graphs: capture steps of one token a row as CUDA graphs, on `cuda` alone.
        progress: called with a line of text when something takes a while.
        remeasure: measure forms and prices again even when this machine's are cached.

    Raises:
        ModelError: the model is unknown, damaged or out of reach, or of another shape.
        UserError: the number format, the thread count or the device is not one.
    """
    check_format(dtype, threads)
    if cuda_graphs:
        check_graphs(device, dtype)
    place = checked_device(device)
    if dtype == "gguf" and place != CPU:
        raise UserError(
            f"`--dtype gguf` multiplies on the processor alone, not on `{place}`",
            hint="leave one of `--dtype` and `--device` out",
        )
    loaded = load_model(name, progress=progress)
    opener = functools.partial(
        load_torch,
        dtype=dtype,
        threads=threads,
        device=device,
        cuda_graphs=cuda_graphs,
        progress=progress,
    )
    engine = lean_engine(
        loaded,
        dtype,
        device=place,
        capture=captured_on_cuda if cuda_graphs else None,
        opener=opener,
        progress=progress,
        remeasure=remeasure,
    )
    del loaded
    trim()
    return engine


def lean_engine(  # noqa: PLR0913  # what a loaded model depends on
    loaded: LoadedModel,
    dtype: str,
    *,
    device: torch.device = CPU,
    capture: Capture | None = None,
    opener: Opener | None = None,
    progress: Callable[[str], None] | None = None,
    remeasure: bool = False,
) -> TorchEngine:
    """Return the engine of loaded weights, its forms and prices measured once a machine.

    `capture` captures steps of one token a row; None = they are run as they come.
    """
    if device == CPU and dtype != "gguf":
        size = 2 if dtype in ("bfloat16", "layercast") else 4
        check_memory(loaded.name, loaded.shape, dtype, size)
    give_back(loaded.tensors.values())  # what describing them has read
    tokenizer = Tokenizer.of(loaded)  # before the weights: reading its file takes room as well
    trim()
    kind = f"{dtype}, graphs" if capture else dtype
    source = _Source(loaded, dtype, measurements_path(loaded.digest, kind, device), device)
    known = None if remeasure else source.known()
    model = source.model(known, progress)
    if model.fused_reason and device == CPU and progress is not None:
        progress(
            Notice(
                f"steps run on torch's own small operations, which is slower: {model.fused_reason}"
            )
        )
    decoder: Decoder = Graphed(model, capture) if capture else model
    if known and measured_while_busy(decoder, known.prices, progress=progress):
        del model, decoder
        return lean_engine(
            loaded,
            dtype,
            device=device,
            capture=capture,
            opener=opener,
            progress=progress,
            remeasure=True,
        )
    if known is None:
        known = Known(model.forms, measured_prices(decoder, progress=progress))
        keep_known(source.measurements, known, progress)
    tables = known_tables(decoder, known, source.measurements, progress)
    return TorchEngine(loaded, decoder, tokenizer, tables, dtype=dtype, opener=opener)


def known_tables(
    decoder: Decoder, known: Known, path: Path, progress: Callable[[str], None] | None
) -> Tables:
    """Return the price tables of a model; those that are measured later are kept as well."""
    ways = dict(known.ways)

    def measure(way: Way) -> PriceTable:
        table = ways.get(way)
        if table and not measured_while_busy(decoder, table, way=way, progress=progress):
            return table
        ways[way] = table = measured_prices(decoder, way=way, progress=progress)
        keep_known(path, known._replace(ways=ways), progress)
        return table

    return Tables(known.prices, measure)


def load_llama(
    name: str, *, dtype: str, threads: int, progress: Callable[[str], None] | None = None
) -> Llama:
    """Load the weights alone in their fastest forms; no prices are measured. As `load_torch`."""
    check_format(dtype, threads)
    loaded = load_model(name, progress=progress)
    source = _Source(loaded, dtype, measurements_path(loaded.digest, dtype))
    return source.model(source.known(), progress)


def check_format(dtype: str, threads: int | None) -> None:
    """Set the threads of a pass; raise `UserError` for a number format or count that is none."""
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


def forms_elsewhere(dtype: str) -> Forms:
    """Return the layouts of a number format on another device than the processor."""
    return _ELSEWHERE.get(dtype, Forms())


def forms_of_format(dtype: str) -> Forms | None:
    """Return the layouts that are part of a number format; None = they are to be measured."""
    if dtype != "reproducible":
        return None
    padded, own = FIXED
    form = padded if float_ops().library is None else own
    return Forms(form, form)


class _Source(NamedTuple):
    loaded: LoadedModel
    dtype: str
    measurements: Path
    """Where this machine's measurements of this model, format and thread count are kept."""
    device: torch.device = CPU

    def known(self) -> Known | None:
        fixed = forms_of_format(self.dtype)
        usable = {fixed.narrow} if fixed else set(self._candidates())
        if self.device != CPU:
            usable = {forms_elsewhere(self.dtype).narrow}
        return read_known(self.measurements, usable)

    def model(self, known: Known | None, progress: Callable[[str], None] | None) -> Llama:
        dtype = DTYPES[self.dtype]
        levels = load_levels(self.loaded) if self.dtype == "gguf" else {}
        forms = known.forms if known else None
        if self.device != CPU:
            forms = forms or forms_elsewhere(self.dtype)
        forms = forms or forms_of_format(self.dtype) or self._chosen(levels, progress)
        return Llama(self.loaded, dtype=dtype, forms=forms, levels=levels, device=self.device)

    def _candidates(self) -> tuple[FormName, ...]:
        return cast_candidates() if self.dtype == "layercast" else candidates(DTYPES[self.dtype])

    def _chosen(
        self, levels: Mapping[str, torch.Tensor], progress: Callable[[str], None] | None
    ) -> Forms:
        """Time the weight forms on some layers, more than a processor's caches hold."""
        if progress is not None:
            progress("choosing the fastest layout of the weights on this machine")
        loaded, dtype = self.loaded, DTYPES[self.dtype]
        layers = range(min(8, loaded.shape.layers))
        weights = [
            w for i in layers for w in fused_weights(loaded, i, dtype).values() if w.ndim == 2
        ]
        head = head_weight(loaded)
        forms = choose([*weights, head.to(dtype)], self._candidates())
        forms = with_head(head, forms.held(dtype), forms)
        held = [matrix for i in layers for matrix in fused_levels(levels, i).values()]
        return with_levels(held, forms) if held else forms
