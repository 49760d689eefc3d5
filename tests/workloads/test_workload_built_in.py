from __future__ import annotations

import ast
import random
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.errors import WorkloadError
from rheostat.workloads import load_workload, overlap, score_text
from rheostat.workloads.chat import QUESTIONS
from rheostat.workloads.counting import has_loop, words
from rheostat.workloads.edit import TYPOS, misspelt, mistyped
from rheostat.workloads.load import BUILT_IN
from rheostat.workloads.paragraphs import plain_paragraph
from rheostat.workloads.parts import normalised, part_of
from rheostat.workloads.passages import WORDS, passages
from rheostat.workloads.rename import renamable, renamed
from rheostat.workloads.snippets import CHARACTERS, LINES, snippets

LEAST = {"edit": 60, "copy": 60, "summarise": 60, "chat": 40, "prose": 40}
SEEDS = st.integers(min_value=0, max_value=2**32)
PASSAGES = st.deferred(lambda: st.sampled_from(passages()["edit"]))
CODES = st.deferred(lambda: st.sampled_from([code for code in snippets() if renamable(code)]))


def text_of(request):
    return request.prompt or request.messages[0]["content"]


@pytest.mark.parametrize("name", BUILT_IN)
def test_both_parts_are_large_and_share_nothing(name):
    parts = [load_workload(name, part=part).items for part in ("calibration", "test", "all")]
    for texts in (
        [{normalised(text_of(request)) for request in part} for part in parts],
        [{request.id for request in part} for part in parts],
    ):
        assert not texts[0] & texts[1]
        assert texts[0] | texts[1] == texts[2]
        assert min(len(texts[0]), len(texts[1])) >= LEAST[name]


@pytest.mark.parametrize("name", ["edit", "copy"])
def test_parts_share_no_reference_even_under_different_seeds(name):
    calibration = load_workload(name, part="calibration", seed=1).items
    held_out = load_workload(name, part="test", seed=2).items
    assert not {request.id for request in calibration} & {request.id for request in held_out}


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_seed_gives_the_same_items_and_another_seed_others(name):
    first, again, other = (load_workload(name, seed=seed) for seed in (3, 3, 4))
    assert first == again
    assert first.digest != other.digest
    assert {request.id for request in first.items} == {request.id for request in other.items}


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_limit_keeps_the_first_items(name):
    whole, few = load_workload(name, part="test"), load_workload(name, part="test", limit=5)
    assert few.items == whole.items[:5]
    assert few.digest != whole.digest
    assert (few.kind, few.name) == (name, name)


def test_a_limit_below_one_is_refused():
    with pytest.raises(WorkloadError, match="at least 1, got `0`"):
        load_workload("chat", limit=0)


def test_items_are_the_same_in_another_process():
    code = "from rheostat.workloads import load_workload as w; print(w('copy').digest)"
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    assert found.strip() == load_workload("copy").digest


def test_importing_the_workloads_loads_no_torch_and_no_scipy():
    code = "import sys, rheostat.workloads; print('torch' in sys.modules, 'scipy' in sys.modules)"
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    assert found.strip() == "False False"


@pytest.mark.parametrize("use", WORDS)
def test_passages_have_the_stated_length(use):
    least, most = WORDS[use]
    assert all(least <= len(passage.split()) <= most for passage in passages()[use])


def test_prose_shares_no_paragraph_with_edit_and_summarise():
    paragraphs = {text for document in passages()["prose"] for text in document.split("\n\n")}
    others = "\n".join((*passages()["edit"], *passages()["summarise"]))
    assert not [paragraph for paragraph in paragraphs if paragraph in others]


def test_prose_is_raw_text_and_the_others_are_one_user_message():
    for name in BUILT_IN:
        for request in load_workload(name, limit=10).items:
            roles = [message["role"] for message in request.messages]
            assert roles == ([] if name == "prose" else ["user"])
            assert (request.reference is not None) == (name in {"edit", "copy"})


def test_there_are_many_questions_and_each_is_asked_once():
    assert len({normalised(question) for question in QUESTIONS}) == len(QUESTIONS) >= 64


