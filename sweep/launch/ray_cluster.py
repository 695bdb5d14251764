"""RayLauncher: jobs on the nodes of a Ray cluster, an actor for each slot.

The coordinator is the driver and stays the only writer. Slots follow the cluster: nodes that come bring theirs, and
nodes that go give their trials back. Ray restarts nothing: a job whose node is gone is begun again by the coordinator,
as the next attempt, and messages of an older one are dropped by their number.
"""

from __future__ import annotations

import math
import os
import pickle
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sweep.attempts import end_older_attempt
from sweep.errors import DeviceError, SweepError
from sweep.launch.jobs import explain_unpicklable, run_job
from sweep.launch.launcher import Died, Launcher, Message, Slot
from sweep.launch.machine import cuda_slots
from sweep.launch.ray_connection import connect
from sweep.launch.ray_nodes import RayNodes
from sweep.launch.ray_seats import RaySeats
from sweep.launch.relay import Kill, Order
from sweep.messages import LONG_CALL_S, Alive, Done, Failure, Job, Pause, Verdict
from sweep.settings.study_file import WorkersSpec
from sweep.signals import StopSignal

GRACE_S = 30.0
"""Seconds for which an actor that cannot be reached is only suspected to be gone."""

HEAD_S = 20.0
"""Seconds without an answer of the cluster after which its head is taken for gone."""

KILL_S = 5.0
"""Seconds that an actor gets to end a job that is killed; then the actor is killed."""

SIGN_S = 30.0
"""Seconds between two signs of life for a job whose actor waits for its resources."""

LOOK_S = 1.0
"""Longest wait between two looks at deadlines and at the head."""


@dataclass
class _Running:
    """A job on an actor.

    Attributes:
        job: The job.
        seat: Name of its slot, or of its own place where it has none.
        node: Ray's id of the slot's node, or None.
        actor: The actor.
        stream: Its messages.
        ping: A call that is answered once the actor can be reached again, while it is suspected to be gone.
        deadline: Time at which the actor is killed.
        signed: Time of its last message.
        is_heard: Whether it has said anything.
    """

    job: Job
    seat: str
    node: str | None
    actor: Any
    stream: Any
    ping: Any = None
    deadline: float = math.inf
    signed: float = field(default_factory=time.monotonic)
    is_heard: bool = False


