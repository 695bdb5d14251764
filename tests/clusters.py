"""A Ray cluster of two nodes on this machine, with a token, for tests that share it."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from processes import TESTS

from sweep.launch import RayLauncher

PLACES = (TESTS.parent, TESTS / "contracts", TESTS / "launch")
"""Where nodes find the jobs of tests."""

SETTINGS = {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(16),
    "RAY_health_check_period_ms": "500",  # a node that is gone is known to be after 2 s, and not after 15
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_worker_niceness": "0",  # at Ray's own 15 a job starves beside other tests
}
for setting in SETTINGS.items():
    os.environ.setdefault(*setting)  # Ray reads them once, when it is imported, which some test does first


def start_cluster() -> Any:
    """The cluster, which is gone with this process; where it could not be started, it is not tried again."""
    pytest.importorskip("ray")
    started = _start_once()
    if isinstance(started, Exception):
        pytest.fail(f"the Ray cluster could not be started: {started}")
    return started


@cache
def _start_once() -> Any:
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    try:
        with _paths_of_nodes():
            cluster.add_node(num_cpus=2, include_dashboard=False)
            cluster.add_node(num_cpus=2)
    except Exception as error:  # noqa: BLE001 - whatever Ray raises on a busy machine
        cluster.shutdown()
        return error
    return cluster


def add_node() -> Any:
    """One more node of the cluster."""
    with _paths_of_nodes():
        return start_cluster().add_node(num_cpus=1)


@contextlib.contextmanager
def _paths_of_nodes() -> Iterator[None]:
    """Has nodes that begin in a block find the jobs of tests: they take over this process's environment."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([*map(str, PLACES), *([before] if before else [])])
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def make_ray_launcher(preload: Sequence[str] = (), *, shared: Path | None = None) -> RayLauncher:
    """A launcher of jobs on the cluster."""
    return RayLauncher(start_cluster().address, preload, shared=shared)
