"""A model as Hugging Face keeps it: a folder with `config.json`, safetensors and a tokenizer.

The weights stay memory-mapped in the files, in the format in which they are stored; they are
looked through for numbers that are none once.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
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
    from collections.abc import Callable, Iterable, Mapping, Sequence

CONFIG, TOKENIZER, INDEX = "config.json", "tokenizer.json", "model.safetensors.index.json"
NAMED = ("bos_token", "eos_token", "unk_token", "pad_token")
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
    opened = open_folder(where)
    found = described(opened.config)
    tensors = named_tensors(str(opened.folder), stored_tensors(opened.folder, opened.files), found)
    check_numbers(str(opened.folder), tensors, opened.digest, progress)
    return LoadedModel(
        name=name or where,
        digest=opened.digest,
        gguf_path=None,
        shape=found.shape,
        architecture=found.architecture,
        tensors=tensors,
        **asdict(words_of(opened)),
    )


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A folder whose files are there."""

    folder: Path
    config: Config
    files: Sequence[Path]
    """Those that hold weights."""
    digest: str


@dataclass(frozen=True, kw_only=True)
class Words:
    """What a model's tokens are; the fields of `LoadedModel`."""

    bos_id: int | None
    eos_ids: frozenset[int]
    special_ids: frozenset[int]
    named_tokens: dict[str, str]
    chat_template: str | None
    tokenizer_json: str


def open_folder(where: str) -> Opened:
    """Open a folder, or that of a `.safetensors` file; raise `ModelError` where one is missing."""
    path = Path(where).expanduser().resolve()
    folder = path if path.is_dir() else path.parent
    config = Config(path=str(folder / CONFIG), values=_json(folder / CONFIG))
    files = sorted(_files(folder) if path.is_dir() else {path})
    digest = _digest([folder / CONFIG, folder / TOKENIZER, *files])
    return Opened(folder=folder, config=config, files=files, digest=digest)


def words_of(opened: Opened) -> Words:
    """Read the tokenizer's files of a folder."""
    folder = opened.folder
    text = (folder / TOKENIZER).read_text(encoding="utf-8")
    ids, special = added_tokens(str(folder / TOKENIZER), text)
    told = _json(folder / "tokenizer_config.json", optional=True)
    named = {key: _text(told.get(key)) for key in NAMED}
    named_tokens = {key: token for key, token in named.items() if token}
    generation = _json(folder / "generation_config.json", optional=True)
    ends = {*ids_of(opened.config.values.get("eos_token_id"))}
    ends |= {*ids_of(generation.get("eos_token_id"))}
    ends |= {ids[named_tokens["eos_token"]]} if named_tokens.get("eos_token") in ids else set()
    return Words(
        bos_id=ids.get(named_tokens.get("bos_token", "")),
        eos_ids=frozenset(ends),
        special_ids=frozenset(special),
        named_tokens=named_tokens,
        chat_template=_chat_template(folder, told),
        tokenizer_json=text,
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


def stored_tensors(folder: Path, files: Iterable[Path]) -> dict[str, torch.Tensor]:
    """Map every weight under the files' names."""
    stored: dict[str, torch.Tensor] = {}
    for file in files:
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
    return stored


def named_tensors(
    where: str, stored: Mapping[str, torch.Tensor], found: Described
) -> dict[str, torch.Tensor]:
    """Return weights under Rheostat's names; raise `ModelError` where they do not fit the shape."""
    stored = dict(stored)
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
                f"`{where}` holds {what} `{place}`, expected {shape}",
                hint="its shards do not fit its `config.json`: fetch the folder again",
            )
        is_norm = name.endswith("norm.weight")
        tensors[name] = tensor.float() + found.norm_offset if is_norm else tensor
    others = {key for key in stored if not key.endswith("rotary_emb.inv_freq")}
    if found.shape.tied:
        others.discard("lm_head.weight")
    if others:
        raise ModelError(
            f"`{where}` holds `{min(others)}`, which is not a weight of such a model",
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


def check_numbers(
    where: str,
    tensors: Mapping[str, torch.Tensor],
    digest: str,
    progress: Callable[[str], None] | None,
) -> None:
    """Refuse weights that are no numbers; weights that were looked through are remembered."""
    stamp = cache_folder() / "weights" / f"{digest}.checked"
    if stamp.is_file():
        return
    if progress is not None:
        progress(f"looking through the weights of {where} (once)")
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise ModelError(
                f"`{where}` holds a weight that is no finite number, in `{name}`",
                hint="the file is damaged, or training it has diverged: fetch it again",
            )
    with whole_file(stamp) as partial:
        partial.write_text("", encoding="utf-8")


def added_tokens(path: str, text: str) -> tuple[dict[str, int], list[int]]:
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


def ids_of(found: object) -> list[int]:
    """Return the token ids of an entry that holds one, several or none."""
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
