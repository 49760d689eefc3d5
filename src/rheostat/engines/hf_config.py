"""A Hugging Face `config.json` to the numbers and the architecture that the torch engine runs."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, final

from rheostat.engines.architecture import Activation, Architecture, Rope, scaled_rope
from rheostat.errors import ModelError
from rheostat.kernel.model_cost import ModelShape

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")
DAMAGED = "the file may be of another version or damaged: fetch it again"
_ACTIVATIONS: Mapping[str, Activation] = MappingProxyType(
    {"silu": "silu", "swish": "silu", "gelu_pytorch_tanh": "gelu_tanh"}
)
ELSEWHERE = (
    'install its own module, `pip install "rheostat[transformers]"`, or serve the model with '
    "vLLM or llama.cpp and name it as `http://HOST/v1#NAME`"
)
_SLIDING = "sliding_attention"


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
    for name in ("attention_bias", "mlp_bias"):
        if config.values.get(name):
            raise config.unsupported(f"`{name}`")
    return FAMILIES[family](config)


def _shape(config: Config, *, tied: bool) -> ModelShape:
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
        tied=config.entry("tie_word_embeddings", bool, tied),
    )
    if shape.heads % shape.kv_heads or shape.head_size % 2:
        raise config.unsupported(
            f"{shape.heads} query and {shape.kv_heads} key heads of size {shape.head_size}"
        )
    return shape


def _rope(config: Config, shape: ModelShape, given: Mapping[str, Any]) -> Rope:
    """Return one rotary embedding; `given` holds its own entries, as newer files have them."""
    theta = given.get("rope_theta", config.values.get("rope_theta", 10000.0))
    share = given.get("partial_rotary_factor", config.values.get("partial_rotary_factor", 1.0))
    try:
        rotated = int(shape.head_size * float(share))
        if not 0 < rotated <= shape.head_size or rotated % 2:
            raise config.unsupported(f"a rotation of {rotated} dimensions")
        return scaled_rope(rotated, float(theta), given, shape.context)
    except KeyError as error:
        raise ModelError(
            f"`{config.path}` lacks `{error.args[0]}` of its rotary embedding", hint=DAMAGED
        ) from error
    except (TypeError, ValueError) as error:
        raise config.unsupported(f"the rotary embedding `{error}`") from error


def _scaling(config: Config) -> Mapping[str, Any]:
    found = config.values.get("rope_parameters") or config.values.get("rope_scaling") or {}
    if not isinstance(found, dict):
        raise ModelError(f"`{config.path}` holds `{found}` as `rope_scaling`", hint=DAMAGED)
    return found


def _windows(config: Config, shape: ModelShape, *, everywhere: bool) -> tuple[int, ...]:
    """Return each layer's window; without `layer_types` all layers have it, or none."""
    window = config.values.get("sliding_window") or 0
    kinds = config.values.get("layer_types")
    if kinds is None:
        kinds = [_SLIDING if everywhere else ""] * shape.layers
    if type(window) is not int or not isinstance(kinds, list) or len(kinds) != shape.layers:
        raise ModelError(f"`{config.path}` holds windows that do not fit it", hint=DAMAGED)
    return tuple(window if kind == _SLIDING else 0 for kind in kinds)


def _activation(config: Config, name: str = "hidden_act") -> Activation:
    found = config.entry(name, str, "silu")
    if found not in _ACTIVATIONS:
        raise config.unsupported(f"the activation `{found}`")
    return _ACTIVATIONS[found]


