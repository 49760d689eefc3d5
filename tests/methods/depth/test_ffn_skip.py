import json
import math

import numpy as np
import pytest
from dropped import shape_of
from hypothesis import given
from hypothesis import strategies as st

from rheostat.errors import MethodError
from rheostat.kernel.seams import Depth, Layout
from rheostat.methods.depth.ffn_skip import FfnSkip, SkipPolicy, threshold

LAYERS = 12
SHAPE = shape_of(LAYERS)
QUANTILES = [[0.9 + 0.005 * q for q in range(21)] for _ in range(LAYERS)]
PROFILE = {"redundancy": {"mlp": {"similarity_quantiles": QUANTILES}}}
COSINES = st.lists(
    st.lists(st.floats(-1, 1), min_size=LAYERS, max_size=LAYERS), min_size=1, max_size=4
)


def policy(tau, **params):
    method = FfnSkip(**params)
    end = LAYERS - method.cold_last
    return SkipPolicy(method=method, tau=tau, first=method.cold_first, end=end)


def executed(deciding, cosines, generated):
    """Which MLPs run: [token, layer], for the cosine of every token at every layer."""
    cosines = np.asarray(cosines, dtype=np.float64)
    state = deciding.begin(np.asarray(generated))
    table = np.ones(cosines.shape, dtype=bool)
    for layer in range(cosines.shape[1]):
        ran = deciding.runs(layer, state)
        table[:, layer] = True if ran is None else ran
        if deciding.watches(layer) and table[:, layer].any():
            seen = cosines[table[:, layer], layer]
            state = deciding.observe(layer, ran, seen, state)
    return table


def skipped_layers(deciding, cosines, generated=10):
    return np.flatnonzero(~executed(deciding, [cosines], [generated])[0]).tolist()


def test_a_trigger_omits_the_next_mlp_of_the_middle_layers():
    cosines = [0.0] * LAYERS
    cosines[3] = 0.99
    assert skipped_layers(policy(0.95), cosines) == [4]


def test_every_second_middle_layer_is_omitted_when_all_trigger():
    assert skipped_layers(policy(0.95), [1.0] * LAYERS) == [3, 5]


@pytest.mark.parametrize(("skip", "omitted"), [(2, [3, 4, 6]), (0, [3, 4, 5, 6])])
def test_a_longer_skip_stays_within_the_middle_layers(skip, omitted):
    assert skipped_layers(policy(0.95, skip=skip), [1.0] * LAYERS) == omitted


def test_layers_at_both_ends_are_never_omitted_nor_watched():
    deciding = policy(0.0, cold_first=1, cold_last=1, skip=0)
    assert skipped_layers(deciding, [1.0] * LAYERS) == list(range(2, LAYERS - 1))
    assert [i for i in range(LAYERS) if deciding.watches(i)] == list(range(1, LAYERS - 2))


@pytest.mark.parametrize(("generated", "omits"), [(-1, False), (0, False), (3, False), (4, True)])
def test_prompt_and_warm_up_tokens_run_in_full(generated, omits):
    assert bool(skipped_layers(policy(0.0), [1.0] * LAYERS, generated)) is omits


def test_a_signal_that_is_not_a_number_omits_nothing():
    assert skipped_layers(policy(0.5), [math.nan] * LAYERS) == []


def test_a_pass_without_tokens_is_decided_too():
    assert executed(policy(0.5), np.empty((0, LAYERS)), []).shape == (0, LAYERS)


@given(cosines=COSINES)
def test_a_threshold_over_one_omits_nothing(cosines):
    assert executed(policy(1.1), cosines, [9] * len(cosines)).all()


@given(cosines=COSINES, skip=st.integers(0, 3))
def test_a_token_is_decided_by_its_own_state_alone(cosines, skip):
    deciding = policy(0.3, skip=skip)
    generated = list(range(2, 2 + len(cosines)))
    together = executed(deciding, cosines, generated)
    for i, own in enumerate(cosines):
        assert (together[i] == executed(deciding, [own], [generated[i]])[0]).all()


@given(cosines=COSINES, taus=st.tuples(st.floats(-1, 1), st.floats(-1, 1)))
def test_a_lower_threshold_omits_at_least_as_much_when_greedy(cosines, taus):
    generated = [9] * len(cosines)
    low, high = (executed(policy(t, skip=0), cosines, generated) for t in sorted(taus))
    assert (low <= high).all()


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.9])
def test_the_threshold_is_exceeded_by_the_share_asked_for(share):
    draw = np.random.default_rng(0)
    pairs = draw.beta([[5.0], [20.0], [60.0]], 2.0, size=(3, 4000))
    quantiles = np.quantile(pairs, np.linspace(0, 1, 21), axis=1).T.tolist()
    assert float((pairs > threshold(quantiles, share)).mean()) == pytest.approx(share, abs=0.02)


def test_a_uniform_law_has_the_threshold_by_hand():
    assert threshold([[0.0, 0.5, 1.0]], 0.25) == pytest.approx(0.75)
    assert threshold([[0.0, 0.5, 1.0]], 0.0) == math.inf


@given(dials=st.tuples(st.floats(0.001, 1), st.floats(0.001, 1)))
def test_a_higher_dial_never_raises_the_threshold(dials):
    method = FfnSkip()
    low, high = (method.at(d, method.fit(PROFILE), SHAPE).policy for d in sorted(dials))
    assert high.tau <= low.tau


def test_dial_zero_decides_nothing():
    method = FfnSkip()
    assert method.at(0.0, method.fit(PROFILE), SHAPE) == Depth(Layout.full(LAYERS))


def test_fitted_numbers_survive_json():
    method = FfnSkip()
    fitted = json.loads(json.dumps(method.fit(PROFILE)))
    assert method.at(0.5, fitted, SHAPE) == method.at(0.5, method.fit(PROFILE), SHAPE)


@pytest.mark.parametrize("profile", [{}, {"redundancy": {"mlp": {}}}])
def test_a_profile_without_quantiles_is_refused_in_words(profile):
    with pytest.raises(MethodError, match="no quantiles") as caught:
        FfnSkip().fit(profile)
    assert "rheostat profile" in caught.value.hint


@pytest.mark.parametrize("fitted", [{}, {"quantiles": QUANTILES[:3]}, {"quantiles": [[1.0]] * 12}])
def test_numbers_of_another_model_are_refused(fitted):
    with pytest.raises(MethodError, match="12 MLPs"):
        FfnSkip().at(0.5, fitted, SHAPE)


def test_a_quantile_that_is_not_a_number_is_refused():
    with pytest.raises(MethodError, match="not a finite number"):
        FfnSkip().at(0.5, {"quantiles": [[math.nan] * 3] * LAYERS}, SHAPE)


def test_a_model_without_middle_layers_is_refused_in_words():
    method = FfnSkip()
    with pytest.raises(MethodError, match="nothing to omit in 8 layers"):
        method.at(0.5, {"quantiles": QUANTILES[:8]}, shape_of(8))


@pytest.mark.parametrize("params", [{"warmup": -1}, {"skip": -1}, {"max_rate": 0}])
def test_parameters_out_of_range_are_refused(params):
    with pytest.raises(MethodError, match="ffn_skip"):
        FfnSkip(**params)
