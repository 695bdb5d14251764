"""Where the trials of an attacked sweep run: on this machine, in workers of a command, or on a Ray cluster."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import psutil
from clusters import SETTINGS  # which it has set in the environment, before Ray is imported
from history import HISTORY
from nemesis import NODES, PROGRAMS, WEIGHTS, Kind
from processes import TESTS, end_group, freeze, living, wait_until

THAW_S = 5.0
"""Seconds within which a node that was given up ends by itself, once it goes on."""

TRIES = 3
"""Attempts to start a part of a cluster."""

STALL_S = 10.0
"""Seconds of silence after which a trial elsewhere is given up: a frozen program may be, and a busy machine is not."""


class Local:
    """Trials of this machine: processes of the coordinator's own group.

    Args:
        history: File to which trials append, by which the processes of their programs are known as well.

    Attributes:
        workers: The study file's table of workers: two trials at once.
        kinds: Attacks that can be made.
    """

    workers: ClassVar[Mapping[str, object]] = {"devices": "cpu:2"}
    kinds: ClassVar[frozenset[Kind]] = frozenset(WEIGHTS) - PROGRAMS - NODES

    def __init__(self, history: Path) -> None:
        self.environment = {
            "PYTHONPATH": os.pathsep.join(map(str, [TESTS.parent, TESTS, TESTS / "chaos"])),
            "CUDA_VISIBLE_DEVICES": "",
            "OMP_NUM_THREADS": "1",
            HISTORY: str(history),
        }
        self._mark = f"{HISTORY}={history}".encode()

    def living(self, coordinator: int) -> dict[int, str]:
        """The processes of a run that are alive, its trials' and their programs' too: command lines by id."""
        return {int(pid): words for pid, _, words in (line.partition(" ") for line in living(coordinator))}

    def programs(self) -> list[int]:
        """Programs in which trials are started elsewhere: workers of a command, or actors."""
        return []

    def end(self, coordinator: int) -> None:
        """Kills every process of a run at once."""
        end_group(coordinator)

    def close(self) -> None:
        """Ends what runs do not end themselves."""

    def _marked(self) -> dict[int, str]:
        """The processes that have the run's mark in their environment."""
        found = {}
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdecimal() and self._mark in (entry / "environ").read_bytes().split(b"\0"):
                    words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    found[int(entry.name)] = words.strip()
        return found


class Command(Local):
    """Trials in two workers that a command starts, each in a group of its own."""

    workers: ClassVar[Mapping[str, object]] = {
        "devices": "cpu",
        "command": ["env", "{worker}"],
        "slots": 2,
        "stall_s": STALL_S,
    }
    kinds = Local.kinds | PROGRAMS

    def living(self, coordinator: int) -> dict[int, str]:
        return super().living(coordinator) | self._marked()

    def programs(self) -> list[int]:
        return sorted(pid for pid, words in self._marked().items() if words.endswith("-m sweep.worker"))

    def end(self, coordinator: int) -> None:
        super().end(coordinator)
        for pid in self.living(coordinator):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


class Ray(Command):
    """Trials on a Ray cluster of two nodes on this machine, which admits nobody without its token."""

    workers: ClassVar[Mapping[str, object]] = {"devices": "cpu:2", "cluster": "ray", "stall_s": STALL_S}
    kinds = Local.kinds | PROGRAMS | NODES

    def __init__(self, history: Path) -> None:
        super().__init__(history)
        self._start()

    def living(self, coordinator: int) -> dict[int, str]:
        # nodes outlive the run; only actors, and what they started, are to go with it
        theirs = {pid: words for pid, words in self._marked().items() if "SlotActor" in words or "multiproc" in words}
        return Local.living(self, coordinator) | theirs

    def programs(self) -> list[int]:
        return sorted(pid for pid, words in self._marked().items() if "SlotActor" in words)

    def close(self) -> None:
        self._cluster.shutdown()

    def kill_node(self) -> None:
        """Kills a node's raylet, and has another node come."""
        node = self._node()
        _raylet(node).kill()
        self._replace(node)

    def freeze_node(self, is_enough: Callable[[], object]) -> None:
        """Stops everything on a node until it is enough; another node comes where the cluster gave it up."""
        node = self._node()
        raylet = _raylet(node)
        with freeze(raylet.pid):
            is_enough()
        if wait_until(lambda: not _is_alive(raylet), within_s=THAW_S):
            self._replace(node)

    def visit(self, is_enough: Callable[[], object]) -> None:
        """Has a node come, and go again when it is enough."""
        node = self._add_node()
        is_enough()
        self._cluster.remove_node(node, allow_graceful=False)

    def kill_head(self) -> None:
        """Kills all that belongs to the cluster's head."""
        for process in psutil.Process(_raylet(self._cluster.head_node).pid).children(recursive=True):
            _kill(process.pid)
        for processes in self._cluster.head_node.all_processes.values():
            for known in processes:
                _kill(known.process.pid)

    def start_again(self) -> None:
        """A new cluster in the place of one whose head is gone."""
        self._cluster.shutdown()
        self._start()

    def _start(self) -> None:
        from ray.cluster_utils import Cluster

        with self._as_environment():
            head = {"num_cpus": 2, "include_dashboard": False}
            self._cluster = _start_patiently(lambda: Cluster(initialize_head=True, head_node_args=head))
        self._add_node()
        self.environment |= {**SETTINGS, **{name: os.environ[name] for name in SETTINGS}}
        self.environment["RAY_ADDRESS"] = self._cluster.address

    def _add_node(self) -> Any:
        with self._as_environment():
            return _start_patiently(lambda: self._cluster.add_node(num_cpus=2))

    def _node(self) -> Any:
        return next(iter(self._cluster.worker_nodes))

    def _replace(self, node: Any) -> None:
        self._cluster.remove_node(node, allow_graceful=False)
        self._add_node()

    @contextlib.contextmanager
    def _as_environment(self) -> Iterator[None]:
        """Has what begins in a block find the jobs and bear the mark: nodes take over this process's environment."""
        before = {name: os.environ.get(name) for name in self.environment}
        os.environ.update(self.environment)
        try:
            yield
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})


PLACES = {"local": Local, "command": Command, "ray": Ray}


def _start_patiently(start: Callable[[], Any]) -> Any:
    """What starts a part of a cluster, tried again: Ray itself gives it 30 s, which are too few on a busy machine."""
    for _ in range(TRIES - 1):
        with contextlib.suppress(Exception):
            return start()
    return start()


def _raylet(node: Any) -> Any:
    """The Popen of a node's raylet."""
    return node.all_processes["raylet"][0].process


def _is_alive(process: Any) -> bool:
    return process.poll() is None


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
