"""A Hugging Face `config.json` to the numbers and the architecture that the torch engine runs."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, final

from rheostat.engines.architecture import Activation, Architecture, Rope, kind_of, scaled_rope
from rheostat.engines.hf_defaults import filled
from rheostat.errors import ModelError
from rheostat.kernel.model_cost import ModelShape

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

T = TypeVar("T")
DAMAGED = "the file may be of another version or damaged: fetch it again"
_ACTIVATIONS: Mapping[str, Activation] = MappingProxyType(
    {"silu": "silu", "swish": "silu", "gelu_pytorch_tanh": "gelu_tanh"}
)
ELSEWHERE = (
    'install its own module, `pip install "rheostat[transformers]"`, or serve the model with '
    "vLLM or llama.cpp and name it as `http://HOST/v1#NAME`"
)
_FULL, _SLIDING = "full_attention", "sliding_attention"
_REFUSED = ("attention_bias", "mlp_bias", "use_bidirectional_attention")


class UnsupportedShapeError(ModelError):
    """A model whose forward pass the lean loop does not have."""


class Described(NamedTuple):
    """What a configuration says."""

    shape: ModelShape
    architecture: Architecture
    stacked: bool
    """Whether the file holds query, key and value, and gate and up, as one matrix each."""
    norm_offset: float
    """What is to be added to the weights of norms."""


@final
@dataclass(frozen=True, kw_only=True)
class Config:
    """A configuration, read entry by entry."""

    path: str
    values: Mapping[str, Any]

    def entry(self, name: str, kind: type[T], default: T | None = None) -> T:
        """Return an entry of a Python type; raise `ModelError` when absent or of another."""
        found = self.values.get(name)
        if found is None:
            found = default
        if kind is float and type(found) is int:
            found = float(found)
        if type(found) is not kind:
            what = "lacks" if found is None else f"holds `{found}` as"
            raise ModelError(f"`{self.path}` {what} `{name}`", hint=DAMAGED)
        return found

    def size(self, name: str, default: int | None = None) -> int:
        """Return a positive integer."""
        found = self.entry(name, int, default)
        if found < 1:
            raise ModelError(f"`{self.path}` holds `{name}` as {found}", hint=DAMAGED)
        return found

    def unsupported(self, what: str) -> UnsupportedShapeError:
        """Return the error for a forward pass that the engine does not have."""
        return UnsupportedShapeError(
            f"`{self.path}` asks for {what}, which the `torch` engine does not run",
            hint=ELSEWHERE,
        )


def described(config: Config) -> Described:
    """Return what is built from a configuration.

    Raises:
        ModelError: the architecture, or something in it, is not supported, or an entry is missing.
    """
    family = config.entry("model_type", str)
    if family not in FAMILIES:
        known = ", ".join(f"`{name}`" for name in FAMILIES)
        raise UnsupportedShapeError(
            f"`{config.path}` is of the architecture `{family}`, which the `torch` engine does "
            f"not run; it runs {known}",
            hint=ELSEWHERE,
        )
    for name in _REFUSED:
        if config.values.get(name):
            raise config.unsupported(f"`{name}`")
    if config.values.get("is_causal") is False:
        raise config.unsupported("attention that is not causal")
    return FAMILIES[family](Config(path=config.path, values=filled(family, config.values)))


def _shape(config: Config) -> ModelShape:
    width, heads = config.size("hidden_size"), config.size("num_attention_heads")
    shape = ModelShape(
        layers=config.size("num_hidden_layers"),
        width=width,
        heads=heads,
        kv_heads=config.size("num_key_value_heads", heads),
        head_size=config.size("head_dim", max(width // heads, 1)),
        inner=config.size("intermediate_size"),
        vocabulary=config.size("vocab_size"),
        context=config.size("max_position_embeddings"),
        tied=config.entry("tie_word_embeddings", bool),
    )
    if shape.heads % shape.kv_heads or shape.head_size % 2:
        raise config.unsupported(
            f"{shape.heads} query and {shape.kv_heads} key heads of size {shape.head_size}"
        )
    return shape


def _rope(
    config: Config, shape: ModelShape, given: Mapping[str, Any], *, partial: bool = False
) -> Rope:
    """Return one rotary embedding.

    Args:
        given: holds its own entries, as newer files have them.
        partial: whether the family rotates a part of a head where it is asked to; the others
            pass over that, or fail.
    """
    theta = given.get("rope_theta", config.values.get("rope_theta", 10000.0))
    share = given.get("partial_rotary_factor", config.values.get("partial_rotary_factor", 1.0))
    kind = kind_of(given)
    if partial and kind != "default":
        raise config.unsupported(f"the rotary embedding `{kind}`")
    if share != 1 and kind != "default":
        raise ModelError(
            f"`{config.path}` asks for the rotary embedding `{kind}` of a part of a head, which "
            "`transformers` does not run either",
            hint=DAMAGED,
        )
    try:
        rotated = int(shape.head_size * float(share)) if partial else shape.head_size
        if not 0 < rotated <= shape.head_size or rotated % 2:
            raise config.unsupported(f"a rotation of {rotated} dimensions")
        return scaled_rope(rotated, float(theta), given, shape.context)
    except KeyError as error:
        raise ModelError(
            f"`{config.path}` lacks `{error.args[0]}` of its rotary embedding", hint=DAMAGED
        ) from error
    except (TypeError, ValueError) as error:
        raise config.unsupported(f"the rotary embedding `{error}`") from error


def _mapping(config: Config, found: object) -> Mapping[str, Any]:
    if not isinstance(found, dict):
        raise ModelError(f"`{config.path}` holds `{found}` as `rope_scaling`", hint=DAMAGED)
    return found


def _scaling(config: Config) -> Mapping[str, Any]:
    """Return the entries of the one rotary embedding; older files have some of them beside it."""
    values = config.values
    found = _mapping(config, values.get("rope_scaling") or values.get("rope_parameters") or {})
    if _FULL in found or _SLIDING in found:
        raise config.unsupported("a rotary embedding for each type of layer")
    beside = "original_max_position_embeddings"
    return {**found, beside: values[beside]} if beside in values else found


def _window(config: Config) -> int:
    """Return the window's tokens; 0 = there is none."""
    if config.values.get("sliding_window") is None:
        return 0
    return config.size("sliding_window")


