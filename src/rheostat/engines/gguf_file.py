"""Opens a GGUF file: its shape, its tokenizer and its weights, each checked first.

Weights come out as float32 in Hugging Face's row order: llama.cpp interleaves the two halves of
every head's query and key rows for its form of the rotary embedding, and that is undone here.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, final

import numpy as np

from rheostat.engines.cache_folder import file_digest
from rheostat.engines.gguf_family import FAMILIES, Family
from rheostat.engines.gguf_header import check_gguf_header
from rheostat.engines.gguf_metadata import DAMAGED_HINT, GgufTokenizer, Metadata, read_tokenizer
from rheostat.engines.weight_names import weight_shapes
from rheostat.errors import ModelError
from rheostat.kernel.model_cost import ModelShape

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from rheostat.engines.architecture import Architecture


@final
@dataclass(frozen=True, kw_only=True)
class GgufTensor:
    """One tensor on disk."""

    path: Path
    name: str
    kind: Any
    """The library's name of the number format."""
    data: NDArray[Any]
    """Raw rows, memory-mapped."""
    shape: tuple[int, ...]
    interleaved_heads: int
    """Heads whose rows llama.cpp has interleaved; 0 = rows in order."""

    def values(self) -> NDArray[np.float32]:
        """Read and de-quantise the tensor; raise `ModelError` when that fails."""
        from gguf import dequantize

        try:
            # A damaged scale overflows; the check below says so better than numpy's warning.
            with np.errstate(all="ignore"):
                values = dequantize(self.data, self.kind)
        except NotImplementedError as error:
            raise ModelError(
                f"`{self.path}` holds `{self.name}` in the unsupported format `{self.kind.name}`",
                hint="use a file in F16, Q8_0 or Q4_1",
            ) from error
        if not np.isfinite(values).all():
            raise ModelError(
                f"`{self.path}` holds values in `{self.name}` that are not finite",
                hint=DAMAGED_HINT,
            )
        if self.interleaved_heads:
            pairs = values.reshape(self.interleaved_heads, -1, 2, self.shape[1])
            values = pairs.swapaxes(1, 2).reshape(self.shape)
        return np.ascontiguousarray(values, dtype=np.float32)


@final
@dataclass(frozen=True, kw_only=True)
class GgufModel:
    """An opened file: everything but the weights' values, which are read one by one."""

    path: Path
    digest: str
    """SHA-256 of the file."""
    shape: ModelShape
    architecture: Architecture
    tokenizer: GgufTokenizer
    chat_template: str | None
    tensors: Mapping[str, GgufTensor]
    """By Rheostat's names, in the order of `weight_shapes`."""


def open_gguf(path: Path) -> GgufModel:
    """Open and check a GGUF file; raise `ModelError` when it is missing, damaged or unsupported."""
    digest = file_digest(path)
    parsed = _parsed(path)
    metadata = parsed.metadata
    name = metadata.value("general.architecture", str)
    family = FAMILIES.get(name)
    if family is None:
        known = ", ".join(f"`{known}`" for known in FAMILIES)
        raise ModelError(
            f"`{path}` holds the architecture `{name}`, which the `torch` engine does not read",
            hint=f"use a file of {known}, the model's folder of safetensors, or `llamacpp:{path}`",
        )
    metadata.check_pass(name, windowed=family.windowed)
    tokenizer = read_tokenizer(metadata)
    shape = _shape(parsed, name, vocabulary=len(tokenizer.tokens))
    decoder = family.decoder(metadata, shape)
    return GgufModel(
        path=path,
        digest=digest,
        shape=shape,
        architecture=decoder,
        tokenizer=tokenizer,
        chat_template=metadata.value("tokenizer.chat_template", str, "") or None,
        tensors=_tensors(parsed, family, shape, decoder),
    )


@dataclass(frozen=True, kw_only=True)
class _Parsed:
    """What the library read."""

    metadata: Metadata
    tensors: Mapping[str, Any]


