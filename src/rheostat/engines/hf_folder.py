"""A model as Hugging Face keeps it: a folder with `config.json`, safetensors and a tokenizer.

The weights stay memory-mapped in the files, in the format in which they are stored; they are
looked through for numbers that are none once.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open

from rheostat.engines.cache_folder import cache_folder, file_digest, whole_file
from rheostat.engines.hf_config import DAMAGED, Config, Described, described
from rheostat.engines.weight_names import weight_shapes
from rheostat.engines.weights_cache import LoadedModel
from rheostat.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CONFIG, TOKENIZER, INDEX = "config.json", "tokenizer.json", "model.safetensors.index.json"
_NAMED = ("bos_token", "eos_token", "unk_token", "pad_token")
_PLACES: Mapping[str, str] = MappingProxyType(
    {
        "embed": "model.embed_tokens",
        "norm": "model.norm",
        "head": "lm_head",
        "attn_norm": "input_layernorm",
        "q": "self_attn.q_proj",
        "k": "self_attn.k_proj",
        "v": "self_attn.v_proj",
        "o": "self_attn.o_proj",
        "q_norm": "self_attn.q_norm",
        "k_norm": "self_attn.k_norm",
        "mlp_norm": "post_attention_layernorm",
        "gate": "mlp.gate_proj",
        "up": "mlp.up_proj",
        "down": "mlp.down_proj",
    }
)
_POST_PLACES: Mapping[str, str] = MappingProxyType(
    {
        "attn_post_norm": "post_attention_layernorm",
        "mlp_norm": "pre_feedforward_layernorm",
        "mlp_post_norm": "post_feedforward_layernorm",
    }
)
"""Where norms lie in a model that has them behind its sub-layers too."""
_STACKS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"self_attn.qkv_proj": ("q", "k", "v"), "mlp.gate_up_proj": ("gate", "up")}
)


def is_folder(name: str) -> bool:
    """Return whether a name is that of a model as Hugging Face keeps it."""
    path = Path(name).expanduser()
    return path.is_dir() or path.suffix == ".safetensors"


def load_folder(
    where: str, *, name: str | None = None, progress: Callable[[str], None] | None = None
) -> LoadedModel:
    """Load a folder, or a `.safetensors` file that lies in one.

    Args:
        name: what the user called it; None = `where`.

    Raises:
        ModelError: a file is missing or damaged, the shards do not fit each other, a weight is no
            number, or the architecture is not supported.
    """
    path = Path(where).expanduser().resolve()
    folder = path if path.is_dir() else path.parent
    config = Config(path=str(folder / CONFIG), values=_json(folder / CONFIG))
    found = described(config)
    files = _files(folder) if path.is_dir() else {path}
    digest = _digest([folder / CONFIG, folder / TOKENIZER, *sorted(files)])
    tensors = _tensors(folder, files, found)
    _check_numbers(folder, tensors, digest, progress)
    return _described_model(name or where, folder, digest, config, found, tensors)


def _described_model(  # noqa: PLR0913  # what a model is put together from
    name: str,
    folder: Path,
    digest: str,
    config: Config,
    found: Described,
    tensors: dict[str, torch.Tensor],
) -> LoadedModel:
    text = (folder / TOKENIZER).read_text(encoding="utf-8")
    ids, special = _added(folder / TOKENIZER, text)
    told = _json(folder / "tokenizer_config.json", optional=True)
    named = {key: _text(told.get(key)) for key in _NAMED}
    named_tokens = {key: token for key, token in named.items() if token}
    generation = _json(folder / "generation_config.json", optional=True)
    ends = {*_ids(config.values.get("eos_token_id")), *_ids(generation.get("eos_token_id"))}
    ends |= {ids[named_tokens["eos_token"]]} if named_tokens.get("eos_token") in ids else set()
    bos = ids.get(named_tokens.get("bos_token", ""))
    return LoadedModel(
        name=name,
        digest=digest,
        gguf_path=None,
        shape=found.shape,
        architecture=found.architecture,
        bos_id=bos,
        eos_ids=frozenset(ends),
        special_ids=frozenset(special),
        named_tokens=named_tokens,
        chat_template=_chat_template(folder, told),
        tokenizer_json=text,
        tensors=tensors,
    )


def _json(path: Path, *, optional: bool = False) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if optional:
            return {}
        raise ModelError(
            f"`{path.parent}` holds no `{path.name}`",
            hint="give the folder of a model as Hugging Face keeps it, or a .gguf file",
        ) from None
    except (OSError, ValueError) as error:
        raise ModelError(f"`{path}` cannot be read: {error}", hint=DAMAGED) from error
    if not isinstance(found, dict):
        raise ModelError(f"`{path}` holds no JSON object", hint=DAMAGED)
    return found


def _files(folder: Path) -> set[Path]:
    """Return the folder's safetensors, those of the index where there is one."""
    if (folder / INDEX).is_file():
        shards = _json(folder / INDEX).get("weight_map")
        if not isinstance(shards, dict):
            raise ModelError(f"`{folder / INDEX}` names no shards", hint=DAMAGED)
        files = {folder / str(name) for name in shards.values()}
        missing = sorted(file.name for file in files if not file.is_file())
        if missing:
            raise ModelError(
                f"`{folder}` lacks {len(missing)} of {len(files)} shards: `{missing[0]}`",
                hint="fetch the folder again; every shard must be there",
            )
        return files
    files = set(folder.glob("*.safetensors"))
    if not files:
        raise ModelError(
            f"`{folder}` holds no .safetensors file",
            hint="save the model again with `save_pretrained(folder)`",
        )
    return files