def _nowhere(config: Config, layers: int) -> tuple[int, ...]:
    return (0,) * layers


def _everywhere(config: Config, layers: int) -> tuple[int, ...]:
    return (_window(config),) * layers


def _kinds(config: Config, default: Sequence[str]) -> Sequence[str]:
    """Return each layer's type of attention."""
    kinds = config.values.get("layer_types", default)
    if not isinstance(kinds, list) or len(kinds) != len(default):
        raise ModelError(f"`{config.path}` holds `layer_types` that do not fit it", hint=DAMAGED)
    others = [kind for kind in kinds if kind not in (_FULL, _SLIDING)]
    if others:
        raise config.unsupported(f"layers of the type `{others[0]}`")
    return kinds


def _where(config: Config, kinds: Sequence[str]) -> tuple[int, ...]:
    """Return each layer's window."""
    window = _window(config)
    if not window and _SLIDING in kinds:
        raise config.unsupported("layers with a window that has no size")
    return tuple(window if kind == _SLIDING else 0 for kind in kinds)


def _upper(config: Config, layers: int) -> tuple[int, ...]:
    """Return the windows of a Qwen: its upper layers', where they are switched on."""
    values = config.values
    if not values["use_sliding_window"]:
        config = Config(path=config.path, values={**values, "sliding_window": None})
    first = config.size("max_window_layers") if _window(config) else layers
    return _where(config, _kinds(config, [_FULL if i < first else _SLIDING for i in range(layers)]))


def _activation(config: Config, name: str = "hidden_act") -> Activation:
    found = config.entry(name, str)
    if found not in _ACTIVATIONS:
        raise config.unsupported(f"the activation `{found}`")
    return _ACTIVATIONS[found]


