from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from rheostat.engines.base import Request
from rheostat.errors import WorkloadError
from rheostat.workloads import load_workload, write_requests
from rheostat.workloads.parts import Item, choose, distinct, from_request, normalised, part_of

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
PROMPTS = TEXTS.filter(str.strip)


def item(text):
    return Item(key=text, request=Request(id=text, prompt=text))


def keys(items, part):
    return [found.key for found in choose(items, part, subject="a file")]


@given(text=TEXTS)
def test_normalising_twice_changes_nothing_more(text):
    assert normalised(normalised(text)) == normalised(text)


@pytest.mark.parametrize("other", ["  hello\n WORLD ", "Hello World", "\uff28ello world"])
def test_texts_that_differ_in_case_space_or_form_fall_in_one_part(other):
    assert normalised(other) == normalised("hello world")
    assert part_of(other) == part_of("hello world")


@given(texts=st.lists(TEXTS, unique_by=normalised), added=st.lists(TEXTS), data=st.data())
def test_adding_and_moving_lines_never_moves_an_item_between_parts(texts, added, data):
    items = distinct(item(text) for text in texts)
    larger = distinct(item(text) for text in data.draw(st.permutations(texts + added)))
    assume(len({part_of(text) for text in texts}) == 2)
    for part in ("calibration", "test"):
        before, after = keys(items, part), keys(larger, part)
        assert {normalised(key) for key in before} <= {normalised(key) for key in after}


@given(prompts=st.lists(PROMPTS, min_size=1, max_size=8))
def test_parts_of_a_file_with_duplicates_share_no_text(prompts, tmp_path_factory):
    path = tmp_path_factory.mktemp("parts") / "twice.jsonl"
    lines = [prompt for text in prompts for prompt in (text, f" {text.upper()}")]
    write_requests(path, [Request(id=str(i), prompt=line) for i, line in enumerate(lines)])
    assume(len({part_of(line) for line in lines}) == 2)
    parts = [load_workload(str(path), part=part).items for part in ("calibration", "test", "all")]
    texts = [{normalised(request.prompt) for request in part} for part in parts]
    assert not texts[0] & texts[1]
    assert texts[0] | texts[1] == texts[2] == {normalised(line) for line in lines}
    assert [len(part) for part in parts] == [len(text) for text in texts]


def test_of_two_lines_with_one_text_the_first_is_kept(tmp_path):
    path = tmp_path / "twice.jsonl"
    path.write_text('{"id": "a", "prompt": "Hello"}\n{"id": "b", "prompt": "hello "}\n')
    assert [request.id for request in load_workload(str(path)).items] == ["a"]


def test_a_text_is_the_same_item_as_prompt_and_as_message():
    message = {"role": "user", "content": "Hello"}
    raw = from_request(Request(id="1", prompt="Hello"))
    chat = from_request(Request(id="2", messages=(message,)))
    assert distinct([raw, chat]) == (raw,)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("part", ["calibration", "test"])
def test_a_file_with_too_few_items_for_two_parts_is_refused_in_words(part, count, tmp_path):
    texts = [text for text in map(str, range(100)) if part_of(text) == "test"][:count]
    path = tmp_path / "few.jsonl"
    write_requests(path, [Request(id=text, prompt=text) for text in texts])
    assert len(load_workload(str(path)).items) == count
    with pytest.raises(
        WorkloadError, match=rf"too few items .*: {count} distinct item.* test part"
    ):
        load_workload(str(path), part=part)


def test_an_unknown_part_is_refused():
    with pytest.raises(WorkloadError, match="`train` is not a part"):
        choose([item("a")], "train", subject="a file")
