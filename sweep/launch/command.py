"""CommandLauncher: jobs of workers that a command starts elsewhere, such as srun, ssh, kubectl exec or docker run.

Each worker is one process of the command, runs one job at a time, and is used again for the next: what a scheduler has
granted is kept while there is work. A worker ends with its coordinator, since its standard input ends.
"""

from __future__ import annotations

import dataclasses
import math
import os
import pickle
import queue
import secrets
import shlex
import sys
import threading
import time
from collections.abc import Sequence
from multiprocessing.connection import wait
from pathlib import Path

from sweep.attempts import end_older_attempt
from sweep.errors import AttemptHeldError, DeviceError
from sweep.launch.command_worker import END_S, KILL_S, CommandWorker
from sweep.launch.jobs import explain_unpicklable, run_job
from sweep.launch.launcher import Launcher, Message, Slot
from sweep.launch.machine import cpu_slots, cuda_slots, describe_unusable
from sweep.launch.node import Node, describe_hardware, describe_node
from sweep.launch.relay import Kill, Order
from sweep.messages import Device, Job, Pause, Verdict
from sweep.settings.study_file import WORKER, WorkersSpec
from sweep.signals import InterruptedRunError, StopSignal

POLL_S = 0.05
"""Seconds between two looks at a worker whose greeting is awaited."""

PATIENCE_S = 2.0
"""Seconds that an older attempt on another machine gets to notice that its coordinator is gone."""


