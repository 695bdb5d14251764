"""Ranks: the processes that train one trial together, by torch.distributed; a single one is a group of its own.

What is exchanged about the course of a trial goes over the CPU (gloo), what training computes goes between GPUs (NCCL).
Ranks find each other through a file: they are all on one machine.
"""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import torch
import torch.distributed
from numpy.typing import NDArray

from sweep.errors import DeviceError
from sweep.messages import MEETING

PATIENCE = timedelta(days=365)
"""Time that a rank waits for another: the first waits for its coordinator, and a rank that is gone ends its peers."""

_LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"
_CONNECTIONS = {
    "GLOO_SOCKET_IFNAME": _LOOPBACK,  # ranks are on one machine, and what they say to each other has no secret
    "NCCL_SOCKET_IFNAME": _LOOPBACK,
    "OMP_NUM_THREADS": "1",  # else the library sets the threads of a process, which its slot has set
}
_FORMER_NAMES = ("`broadcast_buffers`", r"torch\.distributed\.nn\.functional\.all_gather")
"""What the trainer and the losses call by names that torch has replaced."""


@dataclass(frozen=True)
class Ranks:
    """The place of this process among those of its trial.

    Attributes:
        rank: Its number, from 0.
        count: The number of processes.
    """

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether it reports, saves and decides for all."""
        return self.rank == 0

    def device(self, kind: str) -> str:
        """The device of this process, of a kind (``cpu``, ``cuda``)."""
        return kind if self.count == 1 or kind != "cuda" else f"cuda:{self.rank}"

    def share(self, batch_size: int) -> int:
        """Rows of a batch that each process takes."""
        return batch_size // self.count

    def decide(self, number: int) -> int:
        """The first one's number, in every process."""
        if self.count == 1:
            return number
        shared = torch.tensor(number)
        torch.distributed.broadcast(shared, src=0)
        return int(shared)

    def least(self, number: int) -> int:
        """The smallest of all processes' numbers."""
        if self.count == 1:
            return number
        shared = torch.tensor(number)
        torch.distributed.all_reduce(shared, op=torch.distributed.ReduceOp.MIN)
        return int(shared)

    def mean(self, value: torch.Tensor) -> torch.Tensor:
        """The mean of all processes' scalars, on their devices."""
        if self.count == 1:
            return value
        total = value.detach().clone()
        torch.distributed.all_reduce(total)
        return total / self.count

    def collect(self, rows: NDArray[np.float32], places: Sequence[NDArray[np.int64]]) -> None:
        """Fills in, in the first process, the rows that the others have made.

        Args:
            rows: (N, H) rows, of which each process has made its own.
            places: For each process, the rows that it has made.
        """
        for rank, own in enumerate(places[1 : self.count], start=1):
            if not len(own):
                continue
            if self.is_first:
                received = torch.empty((len(own), rows.shape[1]), dtype=torch.float32)
                torch.distributed.recv(received, src=rank)
                rows[own] = received.numpy()
            elif self.rank == rank:
                torch.distributed.send(torch.from_numpy(rows[own]), dst=0)


ALONE = Ranks()
"""A process that trains alone."""


@contextlib.contextmanager
def join_ranks(device: str) -> Iterator[Ranks]:
    """The ranks of this process's job by its environment, joined for as long as the context lasts.

    Raises:
        DeviceError: If there are fewer GPUs than ranks.
    """
    if MEETING not in os.environ:  # whatever a scheduler has set besides
        yield ALONE
        return
    count, rank = int(os.environ["WORLD_SIZE"]), int(os.environ["RANK"])
    backend = "gloo"
    if device == "cuda":
        if torch.cuda.device_count() < count:
            raise DeviceError(
                f"workers.gpus_per_trial: {count} are asked for, and the trial's processes see"
                f" {torch.cuda.device_count()}: lower it, or give the worker more"
            )
        torch.cuda.set_device(rank)
        backend = "cpu:gloo,cuda:nccl"
    for name, value in _CONNECTIONS.items():
        os.environ.setdefault(name, value)
    torch.distributed.init_process_group(
        backend, init_method=f"file://{os.environ[MEETING]}", rank=rank, world_size=count, timeout=PATIENCE
    )
    try:
        with warnings.catch_warnings():
            for name in _FORMER_NAMES:
                warnings.filterwarnings("ignore", rf"{name} is deprecated", FutureWarning)
            yield Ranks(rank, count)
    finally:
        torch.distributed.destroy_process_group()
