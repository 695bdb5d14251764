"""RaySeats: the actors of a Ray cluster's slots, by their seats, and the memory that is in use under them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sweep.launch.launcher import Slot
from sweep.launch.ray_actor import SlotActor
from sweep.launch.ray_memory import RayMemory, find_used
from sweep.launch.ray_nodes import NodeSlot


class RaySeats:
    """An actor for each seat: the name of a slot, or of a place of its own for a job without one.

    Args:
        ray: Ray, connected.
        preload: Modules that each actor's fork server imports once, before its first job.

    Attributes:
        slots: The slots by their names, as they are now.
        memory: What the nodes measure.
    """

    def __init__(self, ray: Any, preload: Sequence[str]) -> None:
        self._ray = ray
        self._preload = tuple(preload)
        self._actors: dict[str, Any] = {}
        self._places: dict[str, NodeSlot | None] = {}  # the slots that they were started for
        self._devices: dict[str, Any] = {}  # the answer of each actor that has GPUs, to which they are
        self._changed: dict[str, float] = {}  # by place, when a job last began or ended there
        self.slots: Mapping[str, NodeSlot] = {}
        self.memory = RayMemory(ray, self._make)

    def renew(self, slots: Mapping[str, NodeSlot], *, taken: Collection[str]) -> None:
        """Takes the slots as they are now, and ends idle actors whose slot is no more or asks for less.

        Others lack what those hold of a node.

        Args:
            slots: The slots by their names.
            taken: Seats that have a job.
        """
        self.slots = slots
        for seat, place in list(self._places.items()):
            if seat not in taken and place is not None and place != slots.get(seat):
                self.drop(seat, self._actors[seat])

    def begin(self, seat: str) -> Any:
        """The actor of a seat on which a job begins; it is started where there is none."""
        self.note_change(seat)
        if seat not in self._actors:
            self._start(seat)
        return self._actors[seat]

    def note_change(self, seat: str) -> None:
        """Notes that a job begins or has ended: what was measured on the seat's device before says nothing now."""
        if seat in self.slots:
            self._changed[self.slots[seat].slot.place] = time.monotonic()

    def drop(self, seat: str, actor: Any) -> None:
        """Kills an actor, if it is alive, and forgets it."""
        self.note_change(seat)
        for known in (self._actors, self._places, self._devices):
            known.pop(seat, None)
        with contextlib.suppress(Exception):
            self._ray.kill(actor)

    def close(self) -> None:
        """Kills every actor."""
        for actor in self._actors.values():
            self._ray.kill(actor)
        self.memory.look(())

    def used_gib(self, slot: Slot) -> float | None:
        """Memory in use on a slot's device, as its node last measured it.

        None where it measured nothing since a job began or ended there: the job's own memory may be in it or not.
        """
        place = self.slots.get(slot.name)
        if place is None:
            return None
        usage = self.memory.find(place.node, since=self._changed.get(slot.place, 0.0))
        if usage is None or slot.device == "cpu":
            return usage.machine_gib if usage else None
        here = [name for name, other in self.slots.items() if other.node == place.node]
        own = self._find_devices([name for name in here if self.slots[name].slot.place == slot.place])
        held = self._find_devices(here)
        return None if own is None or held is None else find_used(usage.devices, own, held=held)

    def _start(self, seat: str) -> None:
        place = self._places[seat] = self.slots.get(seat)
        if place is None:
            self._actors[seat] = self._make(None)
            return
        self._actors[seat] = self._make(place.node, gpus=place.gpus, cpus=place.cpus)
        if place.gpus:
            self._devices[seat] = self._actors[seat].list_devices.remote()

    def _find_devices(self, seats: Collection[str]) -> set[str] | None:
        """The devices that seats have; None while an actor has not said which it has."""
        asked = [self._devices[seat] for seat in seats if seat in self._devices]
        answered = self._ray.wait(asked, num_returns=len(asked), timeout=0)[0] if asked else []
        if len(answered) < len(asked):
            return None
        try:
            return {device for answer in answered for device in self._ray.get(answer)}
        except Exception:  # noqa: BLE001 - an actor that is gone, whose job's death is on its way
            return None

    def _make(self, node: str | None, *, gpus: float = 0.0, cpus: float = 0.0) -> Any:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        strategy = NodeAffinitySchedulingStrategy(node_id=node, soft=False) if node else "DEFAULT"
        options = {"num_gpus": gpus, "num_cpus": cpus, "max_restarts": 0, "max_task_retries": 0, "max_concurrency": 3}
        return self._ray.remote(**options)(SlotActor).options(scheduling_strategy=strategy).remote(self._preload)
