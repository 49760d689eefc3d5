"""A Ray cluster: joined at an address, or started on this machine and ended with the run."""

from __future__ import annotations

import logging
import os
import socket
from typing import Any, NoReturn

from rheostat.errors import UserError

LOCAL = "local"
"""The address for a cluster of this machine alone, which is started and ended with the run."""
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
    _answers(address, ray)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to anyone
    own: dict[str, Any] = {"include_dashboard": False, "object_store_memory": STORE_BYTES}
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        ray.init(address=address, **quiet, **(own if address == LOCAL else {}))
    except (ConnectionError, ValueError, RuntimeError) as error:
        _refuse(address, error)
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
        _refuse(address, error)


def _refuse(address: str, error: Exception) -> NoReturn:
    what = (str(error).splitlines() or [type(error).__name__])[0]
    raise UserError(
        f"there is no Ray cluster at `{address}`: {what}",
        hint=f"`--ray {LOCAL}` starts one on this machine, `--ray auto` joins the one that "
        "`ray start` made here; where a cluster asks for a token, Ray reads `RAY_AUTH_MODE=token` "
        "and `RAY_AUTH_TOKEN`",
    ) from error
