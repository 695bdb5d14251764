"""RayMemory: the memory in use on the nodes of a Ray cluster, measured there and known here a moment later.

Each node has a light actor of its own that measures, whether trials run there or not. It is asked in the thread that
follows the cluster: whoever runs trials reads what was measured last, and waits for nobody.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sweep.launch.memory import Usage
from sweep.launch.node import Node
from sweep.launch.shared import Mark

MAX_AGE_S = 30.0
"""Seconds after which a measurement says nothing any more."""

ANSWER_S = 1.0
"""Seconds for which measurements are waited for; one that comes later is taken at the next look."""


@dataclass(frozen=True)
class _Measurement:
    """What a node measured, and the time before which it did not."""

    usage: Usage
    asked: float


class RayMemory:
    """The memory in use on nodes, by their ids.

    Args:
        ray: Ray, connected.
        make_actor: Makes an actor on a node that takes none of its resources.
    """

    def __init__(self, ray: Any, make_actor: Callable[[str], Any]) -> None:
        self._ray = ray
        self._make_actor = make_actor
        self._looking = threading.Lock()  # for one look at a time
        self._lock = threading.Lock()  # over the actors and what is known, which other threads ask for
        self._actors: dict[str, Any] = {}
        self._asked: dict[
            str, tuple[Any, float]
        ] = {}  # measurements that are on their way, and when they were asked for
        self._known: dict[str, _Measurement] = {}

    def describe(self, node: str, mark: Mark | None, *, timeout_s: float) -> tuple[Node, str | None]:
        """What a node is, and the problem with the folder that it must share, by the actor that then measures there.

        Raises:
            Exception: Whatever Ray raises where the node does not answer.
        """
        actor = self._make_actor(node)
        try:
            answer: tuple[Node, str | None] = self._ray.get(actor.describe.remote(mark), timeout=timeout_s)
        except BaseException:
            self._ray.kill(actor)
            raise
        with self._lock:
            self._actors[node] = actor
        return answer

    def look(self, nodes: Collection[str]) -> None:
        """Has these nodes measure, takes what they have measured, and ends the actors of all others."""
        with self._looking:
            actors = self._keep(nodes)
            self._asked = {node: asked for node, asked in self._asked.items() if node in actors}
            for node in actors.keys() - self._asked.keys():
                self._asked[node] = (actors[node].measure.remote(), time.monotonic())
            self._take()

    def find(self, node: str, *, since: float) -> Usage | None:
        """What a node measured after a time; None where it has not, or too long ago."""
        with self._lock:
            known = self._known.get(node)
        if known is None or known.asked < max(since, time.monotonic() - MAX_AGE_S):
            return None
        return known.usage

    def _keep(self, nodes: Collection[str]) -> dict[str, Any]:
        with self._lock:
            others = [self._actors.pop(node) for node in list(self._actors) if node not in nodes]
            actors = dict(self._actors)
        for actor in others:
            with contextlib.suppress(Exception):
                self._ray.kill(actor)
        return actors

    def _take(self) -> None:
        on_their_way = {reference: node for node, (reference, _) in self._asked.items()}
        if not on_their_way:
            return
        count = len(on_their_way)
        ready, _ = self._ray.wait(list(on_their_way), num_returns=count, timeout=ANSWER_S)
        for reference in ready:
            node = on_their_way[reference]
            _, asked = self._asked.pop(node)
            with contextlib.suppress(Exception):  # a node that is gone, or going
                measurement = _Measurement(self._ray.get(reference), asked)
                with self._lock:
                    self._known[node] = measurement


def find_used(devices: Mapping[str, float], own: Collection[str], *, held: Collection[str]) -> float | None:
    """The memory in use on the devices of a slot, the most of several.

    Which devices of its node a slot has is Ray's choice at the slot's first trial: before that, it may be any that no
    other slot holds.

    Args:
        devices: GiB in use on each device of the node.
        own: The slot's devices, where they are known.
        held: Devices of the node's other slots.

    Returns:
        GiB, or None where nothing is known of such a device.
    """
    chosen = own or devices.keys() - set(held)
    return max((devices[device] for device in chosen if device in devices), default=None)
