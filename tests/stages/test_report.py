"""The report: what it claims, what it refuses, and that nothing of a file gets out of hand."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("matplotlib", reason="needs the `plots` extra")

from rheostat.engines.base import Output
from rheostat.errors import OutputError
from rheostat.kernel.cost import Cost
from rheostat.kernel.plan import Plan
from rheostat.stages import plots, plots_frontier
from rheostat.stages.plots_frontier import frontier
from rheostat.stages.report import write_report
from rheostat.stages.report_headline import verdict
from rheostat.stages.report_html import Html, figures, h
from rheostat.stages.report_sections import first_difference
from rheostat.stages.report_style import CSS
from rheostat.stages.report_summary import compare
from rheostat.stages.report_tables import loss_cell
from stages.report_fixture import (
    BASE,
    MACHINE,
    MODEL,
    Kind,
    edit_json,
    predicted,
    profile,
    without_plots,
    write_json,
    write_lines,
    write_run,
)
from stages.report_fixture import (
    LOSSLESS as LOSSLESS_WITH_PLOTS,
)
from stages.report_fixture import (
    LOSSY as LOSSY_WITH_PLOTS,
)

if TYPE_CHECKING:
    from pathlib import Path

LOSSLESS = without_plots(LOSSLESS_WITH_PLOTS)
LOSSY = without_plots(LOSSY_WITH_PLOTS)


def report(tmp_path: Path, *kinds: Kind) -> tuple[dict[str, Any], str]:
    folders = [write_run(tmp_path / f"run{at}", kind) for at, kind in enumerate(kinds)]
    summary = write_report(folders, tmp_path / "report.html")
    return summary, (tmp_path / "report.html").read_text(encoding="utf-8")


def outputs(seconds: list[float], tokens: list[tuple[int, ...]]) -> list[Output]:
    return [
        Output(
            id=str(at),
            text=str(ids),
            token_ids=ids,
            stop_reason="eos",
            cost=Cost(seconds=s),
        )
        for at, (s, ids) in enumerate(zip(seconds, tokens, strict=True))
    ]


@dataclass(frozen=True, kw_only=True)
class Full:
    """A report with every section and plot."""

    summary: dict[str, Any]
    page: str
    plots: list[str]


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Full:
    folder = tmp_path_factory.mktemp("full")
    write_json(folder / "profile.json", profile())
    summary, page = report(folder, BASE, LOSSY_WITH_PLOTS)
    names = sorted(path.name for path in (folder / "report_files").iterdir())
    return Full(summary=summary, page=page, plots=names)


class Reader(HTMLParser):
    """Collects tags with their attributes and the text outside of style."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


# What it claims


def test_a_faster_lossless_run_is_called_so_with_its_interval(tmp_path: Path) -> None:
    summary, page = report(tmp_path, BASE, LOSSLESS)
    assert re.fullmatch(
        r"lossless: 1\.8\d\u00d7 faster than the base on 12 requests "
        r"\(95 % interval 1\.\d\d to 1\.\d\d\), identical tokens on 12 of 12",
        summary["headline"],
    )
    assert "faster than the base" in page


def test_a_slower_run_is_called_slower(tmp_path: Path) -> None:
    summary, _ = report(tmp_path, BASE, replace(LOSSLESS, speed=0.8))
    assert "slower than the base: 0." in summary["headline"]
    assert "faster" not in summary["headline"]


def test_an_interval_with_1_in_it_is_no_gain(tmp_path: Path) -> None:
    summary, _ = report(tmp_path, BASE, replace(LOSSLESS, speed=1.0, wobble=0.3))
    low, high = summary["runs"][1]["speed_interval"]
    assert low < 1 < high
    assert "no gain that could be measured" in summary["headline"]
    assert "includes 1" in summary["headline"]


def test_a_plan_without_methods_says_that_no_dial_was_worth_turning(tmp_path: Path) -> None:
    empty = Plan(**MODEL, why=("Nothing tried was cheaper than the base.",))
    summary, page = report(tmp_path, BASE, Kind(label="lossless", plan=empty))
    assert "no dial was worth turning" in summary["headline"]
    assert "Nothing tried was cheaper" in page


def test_one_request_gives_no_interval(tmp_path: Path) -> None:
    summary, _ = report(tmp_path, replace(BASE, count=1), replace(LOSSLESS, count=1))
    assert summary["runs"][1]["speed_interval"] is None
    assert summary["headline"].startswith("lossless: too few requests to claim a speed")


