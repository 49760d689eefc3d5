"""What stays on the screen beside a command's result, and what passes."""

from __future__ import annotations

import functools

import pytest
from rich.console import Console

from rheostat import cli_console
from rheostat.engines.notice import Notice


@pytest.fixture(params=["terminal", "pipe"])
def shown(request, monkeypatch, capsys):
    """Everything that a command's progress leaves on standard error, by where that goes."""
    if request.param == "terminal":
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.delenv("NO_COLOR", raising=False)
        console = functools.partial(Console, force_terminal=True)
        monkeypatch.setattr(cli_console, "Console", console)

    def run(*messages):
        with cli_console.progress() as say:
            for message in messages:
                say(message)
        return capsys.readouterr().err

    return run


def test_a_notice_is_a_line_of_its_own_however_fast_the_rest_goes(shown):
    text = "it is [slower] here: why"
    for _ in range(4):
        err = shown("loading", Notice(text), "measuring")
        assert any(line.rstrip().endswith(text) for line in err.splitlines())


def test_a_notice_is_said_once(shown):
    assert shown(Notice("slower"), "loading", Notice("slower")).count("slower") == 1


def test_what_is_no_notice_leaves_no_line_when_it_is_over_at_once(capsys):
    with cli_console.progress() as say:
        say("loading")
    assert capsys.readouterr().err == ""


def test_lines_that_were_begun_end_with_the_last(capsys):
    lines = cli_console._SlowLines()
    lines._said -= cli_console.SECONDS_BETWEEN
    for done in (1, 2, 3):
        lines.say(f"answered {done} of 3")
    lines.finish()
    lines.close()
    assert capsys.readouterr().err.splitlines() == ["answered 1 of 3", "answered 3 of 3"]


@pytest.fixture
def unfused(monkeypatch):
    """Compiled operations are switched off, whatever was loaded before."""
    pytest.importorskip("torch", reason="needs the `torch` extra")
    from rheostat.engines.fused_build import fused_library
    from rheostat.engines.torch_fused import fused_ops

    monkeypatch.setenv("RHEOSTAT_FUSED", "0")
    fused_library.cache_clear()
    fused_ops.cache_clear()
    yield
    fused_library.cache_clear()
    fused_ops.cache_clear()


def test_a_model_without_compiled_operations_says_so_each_time(tiny_gguf, unfused):
    from rheostat.engines.load import load_engine

    for _ in range(2):
        said = []
        load_engine(str(tiny_gguf), progress=said.append)
        (notice,) = (text for text in said if isinstance(text, Notice))
        assert "slower: RHEOSTAT_FUSED is 0" in notice