class CommandLauncher(Launcher):
    """Runs each job in a worker that a command starts.

    Args:
        command: The command; ``{worker}`` in it stands for the command line of the worker.
        preload: Modules that each worker imports once, before its first job.
        shared: Folder that every worker must share with this process; None where that is not checked.

    Attributes:
        list_devices: Body of the job that returns torch's build and the devices of a worker.
        is_closed: Whether it was closed.
    """

    list_devices = "sweep.trial:list_devices"

    def __init__(self, command: Sequence[str], preload: Sequence[str] = (), *, shared: Path | None = None) -> None:
        self._command = expand(command)
        self._preload = tuple(preload)
        self._shared = shared
        self._secret = secrets.token_bytes(32)
        self._here = describe_node()
        self._workers: list[CommandWorker] = []
        self._lock = threading.RLock()  # over the workers, which the thread that listens to them changes as well
        self._heard: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._waking, self._waker = os.pipe()
        self.is_closed = False
        self._thread = threading.Thread(target=self._listen, daemon=True, name="workers")
        self._thread.start()

    def find_slots(self, workers: WorkersSpec, *, stop: StopSignal) -> list[Slot]:
        """As many equal slots as the study file says; else those of the one machine to which the command leads.

        Raises:
            DeviceError: If the command starts no worker that fits, or a device does not exist.
            SweepError: If the job that asks torch fails, or a signal ends it.
        """
        node = self._try_command(stop)
        if workers.slots is not None:
            return self._equal_slots(workers, node, stop)
        if workers.cpu_workers is not None:
            return self._cpu_slots(workers.cpu_workers, workers, node)
        build, devices = self._ask_torch(node, workers, stop)
        if workers.devices == "auto" and not devices:
            return self._cpu_slots(workers.trials_per_device, workers, node)
        numbered = [(str(index), device) for index, device in enumerate(devices)]
        return cuda_slots(workers, build, numbered)

    def used_gib(self, slot: Slot) -> float | None:  # noqa: ARG002 - of no slot
        """None: nobody here knows of the memory of another machine."""
        return None

    def end_older_attempt(self, lock: Path) -> int | None:
        """Kills the process that holds a trial's lock, if it is on this machine; gives one elsewhere time to end."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                return end_older_attempt(lock)
            except AttemptHeldError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def start(self, job: Job) -> None:
        """Gives a job to a worker that has none, or starts one.

        Raises:
            ValueError: If a job of that name is running, or its task cannot be sent to a process.
            SweepError: If the command cannot be started.
        """
        with explain_unpicklable(job):
            pickle.dumps(job)
        with self._lock:
            if self._find(job.name) is not None:
                raise ValueError(f"a job named {job.name!r} is running")
            (self._find_idle() or self._start_worker()).take(job)
        self._wake()

    def wait(self, timeout_s: float) -> list[Message]:
        """Messages of jobs since the last call."""
        try:
            messages = [self._heard.get(timeout=max(0.0, timeout_s))]
        except queue.Empty:
            return []
        while not self._heard.empty():
            messages.append(self._heard.get())
        return messages

    def answer(self, job: str, verdict: Verdict) -> None:
        """Answers a job's report."""
        self._tell(job, verdict)

    def pause(self, job: str) -> None:
        """Asks a job to stop at its next step."""
        self._tell(job, Pause())

    def kill(self, job: str) -> None:
        """Has a job's worker kill it; ends the command where the worker does not do that soon."""
        with self._lock:
            worker = self._find(job)
            if worker is not None:
                worker.tell(Order(job, Kill()))
                worker.deadline = time.monotonic() + (KILL_S if worker.is_ready else 0.0)
        self._wake()

    def close(self) -> None:
        """Ends every worker, and waits until the commands are gone."""
        if self.is_closed:
            return
        self.is_closed = True
        self._wake()
        self._thread.join()
        for worker in self._workers:
            worker.leave()
        self._wait_gone(KILL_S)
        for worker in self._workers:
            worker.ask_to_end()
        self._wait_gone(END_S)
        for worker in self._workers:
            worker.release()
        self._workers.clear()
        for descriptor in (self._waking, self._waker):
            os.close(descriptor)

    @property
    def jobs(self) -> list[str]:
        """Names of the jobs that run."""
        with self._lock:
            return [worker.job.name for worker in self._workers if worker.job]

    def node_of(self, job: str) -> str | None:
        """Name of the machine on which a job runs, once that is known."""
        with self._lock:
            worker = self._find(job)
            return worker.node.name if worker and worker.node else None

    def describe_nodes(self) -> list[str]:
        """The machines to which the command has led so far."""
        with self._lock:
            nodes = {worker.node.name: worker.node for worker in self._workers if worker.node and worker.is_ready}
        return [
            f"{name}: {describe_hardware(gpus=len(node.nvidia), cores=node.cores, memory_gib=node.memory_gib)}"
            for name, node in sorted(nodes.items())
        ]

    def _wait_gone(self, timeout_s: float) -> None:
        """Waits until the processes of all workers are gone, for some seconds at most."""
        deadline = time.monotonic() + timeout_s
        for worker in self._workers:
            worker.wait_gone(max(0.0, deadline - time.monotonic()))

    def _find(self, job: str) -> CommandWorker | None:
        return next((worker for worker in self._workers if worker.job and worker.job.name == job), None)

    def _tell(self, job: str, content: Verdict | Pause) -> None:
        with self._lock:
            worker = self._find(job)
            if worker is not None:
                worker.tell(Order(job, content))

    def _wake(self) -> None:
        """Has the listening thread look at what has changed."""
        os.write(self._waker, b".")

    def _listen(self) -> None:
        """Listens to the workers, in a thread, so that a job begins though nobody waits for its messages yet."""
        while not self.is_closed:
            with self._lock:
                workers = list(self._workers)
            due = min((worker.due for worker in workers), default=math.inf)
            timeout_s = None if math.isinf(due) else max(0.0, due - time.monotonic())
            ready = wait([self._waking, *(worker.output for worker in workers)], timeout_s)
            if self._waking in ready:
                os.read(self._waking, 4096)
            with self._lock:
                for worker in workers:
                    for message in worker.listen(is_readable=worker.output in ready):
                        self._heard.put(message)
                self._workers = [worker for worker in self._workers if not worker.is_gone]

    def _find_idle(self) -> CommandWorker | None:
        return next((worker for worker in self._workers if worker.job is None and not worker.is_leaving), None)

    def _start_worker(self) -> CommandWorker:
        worker = CommandWorker(
            self._command, secret=self._secret, here=self._here, preload=self._preload, shared=self._shared
        )
        self._workers.append(worker)
        return worker

    def _try_command(self, stop: StopSignal) -> Node:
        """The machine of a worker that the command has started, which is then there for the first job."""
        with self._lock:
            worker = self._find_idle() or self._start_worker()
        self._wake()
        while not worker.is_ready or worker.node is None:
            if stop.signal is not None:
                raise InterruptedRunError(stop.signal)
            if worker.problem is not None:
                raise DeviceError(f"workers.command: {worker.problem}")
            time.sleep(POLL_S)
        return worker.node

    def _equal_slots(self, workers: WorkersSpec, node: Node, stop: StopSignal) -> list[Slot]:
        """Slots of which each is one worker, with the first CUDA devices that it sees, or its CPU."""
        count = workers.slots or 1
        build, devices = ("", []) if workers.cpu_workers is not None else self._ask_torch(node, workers, stop)
        if devices:
            chosen = workers.model_copy(update={"devices": tuple(range(workers.gpus_per_trial))})
            [slot] = cuda_slots(chosen, build, [(str(index), device) for index, device in enumerate(devices)])
            slot = dataclasses.replace(slot, environment={}, uuids=())  # each worker's devices are its own
        else:
            [slot] = self._cpu_slots(1, workers, node)
            if node.name == self._here.name and count > 1:
                slot = dataclasses.replace(slot, threads=max(1, node.cores // (count * workers.gpus_per_trial)))
        names = [f"slot-{number}" for number in range(1, count + 1)]
        return [dataclasses.replace(slot, name=name, place=name) for name in names]

    def _cpu_slots(self, count: int, workers: WorkersSpec, node: Node) -> list[Slot]:
        return cpu_slots(count, cores=node.cores, memory_gib=node.memory_gib, processes=workers.gpus_per_trial)

    def _ask_torch(self, node: Node, workers: WorkersSpec, stop: StopSignal) -> tuple[str, list[Device]]:
        """torch's build on a worker's machine and the CUDA devices that it can use.

        Raises:
            DeviceError: If the machine has one that torch cannot use, and the study file leaves the choice to it.
        """
        job = Job(name="devices", body=self.list_devices, task=None, log=Path(os.devnull))
        build, devices = run_job(self, job, stop=stop)
        if workers.devices == "auto" and not devices and node.nvidia:
            raise DeviceError(f"workers.command: {describe_unusable(node, build)}")
        return build, devices


def expand(command: Sequence[str]) -> list[str]:
    """A command with the command line of the worker, by this process's Python, in the place of ``{worker}``."""
    worker = [sys.executable, "-P", "-m", "sweep.worker"]
    words: list[str] = []
    for word in command:
        words += worker if word == WORKER else [word.replace(WORKER, shlex.join(worker))]
    return words
