"""RayNodes: the nodes of a Ray cluster that may run trials, followed while a study runs, and the slots on them."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweep.clock import Clock
from sweep.launch.launcher import Slot
from sweep.launch.node import Node, describe_hardware, describe_node, find_mismatch
from sweep.launch.shared import make_mark
from sweep.settings.study_file import WorkersSpec

FOLLOW_S = 2.0
"""Seconds between two looks at the cluster."""

ASK_AGAIN_S = 300.0
"""Seconds after which a node that was left out is asked again: its folder may have been mounted since."""

ADMIT_S = 60.0
"""Seconds within which a node has to answer what it is."""


@dataclass(frozen=True)
class NodeSlot:
    """A slot, and what an actor on it asks of its node.

    Attributes:
        slot: The slot.
        node: Ray's id of the node.
        gpus: GPUs, or the share of one.
        cpus: CPUs.
    """

    slot: Slot
    node: str
    gpus: float
    cpus: float


class RayNodes:
    """Follows the nodes of a cluster in a thread of its own.

    Args:
        list_nodes: Ray's own list of nodes.
        ask: Asks a node, by its id, what it is and whether it shares a folder, within some seconds.
        shared: Folder that every node must share, or None.
        look_after: Called with the ids of the nodes that may run trials, and of those that
            are being asked, each time that the cluster was looked at.
    """

    def __init__(
        self,
        list_nodes: Callable[[], Sequence[Mapping[str, Any]]],
        ask: Callable[..., Any],
        *,
        shared: Path | None,
        look_after: Callable[[Collection[str]], object] = len,
    ) -> None:
        self._list_nodes = list_nodes
        self._ask = ask
        self._shared = shared
        self._look_after = look_after
        self._here = describe_node()
        self._lock = threading.Lock()
        self._names: dict[str, str] = {}  # by id, of every node that was ever seen
        self._admitted: dict[str, Mapping[str, Any]] = {}  # by id, with what Ray says of them
        self._answers: dict[str, Node] = {}  # what they say of themselves
        self._refused: dict[str, str] = {}  # the reason, by id
        self._asked: set[str] = set()  # the ids of those that are being asked what they are
        self._gone: set[str] = set()  # the ids of those that were admitted and are gone
        self._changes: list[str] = []
        self._ended = threading.Event()
        self._ask_at: dict[str, float] = {}  # when those that were left out are asked again, by id
        self._thread: threading.Thread | None = None
        self._asking: threading.Thread | None = None
        self._clock = Clock(time.monotonic())
        self._seen = 0.0  # by that clock

    @property
    def refused(self) -> list[str]:
        """Why nodes were left out."""
        with self._lock:
            return list(self._refused.values())

    def follow(self) -> None:
        """Looks at the cluster now, then again and again until it is closed."""
        self.look()
        with self._lock:
            self._changes.clear()  # what is there at the beginning has not come
        self._thread = threading.Thread(target=self._follow, daemon=True, name="nodes")
        self._thread.start()

    def close(self) -> None:
        """Looks no more."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(FOLLOW_S)

    def look(self) -> None:
        """Admits nodes that have come, once they have answered, and forgets those that are gone."""
        self._ask_all(self._find_new())
        self._look_after_all()

    def _find_new(self) -> dict[str, Mapping[str, Any]]:
        """Forgets nodes that are gone; returns those that are to be asked what they are, with what Ray says of them."""
        nodes = {node["NodeID"]: node for node in self._list_nodes() if node["Alive"]}
        with self._lock:
            self._seen = self._clock.tick(time.monotonic())
            gone = [node for node in self._admitted if node not in nodes]
            for node in gone:
                del self._admitted[node]
                self._gone.add(node)
                self._changes.append(f"{self._names[node]} is gone, and with it its slots")
            self._refused = {node: reason for node, reason in self._refused.items() if node in nodes}
            waiting = {node for node in self._refused if time.monotonic() < self._ask_at[node]}
            known = {*self._admitted, *waiting}
        return {node: said for node, said in nodes.items() if node not in known}

    def _ask_all(self, new: Mapping[str, Mapping[str, Any]]) -> None:
        with self._lock:
            self._asked = set(new)
        with ThreadPoolExecutor(max_workers=8) as threads:  # each answer takes the start of a process
            problems = list(threads.map(self._find_problem, new))
        for (node, said), problem in zip(new.items(), problems, strict=True):
            self._admit(node, said, problem)
        with self._lock:
            self._asked = set()

    def measure_silence(self, now: float) -> float:
        """Seconds since the cluster last answered in which this process was awake; to be asked every second."""
        with self._lock:
            return self._clock.tick(now) - self._seen

    def is_gone(self, node: str | None) -> bool:
        """Whether a node was in the cluster and is gone."""
        with self._lock:
            return node in self._gone

    def describe(self) -> list[str]:
        """The nodes that may run trials, with what they have, and those that are left out, with the reason."""
        with self._lock:
            admitted = {self._names[node]: said["Resources"] for node, said in self._admitted.items()}
            return [
                *(f"{name}: {_describe_resources(said)}" for name, said in sorted(admitted.items())),
                *sorted(self._refused.values()),
            ]

    def take_changes(self) -> list[str]:
        """What has changed since the last call, as lines for a person."""
        with self._lock:
            changes, self._changes = self._changes, []
        return changes

    def slots(self, workers: WorkersSpec) -> list[NodeSlot]:
        """The slots of all nodes: their GPUs where the cluster has any, else their CPUs, a node after the other."""
        with self._lock:
            admitted = {self._names[node]: (node, said["Resources"]) for node, said in self._admitted.items()}
            answers = dict(self._answers)
        is_cpu = workers.cpu_workers is not None or not any(said.get("GPU") for _, said in admitted.values())
        shares = _share_cpus(len(admitted), workers) if is_cpu else [0] * len(admitted)
        slots: list[NodeSlot] = []
        for (name, (node, said)), share in zip(sorted(admitted.items()), shares, strict=True):
            there = answers[node]
            found = _cpu_slots(name, said, share, workers, there) if is_cpu else _gpu_slots(name, said, workers, there)
            slots += [NodeSlot(slot, node, gpus, cpus) for slot, gpus, cpus in found]
        return slots

    @property
    def most_gpus(self) -> int:
        """GPUs of the node that has the most."""
        with self._lock:
            return max((int(said["Resources"].get("GPU", 0)) for said in self._admitted.values()), default=0)

    def _follow(self) -> None:
        while not self._ended.wait(FOLLOW_S):
            try:
                new = self._find_new()
                self._look_after_all()
            except Exception:  # noqa: BLE001 - whatever Ray raises while its head is gone; `measure_silence` tells how long
                continue
            if new and (self._asking is None or not self._asking.is_alive()):
                # in a thread of its own: a node that is slow to answer does not make the cluster seem silent
                self._asking = threading.Thread(target=self._ask_all, args=(new,), daemon=True, name="new nodes")
                self._asking.start()

    def _look_after_all(self) -> None:
        with self._lock:
            nodes = {*self._admitted, *self._asked}
        self._look_after(nodes)

    def _admit(self, node: str, said: Mapping[str, Any], problem: str | None) -> None:
        """Admits a node that was asked what it is, or leaves it out, with the reason."""
        host = str(said["NodeManagerHostname"])
        same = sum(name.partition("#")[0] == host for name in self._names.values())
        name = self._names.setdefault(node, f"{host}#{same + 1}" if same else host)
        with self._lock:
            before = self._refused.pop(node, None)
            if problem is None:
                self._admitted[node] = said
                self._changes.append(f"{name} has come, and its slots are used")
                return
            self._ask_at[node] = time.monotonic() + ASK_AGAIN_S
            self._refused[node] = f"{name} is left out: {problem}"
            if self._refused[node] != before:
                self._changes.append(self._refused[node])

    def _find_problem(self, node: str) -> str | None:
        """Why a node cannot run trials, by its own answer; None where it can."""
        mark = make_mark(self._shared) if self._shared else None
        try:
            there, problem = self._ask(node, mark, timeout_s=ADMIT_S)
            if problem is None and mark is not None:
                problem = mark.check()
            self._answers[node] = there
            return find_mismatch(there, self._here) or problem
        except Exception as error:  # noqa: BLE001 - a node that cannot be asked is left out, for whatever reason
            return f"it does not answer ({type(error).__name__})"
        finally:
            if mark is not None:
                mark.remove()