def _parsed(path: Path) -> _Parsed:
    """Read the header, with any failure of the library on a damaged file put in words."""
    from gguf import GGUFReader

    try:
        check_gguf_header(path)
        with np.errstate(over="raise"):
            reader = GGUFReader(path)
        values = {key: field.contents() for key, field in reader.fields.items()}
        tensors = {tensor.name: tensor for tensor in reader.tensors}
    # On a damaged file the library fails with whatever numpy or Python met first.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ModelError(
            f"`{path}` is not a whole GGUF file: {reason}", hint=DAMAGED_HINT
        ) from error
    return _Parsed(metadata=Metadata(path=path, values=values), tensors=tensors)


def _shape(parsed: _Parsed, family: str, *, vocabulary: int) -> ModelShape:
    """Read the model's numbers and check that its heads can be what they say."""
    metadata = parsed.metadata
    width = metadata.size(f"{family}.embedding_length")
    heads = metadata.size(f"{family}.attention.head_count")
    kv_heads = metadata.size(f"{family}.attention.head_count_kv", heads)
    head_size = metadata.size(f"{family}.attention.key_length", max(width // heads, 1))
    value_size = metadata.size(f"{family}.attention.value_length", head_size)
    rotated = metadata.size(f"{family}.rope.dimension_count", head_size)
    if heads % kv_heads or head_size % 2 or not head_size == value_size == rotated:
        raise ModelError(
            f"`{metadata.path}` has {heads} query and {kv_heads} key heads of sizes {head_size} "
            f"(key), {value_size} (value), {rotated} (rotated), which is not supported",
            hint="the sizes must be equal and even, the key heads must divide the query heads",
        )
    return ModelShape(
        layers=metadata.size(f"{family}.block_count"),
        width=width,
        heads=heads,
        kv_heads=kv_heads,
        head_size=head_size,
        inner=metadata.size(f"{family}.feed_forward_length"),
        vocabulary=vocabulary,
        context=metadata.size(f"{family}.context_length"),
        tied="output.weight" not in parsed.tensors,
    )


def _tensors(
    parsed: _Parsed, family: Family, shape: ModelShape, decoder: Architecture
) -> Mapping[str, GgufTensor]:
    """Find every weight of a model of this shape, and nothing else."""
    path = parsed.metadata.path
    if "rope_freqs.weight" in parsed.tensors:
        raise ModelError(
            f"`{path}` scales its rotary embedding (`rope_freqs.weight`), which is not supported",
            hint="use a model without rope scaling, such as `smollm2`",
        )
    if shape.layers > len(parsed.tensors):
        raise ModelError(f"`{path}` lacks layers: it names {shape.layers}", hint=DAMAGED_HINT)
    heads = {"q": shape.heads, "k": shape.kv_heads} if family.interleaved else {}
    tensors = {}
    for name, dimensions in weight_shapes(shape, decoder).items():
        place = _gguf_name(name, family)
        stored = parsed.tensors.get(place)
        if stored is None or tuple(reversed(stored.shape.tolist())) != dimensions:
            found = "no" if stored is None else f"{tuple(reversed(stored.shape.tolist()))} for"
            raise ModelError(
                f"`{path}` holds {found} `{place}`, expected {dimensions}",
                hint=DAMAGED_HINT,
            )
        tensors[name] = GgufTensor(
            path=path,
            name=stored.name,
            kind=stored.tensor_type,
            data=stored.data,
            shape=dimensions,
            interleaved_heads=heads.get(name.split(".")[-2], 0),
        )
    _refuse_others(path, set(parsed.tensors) - {tensor.name for tensor in tensors.values()})
    return MappingProxyType(tensors)


def _refuse_others(path: Path, others: set[str]) -> None:
    """A weight that the forward pass would leave out changes the answers: say so."""
    if others:
        raise ModelError(
            f"`{path}` holds `{min(others)}`, which is not a weight of such a model",
            hint="biases, experts and adapters are not supported",
        )


def _gguf_name(name: str, family: Family) -> str:
    """Return llama.cpp's name of a weight."""
    parts = name.split(".")
    block = f"blk.{parts[1]}." if parts[0] == "layers" else ""
    return f"{block}{family.names[parts[-2]]}.weight"