def test_runs_of_two_models_are_not_compared_in_speed(tmp_path: Path) -> None:
    other = replace(LOSSLESS.plan, model="another", digest="0" * 64)
    summary, _ = report(tmp_path, BASE, replace(LOSSLESS, plan=other))
    assert summary["headline"].startswith("lossless: another model than the base, so no claim of")
    assert "\u00d7" not in summary["headline"]


def test_a_lossy_run_states_its_loss_and_its_differences(tmp_path: Path) -> None:
    summary, page = report(tmp_path, BASE, LOSSY)
    assert "identical tokens on 8 of 12, measured loss 1.74 % (disagree)" in summary["headline"]
    assert summary["runs"][1]["loss_interval"] == [0.0121, 0.0236]
    assert "none: this plan is not certified" in page
    assert page.count("<mark") == 2, "in the base's text and in the run's"


def test_what_kept_prefixes_saved_stands_beside_what_was_read(tmp_path: Path) -> None:
    summary, page = report(tmp_path, BASE, replace(LOSSLESS, kept=128))
    base, own = summary["runs"]
    assert (base["reused_tokens"], base["saved_price"]) == (0, 0)
    assert (own["reused_tokens"], own["saved_price"]) == (11 * 128, 11 * 0.25)
    assert page.count("saves 2.75 s") == 1


def test_a_base_alone_is_not_compared(tmp_path: Path) -> None:
    summary, page = report(tmp_path, BASE)
    assert "there is no other run to compare with" in summary["headline"]
    assert "<h2" in page


def test_the_run_without_methods_is_the_base_wherever_it_stands(tmp_path: Path) -> None:
    summary, _ = report(tmp_path, LOSSLESS, BASE)
    assert summary["base"] == "base"
    assert summary["runs"][1]["speed_ratio"] > 1


def test_the_first_run_is_the_base_when_all_have_methods(tmp_path: Path) -> None:
    summary, page = report(tmp_path, LOSSLESS, LOSSY)
    assert summary["base"] == "lossless"
    assert "the base (lossless)" in summary["headline"]
    assert page.count("Methods of the plan") >= 2


def test_the_summary_is_strict_json_even_with_odd_numbers(tmp_path: Path) -> None:
    odd = replace(LOSSLESS.plan, measured={"loss": float("nan"), "loss_kind": "nats"})
    summary, _ = report(tmp_path, BASE, replace(LOSSLESS, plan=odd))
    assert json.loads(json.dumps(summary, allow_nan=False))["runs"][1]["loss"] is None


def test_the_same_folders_give_the_same_page(tmp_path: Path) -> None:
    _, first = report(tmp_path, BASE, LOSSY)
    write_report([tmp_path / "run0", tmp_path / "run1"], tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == first


# Paired statistics


def test_the_ratio_is_of_totals_and_tokens_count_up_to_the_first_difference() -> None:
    base = outputs([3.0, 1.0], [(1, 2, 3, 4), (5, 6)])
    own = outputs([1.0, 1.0], [(1, 2, 9, 4), (5, 6)])
    against = compare(base, own)
    assert against.speed == 2.0
    assert (against.exact, against.identical) == (1, 4 / 6)


def test_a_longer_answer_with_the_same_start_is_not_identical() -> None:
    against = compare(outputs([1], [(1, 2)]), outputs([1], [(1, 2, 3, 4)]))
    assert (against.exact, against.identical) == (0, 0.5)


def test_without_seconds_there_is_no_speed() -> None:
    against = compare(outputs([0, 0], [(1,), (2,)]), outputs([0, 0], [(1,), (2,)]))
    assert against.speed is None
    assert verdict(against) == "no seconds"


@given(st.lists(st.floats(0.1, 10), min_size=2, max_size=8), st.floats(0.2, 5))
def test_a_constant_speed_ratio_has_an_interval_without_width(
    seconds: list[float], ratio: float
) -> None:
    tokens = [(1,)] * len(seconds)
    against = compare(outputs([s * ratio for s in seconds], tokens), outputs(seconds, tokens))
    assert against.speed_interval == pytest.approx((ratio, ratio))


@given(st.lists(st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)), min_size=2, max_size=8))
def test_the_interval_holds_what_single_requests_allow(pairs: list[tuple[float, float]]) -> None:
    tokens = [(1,)] * len(pairs)
    base, own = ([pair[at] for pair in pairs] for at in (0, 1))
    against = compare(outputs(base, tokens), outputs(own, tokens))
    low, high = against.speed_interval
    single = [b / o for b, o in pairs]
    assert min(single) - 1e-9 <= low <= high <= max(single) + 1e-9


