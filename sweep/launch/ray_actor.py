"""SlotActor: one slot of a Ray cluster, as the Ray actor that runs its jobs on its node.

The actor starts the very process that the local launcher starts, and relays its pipe: messages as a streaming
generator, orders by a second method. It holds nothing of the study.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from multiprocessing import Pipe

from sweep.launch.launcher import Died, Message
from sweep.launch.local import LocalLauncher
from sweep.launch.memory import Usage, find_devices, read_usage
from sweep.launch.node import Node, describe_node
from sweep.launch.relay import LOOK_S, Order, obey
from sweep.launch.shared import Mark
from sweep.messages import Done, Failure, Job


class SlotActor:
    """Runs the jobs of a slot, one after the other.

    Args:
        preload: Modules that its fork server imports before the first job.
    """

    def __init__(self, preload: Sequence[str]) -> None:
        self._launcher = LocalLauncher(preload)
        self._reading, self._writing = Pipe(duplex=False)
        self._lock = threading.Lock()  # over the end for writing: Ray calls methods in several threads

    def describe(self, mark: Mark | None) -> tuple[Node, str | None]:
        """The node that it runs on, and the problem with the folder that it must share."""
        return describe_node(), mark.answer() if mark else None

    def measure(self) -> Usage:
        """The memory that is in use on its node now."""
        return read_usage()

    def list_devices(self) -> tuple[str, ...]:
        """The driver's names for the devices that Ray has given it."""
        return find_devices(os.environ.get("CUDA_VISIBLE_DEVICES"))

    def run(self, job: Job) -> Iterator[Message]:
        """Runs a job, and yields its messages to the last one."""
        refused = obey(job, self._launcher)
        if refused is not None:
            yield refused
            return
        while True:
            messages, is_ordered = self._launcher.wait_for(LOOK_S, waker=self._reading.fileno())
            for message in messages:
                yield message
                if isinstance(message.payload, (Done, Failure, Died)):
                    return
            while is_ordered and self._reading.poll():
                obey(self._reading.recv(), self._launcher)

    def obey(self, order: Order) -> None:
        """Hands an order on to the job, or does nothing where it is gone."""
        with self._lock:
            self._writing.send(order)
