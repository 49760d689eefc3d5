"""Reads and writes lines of requests: `{"id"?, "prompt" | "messages", "reference"?}`.

A missing id is the line number, counted from 1, as text. Blank lines are passed over, and fields
of other names are left alone, so that a file may carry notes of its own; options of sampling are
refused, because they look as if they were heard.
"""

from __future__ import annotations

import codecs
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rheostat.engines.base import Request
from rheostat.errors import WorkloadError

if TYPE_CHECKING:
    from collections.abc import Iterable

EXAMPLE = '{"prompt": "Once upon a time"} or {"messages": [{"role": "user", "content": "Hello"}]}'
SAMPLING = ("max_tokens", "max_new_tokens", "temperature", "top_k", "top_p", "min_p", "stop")
"""Names that other programs' lines give to how an answer is drawn; here the command says it."""
ROLES = ("system", "user", "assistant")


def load_requests(path: str | Path) -> list[Request]:
    """Return the requests of a JSONL file in file order; duplicates in text are kept."""
    requests: list[Request] = []
    line_of: dict[str, int] = {}
    for number, raw in enumerate(_read(Path(path)).split(b"\n"), start=1):
        where = f"`{path}` line {number}"
        text = _decoded(raw, where)
        if not text.strip():
            continue
        request = _request(_object(text, where), number, where)
        if request.id in line_of:
            raise WorkloadError(
                f"{where}: the id `{request.id}` was already given on line {line_of[request.id]}",
                hint="give every line an id of its own, or leave all ids out",
            )
        line_of[request.id] = number
        requests.append(request)
    if not requests:
        raise WorkloadError(f"`{path}` holds no lines", hint=f"write one request a line: {EXAMPLE}")
    return requests


def request_line(request: Request) -> str:
    """Return the canonical line of a request: sorted keys, absent fields left out."""
    line: dict[str, Any] = {"id": request.id}
    if request.prompt is not None:
        line["prompt"] = request.prompt
    else:
        line["messages"] = [dict(message) for message in request.messages]
    if request.reference is not None:
        line["reference"] = request.reference
    return json.dumps(line, ensure_ascii=False, sort_keys=True)


def write_requests(path: str | Path, requests: Iterable[Request]) -> None:
    """Write requests as JSONL that `load_requests` reads back unchanged."""
    lines = "".join(f"{request_line(request)}\n" for request in requests)
    Path(path).write_bytes(lines.encode("utf-8"))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes().removeprefix(codecs.BOM_UTF8)
    except FileNotFoundError as error:
        raise WorkloadError(
            f"`{path}` does not exist", hint="give the path of a .jsonl file"
        ) from error
    except OSError as error:
        raise WorkloadError(
            f"`{path}` cannot be read: {error.strerror}", hint="give a .jsonl file you may read"
        ) from error


def _decoded(raw: bytes, where: str) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise WorkloadError(
            f"{where}: byte {error.start + 1} is not valid UTF-8", hint="save the file as UTF-8"
        ) from error


def _object(text: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WorkloadError(
            f"{where}: the line is not JSON ({error})", hint=f"one JSON object a line: {EXAMPLE}"
        ) from error
    if not isinstance(value, dict):
        raise WorkloadError(
            f"{where}: the line holds {_kind(value)}, not an object",
            hint=f"one JSON object a line: {EXAMPLE}",
        )
    return value


def _request(line: dict[str, Any], number: int, where: str) -> Request:
    if options := [name for name in SAMPLING if name in line]:
        raise WorkloadError(
            f"{where}: `{options[0]}` is not a line's: all requests of a file are sampled alike",
            hint="give it to the command, such as `--temperature 0.7`; a line has `id`, `prompt` "
            "or `messages`, and `reference`",
        )
    prompt = _text(line, "prompt", where)
    messages = line.get("messages")
    if (prompt is None) == (messages is None):
        found = "neither `prompt` nor" if prompt is None else "both `prompt` and"
        raise WorkloadError(
            f"{where}: the line has {found} `messages`",
            hint="`prompt` is raw text, `messages` go through the chat template: give one of them",
        )
    name = _text(line, "id", where)
    if name is not None and not name.strip():
        raise WorkloadError(f"{where}: the `id` is empty", hint="leave it out for the line number")
    request = Request(
        id=str(number) if name is None else name,
        prompt=prompt,
        messages=() if messages is None else _messages(messages, where),
        reference=_text(line, "reference", where),
    )
    if not (request.prompt or "".join(message["content"] for message in request.messages)).strip():
        raise WorkloadError(f"{where}: the prompt is empty", hint="write a text, or drop the line")
    return request


def _messages(value: Any, where: str) -> tuple[dict[str, str], ...]:
    if not isinstance(value, list) or not value:
        found = "an empty list" if value == [] else _kind(value)
        raise WorkloadError(
            f"{where}: `messages` must be a list of messages, got {found}",
            hint='for example [{"role": "user", "content": "Hello"}]',
        )
    return tuple(_message(entry, index, where) for index, entry in enumerate(value, start=1))


def _message(entry: Any, index: int, where: str) -> dict[str, str]:
    place = f"{where}, message {index}"
    if not isinstance(entry, dict):
        raise WorkloadError(
            f"{place}: a message must be an object, got {_kind(entry)}",
            hint='for example {"role": "user", "content": "Hello"}',
        )
    role, content = _text(entry, "role", place), _text(entry, "content", place)
    if role not in ROLES or content is None:
        missing = "no `content`" if role in ROLES else f"the role `{role}`"
        raise WorkloadError(
            f"{place}: the message has {missing}",
            hint=f"a message needs `content` and a `role` out of {', '.join(ROLES)}",
        )
    return {"role": role, "content": content}


def _text(line: dict[str, Any], name: str, where: str) -> str | None:
    value = line.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise WorkloadError(
            f"{where}: `{name}` must be text, got {_kind(value)}", hint=f'put "{name}" in quotes'
        )
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise WorkloadError(
            f"{where}: `{name}` holds half of a surrogate pair at character {error.start + 1}",
            hint="write the character itself, or both halves of its escape",
        ) from error
    return value


def _kind(value: Any) -> str:
    names = {list: "a list", dict: "an object", str: "text", bool: "true or false"}
    return "nothing" if value is None else names.get(type(value), "a number")
