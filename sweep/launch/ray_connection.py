"""connect: a connection to a Ray cluster that admits nobody without its token."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
from typing import Any

from sweep.errors import DeviceError
from sweep.signals import ORDERS

HERE = "ray"
"""Address of the cluster of RAY_ADDRESS, or where that is not set, of a new one on this machine."""

ANSWER_S = 10.0
"""Seconds that a cluster gets to answer a connection."""

PROBE_S = 60.0
"""Seconds that a cluster gets to say whether it admits somebody without a token."""

TOKEN = "RAY_AUTH_MODE=token, with the cluster's token in RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH"

OPEN = 'or, where everybody who reaches it may run code on it, set authentication = "none" under [workers]'


def connect(address: str, *, is_open: bool) -> tuple[Any, bool]:
    """Ray, connected to a cluster, and whether this connected it.

    Args:
        address: The cluster's, or `HERE`.
        is_open: Whether one without authentication will do.

    Raises:
        DeviceError: If Ray is not installed, or there is no such cluster, or it admits anybody.
    """
    address = os.environ.get("RAY_ADDRESS", HERE) if address == HERE else address
    if address == HERE:
        _choose_token()
    elif not is_open and os.environ.get("RAY_AUTH_MODE") != "token":
        raise DeviceError(
            f"workers.cluster: {address}: without authentication anybody runs code on it: set {TOKEN}; {OPEN}"
        )
    try:
        import ray
    except ImportError as error:
        raise DeviceError(
            "workers.cluster: Ray is not installed: install it here and on every node"
            f' (pip install -c constraints-ray.txt "retrieval-sweep[ray]"): {error}'
        ) from error
    if ray.is_initialized():
        return ray, False
    if address != HERE:
        _check_answer(address)
    if address != HERE and not is_open and _admits_anybody(address):
        raise DeviceError(f"workers.cluster: {address}: the cluster admits anybody: start it with {TOKEN}; {OPEN}")
    handlers = {number: signal.getsignal(number) for number in ORDERS}
    try:
        ray.init(
            address="local" if address == HERE else address,
            include_dashboard=False if address == HERE else None,
            log_to_driver=False,
            logging_level="ERROR",
            namespace="sweep",
        )
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise DeviceError(f"workers.cluster: {address}: no Ray cluster can be used there: {reason}") from error
    finally:
        for number, handler in handlers.items():  # Ray takes SIGTERM over, which a run has noted
            signal.signal(number, handler)
    return ray, True


def _choose_token() -> None:
    """Has a new cluster on this machine admit this process alone, unless the environment says how."""
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    if os.environ["RAY_AUTH_MODE"] == "token" and not {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & {*os.environ}:
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def _check_answer(address: str) -> None:
    """Refuses an address at which nobody answers: Ray itself tries for minutes.

    Raises:
        DeviceError: If it is no address, or nobody answers there.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise DeviceError(f"workers.cluster: {address!r} is no address: name host and port, such as 10.0.0.1:6379")
    try:
        socket.create_connection((host, int(port)), timeout=ANSWER_S).close()
    except OSError as error:
        raise DeviceError(
            f"workers.cluster: {address}: no Ray cluster answers there ({error.strerror or error}): start one"
            " (ray start --head), or mend the address"
        ) from error


def _admits_anybody(address: str) -> bool:
    """Whether a cluster answers somebody without a token."""
    without = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH_")}
    asked = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    try:
        done = subprocess.run(
            asked, env={**without, "RAY_AUTH_MODE": "disabled"}, capture_output=True, timeout=PROBE_S, check=False
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0
