"""Modules of `transformers` into the `torch` engine: from a folder or the hub, or live ones.

A live model whose shape the lean loop knows runs there, on its own weights; any other on its own
module (`torch_hosted`).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, final

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from rheostat.engines.device import CPU, checked_device
from rheostat.engines.hf_config import Config, UnsupportedShapeError, described
from rheostat.engines.hf_folder import (
    NAMED,
    Words,
    added_tokens,
    check_numbers,
    ids_of,
    named_tensors,
    open_folder,
    words_of,
)
from rheostat.engines.hosted_context import border_told
from rheostat.engines.hosted_files import check_room_of, module_of
from rheostat.engines.load_model import folder_of
from rheostat.engines.notice import Notice
from rheostat.engines.tokenizer import Tokenizer
from rheostat.engines.torch_engine import TorchEngine
from rheostat.engines.torch_hosted import Hosted
from rheostat.engines.torch_load import check_format, lean_engine
from rheostat.engines.torch_matrix import candidates
from rheostat.engines.torch_measured import Known, keep_known, measurements_path, read_known
from rheostat.engines.torch_prices import measured_prices, measured_while_busy
from rheostat.engines.weights_cache import LoadedModel
from rheostat.errors import ModelError, UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rheostat.kernel.model_cost import ModelShape

    Say = Callable[[str], None] | None

DTYPES: Mapping[str, torch.dtype] = MappingProxyType(
    {"float32": torch.float32, "bfloat16": torch.bfloat16}
)
"""Number formats of modules that run themselves."""
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
TURNED: Mapping[str, str] = MappingProxyType({"float32": "float", "bfloat16": "bfloat16"})
"""How a module is turned into a number format."""


@final
@dataclass(frozen=True, kw_only=True)
class _HostedModel:
    """A module with what an engine has to know of it."""

    name: str
    digest: str
    shape: ModelShape
    words: Words = field(repr=False)

    @property
    def eos_ids(self) -> frozenset[int]:
        return self.words.eos_ids

    @property
    def special_ids(self) -> frozenset[int]:
        return self.words.special_ids


def load_hosted(
    name: str,
    why: UnsupportedShapeError,
    *,
    dtype: str,
    device: str | None = None,
    progress: Say = None,
) -> TorchEngine:
    """Load a folder or hub id whose shape the lean loop does not know.

    Args:
        why: what says so; it is raised where `transformers` has no such module either.

    Raises:
        ModelError: a file is missing or damaged, the files lack weights or hold foreign ones, they
            do not fit into memory, or the module keeps another state than keys and values.
        UserError: the number format is not one of the module's.
    """
    if dtype not in DTYPES:
        raise UserError(
            f"`{name}` runs on its own module, which has no dtype `{dtype}`",
            hint=f"choose {' or '.join(f'`{d}`' for d in DTYPES)}",
        )
    opened = open_folder(folder_of(name, progress))
    if progress is not None:
        progress(Notice(f"`{name}` runs on transformers' own module: {why.message}"))
    place = checked_device(device)
    if place == CPU:
        check_room_of(opened, name, DTYPES[dtype])
    module = module_of(opened, why.message, DTYPES[dtype], progress)
    check_numbers(str(opened.folder), module.state_dict(), opened.digest, progress)
    return _hosted_engine(module.to(place), name, opened.digest, words_of(opened), progress)


def load_live(
    model: object,
    tokenizer: object,
    *,
    dtype: str | None = None,
    threads: int | None = None,
    progress: Say = None,
) -> TorchEngine:
    """Return an engine for a model of `transformers` that is in memory.

    Args:
        model: a causal language model; it is put into evaluation mode, and its weights must not
            change afterwards.
        tokenizer: its fast tokenizer.
        dtype: `float32`, `bfloat16`, `layercast` or `reproducible`; None = the model's own. A
            model that runs on its own module keeps its own.

    Raises:
        ModelError: it is no such model, has no such tokenizer, or holds weights that are none.
        UserError: the number format is not one.
    """
    if not isinstance(model, PreTrainedModel) or not _has_head(model):
        raise ModelError(
            f"a `{type(model).__name__}` is no causal language model of `transformers`",
            hint="give a name, a path, or what `AutoModelForCausalLM.from_pretrained` returns",
        )
    own = _NAMES.get(model.dtype)
    if own is None:
        raise ModelError(
            f"the model's weights are {model.dtype}, which is not run here",
            hint="turn them with `model.float()` or `model.bfloat16()`",
        )
    check_format(dtype or own, threads)
    words, state = _words(model, tokenizer), model.state_dict()
    name = model.config.name_or_path or type(model).__name__
    digest = _digest(model, state, words)
    check_numbers(name, state, digest, progress)
    config = Config(path=name, values=model.config.to_dict())
    try:
        found = described(config)
    except UnsupportedShapeError:
        if dtype not in (None, own):
            raise UserError(
                f"`{name}` runs on its own module, in {own}",
                hint=f"leave `dtype` out, or turn the model itself: `model.{TURNED[dtype]}()`"
                if dtype in TURNED
                else f"leave `dtype` out: `{dtype}` is of the engine's own loop, which does not "
                "run this model",
            ) from None
        return _hosted_engine(model, name, digest, words, progress)
    loaded = LoadedModel(
        name=name,
        digest=digest,
        gguf_path=None,
        shape=found.shape,
        architecture=found.architecture,
        tensors=named_tensors(name, {k: v.detach() for k, v in state.items()}, found),
        **asdict(words),
    )
    return lean_engine(loaded, dtype or own, progress=progress)


def _hosted_engine(module: Any, name: str, digest: str, words: Words, progress: Say) -> TorchEngine:
    hosted, dtype = Hosted(module, name), _NAMES[module.dtype]
    if progress is not None and (border := border_told(hosted.config)):
        progress(Notice(f"{name}: {border}"))
    path = measurements_path(digest, f"{dtype}, hosted, laid out", module.device)
    known = read_known(path, candidates(module.dtype))
    if known is not None:
        hosted.lay_out(known.forms)
    if known is None or measured_while_busy(hosted, known.prices, progress=progress):
        known = Known(hosted.lay_out(None), measured_prices(hosted, progress=progress))
        keep_known(path, known, progress)
    model = _HostedModel(name=name, digest=digest, shape=hosted.shape, words=words)
    tokenizer = Tokenizer(
        tokenizer_json=words.tokenizer_json,
        chat_template=words.chat_template,
        named_tokens=words.named_tokens,
    )
    return TorchEngine(model, hosted, tokenizer, known.prices, dtype=dtype)


def _has_head(model: Any) -> bool:
    return model.get_output_embeddings() is not None


def _words(model: PreTrainedModel, tokenizer: object) -> Words:
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        found = "none" if tokenizer is None else f"a `{type(tokenizer).__name__}`"
        raise ModelError(
            f"a model in memory needs its fast tokenizer beside it, got {found}",
            hint="rheostat.load(model, tokenizer=AutoTokenizer.from_pretrained(...))",
        )
    text = tokenizer.backend_tokenizer.to_str()
    ids, special = added_tokens("the tokenizer", text)
    named = {key: getattr(tokenizer, key) for key in NAMED}
    named_tokens = {key: str(token) for key, token in named.items() if token}
    ends = {*ids_of(model.config.eos_token_id), *ids_of(tokenizer.eos_token_id)}
    if model.generation_config is not None:
        ends |= {*ids_of(model.generation_config.eos_token_id)}
    template = tokenizer.chat_template
    return Words(
        bos_id=ids.get(named_tokens.get("bos_token", "")),
        eos_ids=frozenset(ends),
        special_ids=frozenset(special),
        named_tokens=named_tokens,
        chat_template=template if isinstance(template, str) else None,
        tokenizer_json=text,
    )


def _digest(model: PreTrainedModel, state: Mapping[str, torch.Tensor], words: Words) -> str:
    """Return SHA-256 over configuration, tokenizer and every weight."""
    told = {k: v for k, v in model.config.to_dict().items() if not k.startswith("_")}
    digest = hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode())
    digest.update(words.tokenizer_json.encode())
    for name, weight in state.items():
        digest.update(name.encode())
        held = weight.detach().cpu().contiguous().view(-1)
        digest.update(held.view(torch.uint8).numpy().data)
    return digest.hexdigest()
