"""A model's name to its weights in memory, de-quantised once and memory-mapped ever after.

The first load turns a GGUF file into float32 safetensors and a small JSON file in the cache
folder, named by the GGUF's digest; later loads read those two alone. Damage to either (a cut
file, bad JSON) is found by their own lengths and checksum, and they are made again.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, final

from safetensors import SafetensorError, safe_open

from rheostat.engines.architecture import Architecture
from rheostat.engines.cache_folder import cache_folder, file_digest, whole_file
from rheostat.engines.embedded import gguf_path
from rheostat.engines.gguf_file import GgufModel, open_gguf
from rheostat.engines.tokenizer import tokenizer_json
from rheostat.engines.tokenizer_pieces import CONTROL
from rheostat.engines.weight_names import weight_shapes
from rheostat.errors import ModelError
from rheostat.kernel.model_cost import ModelShape

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import torch

_FORMAT = 2
"""Raised whenever the cached files change in meaning; older ones are then left alone."""
_END_TOKENS = ("<|im_end|>", "<|endoftext|>")
"""Control tokens that end an answer even where the file names only one of them."""


@final
@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """Everything that an engine needs of a model."""

    name: str
    """The name or path that the user gave."""
    digest: str
    """SHA-256 of the GGUF file, or over those of a folder's files."""
    gguf_path: Path | None
    """None = the model is not kept in a GGUF file."""
    shape: ModelShape
    architecture: Architecture
    bos_id: int | None
    eos_ids: frozenset[int]
    """Tokens that end an answer."""
    special_ids: frozenset[int]
    """All control tokens."""
    named_tokens: dict[str, str]
    """`bos_token`, `eos_token` ... as chat templates name them."""
    chat_template: str | None
    tokenizer_json: str = field(repr=False)
    tensors: dict[str, torch.Tensor] = field(repr=False)
    """As stored (float32 from a GGUF file), memory-mapped, by the names of `weight_names`; do not
    write into them."""

    def of_layer(self, layer: int) -> list[torch.Tensor]:
        """Return a layer's tensors."""
        start = f"layers.{layer}."
        return [tensor for name, tensor in self.tensors.items() if name.startswith(start)]


def load_weights(
    name_or_path: str, *, progress: Callable[[str], None] | None = None
) -> LoadedModel:
    """Load an embedded model by name or a GGUF file by path; fetch and convert when needed."""
    path = gguf_path(name_or_path, progress)
    stem = cache_folder() / "weights" / f"{file_digest(path)}-v{_FORMAT}"
    loaded = _read(name_or_path, path, stem)
    if loaded is None:
        if progress is not None:
            progress(f"unpacking the weights of {name_or_path} (once)")
        _build(path, stem)
        loaded = _read(name_or_path, path, stem)
    if loaded is None:
        raise ModelError(
            f"the weights cached at `{stem}.safetensors` changed while they were read",
            hint="try again; if that fails, look for another program that writes there",
        )
    return loaded


def _build(path: Path, stem: Path) -> None:
    """Write the weights and, last, their description: where that is, the weights are whole."""
    model = open_gguf(path)
    description = _description(model)
    _write_safetensors(_with(stem, "safetensors"), model)
    text = json.dumps(
        {"version": _FORMAT, "sha256": _checksum(description), "model": description},
        ensure_ascii=False,
    )
    with whole_file(_with(stem, "json")) as partial:
        partial.write_text(text, encoding="utf-8")


def _with(stem: Path, suffix: str) -> Path:
    return stem.with_name(f"{stem.name}.{suffix}")


def _description(model: GgufModel) -> dict[str, Any]:
    """Return what the JSON file holds of a model."""
    raw = model.tokenizer
    special = [i for i, kind in enumerate(raw.kinds) if kind == CONTROL]
    ends = {raw.ids[name] for name in ("eos", "eot") if name in raw.ids}
    ends |= {i for i in special if raw.tokens[i] in _END_TOKENS}
    return {
        "shape": model.shape.to_json(),
        "architecture": model.architecture.to_json(),
        "bos_id": raw.ids.get("bos"),
        "eos_ids": sorted(ends),
        "special_ids": special,
        "named_tokens": {f"{name}_token": raw.tokens[i] for name, i in raw.ids.items()},
        "chat_template": model.chat_template,
        "tokenizer_json": tokenizer_json(model.path, raw),
    }


def _checksum(description: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()


def _write_safetensors(target: Path, model: GgufModel) -> None:
    """Write the weights one tensor at a time, so that memory holds no more than the largest.

    The layout is the safetensors format: header length, JSON header, then the raw tensors.
    """
    header: dict[str, Any] = {}
    end = 0
    for name, tensor in model.tensors.items():
        start, end = end, end + 4 * _count(tensor.shape)
        header[name] = {"dtype": "F32", "shape": tensor.shape, "data_offsets": (start, end)}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with whole_file(target) as partial, partial.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in model.tensors.values():
            file.write(tensor.values().astype("<f4", copy=False).data)
        file.flush()
        os.fsync(file.fileno())


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count


def _read(name: str, path: Path, stem: Path) -> LoadedModel | None:
    """Return the cached model, or None when there is none or it is damaged."""
    description = _read_description(_with(stem, "json"))
    if description is None:
        return None
    shape = ModelShape(**description["shape"])
    architecture = Architecture.from_json(description["architecture"])
    tensors = _read_tensors(_with(stem, "safetensors"), weight_shapes(shape, architecture))
    if tensors is None:
        return None
    return LoadedModel(
        name=name,
        digest=stem.name.removesuffix(f"-v{_FORMAT}"),
        gguf_path=path,
        shape=shape,
        architecture=architecture,
        bos_id=description["bos_id"],
        eos_ids=frozenset(description["eos_ids"]),
        special_ids=frozenset(description["special_ids"]),
        named_tokens=description["named_tokens"],
        chat_template=description["chat_template"],
        tokenizer_json=description["tokenizer_json"],
        tensors=tensors,
    )


def _read_description(path: Path) -> dict[str, Any] | None:
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        description: dict[str, Any] = held["model"]
        whole = held["version"] == _FORMAT and held["sha256"] == _checksum(description)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return description if whole else None


def _read_tensors(
    path: Path, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, torch.Tensor] | None:
    """Map the tensors; None when the file is absent, cut short or of another shape."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (FileNotFoundError, SafetensorError):
        return None
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    return tensors if found == shapes else None
