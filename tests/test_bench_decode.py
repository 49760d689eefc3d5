"""The benchmark suite `decode`: fair turns, honest comparisons, and peers that may fail."""

from __future__ import annotations

import importlib.util
import json
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the suites run on the `torch` engine")

from rheostat import catalog
from rheostat.bench import decode, llamacpp_peer
from rheostat.bench.decode_compared import behind, compared
from rheostat.bench.hindsight import together
from rheostat.bench.journal import Journal
from rheostat.bench.llamacpp_peer import LlamaCpp, Order, PeerError
from rheostat.bench.peer import Answer, llamacpp_name
from stages.conftest import write_lines

pytest_plugins = ["stages.conftest"]


def nothing_said(_):
    return


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    lines = [{"prompt": f"{head} the cat and the hat"} for head in "abcdefghijkl"]
    return write_lines(tmp_path_factory.mktemp("texts") / "texts.jsonl", lines)


@pytest.fixture
def contest(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(decode, "NEW_TOKENS", 16)
    return decode.Contest(
        dtype="float32",
        own=decode.own_contestants(tiny),
        peers={"slow peer": slow_copy_of(tiny), "broken peer": broken},
        prices=decode.drafting_prices(tiny),
        say=nothing_said,
        journal=Journal(tmp_path / "decode.partial.json"),
    )


def slow_copy_of(engine):
    """A peer that gives the base's answers in a thousand seconds each."""
    base = decode.own_contestants(engine)["base"]
    return lambda item, new_tokens: base(item, new_tokens)._replace(
        seconds=1000.0, first_seconds=0.0, steps=None
    )


def broken(item, new_tokens):
    raise PeerError("ended with status -11")


# contestants


def test_every_lossless_draft_source_enters_alone_and_all_but_controls_together(tiny):
    own = decode.own_contestants(tiny)
    cards = [
        m.card
        for m in catalog.methods().values()
        if m.card.seam == "draft" and "draft.model" not in m.card.needs
    ]
    assert set(own) == {"base", "controller", *(card.name for card in cards)}
    assert set(decode.sources()) == {card.name for card in cards if not card.control}


def test_everyone_answers_first_in_turn(texts, contest):
    asked = []

    def noting(name, answer):
        def noted(item, new_tokens):
            asked.append(name)
            return answer(item, new_tokens)

        return noted

    own = {name: noting(name, answer) for name, answer in contest.own.items()}
    noted = decode.Contest(**{**vars(contest), "own": own, "peers": {}})
    others = [name for name in own if name != "base"]
    decode.decode_cell(noted, texts, len(others))
    assert asked[:: len(own)] == ["base"] * len(others)
    assert asked[1 :: len(own)] == others
    assert sorted(asked) == sorted(list(own) * len(others))


def test_a_peer_that_is_far_behind_answers_no_more(texts, contest):
    asked = []

    def peer(seconds):
        def answered(item, new_tokens):
            asked.append(seconds)
            return slow(item, new_tokens)._replace(seconds=seconds)

        return answered

    slow = contest.peers["slow peer"]
    peers = {"fast": peer(10.0), "near": peer(11.0), "far": peer(20.0)}
    cell = decode.decode_cell(decode.Contest(**{**vars(contest), "peers": peers}), texts, 6)
    assert [asked.count(seconds) for seconds in (10.0, 11.0, 20.0)] == [6, 6, decode.TRIED]
    assert [cell["contestants"][name]["items"] for name in peers] == [6, 6, decode.TRIED]
    assert cell["best_peer"] == "fast"
    assert cell["contestants"]["far"]["over_best_peer"]["speed_ratio"] == pytest.approx(0.5)


def test_of_peers_side_by_side_only_the_fastest_go_on():
    def answered(seconds):
        return {"tokens": 10, "first_seconds": 0.0, "seconds": seconds}

    speeds = {name: 10.0 + i for i, name in enumerate("abcde")}
    counted = [{"base": answered(5.0), **{n: answered(s) for n, s in speeds.items()}}] * 4
    assert behind(counted, list("ebadc")) == ["e", "d"]


def test_a_cell_compares_with_the_fastest_peer(texts, contest):
    cell = decode.decode_cell(contest, texts, 3)
    assert (cell["items"], cell["counted"], cell["claim"]) == (3, 3, True)
    assert cell["best_peer"] == "slow peer"
    for name in contest.own:
        found = cell["contestants"][name]
        assert found["identical_answers"] == 1.0
        assert found["over_best_peer"]["speed_ratio"] > 100
        assert found["tokens_per_step"] >= 1
    assert cell["contestants"]["slow peer"]["tokens_per_step"] is None
    json.dumps(cell, allow_nan=False)


def test_in_hindsight_nothing_is_cheaper_than_the_oracle(texts, contest):
    found = decode.decode_cell(contest, texts, 3)["in_hindsight"]
    assert found["relative"]["base"] == 1.0
    assert min(found["relative"], key=found["relative"].__getitem__) == "oracle"
    assert found["relative"][found["best_fixed"]] == min(
        price for name, price in found["relative"].items() if name[-1].isdigit()
    )
    assert found["oracle_share"] <= 1
    both = together([found, found])
    assert both["controller_ratio"] == pytest.approx(found["controller_ratio"])
    assert both["best_fixed"] == found["best_fixed"]


def test_a_peer_that_fails_is_reported_and_not_compared(texts, contest):
    cell = decode.decode_cell(contest, texts, 2)
    assert cell["failed"] == {"broken peer": "ended with status -11"}
    assert "broken peer" not in cell["contestants"]


def test_without_a_peer_nothing_is_said_of_peers(texts, contest):
    alone = decode.Contest(**{**vars(contest), "peers": {"broken peer": broken}})
    cell = decode.decode_cell(alone, texts, 2)
    assert cell["best_peer"] is None
    assert cell["contestants"]["base"]["over_best_peer"] is None


def test_answers_that_earned_nothing_are_not_compared(questions, contest):
    cell = decode.decode_cell(contest, questions, 2)
    assert (cell["counted"], cell["claim"], cell["best_single"]) == (0, False, None)
    assert cell["contestants"]["controller"]["over_base"] is None


def test_only_the_base_answers_what_does_not_count(questions, contest):
    def unasked(item, new_tokens):
        raise AssertionError("nobody else is asked")

    own = {"base": contest.own["base"], "controller": unasked}
    decode.decode_cell(decode.Contest(**{**vars(contest), "own": own}), questions, 2)


# comparisons


def answer(seconds, tokens=11, *, same=True, first=0.0):
    return {
        "counts": True,
        "same": same,
        "tokens": tokens,
        "seconds": seconds,
        "first_seconds": first,
        "steps": 5,
    }


def test_answers_of_other_lengths_are_compared_as_if_they_had_the_bases():
    answered = [
        {
            "base": answer(4.0, first=1.0),
            "copyspec": answer(2.0),
            "controller": answer(2.5),
            "short": answer(1.5, 3, same=False, first=1.0),
            "long": answer(6.0, 21, same=False, first=2.0),
        }
    ]
    found = compared(answered, own=["base", "copyspec", "controller"], peers=["short", "long"])
    seconds = {n: 11 / c["tokens_per_second"] for n, c in found["contestants"].items()}
    assert seconds == pytest.approx(
        {"base": 4.0, "copyspec": 2.0, "controller": 2.5, "short": 1 + 2.5, "long": 2 + 2.0}
    )
    assert (found["best_peer"], found["best_single"]) == ("short", "copyspec")
    assert found["controller_over_best_single"]["speed_ratio"] == pytest.approx(0.8)
    over = found["contestants"]["controller"]["over_best_peer"]["speed_ratio"]
    assert over == pytest.approx(3.5 / 2.5)
    assert found["contestants"]["long"]["identical_answers"] == 0


def test_identity_is_judged_by_tokens_or_else_by_text():
    base = Answer(2, 1.0, text="a b", token_ids=(1, 2))
    assert decode._kept(Answer(2, 1.0, token_ids=(1, 2)), base)["same"]
    assert not decode._kept(Answer(2, 1.0, text="a b", token_ids=(1, 3)), base)["same"]
    assert decode._kept(Answer(2, 1.0, text="a b"), base)["same"]


# the whole suite


@pytest.fixture
def result(tiny, texts, contest, monkeypatch):
    @contextmanager
    def peers_of(engine, dtype, say):
        yield contest.peers

    monkeypatch.setattr(decode, "load_torch", lambda *_, **__: tiny)
    monkeypatch.setattr(decode, "peers_of", peers_of)
    monkeypatch.setattr(decode, "check_installed", lambda: None)
    monkeypatch.setattr(decode, "build_facts", dict)
    monkeypatch.setattr(decode, "WARM_UP", texts)
    monkeypatch.setattr(decode, "FORMATS", ("float32", "gguf"))
    monkeypatch.setattr(decode, "ITEMS", {texts: 2})
    return decode.bench_decode(nothing_said, contest.journal)


def test_the_suite_has_a_cell_for_every_format_and_workload(result, texts):
    assert [(c["dtype"], c["workload"], c["items"]) for c in result["cells"]] == [
        ("float32", texts, 2),
        ("gguf", texts, 2),
    ]
    assert [m["dtype"] for m in result["memory"]] == ["float32", "gguf"]
    json.dumps(result, allow_nan=False)


def program(name):
    """One of the programs that write the documents' tables and figures."""
    path = Path(__file__).resolve().parent.parent / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.mark.parametrize(("table", "more"), [("decode_table", 0), ("hindsight_table", 2)])
def test_a_table_has_a_row_for_every_cell(result, monkeypatch, table, more):
    tables = program("tables")
    monkeypatch.setattr(tables, "result", {"decode": result}.get)
    rows = [line for line in getattr(tables, table)().splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(result["cells"]) + more
    assert len({row.count("|") for row in rows}) == 1


def test_the_figure_has_a_bar_for_every_cell_and_contestant(result):
    pytest.importorskip("matplotlib", reason="figures need the `plots` extra")
    figures = program("figures")
    drawn = figures.decode_figure(result)
    bars = [bar for axes in drawn.axes for bar in axes.patches]
    assert len(bars) == len(figures.COLOURS) * len(result["cells"])
    assert all(bar.get_height() > 0 for bar in bars)


# llama.cpp in a process of its own


def served(tmp_path, program):
    """A peer whose process runs a program instead of llama.cpp."""
    worker = (sys.executable, "-c", program)
    return LlamaCpp(Order(str(tmp_path / "model.gguf"), "NONE", 1, 64), worker=worker)


def test_a_server_answers_prompt_after_prompt(tmp_path):
    peer = served(
        tmp_path,
        "import json, sys\n"
        "order = json.loads(sys.argv[1])\n"
        "for line in sys.stdin:\n"
        "    reply = {'text': order['kind'], 'seconds': 1.0, 'first_seconds': 0.5}\n"
        "    reply['peak_bytes'] = None\n"
        "    sizes = map(len, json.loads(line)['prompts'])\n"
        "    print(json.dumps([reply | {'tokens': n} for n in sizes]), flush=True)\n",
    )
    assert [peer.answer([7] * n, new_tokens=4).tokens for n in (2, 3)] == [2, 3]
    assert [r.tokens for r in peer.answers([[7], [7, 7]], new_tokens=4)] == [1, 2]
    assert peer.answer([1], new_tokens=4).text == "NONE"
    peer.close()


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import sys; sys.exit('no such model')", "status 1: no such model"),
        ("import os; os.abort()", "status -6"),
    ],
)
def test_a_server_that_ends_says_why_now_and_later(tmp_path, program, said):
    peer = served(tmp_path, program)
    for _ in range(2):
        with pytest.raises(PeerError, match=said):
            peer.answer([1, 2], new_tokens=4)
    peer.close()


