from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.engines.base import Request
from rheostat.errors import WorkloadError
from rheostat.workloads import load_requests, load_workload, write_requests

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
WRITTEN = TEXTS.filter(str.strip)
MESSAGES = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]), "content": WRITTEN}),
    min_size=1,
    max_size=3,
).map(tuple)
REQUESTS = st.lists(
    st.builds(Request, id=WRITTEN, prompt=WRITTEN, reference=st.none() | TEXTS)
    | st.builds(Request, id=WRITTEN, messages=MESSAGES, reference=st.none() | TEXTS),
    min_size=1,
    max_size=5,
    unique_by=lambda request: request.id,
)

BAD_LINES = {
    "not JSON": (b"{", "not JSON"),
    "too deep": (b"[" * 100_000, "not JSON"),
    "too large a number": (b'{"prompt": ' + b"9" * 5_000 + b"}", "not JSON"),
    "a list": (b"[]", "holds a list, not an object"),
    "text": (b'"hello"', "holds text, not an object"),
    "a number": (b"3", "holds a number, not an object"),
    "null": (b"null", "holds nothing, not an object"),
    "neither": (b'{"reference": "a"}', "neither `prompt` nor `messages`"),
    "both": (b'{"prompt": "a", "messages": []}', "both `prompt` and `messages`"),
    "prompt number": (b'{"prompt": 3}', "`prompt` must be text, got a number"),
    "id number": (b'{"id": 3, "prompt": "a"}', "`id` must be text, got a number"),
    "empty id": (b'{"id": " ", "prompt": "a"}', "the `id` is empty"),
    "reference bool": (
        b'{"prompt": "a", "reference": true}',
        "`reference` must be text, got true or false",
    ),
    "messages text": (b'{"messages": "a"}', "`messages` must be a list of messages, got text"),
    "no messages": (b'{"messages": []}', "got an empty list"),
    "message text": (b'{"messages": ["a"]}', "message 1: a message must be an object, got text"),
    "no content": (b'{"messages": [{"role": "user"}]}', "message 1: the message has no `content`"),
    "strange role": (
        b'{"messages": [{"role": "user", "content": "a"}, {"role": "cat", "content": "a"}]}',
        "message 2: the message has the role `cat`",
    ),
    "empty prompt": (b'{"prompt": ""}', "the prompt is empty"),
    "blank prompt": (b'{"prompt": " \\n"}', "the prompt is empty"),
    "blank messages": (b'{"messages": [{"role": "user", "content": " "}]}', "the prompt is empty"),
    "not UTF-8": (b'{"prompt": "\xff"}', "byte 13 is not valid UTF-8"),
    "half a surrogate": (b'{"prompt": "\\ud800"}', "half of a surrogate pair"),
}


@given(requests=REQUESTS)
def test_requests_survive_writing_and_reading(requests, tmp_path_factory):
    path = tmp_path_factory.mktemp("lines") / "requests.jsonl"
    write_requests(path, requests)
    assert load_requests(path) == requests


def test_a_missing_id_is_the_line_number_and_blank_lines_count(tmp_path):
    path = tmp_path / "requests.jsonl"
    path.write_text('{"prompt": "a"}\n\n{"id": null, "prompt": "b"}\n{"id": "x", "prompt": "c"}\n')
    assert [request.id for request in load_requests(path)] == ["1", "3", "x"]


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path):
    path = tmp_path / "requests.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"prompt": "a"}\r\n{"prompt": "b"}\r\n')
    assert [request.prompt for request in load_requests(path)] == ["a", "b"]


def test_line_separators_inside_a_text_do_not_end_the_line(tmp_path):
    path = tmp_path / "requests.jsonl"
    path.write_text('{"prompt": "a\u2028b\x85c"}\n', encoding="utf-8")
    assert load_requests(path)[0].prompt == "a\u2028b\x85c"


def test_fields_of_other_names_are_left_alone(tmp_path):
    path = tmp_path / "requests.jsonl"
    path.write_text(json.dumps({"prompt": "a", "source": "a book"}))
    assert load_requests(path) == [Request(id="1", prompt="a")]


@pytest.mark.parametrize("name", ["temperature", "max_tokens", "stop"])
def test_an_option_of_sampling_in_a_line_is_not_passed_over(name, tmp_path):
    path = tmp_path / "requests.jsonl"
    path.write_text(json.dumps({"prompt": "a", name: 2}))
    with pytest.raises(WorkloadError, match=f"line 1: `{name}` is not a line's") as caught:
        load_requests(path)
    assert "`prompt` or `messages`" in caught.value.hint


@pytest.mark.parametrize(("line", "found"), BAD_LINES.values(), ids=BAD_LINES)
def test_a_bad_line_is_named_with_file_line_and_hint(line, found, tmp_path):
    path = tmp_path / "bad.jsonl"
    path.write_bytes(b'{"prompt": "good"}\n' + line + b"\n")
    with pytest.raises(WorkloadError) as caught:
        load_requests(path)
    assert f"`{path}` line 2" in caught.value.message
    assert found in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("second", ['{"id": "a", "prompt": "y"}', '{"id": "1", "prompt": "y"}'])
def test_duplicate_ids_name_both_lines(second, tmp_path):
    path = tmp_path / "twice.jsonl"
    path.write_text('{"prompt": "z"}\n{"id": "a", "prompt": "x"}\n' + second)
    with pytest.raises(WorkloadError, match=r"line 3: the id `.` was already given on line [12]"):
        load_requests(path)


@pytest.mark.parametrize("content", [b"", b"\n\n", b"  \n"])
def test_an_empty_file_is_refused(content, tmp_path):
    path = tmp_path / "empty.jsonl"
    path.write_bytes(content)
    with pytest.raises(WorkloadError, match="holds no lines"):
        load_requests(path)


def test_a_file_that_is_missing_or_a_folder_is_refused(tmp_path):
    with pytest.raises(WorkloadError, match="does not exist"):
        load_requests(tmp_path / "none.jsonl")
    with pytest.raises(WorkloadError, match="cannot be read"):
        load_requests(tmp_path)


@pytest.mark.parametrize("name", ["poems", "tasks.json", "", "Edit"])
def test_an_unknown_workload_lists_the_built_in_ones(name):
    with pytest.raises(WorkloadError, match="is not a workload") as caught:
        load_workload(name)
    assert "edit, copy, summarise, chat, prose" in caught.value.hint
    assert ".jsonl" in caught.value.hint
