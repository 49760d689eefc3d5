"""A folder's files into a module of `transformers`: those that were named, whole, and no others.

`transformers` draws weights that are missing at random and leaves out what it has no place for;
here both are told. What a module itself names as ignorable, and tied weights, are neither.
"""

from __future__ import annotations

import logging
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils.logging import (
    disable_progress_bar,
    enable_progress_bar,
    get_verbosity,
    is_progress_bar_enabled,
    set_verbosity,
)

from rheostat.engines.enough_memory import check_room, is_short
from rheostat.engines.hf_folder import INDEX, stored_tensors
from rheostat.engines.notice import Notice
from rheostat.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import torch

    from rheostat.engines.hf_folder import Opened

    Say = Callable[[str], None] | None

SERVED = "serve the model with vLLM or llama.cpp and name it as `http://HOST/v1#NAME`"
ADAPTED = "base_model"
"""What the names of adapters begin with."""
COMPUTED = re.compile(
    r"(^|\.)(masked_bias|causal_mask|(cross)?attn\.bias|attention\.bias|embed_positions|position_ids"
    r"|rotary_emb\.(inv_freq|cos_cached|sin_cached))$"
)
"""Names of masks and tables that older files hold and a module computes itself."""
UNFIT = "its files do not fit its `config.json`: fetch the folder again"


def module_of(opened: Opened, why: str, dtype: torch.dtype, progress: Say) -> Any:
    """Return the module with the weights of an opened folder, or of the file named in it.

    Args:
        why: what the lean loop says of it.

    Raises:
        ModelError: `transformers` has no such module, a weight is missing, of another shape or
            foreign, or which file is meant is open.
    """
    try:
        with _quiet():
            config = AutoConfig.from_pretrained(
                opened.folder, local_files_only=True, trust_remote_code=False
            )
            config.transformers_weights = _weights_file(opened)
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                opened.folder,
                config=config,
                dtype=dtype,
                local_files_only=True,
                trust_remote_code=False,
                ignore_mismatched_sizes=True,  # they are told below
                output_loading_info=True,
            )
    except (ValueError, KeyError, OSError, ImportError, RuntimeError) as error:
        if is_short(error):
            raise
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(f"{why}; nor does `transformers`: {first}", hint=SERVED) from error
    module, info = loaded
    _check_whole(str(opened.folder), module, info)
    _check_foreign(str(opened.folder), module, info["unexpected_keys"], progress)
    return module


def check_room_of(opened: Opened, name: str, dtype: torch.dtype) -> None:
    """Raise `ModelError` when the files' weights cannot fit into memory in a number format.

    As well when it is open which of them is meant.
    """
    _weights_file(opened)
    stored = stored_tensors(opened.folder, opened.files)
    count = sum(tensor.numel() for tensor in stored.values())
    check_room(name, count, str(dtype).removeprefix("torch."), dtype.itemsize)


def _weights_file(opened: Opened) -> str:
    """Return the name of the file that holds the weights, or that says which ones do."""
    if len(opened.files) == 1:
        return opened.files[0].name
    if not (opened.folder / INDEX).is_file():
        names = ", ".join(f"`{file.name}`" for file in opened.files)
        raise ModelError(
            f"`{opened.folder}` holds {len(opened.files)} files of weights and no `{INDEX}`: "
            f"{names}",
            hint=f"name the one that is meant, such as `{opened.files[0]}`",
        )
    return INDEX


def _check_whole(where: str, module: Any, info: dict[str, Any]) -> None:
    """Raise `ModelError` where a weight is missing or of another shape; a tied one is another's."""
    tied = getattr(module, "all_tied_weights_keys", None) or {}
    if missing := sorted(set(info["missing_keys"]) - set(tied)):
        raise ModelError(
            f"`{where}` lacks {len(missing)} of the model's weights: `{missing[0]}`", hint=UNFIT
        )
    if unlike := sorted(info["mismatched_keys"]):
        key, found, wanted = unlike[0]
        raise ModelError(
            f"`{where}` holds {tuple(found)} for `{key}`, expected {tuple(wanted)}", hint=UNFIT
        )
    if info["error_msgs"]:
        raise ModelError(f"`{where}` cannot be read: {info['error_msgs'][0]}", hint=UNFIT)


def _check_foreign(where: str, module: Any, keys: Iterable[str], progress: Say) -> None:
    """Refuse weights that lie within the module and have no place there; tell of others.

    A head for another task or an encoder of images lies beside the language model, which is whole
    without it. An adapter, a scale of quantised weights or a layer too many lies in it.
    """
    foreign = [key for key in sorted(keys) if not COMPUTED.search(key)]
    beside = [key for key in foreign if _lies_beside(module, key)]
    within = [key for key in foreign if not _lies_beside(module, key)]
    if within:
        raise ModelError(
            f"`{where}` holds `{within[0]}`{_others(within)}, for which its model has no place",
            hint="adapters have to be merged and quantised weights to be turned back first; if "
            "the model is meant without them, load it with `transformers` and give it to "
            "`rheostat.load(model, tokenizer=tokenizer)`",
        )
    if beside and progress is not None:
        progress(
            Notice(f"{where} holds `{beside[0]}`{_others(beside)}, of a part that is not run here")
        )


def _lies_beside(module: Any, key: str) -> bool:
    """Return whether a weight is of a part that neither the module nor its stack has."""
    base = module.base_model
    first, _, rest = key.partition(".")
    if base is not module and first == module.base_model_prefix:
        first = rest.partition(".")[0]
    known = {name for held in (module, base) for name, _ in held.named_children()}
    return first not in {*known, ADAPTED}


def _others(keys: Sequence[str]) -> str:
    return f" and {len(keys) - 1} more weights" if len(keys) > 1 else ""


@contextmanager
def _quiet() -> Iterator[None]:
    """Let what is missing be told once, by us, and no bar be drawn."""
    before, bars = get_verbosity(), is_progress_bar_enabled()
    set_verbosity(logging.ERROR)
    disable_progress_bar()  # type: ignore[no-untyped-call]  # transformers' own
    try:
        yield
    finally:
        set_verbosity(before)
        if bars:
            enable_progress_bar()  # type: ignore[no-untyped-call]  # transformers' own
