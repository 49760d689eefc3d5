"""The oracle over tables: under every rule, reached by brute force, and honest about luck."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from rheostat.kernel.oracle.choices import cheapest, hindsight, share_of_saving
from rheostat.kernel.oracle.samples import best_split, fewest_samples, majority
from rheostat.kernel.oracle.tables import changed, smallest_exits, windowed

PRICES = np.array([1.0, 0.8, 0.55, 0.3])


def table(seed, units=5, choices=4):
    losses = np.random.default_rng(seed).beta(0.6, 1.2, (units, choices))
    losses[:, 0] = 0.0
    return losses


def every_assignment(losses, prices, limit):
    rows = np.arange(len(losses))
    for choice in product(range(losses.shape[1]), repeat=len(losses)):
        if losses[rows, list(choice)].mean() <= limit + 1e-12:
            yield np.broadcast_to(prices, losses.shape)[rows, list(choice)].mean()


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("limit", [0.0, 0.05, 0.2, 0.5])
def test_no_assignment_is_cheaper_and_the_chosen_one_is_near(seed, limit):
    losses = table(seed)
    prices = np.random.default_rng(seed + 50).permuted(np.tile(PRICES, (5, 1)), axis=1)
    for costs in (PRICES, prices):
        found = cheapest(losses, costs, limit)
        best = min(every_assignment(losses, costs, limit))
        assert found.price <= best + 1e-12
        rows = np.arange(len(losses))
        own = np.broadcast_to(costs, losses.shape)[rows, found.choices].mean()
        assert losses[rows, found.choices].mean() <= limit + 1e-12
        assert own - found.price <= (costs.max() - costs.min()) / len(losses)


def test_hand_made_units_take_what_they_can_spare():
    losses = np.array([[0, 0, 0], [0, 0, 1], [0, 1, 1]], dtype=float)
    prices = [3.0, 2.0, 1.0]
    assert cheapest(losses, prices, 0.0).choices.tolist() == [2, 1, 0]
    assert cheapest(losses, prices, 0.0).price == pytest.approx(2.0)
    assert cheapest(losses, prices, 1 / 3).price == pytest.approx((1 + 2 + 1) / 3)
    found = hindsight(losses, prices, 0.0)
    assert (found.base, found.static) == (3.0, 3.0)
    third = hindsight(losses, prices, 1 / 3)
    assert third.static == 2.0  # loses a third, and so may everything
    assert third.random == pytest.approx(2.0)


@pytest.mark.parametrize("seed", range(6))
def test_no_control_beats_the_oracle_and_more_choices_never_hurt(seed):
    losses = table(seed, units=60)
    for limit in (0.0, 0.05, 0.3):
        found = hindsight(losses, PRICES, limit)
        assert found.oracle <= found.random + 1e-9 <= found.static + 2e-9 <= found.base + 3e-9
        assert found.oracle <= cheapest(losses[:, :3], PRICES[:3], limit).price + 1e-9
        shares = found.to_json()
        if found.oracle == found.base:
            assert shares["static_share"] is shares["random_share"] is None
            continue
        assert 0 <= shares["static_share"] <= shares["random_share"] <= 1 + 1e-9


def test_where_losses_fall_by_chance_the_oracle_is_no_better_than_chance():
    luck = table(3, units=400)
    found = hindsight(luck, PRICES, 0.1)
    assert found.oracle == pytest.approx(found.chance, rel=0.03)


def test_shuffling_is_dearer_where_choices_help_each_other_out_and_cheaper_where_units_are_hard():
    unit, choice = np.arange(400)[:, None], np.arange(4)[None, :]
    own = np.where((choice == 0) | (unit % 3 + 1 == choice), 0.0, 1.0)  # spared one way
    found = hindsight(own, [1.0, 0.5, 0.5, 0.5], 0.0)
    assert found.oracle < found.chance - 0.1
    hard = np.where((choice == 0) | (unit % 2 == 0), 0.0, 1.0)  # half of the units spare in no way
    found = hindsight(hard, [1.0, 0.5, 0.5, 0.5], 0.0)
    assert found.chance < found.oracle - 0.1


def test_the_share_of_a_saving():
    assert share_of_saving(1.0, 0.8, 0.6) == pytest.approx(0.5)
    assert share_of_saving(1.0, 1.1, 0.6) < 0
    assert share_of_saving(1.0, 0.9, 1.0) is None


def test_exits_and_windows_by_hand():
    choices = np.array([[5, 7, 7, 7], [1, 2, 3, 4], [9, 8, 9, 9]])
    assert smallest_exits(choices).tolist() == [1, 3, 0]
    lost = changed(choices, choices[:, -1])
    assert lost.tolist() == [[1, 0, 0, 0], [1, 1, 1, 0], [0, 1, 0, 0]]
    assert windowed(lost, 2).tolist() == [[1.0, 0.5, 0.5, 0.0]]
    assert windowed(lost, 1).tolist() == lost.tolist()


def test_coarser_windows_never_save_more():
    lost = (np.random.default_rng(0).random((240, 6)) < 0.3).astype(float)
    lost[:, 0] = 0.0
    prices = np.linspace(1.0, 0.5, 6)
    saved = [cheapest(windowed(lost, size), prices, 0.05).price for size in (1, 2, 8, 40)]
    assert saved == sorted(saved)


def test_the_fewest_samples_and_the_best_split():
    assert majority(["a", "b", "b", None]) == "b"
    assert majority(["b", "a", "a", "b"]) == "b"  # the earliest on a tie
    assert majority([None]) is None
    assert fewest_samples(["a", "b", "b", "b"]) == 3
    assert fewest_samples(["b", "a", "b", "b"]) == 1
    assert fewest_samples([None, None]) == 1
    assert best_split([5.0, 1.0, 3.0], 4.5) == 2
    assert best_split([], 10.0) == 0
