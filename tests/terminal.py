"""A real terminal for tests: tmux, on a server of its own, whose screen can be read and resized."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

TMUX = shutil.which("tmux")
DEADLINE_S = 300.0


class Terminal:
    """A terminal in which a command runs.

    Args:
        socket: Where its server listens.
    """

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    def tell(self, *words: str) -> str:
        """What tmux answers to a command."""
        command = [str(TMUX), "-S", str(self._socket), "-f", os.devnull, *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def screen(self) -> list[str]:
        """The lines on the screen, without empty ones at the end."""
        return self.tell("capture-pane", "-p").rstrip("\n").split("\n")

    def type(self, line: str) -> None:
        """Types a line and the return key."""
        self.tell("send-keys", "-l", line)
        self.tell("send-keys", "Enter")

    def resize(self, width: int, height: int) -> None:
        """Gives the terminal another size."""
        self.tell("resize-window", "-x", str(width), "-y", str(height))

    def wait(self, holds: Callable[[list[str]], bool], *, within_s: float = DEADLINE_S) -> list[str]:
        """The screen, once something holds of it."""
        deadline = time.monotonic() + within_s
        while not holds(screen := self.screen()):
            assert time.monotonic() < deadline, "\n".join(screen)
            time.sleep(0.05)
        return screen


@contextmanager
def open_terminal(
    folder: Path, command: Sequence[str], *, width: int, height: int, **environment: str
) -> Iterator[Terminal]:
    """A terminal for the life of a ``with`` block; without tmux the test is skipped with the reason, or fails in CI."""
    if TMUX is None:
        leave = pytest.fail if os.environ.get("CI") else pytest.skip
        leave("needs tmux (Debian: apt-get install tmux)")
    places = os.pathsep.join(str(place) for place in sys.path if place)
    words = ["env", f"PYTHONPATH={places}", *(f"{name}={value}" for name, value in environment.items()), *command]
    terminal = Terminal(folder / "tmux")
    size = ["-x", str(width), "-y", str(height)]
    terminal.tell("new-session", "-d", *size, f"{shlex.join(words)}; sleep 600")
    try:
        yield terminal
    finally:
        terminal.tell("kill-server")