# What it refuses, and what it warns of


def test_a_folder_that_is_no_run_is_refused_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is not a run folder") as caught:
        write_report([tmp_path], tmp_path / "report.html")
    assert "rheostat run" in caught.value.hint
    with pytest.raises(OutputError, match="there is no folder"):
        write_report([tmp_path / "nowhere"], tmp_path / "report.html")


def test_runs_of_different_requests_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="answered different requests"):
        report(tmp_path, BASE, replace(LOSSLESS, digest="sha256:other"))


def test_runs_with_nothing_finished_in_common_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"no finished request in common.*`lossless` has 0"):
        report(tmp_path, BASE, replace(LOSSLESS, finished=0))


def test_an_unfinished_run_is_noticed_and_only_what_both_have_is_compared(tmp_path: Path) -> None:
    summary, page = report(tmp_path, BASE, replace(LOSSLESS, finished=11))
    assert summary["requests"] == 11
    assert [r["finished"] for r in summary["runs"]] == [12, 11]
    assert summary["runs"][0]["cost"]["new_tokens"] == summary["runs"][1]["cost"]["new_tokens"]
    assert "lossless is unfinished: 11 of 12" in summary["notices"][0]
    assert "Lossless is unfinished: 11 of 12" in page


@pytest.mark.parametrize("end", [b'{"id": "12", "te', '{"id": "12", "text": "é'.encode()[:-1]])
def test_a_last_line_cut_off_in_mid_write_is_an_unfinished_request(
    tmp_path: Path, end: bytes
) -> None:
    folder = write_run(tmp_path / "run", replace(BASE, finished=11))
    with (folder / "outputs.jsonl").open("ab") as file:
        file.write(end)
    assert write_report([folder], tmp_path / "r.html")["runs"][0]["finished"] == 11


