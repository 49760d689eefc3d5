"""LAC as a ranking: what is void most often goes first."""

from __future__ import annotations

import json

import pytest
from dropped import dropped, shape_of

from rheostat.errors import MethodError
from rheostat.kernel.seams import Depth, Installed, Layout
from rheostat.methods.depth.lac import Lac
from rheostat.methods.depth.random_depth import RandomDepth

SHAPE = shape_of(4)
SHARES = [[0.0, 0.1, 0.3, 0.2], [0.0, 0.9, 0.4, 0.9]]
PROFILE = {"redundancy": {"void": {"alpha": [0.0, 0.8], "share": SHARES}}}


def at(dial, **params):
    method = Lac(**params)
    return method.at(dial, json.loads(json.dumps(method.fit(PROFILE))), SHAPE)


def layers(depth):
    return {layer for kind, layer in dropped(depth)}


def test_the_most_often_void_layers_go_first_the_later_of_equals():
    assert layers(at(0.5)) == {3}
    assert layers(at(1.0)) == {3, 1}
    assert layers(at(1.0, alpha=0.0)) == {2, 3}


def test_layers_are_left_out_whole():
    depth = at(1.0)
    assert depth.layout.attention == depth.layout.mlp


def test_dial_zero_is_the_full_model():
    assert at(0.0) == Depth(Layout.full(4))


@pytest.mark.parametrize("profile", [{}, {"redundancy": {}}, {"redundancy": {"void": {}}}])
def test_a_profile_without_the_trace_is_refused_in_words(profile):
    with pytest.raises(MethodError, match="no trace of void layers") as caught:
        Lac().fit(profile)
    assert "rheostat profile" in caught.value.hint


def test_an_alpha_that_was_not_traced_is_refused():
    with pytest.raises(MethodError, match=r"alpha=0\.5") as caught:
        Lac(alpha=0.5).fit(PROFILE)
    assert "`0.8`" in caught.value.hint


def test_numbers_of_another_model_are_refused():
    with pytest.raises(MethodError, match="ranking of `lac`"):
        Lac().at(0.5, Lac().fit(PROFILE), shape_of(6))


def test_layers_that_do_nothing_are_found_where_a_random_order_leaves_out_others(tmp_path):
    pytest.importorskip("torch", reason="runs the model")
    from contract.tiny_engine import Bench, profile_of, tiny_engine
    from engines.tiny_gguf import write_tiny_gguf

    path = write_tiny_gguf(tmp_path / "idle.gguf", layers=8)
    idle = (1, 4, 5, 7)
    factors = {f"layers.{i}.{name}.weight": 0.01 for i in idle for name in ("o", "down")}
    engine = tiny_engine(path, factors=factors)
    bench = Bench(engine, profile_of(engine))
    method = Lac(alpha=0.05)
    found = method.at(1.0, method.fit(bench.profile), engine.shape)
    assert layers(found) == set(idle)
    tokens = [20, 30, 40, 50, 60, 70, 80]

    def nats(depth):
        return engine.score(tokens[:1], tokens[1:], installed=Installed(depth=depth)).nats

    base = nats(Depth(Layout.full(8)))
    draws = [RandomDepth(unit="layer", draw=i).at(1.0, {}, engine.shape) for i in range(5)]
    off = [abs(nats(d) - base).mean() for d in draws if layers(d) != set(idle)]
    assert abs(nats(found) - base).mean() < min(off)
