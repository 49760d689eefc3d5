"""Plans of samples: parts kept apart, the cheapest within the limit, claims that hold."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from rheostat.engines.sample_store import SampleStore
from rheostat.errors import ModelError, PlanError
from rheostat.kernel.certify.seal import is_sealed
from rheostat.kernel.plan import Plan
from rheostat.stages import sample_rules
from rheostat.stages.intervals import mean_interval
from rheostat.stages.plan_samples import SamplesGoal, certify, checked_samples_goal, plan_samples
from rheostat.stages.recordings import parts_of, read_recordings
from rheostat.stages.sample_rules import FIXED, Choice, choices
from rheostat.stages.sample_search import Figures, Replays, Searched, Way, path_of, search
from rheostat.workloads.tasks import load_tasks
from stages.sample_plans import (
    NAMES,
    SAMPLES,
    recorded,
    write_spec,
    write_tasks,
)
from stages.sample_runs import samples_in

RULES = ("agreement", "confidence_tail", "lead_margin", FIXED, "random_stop", "urn")


@pytest.fixture(scope="module", autouse=True)
def some_rules():
    """Choose among a few rules, the control by lot among them."""
    every = [own for own in sample_rules.rule_settings() if own.name in RULES]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sample_rules, "rule_settings", lambda *, offers: every)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("plans")


@pytest.fixture(scope="module")
def model(folder):
    return write_spec(folder)


@pytest.fixture(scope="module")
def tasks(folder):
    return write_tasks(folder / "tasks.jsonl")


@pytest.fixture(scope="module")
def store(model, tasks, folder):
    return recorded(model, tasks, folder / "store")


@pytest.fixture(scope="module")
def material(store):
    return read_recordings([store])


@pytest.fixture(scope="module")
def replays(material):
    return Replays(material.formats["calibration"], "wrong", SAMPLES)


def searched(replays, limit, more=(), *, mean=False):
    every = [*choices(replays.dtypes, SAMPLES), *more]
    settings = [c for c in every if c != replays.of_base]
    return search(replays, settings, limit=limit, unit="seconds", mean=mean, say=lambda _: None)


def test_search_and_test_questions_are_apart_and_their_lines_order_decides_nothing(tasks, folder):
    turned = write_tasks(folder / "turned.jsonl", NAMES[::-1])
    one, two = (parts_of(load_tasks(name), seed=5) for name in (tasks, turned))
    assert one == two
    calibration, test = ({r.id for r in one[part]} for part in ("calibration", "test"))
    assert not calibration & test
    assert calibration | test == set(NAMES)


def test_a_sample_costs_what_was_recorded_in_every_order(material):
    for part, formats in material.formats.items():
        for question, costs in zip(formats[0].questions, formats[0].costs["seconds"], strict=True):
            whole = sum(sample.cost.price for sample in question.samples)
            assert costs[:, -1] == pytest.approx([whole] * SAMPLES), part
        tokens = formats[0].costs["tokens"]
        assert (np.diff(tokens, axis=2) > 0).all()


def test_a_prompt_that_is_read_once_is_paid_once_whichever_sample_is_first(model, tasks, folder):
    recorded(model, tasks, folder / "shared")
    held = SampleStore(folder / "shared", create=True)
    for sample in list(held.all()):
        if sample.index != 2:  # the reader, on whose account the prompt is
            own = sample.cost
            alone = own.price * own.calls / (own.calls + own.prompt_tokens)
            held.add([replace(sample, cost=replace(own, prompt_tokens=0, price=alone))])
    held.close()
    found = read_recordings([f"replay:{folder / 'shared'}"]).formats["test"][0]
    for question, costs in zip(found.questions, found.costs["tokens"], strict=True):
        read = max(s.cost.prompt_tokens for s in question.samples)
        assert costs[:, 0].tolist() == [read] * SAMPLES
        assert costs[:, -1].tolist() == [read + sum(question.tokens)] * SAMPLES
    assert (found.costs["seconds"][:, :, 0] >= 0).all()


@pytest.mark.parametrize("limit", [0.0, 0.02, 0.1, 0.3])
def test_the_plan_is_the_cheapest_setting_within_the_limit(replays, limit):
    found = searched(replays, limit)
    within = [w for w in found.ways if w.cautious <= limit + 1e-12 and w.price_ratio <= 0.99]
    least = min((w.price_ratio for w in within), default=1.0)
    assert found.chosen.price_ratio == least
    assert all(w.choice.rule != "random_stop" for w in found.ways)


def test_a_larger_limit_is_never_dearer(replays):
    prices = [searched(replays, limit).chosen.price_ratio for limit in (0.0, 0.05, 0.1, 0.2, 1.0)]
    assert prices == sorted(prices, reverse=True)
    assert prices[0] > prices[-1]


def test_a_useless_setting_changes_nothing(replays):
    """One that hardly saves anything, and one that answers by little more than a sample."""
    (dtype,) = replays.dtypes
    useless = [Choice(dtype, "random_stop", dial, SAMPLES) for dial in (0.001, 0.95)]
    for limit in (0.02, 0.1):
        one, two = searched(replays, limit), searched(replays, limit, useless)
        assert one.chosen.choice == two.chosen.choice
        assert [w.choice for w in path_of(one)] == [w.choice for w in path_of(two)]


def test_a_path_gets_cheaper_as_it_loses_more(replays):
    path = path_of(searched(replays, 0.3))
    assert len(path) > 2
    assert [w.price_ratio for w in path] == sorted((w.price_ratio for w in path), reverse=True)
    assert [w.cautious for w in path] == sorted(w.cautious for w in path)


def test_the_same_seed_gives_the_same_plan_and_lines_may_stand_in_any_order(store, model, folder):
    goal = SamplesGoal(limit=0.1)
    first, again = plan_samples([store], goal), plan_samples([store], goal)
    assert first == again
    mixed = write_tasks(folder / "mixed.jsonl", [*NAMES[1::2], *NAMES[::2]])
    other = plan_samples([recorded(model, mixed, folder / "mixed")], goal)
    for data in (plans := [first.to_json(), other.to_json()]):
        del data["measured"]["workload"]
    assert plans[0] == plans[1]


def test_a_recording_that_was_stopped_ends_in_the_same_plan(store, model, tasks, folder):
    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        recorded(model, tasks, folder / "stopped", after=100, end=stop)
    stopped = f"replay:{folder / 'stopped'}"
    with pytest.raises(ModelError, match=r"is unfinished: \d+ of 480 samples"):
        plan_samples([stopped], SamplesGoal(limit=0.1))
    recorded(model, tasks, folder / "stopped")
    whole = plan_samples([store], SamplesGoal(limit=0.1))
    assert plan_samples([stopped], SamplesGoal(limit=0.1)) == whole


@pytest.mark.parametrize("limit", [0.0, 0.05, 0.2])
def test_what_loses_too_much_on_other_questions_is_given_up(store, material, replays, limit):
    plan = plan_samples([store], SamplesGoal(limit=limit))
    (setting,) = plan.methods
    choice = Choice(plan.dtype, setting.name, setting.dial, plan.draws["samples"])
    shown = Replays(material.formats["test"], "wrong", SAMPLES).figures(choice)
    assert plan.measured["loss"] == pytest.approx(shown.losses.mean())
    assert plan.measured["loss"] <= limit
    chosen = searched(replays, limit).chosen
    gave_up = any(sentence.startswith("gave ") for sentence in plan.why)
    assert gave_up is (choice != chosen.choice)


def test_some_plan_saves_something(store):
    assert plan_samples([store], SamplesGoal(limit=0.2)).measured["price_ratio"] < 0.7


def test_a_plan_survives_json_and_a_seal_holds_its_samples(store):
    plan = plan_samples([store], SamplesGoal(limit=0.3, confidence=0.9))
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    held = plan.certificate
    assert held["mean"] <= held["upper"] <= held["limit"] == 0.3
    assert not set(held["data"]["items"]) & set(held["search"]["items"])
    assert len(held["data"]["items"]) == held["measured_items"] == plan.measured["loss_items"]
    assert held["claim"].startswith("With confidence 0.9 the mean `wrong` of this plan on quest")
    assert is_sealed(plan)
    more = {**plan.draws, "samples": plan.draws["samples"] + 1}
    assert not is_sealed(replace(plan, draws=more))


def test_without_a_certificate_the_plan_is_the_base_and_says_what_it_would_take(store):
    plan = plan_samples([store], SamplesGoal(limit=0.14, confidence=0.95))
    assert plan.certificate is None
    assert [s.name for s in plan.methods] == [FIXED]
    assert plan.draws["samples"] == SAMPLES
    assert plan.measured["loss"] == 0
    assert any("questions like these would certify it" in sentence for sentence in plan.why)
    assert plan.measured["path"][0]["certified"] is False


def test_too_few_questions_for_the_confidence_say_how_many_it_takes(store):
    with pytest.raises(PlanError, match=r"takes at least 204 even if none") as found:
        plan_samples([store], SamplesGoal(limit=0.02, confidence=0.95))
    assert "give more questions" in found.value.hint


def test_a_certificate_is_wrong_as_seldom_as_it_says(material):
    """Recorded losses are the population: of a sample, whatever is certified is rarely untrue."""
    formats = material.formats["calibration"]
    whole = Replays(formats, "wrong", SAMPLES)
    settings = [Choice(whole.dtypes[0], FIXED, 0.0, n) for n in range(1, SAMPLES)]
    settings += [c for c in choices(whole.dtypes, SAMPLES) if c.rule in ("agreement", "urn")]
    truth = {c: whole.figures(c) for c in settings}
    means = sorted(float(own.losses.mean()) for own in truth.values())
    limit = next(mean for mean in means if mean > 0.04) - 1e-3  # just under one of them
    goal = SamplesGoal(limit=limit, confidence=0.9)
    draw, wrong, held, trials = np.random.default_rng(0), 0, 0, 300
    for _ in range(trials):
        rows, others = draw.integers(0, len(whole.base.right), (2, 150))
        ways = [way(c, truth[c], whole.base, rows[:40]) for c in settings]
        found = chosen_among(ways, limit, way(whole.of_base, whole.base, whole.base, rows[:40]))
        verdict = certify(found, goal, lambda c, at=others: taken(truth[c], at), lambda _: None)
        if verdict.chosen is not None:
            held += 1
            wrong += float(truth[verdict.chosen.point.choice].losses.mean()) > limit
    assert wrong <= trials * 0.1 + 2 * np.sqrt(trials * 0.1 * 0.9)
    assert held > trials / 10  # and it is no empty promise


def taken(own, rows):
    """Figures of some questions."""
    costs = {unit: values[rows] for unit, values in own.costs.items()}
    return Figures(
        right=own.right[rows], losses=own.losses[rows], samples=own.samples[rows], costs=costs
    )


def way(choice, own, base, rows):
    return Way(choice=choice, unit="seconds", figures=taken(own, rows), base=taken(base, rows))


def chosen_among(ways, limit, base):
    allowed = [w for w in ways if w.loss <= limit and w.price_ratio <= 0.99]
    cheapest = min(allowed, key=lambda w: w.price_ratio, default=base)
    return Searched(base, ways, len(allowed), allowed, cheapest)


def test_formats_are_chosen_among_and_fit_together(store, model, tasks, folder):
    cheap = recorded(model, tasks, folder / "cheap", dtype="gguf")
    held = SampleStore(folder / "cheap", create=True)
    held.add([replace(s, cost=replace(s.cost, price=s.cost.price / 4)) for s in held.all()])
    held.close()
    alone, both = (plan_samples(s, SamplesGoal(limit=0.1)) for s in ([store], [store, cheap]))
    assert both.dtype == "gguf"
    assert both.measured["price_ratio"] < alone.measured["price_ratio"]
    with pytest.raises(PlanError, match="two of the recordings are in `gguf`"):
        plan_samples([cheap, cheap], SamplesGoal(limit=0.1))
    fewer = recorded(model, write_tasks(folder / "few.jsonl", NAMES[:40]), folder / "few")
    with pytest.raises(PlanError, match="are of different questions"):
        plan_samples([store, fewer], SamplesGoal(limit=0.1))


def test_without_references_answers_may_differ_but_nothing_is_wrong(model, folder):
    unjudged = write_tasks(folder / "unjudged.jsonl", reference=None)
    name = recorded(model, unjudged, folder / "unjudged")
    with pytest.raises(PlanError, match="nothing says which answers") as found:
        plan_samples([name], SamplesGoal(limit=0.1))
    assert "--loss other" in found.value.hint
    plan = plan_samples([name], SamplesGoal(limit=0.1, loss="other"))
    assert 0 <= plan.measured["loss"] <= 0.1
    assert plan.measured["accuracy"] is None
    assert plan.predicted["price_ratio"] < 1


def test_tokens_are_the_price_where_no_seconds_are_predicted(store, model, tasks, folder):
    recorded(model, tasks, folder / "unpriced")
    held = SampleStore(folder / "unpriced", create=True)
    held.add([replace(s, cost=replace(s.cost, price=0.0)) for s in held.all()])
    held.close()
    plan = plan_samples([f"replay:{folder / 'unpriced'}"], SamplesGoal(limit=0.1))
    assert plan.predicted["unit"] == "tokens"
    assert set(plan.measured["costs"]) == {"tokens"}
    assert any("tell no predicted seconds" in sentence for sentence in plan.why)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"max_loss": None}, "needs a largest loss"),
        ({"max_loss": 1.5}, "must be from 0 to 1"),
        ({"max_loss": 0.1, "loss": "nats"}, "no loss `nats` of samples"),
        ({"max_loss": 0.1, "confidence": 0.2}, "from 0.5 to under 1"),
    ],
)
def test_a_goal_that_is_none_is_refused(asked, found):
    with pytest.raises(PlanError, match=found) as refused:
        checked_samples_goal(**asked)
    assert refused.value.hint or "max-loss" in str(refused.value)


def test_samples_are_only_read(store, folder):
    before = samples_in(folder / "store")
    plan_samples([store], SamplesGoal(limit=0.05))
    assert samples_in(folder / "store") == before


def test_on_the_real_models_recordings_a_plan_saves_and_keeps_its_word(tmp_path):
    """On the recordings that come with the package; shown on questions of another seed too."""
    pytest.importorskip("reasoning_gym", reason="needs the `tasks` extra")
    from rheostat.bench.packed_recordings import unpacked
    from rheostat.bench.solve_recordings import recording_named, tasks_named

    def stores(seed):
        tasks = tasks_named("products", seed)
        names = [recording_named("products", seed, dtype=d) for d in ("float32", "gguf")]
        return [f"replay:{unpacked(name, tasks, tmp_path)}" for name in names]

    plan = plan_samples(stores(100000), SamplesGoal(limit=0.1))
    assert plan.measured["loss"] <= 0.1
    assert plan.measured["price_ratio"] < 0.5
    assert plan.model == "smollm2"
    assert plan.draws["sampling"]["max_new_tokens"] == 32
    (setting,) = plan.methods
    choice = Choice(plan.dtype, setting.name, setting.dial, plan.draws["samples"])
    for formats in read_recordings(stores(500000)).formats.values():
        other = Replays(formats, "wrong", 16)
        low, _ = mean_interval(other.figures(choice).losses.tolist())
        assert low <= 0.1
