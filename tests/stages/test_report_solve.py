"""The report of solved tasks: its figures are those of the folders."""

from __future__ import annotations

import pytest

pytest.importorskip("matplotlib", reason="needs the `plots` extra")

import rheostat
from rheostat.errors import OutputError
from rheostat.stages.solve_history import read_history
from stages.counting_policies import Lead
from stages.sample_runs import NAMES, loaded, solved, write_inputs


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    base = tmp_path_factory.mktemp("solved")
    model, tasks = write_inputs(base)
    for name, by in (("early", 1), ("late", 3)):
        solved(loaded(model, Lead(by=by)), tasks, base / name, tokens=5000)
    return [base / "early", base / "late"]


def test_the_page_compares_runs_and_shows_each_question(folders, tmp_path):
    summary = rheostat.report(folders, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert summary["questions"] == len(NAMES)
    assert [run["label"] for run in summary["runs"]] == ["early", "late"]
    assert summary["runs"][0]["samples"] < summary["runs"][1]["samples"]
    assert len(summary["plots"]) == 3
    assert all(name in page for name in (*NAMES, "settled", "Why questions ended"))
    assert page.count("data:image/png;base64,") == 3
    assert "http" not in page.split("</style>")[1].replace("http-equiv", "")
    rheostat.report(folders, tmp_path / "again.html")
    again = (tmp_path / "again.html").read_text(encoding="utf-8")
    assert again.replace("again.html", "report.html") == page


def test_the_history_is_in_launch_order_and_ends_at_what_was_spent(folders):
    for folder in folders:
        history = read_history(folder)
        cost = history.summary["cost"]
        tokens = [point.tokens for point in history.points]
        assert tokens == sorted(tokens)
        assert tokens[-1] == cost["prompt_tokens"] + cost["new_tokens"]
        assert len(history.points) == history.summary["samples"]
        assert all(0 <= point.share_right <= 1 for point in history.points)


def test_folders_of_two_kinds_or_of_other_tasks_are_refused(folders, tmp_path):
    with pytest.raises(OutputError, match="is no finished run of `solve`"):
        rheostat.report([folders[0], tmp_path], tmp_path / "r.html")
    model, tasks = write_inputs(tmp_path)
    lines = (tmp_path / "tasks.jsonl").read_text().splitlines()
    (tmp_path / "tasks.jsonl").write_text("\n".join(lines[:2]))
    solved(loaded(model, Lead()), tasks, tmp_path / "other", tokens=5000)
    with pytest.raises(OutputError, match="different tasks"):
        rheostat.report([folders[0], tmp_path / "other"], tmp_path / "r.html")