@pytest.mark.parametrize(
    "paragraph",
    [
        "* a list of things that the reader may want to know, with all of its many words in a row.",
        "A call such as f(x, y) is shown here, which is code and therefore no prose for a reader.",
        "The first line of a list item that goes on and on for many words\n  and is indented here.",
        "Changed in version 3.2: The argument may now be any object with a method of this name.",
        "Too short to keep.",
        "A line that leads to an example and has no full stop but sixteen words or more of text:",
    ],
)
def test_markup_code_and_remarks_are_no_prose(paragraph):
    assert plain_paragraph(paragraph) is None


def test_emphasis_footnotes_and_wrapped_hyphens_are_smoothed():
    text = (
        "   The *value* of some objects can change. [1] A **pre-\n   existing** object is one that "
        "has been there before the others came to be."
    )
    assert plain_paragraph(text) == (
        "The value of some objects can change. A pre-existing object is one that "
        "has been there before the others came to be."
    )


@given(word=st.text("abcdefghij", min_size=5, max_size=12), seed=SEEDS)
def test_a_mistyped_word_keeps_its_first_letter_and_is_one_edit_away(word, seed):
    wrong = mistyped(word, random.Random(seed))
    assert wrong != word
    assert wrong[0] == word[0]
    assert abs(len(wrong) - len(word)) <= 1


@given(passage=PASSAGES, seed=SEEDS)
def test_a_passage_gets_a_handful_of_wrong_words(passage, seed):
    wrong = misspelt(passage, random.Random(seed)).split()
    changed = [pair for pair in zip(wrong, passage.split(), strict=True) if pair[0] != pair[1]]
    assert len(changed) == TYPOS


def test_to_repeat_the_errors_counts_but_scores_below_the_reference():
    for request in load_workload("edit", limit=20).items:
        wrong = text_of(request).split("\n\n")[1]
        assert overlap(wrong, request.reference) > 0.8
        assert score_text("edit", wrong, request.reference) < 1
        assert not has_loop(words(request.reference))


def test_snippets_have_the_stated_size_and_stand_alone():
    for code in snippets():
        assert isinstance(ast.parse(code).body[0], ast.FunctionDef)
        assert LINES[0] <= len(code.split("\n")) <= LINES[1]
        assert CHARACTERS[0] <= len(code) <= CHARACTERS[1]


class Rename(ast.NodeTransformer):
    """The same change made on the syntax tree, where every kind of place is named."""

    def __init__(self, old, new):
        self.old, self.new = old, new

    def visit_Name(self, node):
        return ast.Name(id=self.new, ctx=node.ctx) if node.id == self.old else node

    def visit_arg(self, node):
        self.generic_visit(node)
        node.arg = self.new if node.arg == self.old else node.arg
        return node


@given(code=CODES, data=st.data())
def test_renaming_changes_the_variable_and_nothing_else(code, data):
    old = data.draw(st.sampled_from(renamable(code)))
    changed = renamed(code, old, "fresh_name")
    wanted = Rename(old, "fresh_name").visit(ast.parse(code))
    assert ast.dump(ast.parse(changed)) == ast.dump(wanted)
    assert renamed(changed, "fresh_name", old) == code


@pytest.mark.parametrize(
    "use",
    [
        "thing.value",
        "f(value=1)",
        "'value'",
        "1  # a value",
        "(lambda: (yield))()\n    global value",
    ],
)
def test_a_name_with_a_second_meaning_is_not_renamed(use):
    code = f"def f(other):\n    value = value + value\n    return {use}\n"
    assert renamable(code) == ()


def test_a_plain_local_name_may_be_renamed():
    code = "def f(value=1):\n    value = value + valued\n    return value\n"
    assert renamable(code) == ("value",)
    assert renamed(code, "value", "v") == "def f(v=1):\n    v = v + valued\n    return v\n"


def test_the_reference_of_copy_is_the_code_with_the_new_name():
    for request in load_workload("copy", limit=20).items:
        task, code = text_of(request).split("```python\n")
        old, new = task.split("`")[1:4:2]
        assert renamed(code.split("\n```")[0], old, new) == request.reference
        assert part_of(request.reference) in {"calibration", "test"}
