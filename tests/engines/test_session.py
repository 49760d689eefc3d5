"""Conversations: what is held is never read again, and the answers are those of reading it all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from io import StringIO

import pytest

pytest.importorskip("torch", reason="needs the `torch` extra")

import rheostat
from engines.tiny_gguf import write_tiny_gguf
from engines.torch_rig import ToyDrafter, engine_of
from rheostat import cli_chat
from rheostat.engines.base import Request, Sampling
from rheostat.engines.torch_kept import Conversation
from rheostat.engines.weights_cache import load_weights
from rheostat.errors import MethodError, ModelError, WorkloadError
from rheostat.kernel.plan import Plan, Setting
from rheostat.kernel.seams import Depth, Installed, Layout
from rheostat.methods.cache.ems import Ems
from rheostat.methods.cache.kv_direct import KvDirect
from rheostat.methods.cache.sink_window import SinkWindow
from rheostat.methods.cache.snapkv import SnapKv

SHORT = Sampling(max_new_tokens=3)
GUESS = ToyDrafter(lambda tokens, limit: tokens[-3:][:limit])


TERSE = (
    "{% for m in messages %}{{ m['role'][0] + m['content'] + '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}a{% endif %}"
)


@pytest.fixture(scope="module")
def terse_loaded(tmp_path_factory, engines_cache):
    """A model whose template leaves room for many turns."""
    path = write_tiny_gguf(tmp_path_factory.mktemp("terse") / "terse.gguf", chat_template=TERSE)
    return load_weights(str(path))


@pytest.fixture
def terse(terse_loaded, monkeypatch):
    return counting(terse_loaded, monkeypatch)


@pytest.fixture
def engine(tiny_loaded, monkeypatch):
    return counting(tiny_loaded, monkeypatch)


def counting(loaded, monkeypatch):
    """A model that notes how many tokens its passes read."""
    made = engine_of(loaded)
    made.read, passed = [], made.passed

    def counted(feeds, *args, **kwargs):
        made.read += [len(feed.tokens) for feed in feeds]
        return passed(feeds, *args, **kwargs)

    monkeypatch.setattr(made, "passed", counted)
    return made


def said(*texts):
    roles = ("user", "assistant")
    return [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]


def test_thirty_turns_read_every_token_once(terse):
    engine, session = terse, rheostat.Session(terse, max_new_tokens=1)
    for turn in range(30):
        before = sum(engine.read)
        output = session.ask("a")
        assert sum(engine.read) - before == output.cost.prompt_tokens
        assert (output.trace.reused > 0) == (turn > 0)
    held = session._conversation
    assert sum(engine.read) == len(held.ids) - 1 == held.cache.length
    assert session.saved.prompt_tokens > 10 * session.cost.prompt_tokens
    assert session.saved.price > session.cost.price
    assert len(session.messages) == 60


@pytest.mark.parametrize("draft", [None, GUESS])
def test_a_turn_says_what_reading_the_whole_conversation_says(engine, draft):
    installed = Installed(draft=draft)
    conversation, messages = Conversation(), []
    for text in ("the cat", "and the hat?", "a planet or a star"):
        messages.append({"role": "user", "content": text})
        kept = engine.turn(conversation, messages, SHORT, installed=installed)
        ids = [*conversation.ids][: len(conversation.ids) - len(kept.token_ids)]
        whole = engine_text(engine, ids)
        assert kept.token_ids == whole
        messages.append({"role": "assistant", "content": kept.text})


def engine_text(engine, ids):
    """Tokens written after ids that are read at once."""
    from rheostat.engines.torch_generate import Run
    from rheostat.engines.torch_prices import empty_cache

    run = Run(engine, SHORT, Installed(), None, None)
    layout = Layout.full(engine.shape.layers)
    run.held["1"] = ids, empty_cache(engine.llama, layout, capacity=9)
    (output,) = run.outputs([Request(id="1", prompt="never read")])
    return output.token_ids


def test_a_changed_history_is_read_from_where_it_changed(engine):
    conversation = Conversation()
    first = engine.turn(conversation, said("the cat"), SHORT, installed=Installed())
    other = said("the cat", first.text + " else", "and")
    second = engine.turn(conversation, other, SHORT, installed=Installed())
    assert 0 < second.trace.reused < len(conversation.ids)
    engine.turn(conversation, said("Why"), SHORT, installed=Installed())
    fresh = engine.turn(Conversation(), said("Why"), SHORT, installed=Installed())
    again = engine.turn(conversation, said("Why"), SHORT, installed=Installed())
    assert again.token_ids == fresh.token_ids
    assert again.cost.prompt_tokens == 1


def test_other_sub_layers_keep_nothing(engine):
    conversation = Conversation()
    engine.turn(conversation, said("the cat"), SHORT, installed=Installed())
    less = Depth(Layout.full(engine.shape.layers).without(attention=[1]))
    output = engine.turn(conversation, said("the cat"), SHORT, installed=Installed(depth=less))
    assert output.trace.reused == 0


def test_a_turn_that_is_stopped_is_forgotten(engine):
    session = rheostat.Session(engine, max_new_tokens=8)
    session.ask("the cat")
    before = list(session.messages)

    def stop(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        session.ask("and the hat?", on_token=stop)
    assert session.messages == before
    again = rheostat.Session(engine, max_new_tokens=8)
    again.ask("the cat")
    assert session.ask("a star").token_ids == again.ask("a star").token_ids


def test_a_conversation_over_the_context_and_silence_are_refused(engine):
    session = rheostat.Session(engine, max_new_tokens=1, system="be brief")
    with pytest.raises(WorkloadError, match="the prompt is empty"):
        session.ask(" ")
    with pytest.raises(WorkloadError, match="the prompt of this turn has"):
        session.ask("the cat and the hat " * 500)
    assert [m["role"] for m in session.messages] == ["system"]
    assert session.ask("a").stop_reason in {"length", "eos"}


def test_an_idle_conversation_lies_in_a_file_and_goes_on_as_if_it_had_not(engine, tmp_path):
    session, awake = (rheostat.Session(engine, max_new_tokens=6) for _ in range(2))
    session.offload(tmp_path / "nothing.safetensors")  # nothing was said yet
    for turn, text in enumerate(("the cat", "and the hat?", "a planet or a star")):
        path = tmp_path / f"{turn}.safetensors"
        outputs = [one.ask(text) for one in (session, awake)]
        assert outputs[0].token_ids == outputs[1].token_ids
        assert outputs[0].trace.reused == outputs[1].trace.reused
        held = session._conversation
        n, shape = held.cache.length, engine.shape
        session.offload(path)
        assert held.cache is None
        kept = shape.layers * n * 2 * shape.kv_heads * shape.head_size * 4
        assert kept < path.stat().st_size < kept + 2000
    assert {path.name for path in tmp_path.iterdir()} == {f"{i}.safetensors" for i in range(3)}


def test_a_file_that_is_gone_or_of_another_conversation_is_refused(engine, tmp_path):
    one, other = (rheostat.Session(engine, max_new_tokens=2) for _ in range(2))
    for session, text in ((one, "the cat"), (other, "a star")):
        session.ask(text)
        session.offload(tmp_path / text)
    (tmp_path / "a star").replace(tmp_path / "the cat")
    with pytest.raises(ModelError, match="is of another conversation"):
        one.ask("and")
    with pytest.raises(ModelError, match="cannot be read"):
        other.ask("and")


def test_a_plan_is_kept_to(engine):
    plan = Plan(model=engine.model, methods=(Setting(name="copyspec", dial=1),))
    fast = rheostat.Session(plan, engine=engine, max_new_tokens=8)
    base = rheostat.Session(engine, max_new_tokens=8)
    for text in ("the cat and the cat", "and"):
        assert fast.ask(text).text == base.ask(text).text


def chat(path, tmp_path, *options, **more):
    command = [sys.executable, "-c", "from rheostat.cli import main; main()", "generate", str(path)]
    env = os.environ | {"TMPDIR": str(tmp_path), "RHEOSTAT_CACHE": os.environ["RHEOSTAT_CACHE"]}
    return subprocess.Popen(
        [*command, "--chat", "--max-new-tokens", "2", *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=env,
        text=True,
    )


@pytest.mark.slow
def test_the_command_talks_line_by_line_and_a_killed_one_leaves_nothing(
    tiny_gguf, engines_cache, tmp_path
):
    done = chat(tiny_gguf, tmp_path, "--json")
    out, err = done.communicate("the cat\n\nand the hat\n", timeout=120)
    assert done.returncode == 0, err
    data = json.loads(out)
    assert [turn["reused"] > 0 for turn in data["turns"]] == [False, True]
    assert data["saved"]["prompt_tokens"] == data["turns"][1]["reused"]
    assert data["saved"]["price"] == data["turns"][1]["saved_price"] > 0
    assert "prompt tokens read" in err
    killed = chat(tiny_gguf, tmp_path, "hello")
    killed.stdout.read(1)  # it is answering, or waits for the next line
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=60)
    assert list(tmp_path.iterdir()) == []
    refused = chat(tiny_gguf, tmp_path, "--raw")
    _, err = refused.communicate("", timeout=60)
    assert (refused.returncode, "`--raw` is of a single answer" in err) == (2, True)


def test_a_conversation_that_is_full_ends_with_what_was_answered(terse, monkeypatch, capsys):
    session = rheostat.Session(terse, max_new_tokens=1)
    long = "the cat and the hat " * 500
    monkeypatch.setattr(sys, "stdin", StringIO(f"the cat\nand\n{long}\nnever read\n"))
    with pytest.raises(WorkloadError, match="the conversation is full") as full:
        cli_chat.talk(session, None, as_json=True)
    assert full.value.hint == "begin a new conversation"
    out, err = capsys.readouterr()
    data = json.loads(out)
    assert [turn["id"] for turn in data["turns"]] == ["1", "2"]
    assert data["cost"]["calls"] == sum(turn["cost"]["calls"] for turn in data["turns"])
    assert "2 turns: " in err


def test_a_chat_that_is_stopped_tells_what_was_answered(terse, monkeypatch, capsys):
    session, asked = rheostat.Session(terse, max_new_tokens=1), rheostat.Session.ask

    def ask(self, line, **options):
        if line == "stop":
            raise KeyboardInterrupt
        return asked(self, line, **options)

    monkeypatch.setattr(rheostat.Session, "ask", ask)
    monkeypatch.setattr(sys, "stdin", StringIO("the cat\nstop\n"))
    with pytest.raises(KeyboardInterrupt):
        cli_chat.talk(session, None, as_json=False)
    assert "1 turn: " in capsys.readouterr().err


WHOLE = SinkWindow(window=500, every=8)
DECISIONS = {
    "sink_window": SinkWindow(window=4, every=8).at(0.6, {}, None),
    "ems": Ems(window=4, every=8).at(0.6, {}, None),
    "snapkv": SnapKv(window=4, every=8).at(0.6, {}, None),
}


@pytest.mark.parametrize("name", DECISIONS)
def test_a_cache_decision_lets_go_behind_every_turns_prompt_and_nothing_is_read_again(engine, name):
    installed = Installed(cache=DECISIONS[name])
    conversation, messages, said_so_far = Conversation(), [], 0
    for text in ("the cat and the hat or a planet", "is it a star or the hat in the cat", "a"):
        messages.append({"role": "user", "content": text})
        before = sum(engine.read)
        output = engine.turn(conversation, messages, SHORT, installed=installed)
        cache = conversation.cache
        assert sum(engine.read) - before == output.cost.prompt_tokens + output.cost.calls - 1
        assert output.trace.reused == max(said_so_far, 0)
        said_so_far = min(cache.length, len(conversation.ids))
        assert cache.settled > 0
        assert cache.entries < cache.length
        messages.append({"role": "assistant", "content": output.text})


@pytest.mark.parametrize("plan", [WHOLE.at(0.5, {}, None), KvDirect(window=3, every=8)])
def test_a_decision_that_loses_nothing_changes_no_answer(engine, plan):
    if isinstance(plan, KvDirect):
        plan = plan.at(1.0, {}, engine.shape)
    one, other, messages = Conversation(), Conversation(), []
    for text in ("the cat and the hat", "is it a star", "or a planet and the cat"):
        messages.append({"role": "user", "content": text})
        made = [
            engine.turn(one, messages, SHORT, installed=Installed(cache=plan)),
            engine.turn(other, messages, SHORT, installed=Installed()),
        ]
        assert made[0].token_ids == made[1].token_ids
        messages.append({"role": "assistant", "content": made[0].text})


def test_a_history_that_changed_behind_what_was_let_go_is_read_anew(engine):
    installed = Installed(cache=DECISIONS["sink_window"])
    conversation = Conversation()
    first = engine.turn(conversation, said("the cat and the hat"), SHORT, installed=installed)
    other = said("a planet or a star", first.text, "and")
    changed = engine.turn(conversation, other, SHORT, installed=installed)
    assert changed.trace.reused == 0
    fresh = engine.turn(Conversation(), other, SHORT, installed=installed)
    assert changed.token_ids == fresh.token_ids
    plain = engine.turn(conversation, other, SHORT, installed=Installed())
    assert plain.trace.reused == 0  # another decision's cache is given up


def test_a_chat_under_a_cache_decision_says_so_and_stays_in_memory(engine, tmp_path):
    plan = Plan(model=engine.model, methods=(Setting(name="sink_window", dial=0.5),))
    with pytest.warns(UserWarning, match="measured on single answers"):
        session = rheostat.Session(plan, engine=engine, max_new_tokens=2)
    session.ask("the cat")
    with pytest.raises(MethodError, match="stays in memory"):
        session.offload(tmp_path / "chat")