class RayLauncher(Launcher):
    """Runs each job in a process of its own that an actor of a Ray cluster starts.

    Args:
        address: ``ray`` for the cluster of RAY_ADDRESS or a new one on this machine, else the address of one.
        preload: Modules that each actor's fork server imports once, before its first job.
        shared: Folder that every node must share with this process; None where that is not checked.
        is_open: Whether a cluster without authentication will do.

    Attributes:
        list_devices: Body of the job that returns torch's build and the devices of a node.
        is_closed: Whether it was closed.
    """

    list_devices = "sweep.trial:list_devices"

    def __init__(
        self, address: str, preload: Sequence[str] = (), *, shared: Path | None = None, is_open: bool = False
    ) -> None:
        self._address = address
        self._preload = tuple(preload)
        self._shared = shared
        self._is_open = is_open
        self._ray: Any = None
        self._is_owner = False
        self._nodes: RayNodes | None = None
        self._seats: RaySeats | None = None
        self._workers = WorkersSpec()
        self._jobs: dict[str, _Running] = {}
        self.is_closed = False

    def find_slots(self, workers: WorkersSpec, *, stop: StopSignal) -> list[Slot]:
        """The slots of the cluster's nodes, as they are now.

        Raises:
            DeviceError: If there is no such cluster, it is open, or no node of it will do.
            SweepError: If a job that asks torch fails, or a signal ends it.
        """
        nodes = self._connect()
        if workers.cpu_workers is None and workers.devices != "auto":
            job = Job(name="devices", body=self.list_devices, task=None, log=Path(os.devnull))
            build, devices = run_job(self, job, stop=stop)
            return cuda_slots(workers, build, [(str(index), device) for index, device in enumerate(devices)])
        self._workers = workers
        slots = self._find_slots(nodes)
        if not slots and 0 < nodes.most_gpus < workers.gpus_per_trial:
            raise DeviceError(
                f"workers.gpus_per_trial: {workers.gpus_per_trial} is above the GPUs of every node of the Ray cluster,"
                f" which have {nodes.most_gpus} at most: set it to that or less"
            )
        if not slots:
            reasons = "; ".join(nodes.refused) or "it has none"
            raise DeviceError(f"workers.cluster: no node of the Ray cluster can run a trial: {reasons}")
        return slots

    def follow(self) -> tuple[list[Slot], list[str]] | None:
        """The slots as they are now, and what has changed since the last call."""
        if self._nodes is None:
            return None
        return self._find_slots(self._nodes), self._nodes.take_changes()

    def used_gib(self, slot: Slot) -> float | None:
        """Memory in use on a slot's device, as its node measured it a moment ago; None where it has not."""
        return self._seats.used_gib(slot) if self._seats else None

    def end_older_attempt(self, lock: Path) -> int | None:
        """Kills the process that holds a trial's lock, if it is on this machine."""
        return end_older_attempt(lock)

    def start(self, job: Job) -> None:
        """Hands a job to the actor of its slot, which is started for it where there is none.

        Raises:
            ValueError: If a job of that name is running, or its task cannot be sent to a process.
        """
        if job.name in self._jobs:
            raise ValueError(f"a job named {job.name!r} is running")
        with explain_unpicklable(job):
            pickle.dumps(job)
        seats = self._connect_seats()
        place = seats.slots.get(job.slot or "")
        seat = place.slot.name if place else self._find_spare()
        actor = seats.begin(seat)
        stream = actor.run.options(num_returns="streaming").remote(job)
        self._jobs[job.name] = _Running(job, seat, place.node if place else None, actor, stream)

    def wait(self, timeout_s: float) -> list[Message]:
        """Messages of jobs since the last call.

        Raises:
            SweepError: If the cluster's head is gone.
        """
        until = time.monotonic() + timeout_s
        while True:
            left_s = max(0.0, until - time.monotonic())
            messages = self._hear(min(left_s, LOOK_S)) + self._look_after()
            if messages or time.monotonic() >= until:
                return messages

    def answer(self, job: str, verdict: Verdict) -> None:
        """Answers a job's report."""
        self._tell(job, verdict)

    def pause(self, job: str) -> None:
        """Asks a job to stop at its next step."""
        self._tell(job, Pause())

    def kill(self, job: str) -> None:
        """Has a job's actor kill it; kills the actor where it does not do that soon."""
        self._tell(job, Kill())
        self._jobs[job].deadline = time.monotonic() + KILL_S

    def close(self) -> None:
        """Ends every job and every actor, and leaves the cluster."""
        if self.is_closed:
            return
        self.is_closed = True
        if self._nodes is not None and not self._is_head_gone():
            for job in self._jobs:
                self.kill(job)
            while self._jobs:
                self._hear(0.1)
                self._look_after()
        if self._nodes is not None:
            self._nodes.close()
        if self._seats is not None and not self._is_head_gone():
            self._seats.close()
        if self._is_owner and not self._is_head_gone():
            self._ray.shutdown()

    @property
    def jobs(self) -> list[str]:
        """Names of the jobs that run."""
        return list(self._jobs)

    def node_of(self, job: str) -> str | None:
        """Name of the slot's node on which a job runs."""
        running = self._jobs.get(job)
        return running.seat.partition("/")[0] if running and self._seats and running.seat in self._seats.slots else None

    def describe_nodes(self) -> list[str]:
        """The cluster's nodes, and those that are left out."""
        return self._connect().describe()

    def _connect(self) -> RayNodes:
        if self._nodes is None:
            self._ray, self._is_owner = connect(self._address, is_open=self._is_open)
            self._seats = RaySeats(self._ray, self._preload)
            memory = self._seats.memory
            self._nodes = RayNodes(self._ray.nodes, memory.describe, shared=self._shared, look_after=memory.look)
            self._nodes.follow()
        return self._nodes

    def _connect_seats(self) -> RaySeats:
        self._connect()
        assert self._seats is not None
        return self._seats

    def _find_slots(self, nodes: RayNodes) -> list[Slot]:
        found = nodes.slots(self._workers)
        taken = {running.seat for running in self._jobs.values()}
        self._connect_seats().renew({known.slot.name: known for known in found}, taken=taken)
        return [known.slot for known in found]

    def _find_spare(self) -> str:
        """A seat without a slot and without a job."""
        taken = {running.seat for running in self._jobs.values()}
        return next(name for number in range(len(taken) + 1) if (name := f"spare {number}") not in taken)

    def _tell(self, job: str, content: Verdict | Pause | Kill) -> None:
        running = self._jobs.get(job)
        if running is not None:
            running.actor.obey.remote(Order(job, content))

    # ---- what is heard, and what is not

    def _hear(self, timeout_s: float) -> list[Message]:
        """A message of each job that has one."""
        heard = [running for running in self._jobs.values() if running.ping is None]
        if not heard:
            time.sleep(timeout_s)
            return []
        streams = [running.stream for running in heard]
        ready, _ = self._ray.wait(streams, num_returns=1, timeout=timeout_s)
        if ready:
            ready, _ = self._ray.wait(streams, num_returns=len(streams), timeout=0)
        return [message for running in heard if running.stream in ready for message in self._receive(running)]

    def _receive(self, running: _Running) -> list[Message]:
        from ray.exceptions import ActorUnavailableError, RayError

        try:
            message: Message = self._ray.get(next(running.stream))
        except ActorUnavailableError:
            running.ping = running.actor.describe.remote(None)
            running.deadline = min(running.deadline, time.monotonic() + GRACE_S)
            return []
        except (RayError, StopIteration) as error:
            return [self._bury(running, _describe_death(error))]
        running.signed, running.is_heard = time.monotonic(), True
        if isinstance(message.payload, (Done, Failure, Died)):
            del self._jobs[running.job.name]
            self._connect_seats().note_change(running.seat)
        return [message]

    def _look_after(self) -> list[Message]:
        """What is due without a message: deaths of actors out of reach, and signs of life of those that wait."""
        if self._is_head_gone():
            raise SweepError(
                f"workers.cluster: the head of the Ray cluster has not answered for {HEAD_S:.0f} s: nothing that was"
                " reported is lost; run the same command again once a cluster is there"
            )
        now, messages = time.monotonic(), []
        for running in list(self._jobs.values()):
            is_gone = self._nodes is not None and self._nodes.is_gone(running.node)
            death = "its node is gone" if is_gone else self._ask_again(running)
            if death is not None:
                messages.append(self._bury(running, death))
            elif now >= running.deadline:
                reason = "killed" if running.ping is None else f"its node was not reached for {GRACE_S:.0f} s"
                messages.append(self._bury(running, reason))
            elif not running.is_heard and now >= running.signed + SIGN_S:
                running.signed = now
                messages.append(Message(running.job.name, Alive(LONG_CALL_S), running.job.attempt))
        return messages

    def _ask_again(self, running: _Running) -> str | None:
        """Why a job whose actor was out of reach is lost, once its actor answers or is known to be dead."""
        from ray.exceptions import ActorUnavailableError

        if running.ping is None or not self._ray.wait([running.ping], timeout=0)[0]:
            return None
        try:
            self._ray.get(running.ping)
        except ActorUnavailableError:
            running.ping = running.actor.describe.remote(None)
            return None
        except Exception as error:  # noqa: BLE001 - whatever Ray says of an actor that is gone
            return _describe_death(error)
        return "its node was out of reach for a while"  # and the messages of that while are lost

    def _bury(self, running: _Running, reason: str) -> Message:
        """The death of a job whose actor is gone, or is ended with it."""
        del self._jobs[running.job.name]
        self._connect_seats().drop(running.seat, running.actor)
        return Message(running.job.name, Died(reason), running.job.attempt)

    def _is_head_gone(self) -> bool:
        return self._nodes is not None and self._nodes.measure_silence(time.monotonic()) > HEAD_S


def _describe_death(error: Exception) -> str:
    from ray.exceptions import ActorDiedError

    if isinstance(error, ActorDiedError):
        return "its actor or its node is gone"
    return f"its actor is gone ({type(error).__name__})"
