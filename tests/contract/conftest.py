"""The tiny models that every method is checked on."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("torch", reason="the contract runs on the `torch` engine")

from contract.tiny_engine import (
    FLAT,
    LAYERS,
    PRICES,
    QUIET,
    SHORT,
    Bench,
    profile_of,
    tiny_engine,
)
from engines.tiny_gguf import write_tiny_gguf


@pytest.fixture(scope="session")
def deep_gguf(tmp_path_factory):
    """The GGUF file of a tiny random llama with middle layers."""
    return write_tiny_gguf(tmp_path_factory.mktemp("deep") / "deep.gguf", layers=LAYERS, seed=2)


@pytest.fixture(scope="session")
def half_gguf(tmp_path_factory):
    """A model that drafts for it: its lower layers."""
    path = tmp_path_factory.mktemp("half") / "half.gguf"
    return write_tiny_gguf(path, layers=LAYERS // 2, seed=2)


@pytest.fixture(scope="session")
def first_gguf(tmp_path_factory):
    """A model that drafts for the tiny one: its first layer."""
    return write_tiny_gguf(tmp_path_factory.mktemp("first") / "first.gguf", layers=1)


@pytest.fixture(scope="session")
def contract_cache(tmp_path_factory):
    """A cache folder for fixtures that outlive a test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RHEOSTAT_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        yield


@pytest.fixture(scope="session")
def bench(deep_gguf, half_gguf, contract_cache):
    """The tiny model on the `torch` engine, with its profile."""
    engine = tiny_engine(deep_gguf, factors=QUIET)
    params = {"draft_model": {"path": str(half_gguf)}} | SHORT
    return Bench(engine, profile_of(engine), params)


@pytest.fixture(scope="session")
def wide(deep_gguf, contract_cache):
    """The tiny model priced as if its products were those of one a hundred times as wide."""
    priced = replace(PRICES, mlp=tuple(seconds / 100 for seconds in PRICES.mlp))
    return Bench(tiny_engine(deep_gguf, prices=priced), {}, SHORT)


@pytest.fixture(scope="session")
def shallow(tiny_gguf, first_gguf, contract_cache):
    """A smaller model with cheap drafts, for statistics that need many runs."""
    quiet = {"layers.1.o.weight": 0.25, "layers.1.down.weight": 0.25}  # see `QUIET`
    engine = tiny_engine(tiny_gguf, prices=FLAT, factors=quiet)
    profile = profile_of(engine)
    return Bench(engine, profile, {"draft_model": {"path": str(first_gguf)}})
