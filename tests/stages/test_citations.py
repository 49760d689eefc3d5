"""Every method that comes from a paper can be cited, and no paper is cited twice."""

from __future__ import annotations

import json
import re

import pytest
from typer.testing import CliRunner

from rheostat import catalog
from rheostat.cli import app
from rheostat.errors import MethodError
from rheostat.kernel.method import Card
from rheostat.kernel.plan import Plan, Setting
from rheostat.stages.citations import cited, entry

PAPERS = {m.card.paper for m in catalog.methods().values() if not m.card.control} - {"none"}


def run(*arguments):
    return CliRunner().invoke(app, ["cite", *map(str, arguments)])


def keys(entries):
    return [re.match(r"@misc\{([a-z0-9]+),", text)[1] for text in entries]


def test_every_paper_has_one_entry_with_balanced_braces_and_a_key_of_its_own():
    found = cited([])
    assert found.without == ("precision",)  # number formats are no paper's
    assert len(found.entries) == len(PAPERS)
    assert len(set(keys(found.entries))) == len(PAPERS)
    for text in found.entries:
        assert text.count("{") == text.count("}")
        assert {"title", "author", "year", "eprint", "url"} <= set(
            re.findall(r"^  (\w+)", text, re.M)
        )
    assert {re.search(r"eprint = \{(.*)\}", text)[1] for text in found.entries} == {
        paper.removeprefix("arXiv:") for paper in PAPERS
    }


def test_an_entry_names_title_authors_and_year():
    (text,) = cited(["llm_drop"]).entries
    assert text.startswith("@misc{he2024what,\n")
    assert "title = {{What Matters in Transformers? Not All Attention is Needed}}" in text
    assert "author = {Shwai He and Guoheng Sun and Zheyu Shen and Ang Li}" in text
    assert "year = {2024}" in text


def test_methods_of_one_paper_are_cited_once_whichever_card_tells_of_it():
    assert cited(["overtaken"]).entries == cited(["agreement"]).entries
    assert len(cited(["agreement", "overtaken", "agreement"]).entries) == 1


def test_a_plan_is_cited_by_its_methods(tmp_path):
    settings = (Setting(name="copyspec", dial=1), Setting(name="fixed_lookup", dial=1))
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(Plan(model="m", methods=settings).to_json()))
    done = run(path)
    assert done.exit_code == 0
    assert done.stdout.startswith("@misc{dumitru2025copyspec,")
    assert "no paper to cite: fixed_lookup" in done.stderr
    path.write_text(json.dumps(Plan(model="m").to_json()))
    assert "nothing to cite" in run(path).stderr
    found = json.loads(run("copyspec", "--json").stdout)
    assert found == {"entries": list(cited(["copyspec"]).entries), "without": []}


@pytest.mark.parametrize(
    ("named", "words"), [("copyspek", "no method `copyspek`"), ("absent.json", "no plan")]
)
def test_what_is_neither_a_plan_nor_a_method_is_refused(named, words):
    done = run(named)
    assert done.exit_code == 2
    assert words in done.stderr


def test_a_paper_that_no_card_tells_of_is_refused_in_words():
    card = Card(
        name="own",
        title="t",
        seam="draft",
        exactness="lossy",
        paper="arXiv:9901.1",
        needs=frozenset(),
    )
    with pytest.raises(MethodError, match="no card names title and authors"):
        entry(card)
