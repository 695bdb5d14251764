"""Bodies of jobs that several processes run together; importable by a worker's process, without torch."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from sweep.errors import DeviceMemoryError
from sweep.messages import MEETING, Channel

RANK = "RANK"


def _rank() -> int:
    return int(os.environ.get(RANK, "0"))


def meet(task: str, channel: Channel) -> dict[str, Any]:
    """Waits until every rank has left its name; what the first knows of itself and found."""
    count, folder = int(os.environ["WORLD_SIZE"]), Path(task)
    (folder / str(_rank())).write_text(str(os.getpid()))
    os.write(1, f"rank {_rank()} prints\n".encode())
    while len(list(folder.iterdir())) < count:
        time.sleep(0.01)
    channel.sign(long_call=True)
    has_meeting = Path(os.environ[MEETING]).parent.is_dir()
    return {"rank": _rank(), "count": count, "has_meeting": has_meeting, "meeting": os.environ[MEETING]}


def lose_one(task: str, channel: Channel) -> None:  # noqa: ARG001
    """The second rank is killed; the others fail a moment later, as they do where a connection breaks."""
    if _rank() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.3)
    raise RuntimeError("connection closed by peer")


def wait_for_ever(task: str, channel: Channel) -> None:  # noqa: ARG001
    """The second rank is killed; the others notice nothing."""
    if _rank() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(600)


def exhaust_one(task: int, channel: Channel) -> None:  # noqa: ARG001
    """The second rank is out of memory; the first fails at once for another reason."""
    if _rank() == 1:
        time.sleep(0.2)
        raise DeviceMemoryError("cuda:1", micro_batch=task)
    raise RuntimeError("connection closed by peer")


def stay(task: str, channel: Channel) -> None:  # noqa: ARG001
    """Says where it lives, and stays until it is ended."""
    (Path(task) / str(_rank())).write_text(str(os.getpid()))
    time.sleep(600)