def _simple(  # noqa: PLR0913  # the places in which families differ
    config: Config,
    *,
    windows: Callable[[Config, int], tuple[int, ...]] = _nowhere,
    biases: bool = False,
    head_norms: bool = False,
    stacked: bool = False,
    partial: bool = False,
) -> Described:
    """Return a model with one rotary embedding and llama's norms."""
    for name in ("attn_logit_softcapping", "final_logit_softcapping"):
        if config.values.get(name) is not None:
            raise config.unsupported(f"`{name}`")
    shape = _shape(config)
    architecture = Architecture(
        eps=config.entry("rms_norm_eps", float),
        ropes=(_rope(config, shape, _scaling(config), partial=partial),),
        rope_of=(0,) * shape.layers,
        windows=windows(config, shape.layers),
        activation=_activation(config),
        biases=biases,
        head_norms=head_norms,
    )
    return Described(shape, architecture, stacked, 0.0)


def _gemma2(config: Config) -> Described:
    shape = _shape(config)
    kinds = _kinds(config, [_FULL if i % 2 else _SLIDING for i in range(shape.layers)])
    ropes = (_rope(config, shape, _scaling(config)),)
    cap = config.entry("attn_logit_softcapping", float, 0.0)
    return _gemma(config, shape, kinds, ropes, (0,) * shape.layers, score_cap=cap)


def _gemma3(config: Config) -> Described:
    """Return a Gemma 3; `transformers` passes over `attn_logit_softcapping` there."""
    shape = _shape(config)
    every = config.size("sliding_window_pattern", 6)
    kinds = _kinds(config, [_SLIDING if (i + 1) % every else _FULL for i in range(shape.layers)])
    ropes = tuple(_rope(config, shape, given) for given in _both(config))
    rope_of = tuple(int(kind == _SLIDING) for kind in kinds)
    return _gemma(config, shape, kinds, ropes, rope_of, head_norms=True)


def _both(config: Config) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return the entries of the global and of the local layers' rotary embedding."""
    given = _mapping(config, config.values.get("rope_parameters", {}))
    scaling = _mapping(config, config.values.get("rope_scaling", {}))  # older files
    far = {
        "rope_theta": config.entry("rope_theta", float, 1e6),
        **_mapping(config, given.get(_FULL) or {}),
        **scaling,
        "truncate": given.get("truncate", True),  # where `transformers` looks for it
    }
    near = {
        "rope_theta": config.entry("rope_local_base_freq", float, 10000.0),
        **_mapping(config, given.get(_SLIDING) or {}),
        "truncate": given.get("truncate", True),
    }
    return far, near


def _gemma(  # noqa: PLR0913  # the places in which the generations differ
    config: Config,
    shape: ModelShape,
    kinds: Sequence[str],
    ropes: tuple[Rope, ...],
    rope_of: tuple[int, ...],
    *,
    head_norms: bool = False,
    score_cap: float = 0.0,
) -> Described:
    architecture = Architecture(
        eps=config.entry("rms_norm_eps", float),
        ropes=ropes,
        rope_of=rope_of,
        windows=_where(config, kinds),
        activation=_activation(config, "hidden_activation"),
        head_norms=head_norms,
        post_norms=True,
        embedding_scale=shape.width**0.5,
        score_scale=config.entry("query_pre_attn_scalar", float) ** -0.5,
        score_cap=score_cap,
        logit_cap=config.entry("final_logit_softcapping", float, 0.0),
    )
    return Described(shape, architecture, stacked=False, norm_offset=1.0)


FAMILIES: Mapping[str, Callable[[Config], Described]] = MappingProxyType(
    {
        "llama": _simple,
        "mistral": lambda config: _simple(config, windows=_everywhere),
        "qwen2": lambda config: _simple(config, windows=_upper, biases=True),
        "qwen3": lambda config: _simple(config, windows=_upper, head_norms=True),
        "phi3": lambda config: _simple(config, windows=_everywhere, stacked=True, partial=True),
        "gemma2": _gemma2,
        "gemma3_text": _gemma3,
    }
)
"""By the name that a configuration gives as `model_type`."""
