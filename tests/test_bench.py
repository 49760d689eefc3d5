"""The benchmark suites: their names, their results' form, and their verdicts."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("torch", reason="the suites run on the `torch` engine")

from rheostat import catalog
from rheostat.bench import cache, depth, draft, plans, prove, selfdraft, step, trees, void
from rheostat.bench.journal import Journal
from rheostat.bench.result import envelope, spread, write_result
from rheostat.bench.startup import bench_startup
from rheostat.bench.suites import SUITES, run_suite
from rheostat.errors import UserError
from rheostat.kernel.seams import Installed
from rheostat.stages.profile import cached_profile, make_profile
from rheostat.workloads.load import load_workload
from stages.conftest import write_lines

pytest_plugins = ["stages.conftest"]

HEAD = {"suite", "question", "command", "date", "seed", "machine"}


def nothing_said(_):
    return


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    lines = [{"prompt": f"{head} the cat and the hat"} for head in "abcdefghijkl"]
    return write_lines(tmp_path_factory.mktemp("texts") / "texts.jsonl", lines)


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "suite.partial.json")


# resuming


def test_a_stopped_suite_goes_on_where_it_was(tmp_path):
    path = tmp_path / "new" / "suite.partial.json"
    asked = []

    def suite(journal, stop_before=None):
        for name in "abc":
            if name == stop_before:
                raise KeyboardInterrupt
            yield journal.part(name, lambda name=name: asked.append(name) or {"is": name})

    with pytest.raises(KeyboardInterrupt):
        list(suite(Journal(path), stop_before="c"))
    assert list(suite(Journal(path))) == [{"is": "a"}, {"is": "b"}, {"is": "c"}]
    assert asked == ["a", "b", "c"]
    last = Journal(path)
    assert last.part("c", lambda: "measured again") == {"is": "c"}
    last.done()
    assert not path.exists()


def test_parts_of_another_program_are_measured_again(tmp_path, monkeypatch):
    path = tmp_path / "suite.partial.json"
    assert Journal(path).part("a", lambda: 1) == 1
    monkeypatch.setattr("rheostat.bench.journal.program_digest", lambda: "another")
    assert Journal(path).part("a", lambda: 2) == 2
    assert Journal(path).part("a", lambda: 3) == 2


# names and files


def test_an_unknown_suite_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(UserError, match="there is no suite `bass`") as error:
        run_suite("bass", tmp_path)
    assert all(name in error.value.hint for name in SUITES)
    assert not list(tmp_path.iterdir())


def test_a_result_names_machine_versions_seed_and_command(tmp_path):
    result = envelope("base", "is it fast?", seed=7)
    assert set(result) == HEAD
    assert {"cpu", "cores", "python", "torch", "rheostat", "torch_threads"} <= set(
        result["machine"]
    )
    path = write_result(result | {"cells": []}, tmp_path / "new")
    assert (path.name, json.loads(path.read_text())["seed"]) == ("base.json", 7)


def test_repeats_are_summed_up_by_their_median():
    assert spread([3.0, 1.0, 2.0]) == {"median": 2.0, "min": 1.0, "max": 3.0, "repeats": 3}


@pytest.mark.slow
def test_the_startup_suite_starts_fresh_processes(tiny_gguf, tmp_path, monkeypatch, journal):
    monkeypatch.setenv("RHEOSTAT_CACHE", str(tmp_path))
    result = bench_startup(nothing_said, journal, model=str(tiny_gguf), repeats=1)
    assert set(result) > HEAD
    assert result["import_loads_torch_or_numpy"] is False
    for key in ("import_seconds", "second_start_seconds_float32", "second_start_seconds_bfloat16"):
        assert result[key]["repeats"] == 1
        assert result[key]["median"] > 0


# depth


@pytest.fixture(scope="module")
def measured(tiny, tmp_path_factory):
    journal = Journal(tmp_path_factory.mktemp("depth") / "depth.partial.json")
    profile = cached_profile(tiny) or make_profile(tiny)
    with pytest.MonkeyPatch.context() as patch:  # a tiny model says all it has to say in little
        patch.setattr(depth, "SKIP_DIALS", (0.2,))
        patch.setattr(depth, "DOCUMENTS", 2)
        patch.setattr(depth, "TIMED_ITEMS", 1)
        return depth.measured_depth(tiny, profile, nothing_said, journal)


def test_depth_cells_compare_equal_numbers_of_units(measured):
    cells = {(c["unit"], c["dropped"]) for c in measured["static"]}
    most = {"attention": (1, 2, 3, 5), "mlp": (1, 2, 3, 5), "joint": (1, 2, 3, 5, 8)}
    assert cells == {(unit, k) for unit, ks in most.items() for k in ks}
    for cell in measured["static"]:
        draws = cell["random"]["draws"]
        assert cell["random"]["loss"] == pytest.approx(sum(draws) / len(draws))


def test_layers_by_their_voids_are_compared_at_equal_numbers(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(depth, "DOCUMENTS", 1)
    monkeypatch.setattr(void, "DROPPED", (1, 2))
    profile = cached_profile(tiny) or make_profile(tiny)
    found = void.measured_void(tiny, profile, nothing_said, Journal(tmp_path / "void.json"))
    assert [cell["dropped"] for cell in found["cells"]] == [1, 2]
    shares = [active["share"] for active in found["active"]]
    assert shares == sorted(shares, reverse=True)
    assert set(found["verdicts"]["lac"]) == {"beats_controls", "evidence"}


def test_lac_holds_where_every_control_loses_more():
    def cell(own):
        controls = {f"constant_{order}": 0.3 for order in void.ORDERS}
        return {"lac": [{"loss": 9.0}, {"loss": own}], "random": 0.2, **controls}

    assert void.verdict([cell(0.1)] * 5)["beats_controls"]
    assert not void.verdict([cell(0.1)] * 3 + [cell(0.25)] * 2)["beats_controls"]


def test_intervals_hold_the_mean_loss(measured):
    halves = [c for c in measured["static"] if c["unit"] == "attention"]
    assert all(
        c["llm_drop_similarity"]["interval"][0]
        <= c["llm_drop_similarity"]["loss"]
        <= c["llm_drop_similarity"]["interval"][1]
        for c in halves
    )


def test_the_dynamic_cell_is_timed_and_counted(measured):
    (cell,) = measured["dynamic"]
    assert cell["mlps_skipped_a_token"] > 0
    assert cell["seconds_a_token_over_base"] > 0
    json.dumps(measured, allow_nan=False)


def static_cell(own, **others):
    controls = {"random": 1.0, "constant_first": 1.0, "constant_last": 1.0, "constant_spread": 1.0}
    losses = controls | others | {"llm_drop_similarity": own}
    return {name: {"loss": loss} for name, loss in losses.items()}


@pytest.mark.parametrize(
    ("cells", "beats"),
    [
        ([static_cell(0.5)] * 5, True),
        ([static_cell(0.5)] * 4 + [static_cell(2.0)], True),
        ([static_cell(0.5)] * 3 + [static_cell(2.0)] * 2, False),
        ([static_cell(0.5, constant_last=0.4)] * 5, False),
        ([static_cell(1.0)] * 5, False),
        ([], False),
    ],
)
def test_dropped_units_must_lose_less_than_every_control(cells, beats):
    assert depth.static_verdict(cells)["beats_controls"] is beats


def dynamic_cell(own, static, seconds):
    return {
        "ffn_skip": {"loss": own},
        "static_similarity_at_equal_skips": static,
        "seconds_a_token_over_base": seconds,
    }


@pytest.mark.parametrize(
    ("cells", "beats"),
    [
        ([dynamic_cell(0.1, 0.2, 0.9)] * 2, True),
        ([dynamic_cell(0.1, 0.2, 0.9), dynamic_cell(0.1, 0.2, 1.1)], False),
        ([dynamic_cell(0.1, 0.2, 0.9), dynamic_cell(0.3, 0.2, 0.9)], False),
        ([], False),
    ],
)
def test_a_dynamic_skip_must_lose_less_and_save_time_at_every_dial(cells, beats):
    assert depth.dynamic_verdict(cells)["beats_controls"] is beats


# draft


def test_a_draft_cell_compares_contestants_on_the_same_items(tiny, texts, journal):
    cell = draft.draft_cell(tiny, texts, 3, nothing_said, journal)
    assert (cell["items"], cell["counted"], cell["claim"]) == (3, 3, False)
    for name in ("copyspec", "fixed_lookup"):
        assert cell[name]["identical_answers"] == 1.0
        assert cell[name]["tokens_per_step"] >= 1
    verdict = draft.draft_verdict([cell | {"claim": True}], "copyspec")
    assert isinstance(json.loads(json.dumps([cell, verdict], allow_nan=False)), list)


def test_answers_that_earned_nothing_make_no_claim(tiny, questions, journal):
    cell = draft.draft_cell(tiny, questions, 2, nothing_said, journal)
    assert (cell["counted"], cell["claim"]) == (0, False)
    assert cell["copyspec"]["speed_ratio"] is None
    assert cell["copyspec"]["predicted_ratio"] is None


def draft_cell(own, lookup, *, claim=True):
    return {
        "claim": claim,
        "copyspec": {"speed_ratio": own},
        "fixed_lookup": {"speed_ratio": lookup},
    }


@pytest.mark.parametrize(
    ("cells", "beats"),
    [
        ([draft_cell(2.0, 1.5), draft_cell(1.0, 0.7)], True),
        ([draft_cell(2.0, 1.5), draft_cell(0.9, 0.7)], False),
        ([draft_cell(2.0, 2.5), draft_cell(1.0, 0.7)], False),
        ([draft_cell(9.0, 1.0, claim=False)], False),
        ([draft_cell(None, None)], False),
        ([], False),
    ],
)
def test_copied_drafts_must_beat_the_fixed_lookup_and_never_cost(cells, beats):
    assert draft.draft_verdict(cells, "copyspec")["beats_controls"] is beats


def test_every_verdict_is_of_a_method():
    verdicts = {"llm_drop", "ffn_skip", "lac", "copyspec", "suffix", "awrs", *selfdraft.METHODS}
    verdicts |= set(cache.names()) - {"random_keep"}
    unmeasured = {"draft_model"}  # there is no smaller model of the embedded one's vocabulary
    unmeasured |= {"bfp", "kv_direct"}  # they let nothing go, so no control stands beside them
    inside = {
        name
        for name, found in catalog.methods().items()
        if not found.card.control and found.card.seam not in catalog.AROUND
    }
    assert verdicts | unmeasured == inside


# trees


def test_trees_are_compared_with_chains_of_the_same_sources_on_the_same_items(tiny, texts, journal):
    items = load_workload(texts, part="test", limit=2).items
    cells = trees.tree_cells(tiny, "texts", items, nothing_said, journal)
    assert [cell["sources"] for cell in cells] == list(trees.PAIRS)
    for cell in cells:
        assert cell["tree_over_chain"]["predicted_ratio"] > 0
        for kind in ("chain", "tree"):
            assert cell[kind]["identical_answers"] == 1.0
            assert cell[kind]["tokens_per_step"] >= 1
    json.dumps(cells, allow_nan=False)


# prove


@pytest.mark.parametrize("batch", [1, 2])
def test_drafts_are_compared_with_the_base_at_every_dial(tiny, texts, journal, batch):
    items = load_workload(texts, part="test", limit=2).items
    base = prove.Prover(tiny, nothing_said, journal).answers(items, Installed(), "base")
    compared = prove.Prover(tiny, nothing_said, journal, batch=batch).compared_drafts(items, base)
    cells = {(c["method"], c["dial"]): c["identical"] for c in compared["cells"]}
    alone = {(m, d): 2 for m in ("copyspec", "fixed_lookup", "suffix") for d in prove.DIALS}
    several = ["copyspec + suffix", "copyspec + suffix, trees", "self_draft, forced"]
    assert cells == alone | {(name, 1.0): 2 for name in several}
    assert all(c["largest_margin_where_parted"] is None for c in compared["cells"])


def test_a_difference_is_held_against_the_margin_where_it_begins(tiny, texts, journal):
    item, *_ = load_workload(texts, part="test").items
    prover = prove.Prover(tiny, nothing_said, journal)
    base = prover.answers([item], Installed(), "base")[item.id]
    tokens = list(base.token_ids)
    tokens[2] = (tokens[2] + 1) % 300
    margin = prove.margin_where_parted(tiny, item, base.token_ids, tokens)
    whole = tiny.score(tiny.encode(item), base.token_ids, installed=Installed())
    assert margin == pytest.approx(whole.margin[2], abs=1e-5)


# where a step's time goes


def test_the_shares_of_a_step_are_a_whole(tiny):
    cell = step.step_cell(tiny, 3)
    assert sum(cell["shares"].values()) == pytest.approx(1.0, abs=0.02)
    assert {"other products", "attention", "small operations", "Python"} <= set(cell["shares"])
    assert min(cell["shares"].values()) >= 0
    assert cell["operations"] > 10
    json.dumps(cell, allow_nan=False)


# plans


@pytest.fixture
def planned_bench(tmp_path, monkeypatch, stages_cache):
    """The suite `plans` at a size for tests, on a tiny model."""
    from contract.tiny_engine import LAYERS, tiny_engine
    from engines.tiny_gguf import write_tiny_gguf

    engine = tiny_engine(write_tiny_gguf(tmp_path / "deep.gguf", layers=LAYERS, seed=2))
    path = tmp_path / "many.jsonl"
    lines = [{"prompt": f"{head} the cat {tail}"} for head in "abcdefgh" for tail in "ijkl"]
    write_lines(path, lines)
    monkeypatch.setattr(plans, "ITEMS", 4)
    monkeypatch.setattr(plans, "LONG", 8)
    monkeypatch.setattr(plans, "SHORT", 8)
    monkeypatch.setattr(plans, "SEARCHED", 9)
    monkeypatch.setattr(plans, "LIMIT", 0.9)
    monkeypatch.setattr(plans, "FORMATS", ())
    return engine, str(path)


def test_a_search_is_told_with_its_seconds_and_what_it_measured(planned_bench, tmp_path):
    engine, workload = planned_bench
    found = plans._searched(engine, workload, tmp_path, nothing_said)
    assert found["items"] <= 9
    assert sum(found["measured"].values()) >= 2
    assert {"llm_drop", "copyspec"} <= set(found["methods"])
    seconds = found["seconds"]
    parts = seconds["answers"] + seconds["losses"] + seconds["rest"]
    assert seconds["search"] == pytest.approx(parts)
    assert min(seconds["answers"], seconds["losses"]) > 0


def test_a_plan_is_held_against_single_methods_on_unseen_items(planned_bench, tmp_path):
    engine, workload = planned_bench
    cell = plans.plan_cell(engine, workload, (), tmp_path, nothing_said)
    assert cell["singles"]
    assert all(len(one["seconds_interval"]) == 2 for one in cell["singles"].values())
    assert cell["measured"]["seconds_ratio"] > 0
