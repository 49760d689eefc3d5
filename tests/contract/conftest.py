"""The tiny models that every method is checked on."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="the contract runs on the `torch` engine")

from contract.tiny_engine import FLAT, LAYERS, Bench, profile_of, tiny_engine
from engines.tiny_gguf import write_tiny_gguf


@pytest.fixture(scope="session")
def deep_gguf(tmp_path_factory):
    """The GGUF file of a tiny random llama with middle layers."""
    return write_tiny_gguf(tmp_path_factory.mktemp("deep") / "deep.gguf", layers=LAYERS, seed=2)


@pytest.fixture(scope="session")
def contract_cache(tmp_path_factory):
    """A cache folder for fixtures that outlive a test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RHEOSTAT_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        yield


@pytest.fixture(scope="session")
def bench(deep_gguf, contract_cache):
    """The tiny model on the `torch` engine, with its profile."""
    engine = tiny_engine(deep_gguf)
    return Bench(engine, profile_of(engine))


@pytest.fixture(scope="session")
def shallow(tiny_gguf, contract_cache):
    """A smaller model with cheap drafts, for statistics that need many runs."""
    return Bench(tiny_engine(tiny_gguf, prices=FLAT), {})