def _share_cpus(nodes: int, workers: WorkersSpec) -> list[int]:
    """Trials at once on each node's CPU: so many on each, or a number in all that is spread over the nodes."""
    if workers.cpu_workers is None:
        return [workers.trials_per_device] * nodes
    return [len(range(place, workers.cpu_workers, nodes)) for place in range(nodes)]


def _describe_resources(said: Mapping[str, float]) -> str:
    gpus, cores, memory_gib = int(said.get("GPU", 0)), int(said.get("CPU", 0)), said.get("memory", 0.0) / 2**30
    return describe_hardware(gpus=gpus, cores=cores, memory_gib=memory_gib, kind=_gpu_kind(said))


def _gpu_kind(said: Mapping[str, float]) -> str:
    """The kind of a node's GPUs; empty where Ray does not know it."""
    return next((key.partition(":")[2] for key in said if key.startswith("accelerator_type:")), "")


def _cpu_slots(
    name: str, said: Mapping[str, float], count: int, workers: WorkersSpec, there: Node
) -> list[tuple[Slot, float, float]]:
    """Slots that share a node's CPU, each with its GPUs and CPUs."""
    cores = int(said.get("CPU", 0))
    label = f"CPU, {cores} cores"
    slot = Slot(
        f"{name}/cpu",
        label,
        environment={"CUDA_VISIBLE_DEVICES": ""},
        place=f"{name}/cpu",
        memory_gib=there.memory_gib,
        threads=max(1, cores // max(1, count * workers.gpus_per_trial)),
        processes=workers.gpus_per_trial,
    )
    return [(share, 0.0, cores / count) for share in _numbered(slot, count)]


def _gpu_slots(
    name: str, said: Mapping[str, float], workers: WorkersSpec, there: Node
) -> list[tuple[Slot, float, float]]:
    """Slots on a node's GPUs, each with its GPUs and CPUs; which of them is whose is Ray's choice."""
    gpus, each, of = int(said.get("GPU", 0)), workers.trials_per_device, workers.gpus_per_trial
    kind = _gpu_kind(said) or "GPU"
    label = kind if of == 1 else f"{of} x {kind}"
    threads = max(1, int(said.get("CPU", 1)) // max(1, gpus * each))
    places = [f"{name}/gpu:{'+'.join(map(str, range(start, start + of)))}" for start in range(0, gpus - gpus % of, of)]
    memory_gib = min(there.devices_gib, default=None)
    slots = [
        Slot(place, label, "cuda", place=place, memory_gib=memory_gib, threads=threads, processes=of)
        for place in places
    ]
    return [(share, of / each, 0.0) for slot in slots for share in _numbered(slot, each)]


def _numbered(slot: Slot, count: int) -> list[Slot]:
    if count == 1:
        return [slot]
    return [dataclasses.replace(slot, name=f"{slot.name}/{share + 1}", share=1 / count) for share in range(count)]
