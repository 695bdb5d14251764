"""Nothing of a sweep listens on a network, and a password is in none of its processes and in nothing that it writes."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from postgres import PostgresServer
from processes import end_group, start_script, wait_until

from sweep import open_study
from sweep.cli import main
from sweep.errors import SweepError
from sweep.run_folder import RunFolder
from sweep.testing import write_toy_study

SECRET = "s3cr3t-of-the-server"

RUN = """
import sys
from sweep.signals import StopSignal
from sweep.coordinator.run import run_study
from sweep.launch import LocalLauncher
from sweep.plan import plan_study
from sweep.storage.location import locate_study
from sweep.cli.watchers import PlainWatcher

with StopSignal() as stop:
    launcher = LocalLauncher(("sweep.testing",))
    plan = plan_study(locate_study(sys.argv[1]))
    run_study(plan, watcher=PlainWatcher(), stop=stop, jobs="sweep.testing", launcher=launcher)
"""


@pytest.fixture
def url(postgres: PostgresServer) -> Iterator[str]:
    """The address, with its password, of a user who needs it."""
    postgres.execute(f"CREATE ROLE secretive LOGIN PASSWORD '{SECRET}'")
    postgres.execute("GRANT CREATE ON DATABASE postgres TO secretive")
    rules = postgres.folder / "pg_hba.conf"
    before = rules.read_text()
    rules.write_text(f"local all secretive scram-sha-256\n{before}")
    postgres.execute("SELECT pg_reload_conf()")
    yield postgres.url.replace("postgres@", f"secretive:{SECRET}@")
    rules.write_text(before)
    postgres.execute("SELECT pg_reload_conf()")
    postgres.execute("DROP OWNED BY secretive CASCADE")
    postgres.execute("DROP ROLE secretive")


@pytest.fixture
def running(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, subprocess.Popen[str]]]:
    """A scripted study that runs in processes of its own, on a server whose password is in the environment."""
    monkeypatch.setenv("SWEEP_STORAGE", url)
    file = write_toy_study(tmp_path / "studies", script={"step_s": 0.2}, budget={"trials": 2})
    process = start_script(RUN, [str(file)], folder=tmp_path, errors=tmp_path / "errors.txt")
    yield file, process
    end_group(process.pid)
    process.communicate()


def has_a_measurement(file: Path) -> bool:
    try:
        return any(trial.rows for trial in open_study(file).record.trials)
    except SweepError:
        return False


def test_a_running_sweep_listens_nowhere_and_shows_no_password(
    running: tuple[Path, subprocess.Popen[str]], tmp_path: Path
) -> None:
    file, process = running
    assert wait_until(lambda: has_a_measurement(file)), (tmp_path / "errors.txt").read_text()
    coordinator = psutil.Process(process.pid)
    family = [coordinator, *coordinator.children(recursive=True)]
    assert len(family) >= 3  # the coordinator, the fork server, a trial
    for member in family:
        assert [found for found in member.net_connections("inet") if found.status in ("LISTEN", "NONE")] == []
        assert SECRET not in " ".join(member.cmdline())
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=60)
    assert SECRET not in said + (tmp_path / "errors.txt").read_text()
    for path in file.parent.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path


@pytest.mark.parametrize("command", ["run", "status", "dashboard", "report"])
def test_a_wrong_password_is_one_line_without_it(
    command: str, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_toy_study(tmp_path, script={})
    monkeypatch.setenv("SWEEP_STORAGE", url.replace(SECRET, "wr0ng-s3cret"))
    assert main([command, str(file)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "password authentication failed" in said.err
    assert "wr0ng-s3cret" not in said.err
    assert not RunFolder.beside(file).path.exists()
