"""Addresses of Ray clusters that are not there are refused at once, in words."""

from __future__ import annotations

import socket
import sys

import pytest
from typer.testing import CliRunner

from rheostat.cli import app
from rheostat.engines import ray_cluster
from rheostat.engines.ray_cluster import AUTO, LOCAL, check
from rheostat.engines.ray_probe import Answer
from rheostat.errors import UserError


@pytest.fixture
def closed():
    """A port of this machine that nothing listens on."""
    with socket.socket() as held:
        held.bind(("", 0))
        yield held.getsockname()[1]


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "localhost:{}", "ray://127.0.0.1:{}"])
def test_an_address_where_nothing_listens_is_refused(closed, form):
    pytest.importorskip("ray", reason="needs the `ray` extra")
    address = form.format(closed)
    with pytest.raises(UserError, match=f"there is no Ray cluster at `{address}`: "):
        check(address)


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1:99999", "a host:1"])
def test_what_is_no_address_is_refused(address):
    pytest.importorskip("ray", reason="needs the `ray` extra")
    with pytest.raises(UserError, match=f"there is no Ray cluster at `{address}`: "):
        check(address)


def test_a_cluster_that_is_gone_is_refused_where_the_environment_names_it(closed, monkeypatch):
    pytest.importorskip("ray", reason="needs the `ray` extra")
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{closed}")
    with pytest.raises(UserError, match=f"no Ray cluster at `127.0.0.1:{closed}`: "):
        check(AUTO)


def test_one_that_listens_and_never_answers_is_given_up(monkeypatch):
    pytest.importorskip("ray", reason="needs the `ray` extra")
    monkeypatch.setattr(ray_cluster, "WAIT", 3.0)
    with socket.socket() as silent:
        silent.bind(("", 0))
        silent.listen()
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(UserError, match=f"`{address}` did not let .* within 3 seconds") as told:
            check(address)
    assert "`ray status`" in told.value.hint


@pytest.mark.parametrize(
    ("mode", "answer", "said"),
    [
        (None, Answer(refused=True), "asks for a token, and none is sent to it"),
        ("disabled", Answer(refused=True), "asks for a token, and none is sent to it"),
        ("token", Answer(refused=True), "does not take the token that was sent to it"),
        ("token", Answer(kind="AuthenticationError", said="x"), "there is no token for the Ray"),
        (None, Answer(kind="ValueError", said="what"), "there is no Ray cluster at `auto`: what"),
    ],
)
def test_what_a_cluster_says_of_a_token_is_told_without_it(monkeypatch, mode, answer, said):
    pytest.importorskip("ray", reason="needs the `ray` extra")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret" * 9)
    if mode is None:
        monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    else:
        monkeypatch.setenv("RAY_AUTH_MODE", mode)
    monkeypatch.setattr(ray_cluster, "probed", lambda *_, **__: answer)
    with pytest.raises(UserError, match=said) as told:
        check(AUTO)
    assert "secret" not in str(told.value) + told.value.hint
    if answer.kind != "ValueError":
        assert "`RAY_AUTH_TOKEN_PATH`" in told.value.hint


def test_a_local_cluster_is_not_started_by_a_check():
    ray = pytest.importorskip("ray", reason="needs the `ray` extra")
    check(LOCAL)
    assert not ray.is_initialized()


@pytest.mark.parametrize("address", [LOCAL, "auto"])
def test_without_the_package_the_extra_is_named(address, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match="needs the package `ray`"):
        check(address)


def test_the_command_says_that_there_is_no_cluster_before_it_loads_a_model(closed, tmp_path):
    pytest.importorskip("ray", reason="needs the `ray` extra")
    out, address = tmp_path / "plan.json", f"127.0.0.1:{closed}"
    asked = ["plan", "smollm2", "--workload", "edit", "--lossless", "--out", str(out)]
    done = CliRunner().invoke(app, [*asked, "--ray", address])
    assert done.exit_code == 2
    assert f"there is no Ray cluster at `{address}`" in done.output
    assert not list(tmp_path.iterdir())
