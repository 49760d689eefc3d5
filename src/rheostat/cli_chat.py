"""`rheostat generate MODEL --chat`: one line in, one answer out, the conversation's cache kept."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from rheostat import cli_console as console
from rheostat.api_session import LETS_GO
from rheostat.cli_console import counted
from rheostat.errors import UserError, WorkloadError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rheostat.api_session import Session
    from rheostat.kernel.trace import Trace

PROMPT = "> "


def talk(session: Session, first: str | None, *, as_json: bool) -> None:
    """Answer the first message, if there is one, and then line after line until the input ends."""
    turns: list[dict[str, Any]] = []
    if session.lets_go:
        console.note(LETS_GO)
    try:
        for line in _lines(first):
            _turn(session, line, turns, as_json=as_json)
    finally:  # what was answered is told, whatever ended the conversation
        if turns:
            _sum_up(session, turns, as_json=as_json)
    if not turns:
        raise WorkloadError("nothing was said", hint="write a line, or give a PROMPT")


def _turn(session: Session, line: str, turns: list[dict[str, Any]], *, as_json: bool) -> None:
    """Answer a line; on a terminal one that cannot be answered is told, and the next one read."""
    show = None if as_json else lambda _, piece: console.write(piece)
    try:
        output = session.ask(line, on_token=show)
    except WorkloadError as error:
        if not sys.stdin.isatty():
            raise
        console.note(f"{error.message}\n\nhint: {error.hint}")
        return
    trace = output.trace
    own = {"id": str(len(turns) + 1), "reused": trace.reused, "saved_price": trace.saved}
    turns.append(output.to_json() | own)
    if not as_json:
        console.write("\n")
    console.note(_read(output.cost.prompt_tokens, trace))


def _sum_up(session: Session, turns: list[dict[str, Any]], *, as_json: bool) -> None:
    saved, cost = session.saved, session.cost
    line = f"{counted(len(turns), 'turn')}: {cost.prompt_tokens} prompt tokens read"
    if cost.price:  # an endpoint tells neither what it kept nor what that is worth
        line += (
            f", {saved.prompt_tokens} kept; reading those again would have taken "
            f"{saved.price:.2f} s beside {cost.price:.2f} s"
        )
    console.note(line)
    data = {"turns": turns, "cost": cost.to_json(), "saved": saved.to_json()}
    console.result(data, [], as_json=as_json)


def check_chat(*, raw: bool, constrained: bool, particles: int) -> None:
    """Refuse options that a chat cannot have."""
    for given, option in (
        (raw, "--raw"),
        (constrained, "--constraint"),
        (particles, "--particles"),
    ):
        if given:
            raise UserError(
                f"`{option}` is of a single answer, and `--chat` is a conversation",
                hint="leave out one of the two",
            )


def _lines(first: str | None) -> Iterator[str]:
    if first is not None:
        yield first
    while True:
        if sys.stdin.isatty():
            sys.stderr.write(PROMPT)
            sys.stderr.flush()
        line = sys.stdin.readline()
        if not line:
            return
        if line.strip():
            yield line.rstrip("\n")


def _read(read: int, trace: Trace) -> str:
    saves = f", which saves {trace.saved:.2f} s" if trace.saved else ""
    return f"[{read} prompt tokens read, {trace.reused} kept from before{saves}]"
