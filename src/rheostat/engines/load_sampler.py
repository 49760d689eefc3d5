"""A model's name to what draws samples of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rheostat.engines.load import load_engine, torch_extra, unmovable
from rheostat.engines.replay import PREFIX, load_replay
from rheostat.engines.scripted import ScriptedEngine
from rheostat.engines.scripted_sampler import ScriptedSource, scripted_sampler
from rheostat.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rheostat.engines.base import Engine, Sampling
    from rheostat.engines.money import TokenPrices
    from rheostat.engines.sampler import Sampler
    from rheostat.kernel.model_cost import ModelShape
    from rheostat.kernel.seams import Installed

    Install = Callable[[ModelShape | None, frozenset[str]], Installed]
    """Turns a plan into decisions, once the model's shape and what it offers are known."""


class LoadedSampler(NamedTuple):
    """A sampler and what is known of its model."""

    sampler: Sampler
    installed: Installed
    digest: str = ""
    """Of the model's weights; empty where they are elsewhere."""
    dtype: str = ""
    recorded: Sampling | None = None
    """How a recording's samples were drawn; None = samples are drawn as they are asked for."""
    samples: int | None = None
    """Samples of each question that a recording holds at most."""


def load_sampler(  # noqa: PLR0913  # what a sampler depends on
    model: str | Engine,
    *,
    install: Install,
    dtype: str = "float32",
    threads: int | None = None,
    device: str | None = None,
    prices: TokenPrices | None = None,
    needs: frozenset[str] = frozenset(),
    progress: Callable[[str], None] | None = None,
) -> LoadedSampler:
    """Load what draws samples of a model.

    Args:
        model: a model's name or path as for `load_engine`, `replay:STORE`, or a loaded engine.
        device: as for `load_engine`; for models that are loaded here alone.
        needs: what the plan's methods need, such as `sample.logprobs`.
        install: called with the model's shape, if it is known, and with what the engine offers.

    Raises:
        ModelError, UserError: as for `load_engine`.
        OutputError: there is no such recording.
        MethodError: the plan asks for what this sampler does not do.
    """
    if device is not None and (not isinstance(model, str) or model.startswith(PREFIX)):
        raise _no_device(model)
    if isinstance(model, str) and model.startswith(PREFIX):
        sampler, recording = load_replay(model, prices=prices)
        return LoadedSampler(
            sampler,
            install(None, sampler.card.offers),
            digest=str(recording.header.get("digest", "")),
            dtype=str(recording.header.get("dtype", "")),
            recorded=recording.sampling,
            samples=recording.samples,
        )
    if isinstance(model, str):
        model = load_engine(model, dtype=dtype, threads=threads, device=device, progress=progress)
    if model.card.name == "endpoint":
        return _endpoint_sampler(model, install, prices, needs)
    if isinstance(model, ScriptedEngine):
        decided = install(model.shape, ScriptedSource.card.offers)
        made = scripted_sampler(model, installed=decided, prices=prices)
        return LoadedSampler(made, decided, model.digest, model.dtype)
    return _torch_sampler(model, install, prices)


def _no_device(model: str | Engine) -> UserError:
    if isinstance(model, str):
        return UserError(
            f"`--device` is for models on the `torch` engine, and `{model}` holds recorded samples",
            hint="leave it out",
        )
    return unmovable()


def _endpoint_sampler(
    engine: Engine, install: Install, prices: TokenPrices | None, needs: frozenset[str]
) -> LoadedSampler:
    from rheostat.engines.endpoint_books import UsdPrices
    from rheostat.engines.endpoint_engine import EndpointEngine
    from rheostat.engines.endpoint_sampler import EndpointSampler

    assert isinstance(engine, EndpointEngine)
    sampler = EndpointSampler(
        engine.server,
        model=engine.model,
        needs_logprobs="sample.logprobs" in needs,
        usd=None if prices is None else UsdPrices(prompt=prices.prompt, new=prices.new),
        keeps=engine,
    )
    decided = install(None, sampler.card.offers)
    return LoadedSampler(sampler, decided, engine.digest, engine.dtype)


def _torch_sampler(engine: Engine, install: Install, prices: TokenPrices | None) -> LoadedSampler:
    with torch_extra():
        from rheostat.engines.torch_engine import TorchEngine
        from rheostat.engines.torch_sampler import TorchSampler
    assert isinstance(engine, TorchEngine)
    decided = install(engine.shape, engine.card.offers | TorchSampler.card.offers)
    sampler = TorchSampler(engine, installed=decided, prices=prices)
    return LoadedSampler(sampler, decided, engine.digest, engine.dtype)