def _simple(  # noqa: PLR0913  # the places in which families differ
    config: Config,
    *,
    tied: bool = False,
    windowed: bool = False,
    biases: bool = False,
    head_norms: bool = False,
    stacked: bool = False,
) -> Described:
    """Return a model with one rotary embedding and llama's norms."""
    for name in ("attn_logit_softcapping", "final_logit_softcapping"):
        if config.values.get(name) is not None:
            raise config.unsupported(f"`{name}`")
    shape = _shape(config, tied=tied)
    architecture = Architecture(
        eps=config.entry("rms_norm_eps", float, 1e-6),
        ropes=(_rope(config, shape, _scaling(config)),),
        rope_of=(0,) * shape.layers,
        windows=_windows(config, shape, everywhere=windowed),
        activation=_activation(config),
        biases=biases,
        head_norms=head_norms,
    )
    return Described(shape, architecture, stacked, 0.0)


def _qwen(config: Config, *, biases: bool = False, head_norms: bool = False) -> Described:
    if config.values.get("use_sliding_window") and config.values.get("layer_types") is None:
        first = config.size("max_window_layers")
        layers = config.size("num_hidden_layers")
        kinds = [_SLIDING if i >= first else "" for i in range(layers)]
        config = Config(path=config.path, values={**config.values, "layer_types": kinds})
    return _simple(config, biases=biases, head_norms=head_norms)


def _gemma2(config: Config) -> Described:
    shape = _shape(config, tied=True)
    if config.values.get("layer_types") is None:
        kinds = ["" if i % 2 else _SLIDING for i in range(shape.layers)]
        config = Config(path=config.path, values={**config.values, "layer_types": kinds})
    windows = _windows(config, shape, everywhere=False)
    ropes = (_rope(config, shape, _scaling(config)),)
    return _gemma(config, shape, windows, ropes, (0,) * shape.layers)


def _gemma3(config: Config) -> Described:
    shape = _shape(config, tied=True)
    scaling = _scaling(config)
    if "full_attention" in scaling:
        both = scaling["full_attention"], scaling[_SLIDING]
    else:  # older files
        local = config.entry("rope_local_base_freq", float, 10000.0)
        far = {"rope_theta": config.entry("rope_theta", float, 1e6), **scaling}
        both = far, {"rope_theta": local}
    if config.values.get("layer_types") is None:
        every = config.size("sliding_window_pattern", 6)
        kinds = ["" if (i + 1) % every == 0 else _SLIDING for i in range(shape.layers)]
        config = Config(path=config.path, values={**config.values, "layer_types": kinds})
    windows = _windows(config, shape, everywhere=False)
    ropes = tuple(_rope(config, shape, given) for given in both)
    rope_of = tuple(int(window > 0) for window in windows)
    return _gemma(config, shape, windows, ropes, rope_of, head_norms=True)


def _gemma(  # noqa: PLR0913  # the places in which the generations differ
    config: Config,
    shape: ModelShape,
    windows: tuple[int, ...],
    ropes: tuple[Rope, ...],
    rope_of: tuple[int, ...],
    *,
    head_norms: bool = False,
) -> Described:
    scalar = config.entry("query_pre_attn_scalar", float, float(shape.head_size))
    architecture = Architecture(
        eps=config.entry("rms_norm_eps", float, 1e-6),
        ropes=ropes,
        rope_of=rope_of,
        windows=windows,
        activation=_activation(config, "hidden_activation"),
        head_norms=head_norms,
        post_norms=True,
        embedding_scale=shape.width**0.5,
        score_scale=scalar**-0.5,
        score_cap=config.entry("attn_logit_softcapping", float, 0.0),
        logit_cap=config.entry("final_logit_softcapping", float, 0.0),
    )
    return Described(shape, architecture, stacked=False, norm_offset=1.0)


FAMILIES: Mapping[str, Callable[[Config], Described]] = MappingProxyType(
    {
        "llama": _simple,
        "mistral": lambda config: _simple(config, windowed=True),
        "qwen2": lambda config: _qwen(config, biases=True),
        "qwen3": lambda config: _qwen(config, head_norms=True),
        "phi3": lambda config: _simple(config, windowed=True, stacked=True),
        "gemma2": _gemma2,
        "gemma3_text": _gemma3,
    }
)
"""By the name that a configuration gives as `model_type`."""
