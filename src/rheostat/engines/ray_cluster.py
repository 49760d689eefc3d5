"""A Ray cluster: joined at an address, or started on this machine and ended with the run."""

from __future__ import annotations

import logging
import os
import socket
from typing import Any

from rheostat.engines.ray_probe import WAIT, probed
from rheostat.errors import UserError

LOCAL = "local"
"""The address for a cluster of this machine alone, which is started and ended with the run."""
AUTO = "auto"
"""The address for the cluster that `ray start` made on this machine."""
TOKEN = "token"
WHERE = (
    "Ray reads it from `RAY_AUTH_TOKEN`, from the file that `RAY_AUTH_TOKEN_PATH` names, or from "
    "`~/.ray/auth_token`"
)
STORE_BYTES = 100 << 20
"""Of shared memory that a local cluster may take: little is sent, and none of it is large."""
PATIENCE = 5.0
"""Seconds within which a machine must answer; Ray itself would ask for minutes."""


def workers_that_fit(ray: Any, workers: int | None, cpus: int) -> int:
    """Return how many workers of so many processors run; None = as many as the cluster serves.

    Raises:
        UserError: they do not fit.
    """
    have = int(ray.cluster_resources().get("CPU", 0))
    count = max(1, have // cpus) if workers is None else workers
    if count < 1 or count * cpus > have:
        raise UserError(
            f"{count} workers of {cpus} processors do not fit the cluster's {have}",
            hint="give fewer "
            + ("`--threads`" if workers is None else "`--workers` or `--threads`"),
        )
    return count


def check(address: str) -> None:
    """Find a bad address before anything is measured; a local cluster is not started yet.

    Raises:
        UserError: `ray` is not installed, or there is no cluster there.
    """
    if address == LOCAL:
        _package()
    else:
        joined(address)


def joined(address: str) -> tuple[Any, bool]:
    """Return the package, connected, and whether the cluster was started here.

    Raises:
        UserError: `ray` is not installed, or there is no cluster there.
    """
    ray = _package()
    if ray.is_initialized():
        return ray, False
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to anyone
    if address != LOCAL:
        _answers(os.environ.get("RAY_ADDRESS") or address if address == AUTO else address, ray)
        _lets_in(address)
    own: dict[str, Any] = {"include_dashboard": False, "object_store_memory": STORE_BYTES}
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        ray.init(address=address, **quiet, **(own if address == LOCAL else {}))
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise _no_cluster(address, _line(error)) from error
    return ray, address == LOCAL


def _package() -> Any:
    try:
        import ray
    except ModuleNotFoundError as error:
        raise UserError(
            "`--ray` needs the package `ray`, which is not installed",
            hint='pip install "rheostat[ray]"',
        ) from error
    return ray


def _answers(address: str, ray: Any) -> None:
    """Refuse a host and port where nothing listens."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdecimal():
        return
    host = host.strip("[]")
    if host in ("localhost", "127.0.0.1"):  # as Ray itself reads them
        host = ray.util.get_node_ip_address()
    try:
        socket.create_connection((host, int(port)), PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise _no_cluster(address, _line(error)) from error


def _lets_in(address: str) -> None:
    """Refuse a cluster that does not let this machine in, or does not answer in time."""
    answer = probed(address, wait=WAIT)
    if answer.joined:
        return
    if answer.refused and _mode() != TOKEN:
        raise UserError(
            f"the Ray cluster at `{address}` asks for a token, and none is sent to it",
            hint=f"set `RAY_AUTH_MODE={TOKEN}`; {WHERE}",
        )
    if answer.refused:
        raise UserError(
            f"the Ray cluster at `{address}` does not take the token that was sent to it",
            hint=f"it takes its own alone; {WHERE}",
        )
    if answer.kind == "AuthenticationError":
        raise UserError(
            f"there is no token for the Ray cluster at `{address}`",
            hint=f"`RAY_AUTH_MODE` is `{_mode()}`, which asks for one; {WHERE}",
        )
    if answer.kind:
        raise _no_cluster(address, answer.said or answer.kind)
    raise UserError(
        f"the Ray cluster at `{address}` did not let this machine in within {WAIT:g} seconds",
        hint="a part of it may have died: `ray status` tells what is left, and `ray stop` with "
        "`ray start --head` begins anew on this machine",
    )


def _mode() -> str:
    return os.environ.get("RAY_AUTH_MODE", "").lower()


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _no_cluster(address: str, what: str) -> UserError:
    return UserError(
        f"there is no Ray cluster at `{address}`: {what}",
        hint=f"`--ray {LOCAL}` starts one on this machine, `--ray {AUTO}` joins the one that "
        "`ray start` made here, `--ray HOST:PORT` one elsewhere",
    )
