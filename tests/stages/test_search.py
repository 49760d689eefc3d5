"""Predicted costs against executed ones, the space of settings, races, and the frontier."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

pytest.importorskip("torch", reason="needs the `torch` extra")

from rheostat import catalog
from rheostat.engines.base import Request, Sampling
from rheostat.kernel.certify.losses import Range
from rheostat.kernel.plan import Plan, Setting
from rheostat.kernel.policies.racing import rounds
from rheostat.kernel.seams import Installed
from rheostat.stages.drafting import Drafting
from rheostat.stages.intervals import standard_error
from rheostat.stages.losses import Evaluate, Loss, base_samples
from rheostat.stages.pricing import Pricing
from rheostat.stages.profile import cached_profile, make_profile
from rheostat.stages.race import BEATEN, OVER, WAITED, Entrant, Race
from rheostat.stages.search import Point, frontier, setting_name
from rheostat.stages.search_journal import SearchJournal
from rheostat.stages.space import space_of
from rheostat.workloads.load import load_workload

TOKENS = 12


def nothing_said(_):
    return


def pricing(engine, path, *, items=4, tokens=TOKENS):
    workload = load_workload(path, part="calibration", limit=items)
    samples = base_samples(engine, workload, Sampling(max_new_tokens=tokens), nothing_said)
    return Pricing(engine, samples)


def executed(priced, settings=()):
    """What the engine counts when it answers the items that are priced."""
    engine = priced.engine
    plan = Plan(model=engine.model, methods=tuple(settings))
    decision = catalog.installed(plan, engine.shape, engine.card.offers)
    return [
        next(
            engine.generate(
                [sample.request], Sampling(max_new_tokens=sample.limit), installed=decision
            )
        ).cost
        for sample in priced.samples
    ]


def drafted(priced):
    space = space_of(priced.engine, {}, lossy=False)
    return Drafting(priced, space.drafts).over_base


@pytest.fixture(scope="module")
def prices(tiny, questions):
    return pricing(tiny, questions)


@pytest.fixture(scope="module")
def profile(tiny):
    return cached_profile(tiny) or make_profile(tiny)


@pytest.fixture(scope="module")
def space(tiny, profile):
    return space_of(tiny, profile)


# prices


def test_the_base_is_predicted_at_what_it_costs(prices):
    costs = executed(prices)
    assert prices.base.price == pytest.approx([c.price for c in costs])
    assert prices.base.flops == pytest.approx([c.flops for c in costs], rel=0.01)
    assert prices.base.bytes == pytest.approx([c.bytes for c in costs], rel=0.02)


def test_drafts_are_predicted_at_what_they_cost(prices):
    found = drafted(prices)
    assert found
    for one in found:
        costs = executed(prices, one.drafts)
        assert one.priced.price == pytest.approx([c.price for c in costs])
        assert one.priced.flops == pytest.approx([c.flops for c in costs], rel=0.01)


@pytest.mark.parametrize("tokens", [6, 13, 40])
def test_drafts_are_priced_with_the_end_of_the_answer(copying, tokens):
    priced = pricing(*copying, tokens=tokens)
    for one in drafted(priced):
        own, base = (sum(c.price for c in executed(priced, s)) for s in (one.drafts, ()))
        assert one.ratio == pytest.approx(own / base, rel=0.05)


@pytest.mark.parametrize("name", ["snapkv", "sink_window"])
def test_a_cache_decision_is_priced_by_what_it_holds_and_reads(tiny, questions, name):
    priced = pricing(tiny, questions, tokens=30)
    params = {"sinks": 2, "window": 4, "every": 8}
    setting = Setting(name=name, dial=0.5, params=params)
    lengths = [len(s.answer) for s in priced.samples]
    costs = executed(priced, [setting])
    same = [c.new_tokens == n for c, n in zip(costs, lengths, strict=True)]
    assert any(same)  # answers of another length cost something else
    own = priced.priced([setting])
    for price, cost, whole in zip(own.price, costs, same, strict=True):
        assert not whole or price == pytest.approx(cost.price, rel=0.02)


def test_several_sources_are_tried_together(prices):
    assert any(len(one.drafts) > 1 for one in drafted(prices))


def test_perfect_draft_lengths_cost_no_more_than_any_draft(copying):
    priced = pricing(*copying)
    for one in drafted(priced):
        assert priced.oracle(one.drafts) <= one.ratio + 1e-9
    assert priced.oracle(()) is None


# the space


def test_a_chain_holds_no_decision_twice_and_dropping_more_is_never_dearer(space, prices):
    names = [setting_name(o) for chain in space.chains for o in chain.options]
    assert len(set(names)) == len(names)
    for chain in space.chains:
        if chain.options[0].name == "llm_drop":
            ratios = [prices.ratio(prices.priced((option,))) for option in chain.options]
            assert len(ratios) > 1
            assert ratios == sorted(ratios, reverse=True)


def test_no_control_is_searched(space):
    used = {*space.drafts, *space.lossy}
    assert {"llm_drop", "ffn_skip", "ems", "copyspec"} <= used
    assert not any(catalog.method(name).card.control for name in used)


def test_a_method_that_a_small_model_cannot_have_is_left_out_in_words(shallow):
    profile = cached_profile(shallow) or make_profile(shallow)
    found = space_of(shallow, profile)
    assert "ffn_skip" not in found.lossy
    assert (
        "left ffn_skip out: `ffn_skip` has nothing to omit in 2 layers: the first 2 and the last "
        "5 always run"
    ) in found.left_out


def test_an_engine_without_layers_has_drafts_alone(copying):
    found = space_of(copying[0], {})
    assert found.chains == ()
    assert {"copyspec", "suffix"} <= set(found.drafts)


# races

LIMIT = 0.1


class Track:
    """Entrants whose losses are known, and what was measured of them."""

    def __init__(self, losses, prices=None, chains=None, limit=LIMIT):
        self.losses = losses
        items = tuple(Request(id=str(i), prompt=str(i)) for i in range(len(losses[0])))
        self.measured = dict.fromkeys(range(len(losses)), 0)
        self.race = Race(
            Evaluate(items, self._measure),
            SearchJournal(),
            kind="disagree",
            scale=Range(0.0, 1.0),
            neutral=0.0,
            limit=limit,
            held=lambda loss: loss.mean + standard_error(loss.values),
            price=nothing_said,
            say=nothing_said,
        )
        self.entrants = [
            Entrant(
                name=str(i),
                settings=(Setting(name="llm_drop", dial=(i + 1) / 100),),
                decision=replace(Installed(), sample=i),
                chain="" if chains is None else chains[i],
                drafted=SimpleNamespace(ratio=1.0 if prices is None else prices[i]),
            )
            for i in range(len(losses))
        ]

    def _measure(self, installed, among):
        own = self.losses[installed.sample][among]
        self.measured[installed.sample] += len(own)
        return Loss(values=tuple(own))

    def run(self):
        ends = rounds(len(self.losses[0]), 8)
        self.race.screen(self.entrants, ends[0])
        self.race.run(self.entrants, ends)
        return [entrant.left for entrant in self.entrants]


def spread(mean, items=128, seed=0):
    return np.random.default_rng(seed).binomial(20, mean, items) / 20


def test_a_hopeless_setting_leaves_after_the_first_round():
    track = Track([spread(0.9), spread(0.05)], prices=[0.5, 0.9])
    assert track.run() == [OVER, ""]
    assert track.measured == {0: 8, 1: 128}


def test_a_setting_that_a_cheaper_one_beats_leaves():
    track = Track([spread(0.5, 256), spread(0.2, 256, 1)], prices=[0.8, 0.7], limit=None)
    assert track.run() == [BEATEN, ""]
    assert track.measured[0] < 256


def test_a_dearer_setting_waits_while_a_cheaper_one_keeps_to_the_limit():
    track = Track([spread(0.001), spread(0.05, seed=1)], prices=[0.8, 0.7])
    assert track.run() == [WAITED, ""]
    assert track.measured == {0: 8, 1: 128}


def test_a_setting_that_waited_goes_on_when_the_cheaper_one_fails():
    late = np.concatenate([np.zeros(16), np.full(112, 0.5)])
    track = Track([spread(0.001), late], prices=[0.8, 0.7])
    assert track.run() == ["", OVER]
    assert track.measured[0] == 128


@given(st.lists(st.tuples(st.floats(0, 0.3), st.floats(0.3, 1.0)), min_size=1, max_size=6))
def test_what_is_taken_is_what_measuring_everything_would_take(settings):
    losses = [spread(mean, seed=i) for i, (mean, _) in enumerate(settings)]
    track = Track(losses, prices=[price for _, price in settings])
    left = track.run()
    held = [own.mean() + standard_error(own) for own in losses]
    # judged wrongly, which may happen once in a hundred times
    assume(not any(w in {OVER, BEATEN} and h <= LIMIT for w, h in zip(left, held, strict=True)))
    kept = [price for (_, price), loss in zip(settings, held, strict=True) if loss <= LIMIT]
    taken = [
        entrant.ratio
        for entrant, why in zip(track.entrants, left, strict=True)
        if why != OVER and track.race._keeps(entrant)
    ]
    assert min(taken, default=None) == min(kept, default=None)


def test_nothing_behind_a_dial_that_loses_far_too_much_is_measured():
    losses = [spread(0.05), spread(0.8), spread(0.0)]
    track = Track(losses, prices=[0.9, 0.8, 0.7], chains=["a", "a", "a"])
    assert track.run() == ["", OVER, OVER]
    assert track.measured[2] == 0
    assert len(track.race.seen) == 2


def test_without_a_limit_only_pairs_are_judged():
    track = Track([spread(0.9), spread(0.5, seed=1)], prices=[0.6, 0.6], limit=None)
    assert track.run() == [BEATEN, ""]


@given(st.permutations(range(5)))
def test_the_order_of_entrants_changes_nothing(order):
    means, prices = (0.02, 0.04, 0.3, 0.09, 0.12), (0.9, 0.8, 0.7, 0.75, 0.6)
    losses = [spread(mean, seed=i) for i, mean in enumerate(means)]
    straight = Track(losses, prices).run()
    turned = Track([losses[i] for i in order], [prices[i] for i in order]).run()
    assert [straight[i] for i in order] == turned


@given(st.integers(0, 50), st.floats(0.3, 1.0))
def test_a_useless_setting_changes_nothing_for_the_others(seed, price):
    means, prices = (0.02, 0.09, 0.12), [0.9, 0.75, 0.6]
    losses = [spread(mean, seed=i) for i, mean in enumerate(means)]
    alone = Track(losses, prices).run()
    beside = Track([*losses, spread(0.9, seed=seed)], [*prices, price]).run()
    assert beside[:3] == alone
    assert beside[3] == OVER


# points


def test_a_single_item_never_shows_that_a_loss_is_small():
    assert Point(losses=(0.0,)).cautious == float("inf")
    assert Point(loss=0.2, losses=(0.1, 0.3)).cautious == pytest.approx(0.3)


points = st.builds(
    lambda price, loss: Point(price_ratio=price, loss=loss, losses=(loss,)),
    st.floats(0.1, 2),
    st.floats(0, 1),
)


@given(st.lists(points, min_size=1, max_size=12))
def test_no_point_beats_one_on_the_frontier(every):
    for kept in frontier(every):
        assert not any(
            p.price_ratio <= kept.price_ratio
            and p.loss <= kept.loss
            and (p.price_ratio, p.loss) != (kept.price_ratio, kept.loss)
            for p in every
        )


@given(st.lists(points, min_size=1, max_size=12))
def test_every_point_is_on_the_frontier_or_beaten_by_one(every):
    kept = frontier(every)
    for p in every:
        assert any(k.price_ratio <= p.price_ratio and k.loss <= p.loss for k in kept)


def test_settings_are_named_with_their_parameters():
    setting = Setting(name="llm_drop", dial=0.1, params={"unit": "mlp"})
    assert setting_name(setting) == "llm_drop (unit=mlp) at 0.1"
    assert Point().name == "the base"