def _digest(files: list[Path]) -> str:
    if not files[1].is_file():
        raise ModelError(
            f"`{files[1].parent}` holds no `{TOKENIZER}`",
            hint="save the fast tokenizer there: `AutoTokenizer.from_pretrained(...)"
            ".save_pretrained(folder)`",
        )
    joined = "\n".join(f"{file.name} {file_digest(file)}" for file in files)
    return hashlib.sha256(joined.encode()).hexdigest()


def _tensors(folder: Path, files: set[Path], found: Described) -> dict[str, torch.Tensor]:
    """Map every weight under Rheostat's names."""
    stored: dict[str, torch.Tensor] = {}
    for file in sorted(files):
        try:
            with safe_open(file, framework="pt") as opened:
                held = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise ModelError(f"`{file}` cannot be read: {error}", hint=DAMAGED) from error
        twice = stored.keys() & held.keys()
        if twice:
            raise ModelError(
                f"`{folder}` holds `{min(twice)}` in two files",
                hint="two models lie in one folder: keep the shards of one",
            )
        stored |= held
    if found.stacked:
        stored = _unstacked(stored, found)
    wanted = weight_shapes(found.shape, found.architecture)
    tensors: dict[str, torch.Tensor] = {}
    for name, shape in wanted.items():
        place = _place(name, post_norms=found.architecture.post_norms)
        tensor = stored.pop(place, None)
        if tensor is None or tuple(tensor.shape) != shape:
            what = "no" if tensor is None else f"{tuple(tensor.shape)} for"
            raise ModelError(
                f"`{folder}` holds {what} `{place}`, expected {shape}",
                hint="its shards do not fit its `config.json`: fetch the folder again",
            )
        is_norm = name.endswith("norm.weight")
        tensors[name] = tensor.float() + found.norm_offset if is_norm else tensor
    others = {key for key in stored if not key.endswith("rotary_emb.inv_freq")}
    if found.shape.tied:
        others.discard("lm_head.weight")
    if others:
        raise ModelError(
            f"`{folder}` holds `{min(others)}`, which is not a weight of such a model",
            hint="adapters, experts and quantised weights are not supported",
        )
    return tensors


def _unstacked(stored: dict[str, torch.Tensor], found: Described) -> dict[str, torch.Tensor]:
    """Take stacked matrices apart, without copying them."""
    shape, parts = found.shape, dict(stored)
    keys = shape.kv_heads * shape.head_size
    sizes = {
        "self_attn.qkv_proj": (shape.heads * shape.head_size, keys, keys),
        "mlp.gate_up_proj": (shape.inner, shape.inner),
    }
    for layer in range(shape.layers):
        for stack, names in _STACKS.items():
            whole = parts.pop(f"model.layers.{layer}.{stack}.weight", None)
            if whole is None or whole.shape[0] != sum(sizes[stack]):
                continue  # told as a weight that is missing
            pieces = torch.split(whole, list(sizes[stack]))
            parts |= {
                f"model.layers.{layer}.{_PLACES[name]}.weight": piece
                for name, piece in zip(names, pieces, strict=True)
            }
    return parts


def _place(name: str, *, post_norms: bool) -> str:
    """Return Hugging Face's name of a weight."""
    parts = name.split(".")
    places = {**_PLACES, **_POST_PLACES} if post_norms else _PLACES
    block = f"model.layers.{parts[1]}." if parts[0] == "layers" else ""
    return f"{block}{places[parts[-2]]}.{parts[-1]}"


def _check_numbers(
    folder: Path,
    tensors: Mapping[str, torch.Tensor],
    digest: str,
    progress: Callable[[str], None] | None,
) -> None:
    """Refuse weights that are no numbers; weights that were looked through are remembered."""
    stamp = cache_folder() / "weights" / f"{digest}.checked"
    if stamp.is_file():
        return
    if progress is not None:
        progress(f"looking through the weights of {folder.name} (once)")
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise ModelError(
                f"`{folder}` holds a weight that is no finite number, in `{name}`",
                hint="the file is damaged, or training it has diverged: fetch it again",
            )
    with whole_file(stamp) as partial:
        partial.write_text("", encoding="utf-8")


def _added(path: Path, text: str) -> tuple[dict[str, int], list[int]]:
    """Return the ids of added tokens by their text, and those that control."""
    try:
        added = json.loads(text).get("added_tokens") or []
        ids = {str(token["content"]): int(token["id"]) for token in added}
        special = [int(token["id"]) for token in added if token.get("special")]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"`{path}` cannot be read: {error}", hint=DAMAGED) from error
    return ids, special


def _text(token: object) -> str:
    found = token.get("content") if isinstance(token, dict) else token
    return found if isinstance(found, str) else ""


def _ids(found: object) -> list[int]:
    many = found if isinstance(found, list) else [found]
    return [one for one in many if type(one) is int]


def _chat_template(folder: Path, told: Mapping[str, Any]) -> str | None:
    own = folder / "chat_template.jinja"
    if own.is_file():
        return own.read_text(encoding="utf-8")
    found = told.get("chat_template")
    if isinstance(found, list):  # several, by name
        found = next((t.get("template") for t in found if t.get("name") == "default"), None)
    return found if isinstance(found, str) else None