def test_a_damaged_line_names_file_and_line(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    path = folder / "outputs.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([lines[0], "{oops", *lines[2:]]), encoding="utf-8")
    with pytest.raises(OutputError, match=r"outputs\.jsonl` line 2 is not JSON"):
        write_report([folder], tmp_path / "r.html")


@pytest.mark.parametrize("lost", ["id", "text", "token_ids", "stop_reason", "cost"])
def test_an_output_without_a_field_is_refused(tmp_path: Path, lost: str) -> None:
    folder = write_run(tmp_path / "run")
    first = (folder / "outputs.jsonl").read_text(encoding="utf-8").splitlines()[0]
    line = {key: value for key, value in json.loads(first).items() if key != lost}
    write_lines(folder / "outputs.jsonl", [line])
    with pytest.raises(OutputError, match=f"lacks or misspells '{lost}'"):
        write_report([folder], tmp_path / "r.html")


def test_a_folder_named_twice_or_none_at_all_is_refused(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    for folders, words in (([folder, folder], "twice"), ([], "at least one")):
        with pytest.raises(OutputError, match=words):
            write_report(folders, tmp_path / "r.html")


def test_a_page_that_cannot_be_written_is_a_user_error(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    with pytest.raises(OutputError, match="is a folder"):
        write_report([folder], tmp_path)
    with pytest.raises(OutputError, match="cannot be written"):
        write_report([folder], folder / "run.json" / "report.html")


def test_other_machines_models_and_plans_are_noticed(tmp_path: Path) -> None:
    base, own = write_run(tmp_path / "a"), write_run(tmp_path / "b", LOSSLESS)
    edit_json(own / "run.json", machine=MACHINE | {"name": "laptop"})
    edit_json(own / "plan.json", methods=[], digest="sha256:other")
    text = " ".join(write_report([base, own], tmp_path / "r.html")["notices"])
    assert "was planned on desk and ran on laptop" in text
    assert "their seconds do not compare" in text
    assert "is not the plan that was run" in text


def test_nothing_is_claimed_of_speed_across_machines(tmp_path: Path) -> None:
    base, own = write_run(tmp_path / "a"), write_run(tmp_path / "b", LOSSLESS)
    edit_json(own / "run.json", machine=MACHINE | {"name": "laptop"})
    summary = write_report([base, own], tmp_path / "r.html")
    assert summary["runs"][1]["same_machine"] is False
    assert "no claim of speed" in summary["headline"]
    assert "faster" not in summary["headline"]


def test_a_profile_of_another_model_is_not_shown(tmp_path: Path) -> None:
    write_json(tmp_path / "profile.json", profile() | {"digest": "sha256:other"})
    summary, page = report(tmp_path, BASE)
    assert "profile of another model" in summary["notices"][0]
    assert 'id="profile"' not in page


def test_runs_of_one_label_are_told_apart(tmp_path: Path) -> None:
    summary, _ = report(tmp_path, BASE, LOSSLESS, LOSSLESS)
    labels = [r["label"] for r in summary["runs"]]
    assert labels == ["base", "lossless (run1)", "lossless (run2)"]


# The page


def test_text_from_files_stays_text(tmp_path: Path) -> None:
    evil = '<script>alert(1)</script>"><img src=x onerror=alert(1)>&\x00\ud800'
    plan = replace(LOSSY.plan, why=(evil,), methods=(replace(LOSSY.plan.methods[0], name=evil),))
    folders = [write_run(tmp_path / "a"), write_run(tmp_path / "b", replace(LOSSY, plan=plan))]
    edit_json(folders[1] / "run.json", label=evil, command=evil, machine={"name": evil, evil: evil})
    lines = (folders[1] / "outputs.jsonl").read_text(encoding="utf-8").splitlines()
    write_lines(
        folders[1] / "outputs.jsonl",
        [{**json.loads(line), "text": evil, "stop_reason": evil} for line in lines],
    )
    write_report(folders, tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    reader = Reader(page)
    assert not reader.of("script")
    assert all(i["src"].startswith("data:") and "onerror" not in i for i in reader.of("img"))
    assert "&lt;script&gt;alert(1)" in page


def test_the_page_loads_nothing_from_elsewhere(full: Full) -> None:
    reader = Reader(full.page)
    links = [a[k] for _, a in reader.tags for k in ("src", "href", "srcset", "data") if a.get(k)]
    assert links
    assert all(link.startswith(("data:image/png;base64,", "#")) for link in links)
    assert not {"link", "script", "iframe", "object"} & {tag for tag, _ in reader.tags}
    assert "url(" not in CSS
    assert "@import" not in CSS


def test_the_page_is_accessible(full: Full) -> None:
    reader = Reader(full.page)
    assert reader.of("html") == [{"lang": "en"}]
    assert "<title>Rheostat report: loss 3 %:" in full.page
    assert all(th.get("scope") in {"col", "row", "colgroup"} for th in reader.of("th"))
    assert len(reader.of("caption")) == len(reader.of("table"))
    assert all(len(i.get("alt") or "") > 40 for i in reader.of("img"))
    names = {a["id"] for _, a in reader.tags if a.get("id")}
    assert {a["href"][1:] for a in reader.of("a")} <= names


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_stands_out_from_its_ground_by_4_5_to_1(scheme: int) -> None:
    colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", CSS.split("@media")[scheme]))
    pairs = [(ink, ground) for ink in ("ink", "soft", "good") for ground in ("paper", "wash")]
    pairs += [("accent", "paper"), ("ink", "warn"), ("mark-ink", "mark")]
    for ink, ground in pairs:
        light, dark = sorted((_luminance(colours[c]) for c in (ink, ground)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (ink, ground)


def _luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_plots_are_files_beside_the_page_and_inside_it(full: Full) -> None:
    expected = ["cost-curves", "draft-lengths", "frontier-2", "held-out", "layers"]
    assert full.plots == [f"{name}.png" for name in expected]
    assert full.page.count("data:image/png;base64,") == len(full.summary["plots"]) == 5


def test_a_run_without_drafts_has_no_histogram(tmp_path: Path) -> None:
    _, page = report(tmp_path, BASE, LOSSLESS)
    assert "Draft lengths" not in page


def test_long_lists_of_requests_are_cut_on_the_page(tmp_path: Path) -> None:
    many = (replace(BASE, count=230), replace(LOSSLESS, count=230))
    _, page = report(tmp_path, *many)
    assert "The first 200 of 230" in page


def test_the_first_answer_that_differs_is_shown(tmp_path: Path) -> None:
    _, page = report(tmp_path, BASE, replace(LOSSY, changed=(9,)))
    assert "Request 10</h3>" in page
    assert "Request 9</h3>" not in page


@pytest.mark.parametrize(
    ("base", "own", "at"),
    [
        ("the cat sat", "the cow sat", 4),
        ("the cat", "the cat sat", 7),
        ("the cat sat", "the cat", 7),
        ("the catnip", "the cat", 4),
        ("same", "same", None),
        ("", "new", 0),
    ],
)
def test_a_difference_starts_at_its_word(base: str, own: str, at: int | None) -> None:
    assert first_difference(base, own) == at


# Its parts


def test_labels_on_plots_keep_what_the_font_can_draw() -> None:
    assert plots.plain("loss ≤ 3 % for $5\n日") == r"loss ≤ 3 % for \$5??"


@pytest.mark.parametrize("kind", ["disagree", "score", "nats", "unknown"])
def test_a_frontier_is_drawn_for_every_kind_of_loss(kind: str) -> None:
    plan = replace(LOSSY.plan, predicted=predicted(kind, 0.5, 0.1, kept=3))
    plot = frontier(plan, "a$b$c 日本", "frontier")
    assert plot.png.startswith(b"\x89PNG")
    assert "16 settings" in plot.alt


@pytest.mark.parametrize(("items", "spans"), [(2, False), (12, True)])
def test_a_frontier_of_few_items_claims_no_interval(items: int, spans: bool) -> None:
    told = predicted("disagree", 0.5, 0.1, kept=3)
    told["tried"] = [entry | {"items": items} for entry in told["tried"]]
    measured = LOSSY.plan.measured | {"items": items, "loss_items": items}
    plan = replace(LOSSY.plan, predicted=told, measured=measured)
    assert ("with 95 % intervals" in frontier(plan, "x", "frontier").caption) == spans
    assert ("too few to be sure" in plots_frontier._verdict(plan)) != spans
    assert bool(re.search(r"\(\d\.\d+ to ", plots_frontier._verdict(plan))) == spans
    assert (" to " in loss_cell(measured, "disagree")) == spans
    assert all((s.x[1] < s.x[0]) == spans for s in plots_frontier._spots(told["tried"], "price"))


def test_the_settings_of_a_plan_are_told_apart_by_their_parameters(tmp_path: Path) -> None:
    told = predicted("disagree", 0.5, 0.1, kept=3)
    drop = {"name": "llm_drop", "dial": 0.3, "params": {"unit": "attention"}}
    told["frontier"] = [told["tried"][0] | {"methods": [drop]}]
    plan = replace(LOSSY.plan, predicted=told)
    _, page = report(tmp_path, BASE, replace(LOSSY, plan=plan))
    assert "llm_drop 0.3 (unit = attention)" in page


def test_a_frontier_without_numbers_is_left_out() -> None:
    points = [{"methods": [], "price_ratio": None, "loss": float("nan")}]
    plan = replace(LOSSY.plan, predicted={"frontier": points})
    assert frontier(plan, "x", "frontier") is None


def test_a_frontier_of_an_older_plan_is_drawn_by_its_prices() -> None:
    points = [{"methods": [], "price_ratio": 1.0, "loss": 0.0, "kept": True}]
    plan = replace(LOSSY.plan, predicted={"frontier": points, "loss_kind": "disagree"})
    assert frontier(plan, "x", "frontier") is not None


def test_heat_maps_stand_losses_of_zero_and_below() -> None:
    redundancy = profile(3)["redundancy"]
    for part in ("attention", "mlp", "layer"):
        redundancy[part]["drop_loss"] = [0.0, -0.01, 0.0]
    assert plots.redundancy_map(redundancy).png.startswith(b"\x89PNG")


@given(st.text())
def test_plain_text_never_becomes_a_tag(text: str) -> None:
    assert "<" not in h("p", text)[3:-4]
    assert h("p", Html("<b></b>")) == "<p><b></b></p>"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1.005, "1.00"),
        (0.00123456, "0.00123"),
        (123456.0, "123\u202f456"),
        (-0.5, "\u22120.500"),
        (float("nan"), "\u2013"),
    ],
)
def test_numbers_have_three_figures_and_no_exponent(value: float, text: str) -> None:
    assert figures(value) == text
