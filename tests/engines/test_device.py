"""Devices: a pass stays where the weights are, and what is not there is said.

`meta` tensors have a device and no numbers: a value that is asked for, or a tensor of the
processor among them, raises.
"""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="needs the `torch` extra")

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from rheostat.engines.device import checked_device
from rheostat.engines.torch_load import forms_elsewhere
from rheostat.engines.torch_matrix import Forms
from rheostat.engines.torch_model import Feed, Llama
from rheostat.engines.torch_prices import empty_cache
from rheostat.errors import UserError
from rheostat.kernel.seams import Depth, Layout

META = torch.device("meta")


class Crossings(TorchDispatchMode):
    """Counts what is copied from one device to another."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._to_copy.default:
            self.count += args[0].device != out.device
        return out


def elsewhere(loaded, dtype=torch.float32, forms=None):
    return Llama(loaded, dtype=dtype, forms=forms or Forms(), device=META)


def full(model):
    return Depth(Layout.full(model.shape.layers))


FEEDS = {
    "one token": ([[7]], [None]),
    "a prompt": ([[7, 8, 9, 10, 11]], [None]),
    "a tree": ([[7, 8, 9, 11]], [(-1, 0, 1, 0)]),
    "several rows": ([[7], [8, 9, 10]], [None, None]),
}


@pytest.mark.parametrize("feeds", FEEDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("choices", [True, False])
def test_a_pass_stays_on_its_device(tiny_loaded, feeds, dtype, choices):
    model = elsewhere(tiny_loaded, dtype)
    tokens, parents = FEEDS[feeds]
    caches = [empty_cache(model, full(model).layout, capacity=2) for _ in tokens]
    for _ in range(2):  # the second one after what the caches hold, which have to grow
        made = [Feed(c, t, 0, p) for c, t, p in zip(caches, tokens, parents, strict=True)]
        passed = model.forward(made, full(model), logit_rows=None, choices=choices)
        assert passed.logits.device == META
        assert len(passed.logits) == sum(map(len, tokens))
    twin = caches[0].fork()
    caches[0].truncate(1)
    for cache in (twin, caches[0], twin.copied(room=4)):
        model.forward([Feed(cache, [5], 0)], full(model), logit_rows=None)


def test_weights_in_sixteen_bits_are_widened_there(tiny_loaded):
    forms = forms_elsewhere("layercast")
    assert forms.held(torch.float32) == torch.bfloat16
    model = elsewhere(tiny_loaded, forms=forms)
    cache = empty_cache(model, full(model).layout, capacity=2)
    model.forward([Feed(cache, [7, 8], 0)], full(model), logit_rows=None)


def test_copies_to_a_device_do_not_grow_with_the_layers(tiny_loaded, deep_loaded):
    def crossings(loaded):
        model = elsewhere(loaded)
        cache = empty_cache(model, full(model).layout, capacity=16)
        with Crossings() as seen:
            model.forward([Feed(cache, [7, 8, 9], 0)], full(model), logit_rows=None)
        return seen.count

    assert tiny_loaded.shape.layers < deep_loaded.shape.layers
    assert crossings(tiny_loaded) == crossings(deep_loaded)


def test_another_device_offers_what_needs_nothing_between_layers(tiny_loaded):
    assert elsewhere(tiny_loaded).offers == {
        "depth.parts",
        "depth.static",
        "draft",
        "stop",
        "token",
    }


@pytest.mark.parametrize("name", ["tpu", "cpu:1", "cuda:x", ""])
def test_a_device_that_is_none_is_said(name):
    if not name:
        assert checked_device(name) == torch.device("cpu")
        return
    with pytest.raises(UserError, match="there is no device") as error:
        checked_device(name)
    assert "`cuda`" in error.value.hint


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one here")
def test_cuda_where_there_is_none_is_said(tiny_gguf):
    import rheostat

    with pytest.raises(UserError, match="--device cuda") as error:
        rheostat.load(tiny_gguf, device="cuda")
    assert "leave `--device` out" in error.value.hint


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="there is one here")
def test_mps_where_there_is_none_is_said():
    with pytest.raises(UserError, match="an Apple GPU"):
        checked_device("mps")


def test_an_endpoint_has_no_device_here():
    import rheostat

    with pytest.raises(UserError, match="`--device` is for models on the `torch` engine"):
        rheostat.load("http://127.0.0.1:9/v1#none", device="cpu")
