"""Addresses of Ray clusters that are not there are refused at once, in words."""

from __future__ import annotations

import socket
import sys

import pytest
from typer.testing import CliRunner

from rheostat.cli import app
from rheostat.engines.ray_cluster import LOCAL, check
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
