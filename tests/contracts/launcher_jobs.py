"""Bodies of jobs for the launchers' contract; importable by a worker's process."""

from __future__ import annotations

import ctypes
import gc
import os
import re
import shutil
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from sweep.errors import DeviceMemoryError, ModelError
from sweep.messages import Channel, Cosines, Device, Evaluation, Report
from sweep.settings.dimensions import Params

PARAMS = Params(
    learning_rate=1e-4,
    effective_learning_rate=1e-4,
    warmup_ratio=0.1,
    batch_size=4,
    data_format="query-document",
    scale=20.0,
    scheduler="linear",
)
COSINES = Cosines(mean=0.5, p5=0.1, p95=0.9)


def make_report(progress: int) -> Report:
    evaluation = Evaluation(
        per_query=np.full(4, progress / 1000, np.float32), positives=COSINES, negatives=COSINES, seconds=0.5
    )
    return Report(
        progress=progress,
        step=progress,
        examples=progress,
        evaluation=evaluation,
        seconds=1.0,
        evaluation_seconds=0.5,
        micro_batch=4,
        loss=None,
    )


def echo(task: Any, channel: Channel) -> Any:  # noqa: ARG001
    return task


def report_all(task: list[int], channel: Channel) -> list[str | None]:
    return [channel.report(make_report(progress)).reason for progress in task]


def fail(task: str, channel: Channel) -> None:  # noqa: ARG001
    try:
        raise KeyError("the root of it")
    except KeyError as error:
        raise RuntimeError(f"{task}\nand more") from error


def fail_for_the_user(task: str, channel: Channel) -> None:  # noqa: ARG001
    raise ModelError(task)


def exhaust_memory(task: int, channel: Channel) -> None:  # noqa: ARG001
    raise DeviceMemoryError("cuda", micro_batch=task)


def wait_for_pause(task: object, channel: Channel) -> str:  # noqa: ARG001
    while not channel.is_pausing():
        time.sleep(0.01)
    return "paused"


def send_itself(task: str, channel: Channel) -> str:  # noqa: ARG001
    os.kill(os.getpid(), signal.Signals[task])
    time.sleep(0.1)
    return "alive"


def dereference_null(task: object, channel: Channel) -> None:  # noqa: ARG001
    ctypes.string_at(0)


def return_the_unsendable(task: object, channel: Channel) -> threading.Lock:  # noqa: ARG001
    return threading.Lock()


def exit_at_once(task: int, channel: Channel) -> None:  # noqa: ARG001
    os._exit(task)


def read_environment(task: list[str], channel: Channel) -> dict[str, str | None]:  # noqa: ARG001
    return {name: os.environ.get(name) for name in task}


def print_everywhere(task: object, channel: Channel) -> None:  # noqa: ARG001
    print("from print")  # noqa: T201
    print("from stderr", file=sys.stderr)  # noqa: T201
    os.write(1, b"from the descriptor\n")
    os.system("echo from a child; echo from its stderr >&2")


def describe_process(task: object, channel: Channel) -> tuple[int, int, int]:  # noqa: ARG001
    return os.getpid(), os.getppid(), threading.active_count()


def count_frozen(task: object, channel: Channel) -> int:  # noqa: ARG001
    return gc.get_freeze_count()


def list_slowly(task: object, channel: Channel) -> tuple[str, list[Device]]:  # noqa: ARG001
    """Finds no device, half a minute later."""
    end = time.monotonic() + 30
    while not channel.is_pausing() and time.monotonic() < end:
        time.sleep(0.01)
    return "slow", []


def leave_its_id(task: str, channel: Channel) -> str:
    """Writes the id of its process into a file, and waits."""
    Path(task).write_text(str(os.getpid()))
    return wait_for_pause(task, channel)


def sleep_long(task: object, channel: Channel) -> None:  # noqa: ARG001
    time.sleep(600)


def compute_long(task: object, channel: Channel) -> None:  # noqa: ARG001
    end = time.monotonic() + 600
    while time.monotonic() < end:
        sum(range(1000))


def go_slowly(task: str, channel: Channel) -> str:  # noqa: ARG001
    """Says its last word, and ends when that file is gone."""

    def wait() -> None:
        while Path(task).exists():
            time.sleep(0.01)

    threading.Thread(target=wait).start()
    return "done, but for my thread"


def hold_the_interpreter(task: object, channel: Channel) -> None:  # noqa: ARG001
    """A step that lets no other thread run, for minutes: matching this takes some 2 ** 40 tries in C."""
    re.match(r"(a+)+$", "a" * 40 + "b")


def stop_itself(task: object, channel: Channel) -> None:  # noqa: ARG001
    os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(600)


def lose_the_folder(task: str, channel: Channel) -> None:  # noqa: ARG001
    """Writes into a folder that has vanished, as that of a share does with its mount."""
    shutil.rmtree(task)
    (Path(task) / "checkpoint").mkdir()


def fill_the_disk_of_its_log(task: str, channel: Channel) -> None:
    os.dup2(os.open(task, os.O_WRONLY), 2)
    fill_the_disk(task, channel)


def fill_the_disk(task: str, channel: Channel) -> None:  # noqa: ARG001
    with open(task, "w") as full:
        full.write("more than fits")


def fill_the_disk_in_passing(task: str, channel: Channel) -> None:
    """Fails for a reason of its own while it makes up for a full disk."""
    try:
        fill_the_disk(task, channel)
    except OSError:
        raise RuntimeError("and nothing else to write to")  # noqa: B904 - an error that names no cause
