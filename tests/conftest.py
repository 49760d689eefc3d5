"""Fixtures that all tests share: the tiny random llama, the real model, a cache of their own."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from pathlib import Path

    from rheostat.engines.weights_cache import LoadedModel

# Wall time is no property of the code: a busy machine must not fail a test.
settings.register_profile("rheostat", deadline=None)
settings.load_profile("rheostat")


def pytest_configure() -> None:
    """Give each process of `make test` a core: the threads of two would stall each other."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw")
    if worker and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(worker) % len(cores)]})


@pytest.fixture(autouse=True)
def own_cache(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Keep fast tests out of the user's cache; slow ones use it to fetch the model only once."""
    if request.node.get_closest_marker("slow") is None:
        monkeypatch.setenv("RHEOSTAT_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="session")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The GGUF file of a tiny random llama (2 layers, width 32, 300 tokens)."""
    tiny = pytest.importorskip("engines.tiny_gguf", reason="needs the `torch` extra")
    path: Path = tiny.write_tiny_gguf(tmp_path_factory.mktemp("tiny") / "tiny.gguf")
    return path


@pytest.fixture(scope="session")
def smollm2() -> LoadedModel:
    """The embedded model, loaded when the first slow test asks for it."""
    from rheostat.engines.weights_cache import load_weights

    return load_weights("smollm2")


@pytest.fixture(scope="session")
def transformers_smollm2(smollm2: LoadedModel) -> Any:
    """The same file loaded by transformers in float32: the oracle of slow tests."""
    transformers = pytest.importorskip("transformers")
    path = smollm2.gguf_path
    return transformers.AutoModelForCausalLM.from_pretrained(
        str(path.parent), gguf_file=path.name, dtype="float32"
    ).eval()
