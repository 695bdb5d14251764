"""Jobs of several processes, on every launcher that starts processes."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from clusters import make_ray_launcher

from sweep.launch import CommandLauncher, Died, Launcher, LocalLauncher, Message
from sweep.messages import Done, Failure, Job, Started

PRELOAD = ("sweep.testing",)

LAUNCHERS: dict[str, Callable[[], Launcher]] = {
    "local": lambda: LocalLauncher(PRELOAD),
    "ray": lambda: make_ray_launcher(PRELOAD),
    "command": lambda: CommandLauncher(["env", f"PYTHONPATH={os.pathsep.join(sys.path)}", "{worker}"], PRELOAD),
}


@pytest.fixture(scope="module", params=list(LAUNCHERS))
def launcher(request: pytest.FixtureRequest) -> Iterator[Launcher]:
    made = LAUNCHERS[request.param]()
    yield made
    made.close()


@pytest.fixture
def run(launcher: Launcher, tmp_path: Path) -> Callable[..., list[Message]]:
    """Runs a job of several processes to its end, some seconds after its first message at most; what it said."""

    def go(body: str, task: Any = None, *, processes: int = 2, within_s: float = 60.0) -> list[Message]:
        log = tmp_path / "logs" / "job.log"
        launcher.start(Job(name="job", body=f"rank_jobs:{body}", task=task, log=log, processes=processes))
        heard: list[Message] = []
        deadline = time.monotonic() + 60
        while not heard or not isinstance(heard[-1].payload, (Done, Failure, Died)):
            assert time.monotonic() < deadline, heard
            messages = launcher.wait(0.2)
            if messages and not heard:
                deadline = time.monotonic() + within_s
            heard += messages
        assert launcher.wait(0.1) == []
        return heard

    return go


def is_gone(process: int) -> bool:
    return not psutil.pid_exists(process) or psutil.Process(process).status() == psutil.STATUS_ZOMBIE


def test_the_first_of_the_processes_talks_for_all(run: Callable[..., list[Message]], tmp_path: Path) -> None:
    met = tmp_path / "met"
    met.mkdir()
    heard = run("meet", str(met), processes=3)
    assert sum(isinstance(message.payload, Started) for message in heard) == 1
    assert sum(isinstance(message.payload, Done) for message in heard) == 1
    result = heard[-1].payload.result  # type: ignore[union-attr]
    assert (result["rank"], result["count"], result["has_meeting"]) == (0, 3, True)
    assert all(is_gone(int((met / str(rank)).read_text())) for rank in range(3))
    assert not Path(result["meeting"]).parent.exists()


def test_each_process_has_a_log_of_its_own(run: Callable[..., list[Message]], tmp_path: Path) -> None:
    met = tmp_path / "met"
    met.mkdir()
    run("meet", str(met))
    logs = {path.name: path.read_text() for path in (tmp_path / "logs").iterdir()}
    assert logs == {"job.log": "rank 0 prints\n", "job.rank-1.log": "rank 1 prints\n"}


def test_a_rank_that_is_killed_ends_the_job_once_and_is_the_reason(run: Callable[..., list[Message]]) -> None:
    assert run("lose_one")[-1].payload == Died("rank 1: killed by SIGKILL")


def test_a_rank_that_is_killed_ends_peers_that_notice_nothing(run: Callable[..., list[Message]]) -> None:
    assert run("wait_for_ever", within_s=10.0)[-1].payload == Died("rank 1: killed by SIGKILL")


def test_memory_that_one_rank_has_exhausted_is_the_reason_of_all(run: Callable[..., list[Message]]) -> None:
    failure = run("exhaust_one", 32)[-1].payload
    assert isinstance(failure, Failure)
    assert failure.exhausted_micro_batch == 32


def test_killing_a_job_ends_every_process_of_it(launcher: Launcher, tmp_path: Path) -> None:
    met = tmp_path / "met"
    met.mkdir()
    launcher.start(Job(name="job", body="rank_jobs:stay", task=str(met), log=tmp_path / "job.log", processes=2))
    deadline = time.monotonic() + 60
    while len(list(met.iterdir())) < 2 or any(not path.read_text() for path in met.iterdir()):
        assert time.monotonic() < deadline
        launcher.wait(0.05)
    processes = [int(path.read_text()) for path in met.iterdir()]
    launcher.kill("job")
    heard: list[Message] = []
    while not any(isinstance(message.payload, Died) for message in heard):
        assert time.monotonic() < deadline
        heard += launcher.wait(0.2)
    assert all(map(is_gone, processes))
