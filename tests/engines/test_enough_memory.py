"""A model that cannot fit is refused before it is laid out, and what would fit is said."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rheostat.engines import enough_memory
from rheostat.engines.enough_memory import check_memory, free_bytes, weights
from rheostat.errors import ModelError
from rheostat.kernel.model_cost import ModelShape

SHAPE = ModelShape(
    layers=30,
    width=576,
    heads=9,
    kv_heads=3,
    head_size=64,
    inner=1536,
    vocabulary=49152,
    context=2048,
)


def free(monkeypatch, size):
    monkeypatch.setattr(enough_memory, "free_bytes", lambda: size)


def test_smollm2_has_134_million_weights():
    assert weights(SHAPE) == 134_479_872
    assert weights(replace(SHAPE, tied=False)) - weights(SHAPE) == 576 * 49152


def test_what_fits_is_loaded(monkeypatch):
    free(monkeypatch, 10**9)
    check_memory("m", SHAPE, "float32", 4)
    free(monkeypatch, None)
    check_memory("m", SHAPE, "float32", 4)


def test_the_narrower_format_is_named_where_it_fits(monkeypatch):
    free(monkeypatch, 4 * 10**8)
    with pytest.raises(
        ModelError, match=r"needs about 0\.6 GB .* in float32, and 0\.4 GB"
    ) as error:
        check_memory("m", SHAPE, "float32", 4)
    assert "--dtype bfloat16` it needs about 0.3 GB" in error.value.hint


def test_else_the_size_that_would_fit_is_named(monkeypatch):
    free(monkeypatch, 2 * 10**8)
    with pytest.raises(ModelError) as error:
        check_memory("m", SHAPE, "bfloat16", 2)
    assert "a model of about 0.1 billion weights would fit in bfloat16" in error.value.hint


def test_the_smaller_of_machine_and_control_group_counts(monkeypatch, tmp_path):
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:   2000 kB\n")
    (tmp_path / "memory.max").write_text("1500000\n")
    (tmp_path / "memory.current").write_text("500000\n")
    monkeypatch.setattr(enough_memory, "_MEMORY", tmp_path / "meminfo")
    monkeypatch.setattr(enough_memory, "_GROUP", tmp_path)
    monkeypatch.setattr(enough_memory, "_TAKEN", tmp_path / "none")
    assert free_bytes() == 1_000_000
    (tmp_path / "memory.max").write_text("max\n")
    assert free_bytes() == 2_048_000
    monkeypatch.setattr(enough_memory, "_MEMORY", tmp_path / "none")
    assert free_bytes() is None


def test_a_limit_of_addresses_counts_as_well(monkeypatch, tmp_path):
    resource = pytest.importorskip("resource", reason="a system without such limits")
    monkeypatch.setattr(enough_memory, "_GROUP", tmp_path)
    monkeypatch.setattr(enough_memory, "_MEMORY", tmp_path / "none")
    (tmp_path / "statm").write_text("3 1 1 0 0 0 0\n")
    monkeypatch.setattr(enough_memory, "_TAKEN", tmp_path / "statm")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (10**6, -1))
    assert free_bytes() == 10**6 - 3 * resource.getpagesize()
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, -1))
    assert free_bytes() is None
