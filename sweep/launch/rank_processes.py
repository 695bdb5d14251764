"""RankProcesses: the processes of one job, its ranks, started together and ended together.

Most jobs have one. Of several, the first alone talks to the coordinator; the others say only how they failed. The first
that fails or dies ends all, and the job ends once, for the reason that lies behind the others': a rank that is out of
memory or was killed leaves its peers with a broken connection, whose message would say nothing.
"""

from __future__ import annotations

import contextlib
import math
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from tempfile import TemporaryDirectory

from sweep.job_process import ORPHANED
from sweep.launch.launcher import Died, Message
from sweep.messages import MEETING, Done, Failure, JobMessage

EXIT_S = 10.0
"""Seconds that a process gets to exit after its final message."""

PEERS_S = 2.0
"""Seconds that the other ranks get to say why they fail, once one has failed."""

LOST_STATUS = 255
"""Exit status by the standard library of a process whose fork server is gone."""

_KERNEL_COUNTS = Path("/proc/vmstat")


def describe_rank(rank: int, count: int, meeting: Path) -> Mapping[str, str]:
    """The variables by which a process of several knows its rank, with the names that torchrun gives them.

    Args:
        rank: Its number, from 0.
        count: The number of processes, all of this machine.
        meeting: File through which they find each other.
    """
    if count == 1:
        return {}
    numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    return {**{name: str(number) for name, number in numbers.items()}, MEETING: str(meeting)}


@dataclass
class Rank:
    """One process of a job.

    Attributes:
        number: Its rank.
        process: The process.
        connection: This end of its pipe.
        final: Its result or its failure, or once it is gone its death, where it sent neither.
        kill_at: Time at which it is killed if it is not gone by then.
        is_late: Whether it was killed since it had not gone in time.
        is_silent: Whether its pipe is closed, so that its exit is awaited.
        is_gone: Whether it was reaped.
    """

    number: int
    process: ForkServerProcess
    connection: Connection
    final: Done | Failure | Died | None = None
    kill_at: float = math.inf
    is_late: bool = False
    is_silent: bool = False
    is_gone: bool = False

    @property
    def awaited(self) -> Connection | int:
        """Object that is ready once there is news of it: its pipe, or its process's end once that is closed."""
        return self.process.sentinel if self.is_silent else self.connection

    def hurry(self, seconds: float) -> None:
        """Has it killed if it is not gone in some seconds."""
        self.kill_at = min(self.kill_at, time.monotonic() + seconds)


@dataclass
class RankProcesses:
    """The processes of a job that runs, or is about to be gone.

    Attributes:
        job: The job's name.
        attempt: Its attempt.
        ranks: Its processes.
        oom_kills: The kernel's count before it.
        meeting: Folder of the file through which they find each other; None of a single process.
    """

    job: str
    attempt: int
    ranks: Sequence[Rank]
    oom_kills: int
    meeting: TemporaryDirectory[str] | None = None

    @property
    def first(self) -> Rank:
        """The process that talks to the coordinator."""
        return self.ranks[0]

    @property
    def awaited(self) -> Mapping[Connection | int, Rank]:
        """What is ready once there is news, of each process that is not gone."""
        return {rank.awaited: rank for rank in self.ranks if not rank.is_gone}

    @property
    def kill_at(self) -> float:
        """Time at which the next of them is to be killed."""
        return min((rank.kill_at for rank in self.ranks if not rank.is_gone), default=math.inf)

    def receive(self, rank: Rank) -> Message | None:
        """A message for the coordinator; the final one, or the job's death, only once all processes are gone."""
        if rank.is_silent:
            self._reap(rank)
            return self._conclude() if all(each.is_gone for each in self.ranks) else None
        try:
            attempt, payload = rank.connection.recv()
        except (EOFError, OSError):
            rank.is_silent = True
            rank.hurry(EXIT_S)
            return None
        return self._take(rank, attempt, payload)

    def kill(self) -> None:
        """Kills those that are not gone."""
        for rank in self.ranks:
            if not rank.is_gone:
                rank.process.kill()

    def kill_late(self, now: float) -> None:
        """Kills the processes that were to be gone by now."""
        for rank in self.ranks:
            if not rank.is_gone and now >= rank.kill_at:
                rank.process.kill()
                rank.is_late, rank.kill_at = True, now + EXIT_S

    def reap(self) -> Message:
        """Waits for the end of processes that are gone or about to be; returns the final message, or the death."""
        for rank in self.ranks:
            if not rank.is_gone:
                self._reap(rank)
        return self._conclude()

    def _take(self, rank: Rank, attempt: int, payload: JobMessage) -> Message | None:
        if isinstance(payload, (Done, Failure)):
            rank.final = payload
            rank.hurry(EXIT_S)
            if isinstance(payload, Failure):
                self._hurry_peers(rank)
            return None
        return Message(self.job, payload, attempt) if rank is self.first else None

    def _reap(self, rank: Rank) -> None:
        rank.connection.close()
        rank.process.join()
        code = rank.process.exitcode
        rank.process.close()
        rank.is_gone = True
        if rank.final is None:
            is_out_of_memory = count_oom_kills() > self.oom_kills
            died = describe_exit(code, is_out_of_memory=is_out_of_memory)
            rank.final = Died(f"rank {rank.number}: {died}" if len(self.ranks) > 1 else died)
        if not isinstance(rank.final, Done):
            self._hurry_peers(rank)

    def _hurry_peers(self, failed: Rank) -> None:
        """Ends the others soon: none can go on without one that failed."""
        for peer in self.ranks:
            if peer is not failed:
                peer.hurry(PEERS_S)

    def _conclude(self) -> Message:
        """How the job ended: the result, or the failure behind the others'."""
        if self.meeting is not None:
            self.meeting.cleanup()
        final = min(self.ranks, key=_order).final
        assert final is not None
        return Message(self.job, final, self.attempt)


def _order(rank: Rank) -> int:
    """How near its end is to the reason of all: memory, what somebody can mend, a death, a failure, then the rest."""
    if isinstance(rank.final, Failure):
        return 0 if rank.final.exhausted_micro_batch is not None else 1 if rank.final.actionable else 3
    return 2 if isinstance(rank.final, Died) and not rank.is_late else 5 if isinstance(rank.final, Done) else 4


def describe_exit(code: int | None, *, is_out_of_memory: bool) -> str:
    """How a process ended, by its exit status."""
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        by_kernel = " (the kernel ended a process out of memory)" if is_out_of_memory and name == "SIGKILL" else ""
        return f"killed by {name}{by_kernel}"
    if code == LOST_STATUS:
        return "ended with the fork server"
    return "its coordinator was gone" if code == ORPHANED else f"exited with status {code}"


def count_oom_kills() -> int:
    """Number of processes that the kernel has ended out of memory since it started; 0 where it does not say."""
    with contextlib.suppress(OSError):
        for line in _KERNEL_COUNTS.read_text(encoding="ascii").splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count)
    return 0
