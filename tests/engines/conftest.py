"""Tiny models that the tests of the engines share."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def engines_cache(tmp_path_factory):
    """A cache folder for fixtures that outlive a test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RHEOSTAT_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        yield


@pytest.fixture(scope="session")
def tiny_loaded(tiny_gguf, engines_cache):
    """The weights of the tiny model (2 layers, tied)."""
    from rheostat.engines.weights_cache import load_weights

    return load_weights(str(tiny_gguf))


@pytest.fixture(scope="session")
def deep_loaded(tmp_path_factory, engines_cache):
    """The weights of a tiny model with more layers, unequal widths and a head of its own."""
    tiny = pytest.importorskip("engines.tiny_gguf", reason="needs the `torch` extra")
    from rheostat.engines.weights_cache import load_weights

    path = tmp_path_factory.mktemp("deep") / "deep.gguf"
    sizes = {"layers": 5, "width": 48, "heads": 6, "kv_heads": 2, "inner": 80}
    return load_weights(str(tiny.write_tiny_gguf(path, **sizes, tied=False, seed=3)))


@pytest.fixture(scope="session")
def folders(tmp_path_factory, engines_cache):
    """Makes a folder of one of `hf_shapes.SHAPES` once: its path and `transformers`' model."""
    shapes = pytest.importorskip("engines.hf_shapes", reason="needs the package `transformers`")
    from engines.hf_models import write_tokenizer

    kept = {}

    def folder(name):
        if name not in kept:
            path = tmp_path_factory.mktemp("hf")
            model = shapes.model_of(name)
            model.save_pretrained(path)
            write_tokenizer(path)
            kept[name] = path, model
        return kept[name]

    return folder