def test_a_prompt_that_is_refused_ends_no_server(tmp_path):
    peer = served(
        tmp_path,
        'for reply in (\'[{"error": "no room"}]\', \'[{"text": "", "tokens": 0, \'\n'
        '              \'"seconds": 1, "first_seconds": 0, "peak_bytes": 0}]\'):\n'
        "    input()\n"
        "    print(reply, flush=True)\n",
    )
    with pytest.raises(PeerError, match="no room"):
        peer.answer([1, 2], new_tokens=4)
    assert peer.answer([1], new_tokens=4).tokens == 0
    peer.close()


def test_a_server_that_hangs_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(llamacpp_peer, "LIMIT", 0.2)
    peer = served(tmp_path, "import sys; sys.stdin.read()")
    with pytest.raises(PeerError, match="status -9"):
        peer.answer([1], new_tokens=1)
    peer.close()


def test_a_model_that_llamacpp_cannot_load_ends_its_own_process_alone(tmp_path):
    pytest.importorskip("xllamacpp", reason="the peer is optional")
    peer = LlamaCpp(Order(str(tmp_path / "missing.gguf"), "NGRAM_MOD", 1, 64))
    with pytest.raises(PeerError, match="ended with status"):
        peer.answer([1], new_tokens=1)
    peer.close()


def test_kinds_of_speculation_are_named_as_llamacpp_names_them():
    assert llamacpp_name("NONE") == "llama.cpp"
    assert llamacpp_name("NGRAM_MAP_K4V") == "llama.cpp, ngram-map-k4v"
    assert llamacpp_name("NGRAM_SIMPLE 3 10") == "llama.cpp, ngram-simple 3/10"
    assert len(set(map(llamacpp_name, llamacpp_peer.KINDS))) == len(llamacpp_peer.KINDS)
