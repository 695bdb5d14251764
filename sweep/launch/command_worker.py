"""CommandWorker: one process of a command, from its start over its greeting and its jobs to its end."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sweep.errors import DeviceError, StorageError
from sweep.launch.launcher import Died, Message
from sweep.launch.node import Node, find_mismatch
from sweep.launch.relay import Order, Ready, Setup
from sweep.launch.shared import Mark, make_mark
from sweep.launch.wire import GREETING, PROTOCOL, Wire, WireError, write_all
from sweep.messages import LONG_CALL_S, Alive, Done, Failure, Job
from sweep.printable import make_printable

IDLE_S = 60.0
"""Seconds after which a worker without a job is let go, and what it holds of a cluster with it."""

SIGN_S = 30.0
"""Seconds between two signs of life for a job that waits until a scheduler starts its worker."""

KILL_S = 5.0
"""Seconds that a worker gets to end a job that is killed, and to exit; then its command is ended."""

END_S = 30.0
"""Seconds from SIGTERM to SIGKILL: a scheduler's command gives back what it has reserved, which takes its time; Slurm's
srun, where it is killed, leaves it reserved."""

_MAX_LINE = 200
_TAIL_BYTES = 4096


class CommandWorker:
    """A worker that a command starts.

    Args:
        command: The command.
        secret: The secret of the run.
        here: The coordinator's machine, whose versions the worker must have.
        preload: Modules that the worker imports before its first job.
        shared: Folder that it must share, or None.

    Attributes:
        job: The job that it runs or is to run, or None.
        node: Its machine, once it has said so.
        is_ready: Whether it takes jobs.
        is_leaving: Whether it gets no more of them.
        is_gone: Whether its process is gone.
        problem: Why it came to nothing, or None.
        deadline: Time at which the command is ended: first asked to, then killed.
        output: Descriptor that is readable once there is news of it.

    Raises:
        DeviceError: If the command cannot be started.
    """

    def __init__(
        self, command: Sequence[str], *, secret: bytes, here: Node, preload: Sequence[str], shared: Path | None
    ) -> None:
        self._program = command[0]
        self._secret = secret
        self._here = here
        self._preload = tuple(preload)
        self._shared = shared
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process
        self._process = self._start(command)
        self._received = b""  # before the greeting is complete
        self._wire: Wire | None = None
        self._mark: Mark | None = None
        self._orders: list[Order] = []  # that came before it was ready
        self._is_asked = False  # to end
        self._signed = self._idle_since = time.monotonic()
        self.job: Job | None = None
        self.node: Node | None = None
        self.is_ready = False
        self.is_leaving = False
        self.is_gone = False
        self.problem: str | None = None
        self.deadline = math.inf

    @property
    def due(self) -> float:
        """Time at which there is something to do without a message of it."""
        if self.is_ready:
            return self.deadline if self.job else min(self.deadline, self._idle_since + IDLE_S)
        return min(self.deadline, self._signed + SIGN_S) if self.job else self.deadline

    def take(self, job: Job) -> None:
        """Runs a job, once it is ready."""
        self.job = job
        self.deadline = math.inf
        self._signed = time.monotonic()
        if self.is_ready:
            self._send(job)

    def tell(self, order: Order) -> None:
        """Hands an order on to the job, once it runs."""
        if self.is_ready:
            self._send(order)
        else:
            self._orders.append(order)

    def listen(self, *, is_readable: bool) -> list[Message]:
        """What its job has said since the last call, and signs of life of one that waits for its start."""
        now = time.monotonic()
        messages = self._read() if is_readable else []
        if self.is_gone:
            return messages
        if now >= self.deadline:
            self._end_command()
        if self.is_ready and self.job is None and now >= self._idle_since + IDLE_S and not self.is_leaving:
            self.leave()
        if self.job is not None and not self.is_ready and now >= self._signed + SIGN_S:
            self._signed = now
            messages.append(Message(self.job.name, Alive(LONG_CALL_S), self.job.attempt))
        return messages

    def leave(self) -> None:
        """Has it end: its standard input ends, and with it the worker."""
        self.is_leaving = True
        self.deadline = time.monotonic() + KILL_S
        with contextlib.suppress(OSError):
            self._stdin.close()
        if not self.is_ready:  # a scheduler's command that waits looks at no input
            self.ask_to_end()

    def wait_gone(self, timeout_s: float) -> None:
        """Waits until its process is gone, for some seconds at most."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_s)

    def ask_to_end(self) -> None:
        """Asks the command to end, unless it was asked before."""
        if not self._is_asked:
            self._end_command()

    def release(self) -> None:
        """Ends the process where it is not gone, and closes what belongs to it."""
        self._end_group()
        self._close()

    def _close(self) -> None:
        """Closes what belongs to a process that is gone."""
        self.is_gone = True
        self._forget_mark()
        for stream in (self._stdin, self._process.stdout, self._errors):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

    def _start(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                bufsize=0,
                start_new_session=True,  # Ctrl-C in a terminal is for the coordinator alone
            )
        except OSError as error:
            self._errors.close()
            raise DeviceError(
                f"workers.command: {command[0]!r} cannot be started: {error.strerror}; name a program that is here"
            ) from error
        assert process.stdin is not None
        assert process.stdout is not None
        self._stdin, self.output = process.stdin, process.stdout.fileno()
        return process

    def _read(self) -> list[Message]:
        try:
            if self._wire is not None:
                return [message for word in self._wire.receive() for message in self._handle(word)]
            chunk = os.read(self.output, _TAIL_BYTES)
            if not chunk and not self._received:
                return self._end()
            self._received += chunk
            return self._greet(is_complete=not chunk)
        except EOFError:
            return self._end()
        except WireError as error:
            return self._refuse(f"{self._program}: {error}")

    def _greet(self, *, is_complete: bool) -> list[Message]:
        """Looks for the greeting in what was printed so far, and answers it with the secret."""
        line, newline, rest = self._received.partition(b"\n")
        text = line.decode("utf-8", errors="replace")
        if not newline and not is_complete and (GREETING.startswith(text) or text.startswith(GREETING)):
            return []
        if not text.startswith(GREETING):
            return self._refuse(
                f"{self._program!r} printed {make_printable(text[:_MAX_LINE])!r} before the worker spoke, whose channel"
                " standard output is: have it print that to standard error"
            )
        protocol = text.removeprefix(GREETING).strip()
        if protocol != str(PROTOCOL):
            return self._refuse(
                f"the worker of {self._program!r} speaks protocol {make_printable(protocol[:20])}, and this version of"
                f" sweep {PROTOCOL}: install the same version there"
            )
        with contextlib.suppress(OSError):  # it is gone: so says the end of its output
            write_all(self._stdin.fileno(), self._secret.hex().encode() + b"\n")
        self._wire = Wire(self.output, self._stdin.fileno(), secret=self._secret, side="coordinator", received=rest)
        return [message for word in self._wire.take() for message in self._handle(word)]

    def _handle(self, word: Any) -> list[Message]:
        match word:
            case Node():
                return self._set_up(word)
            case Ready():
                return self._begin(word)
            case Message() if self.job is not None and word.job == self.job.name:
                if isinstance(word.payload, (Done, Failure, Died)):
                    self.job = None
                    self.deadline = math.inf
                    self._idle_since = time.monotonic()
                return [word]
        return []

    def _set_up(self, node: Node) -> list[Message]:
        self.node = node
        mismatch = find_mismatch(node, self._here)
        if mismatch is not None:
            return self._refuse(mismatch)
        try:
            self._mark = make_mark(self._shared) if self._shared else None
        except StorageError as error:
            return self._refuse(str(error))
        self._send(Setup(self._preload, self._mark))
        return []

    def _begin(self, answer: Ready) -> list[Message]:
        problem = answer.problem or (self._mark.check() if self._mark else None)
        self._forget_mark()
        if problem is not None and self.node is not None:
            return self._refuse(f"the worker on {self.node.name} {problem}: have it reach that folder by this path")
        self.is_ready = True
        self._idle_since = time.monotonic()
        if self.job is not None:
            self._send(self.job)
        for order in self._orders:
            self._send(order)
        self._orders.clear()
        return []

    def _send(self, message: Job | Order | Setup) -> None:
        if self._wire is not None:
            with contextlib.suppress(OSError, ValueError):  # it is gone: so says the end of its output
                self._wire.send(message)

    def _refuse(self, problem: str) -> list[Message]:
        """Ends a worker that cannot be used, and fails its job for that."""
        self.problem = problem
        self.release()
        job, self.job = self.job, None
        failure = Failure(cause=f"workers.command: {problem}", traceback="", actionable=True)
        return [Message(job.name, failure, job.attempt)] if job else []

    def _end(self) -> list[Message]:
        """The death of the job of a worker whose output has ended."""
        self.wait_gone(1.0)
        self._end_group()
        reason = self._describe_end()
        if not self.is_ready:
            self.problem = f"{reason} before the worker spoke: run the command by hand to see what it does"
        self._close()
        job, self.job = self.job, None
        return [Message(job.name, Died(reason), job.attempt)] if job else []

    def _describe_end(self) -> str:
        code = self._process.returncode
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with status {code}"
        said = self._last_line()
        return f"{self._program!r} {how}" + (f" ({said})" if said else "")

    def _last_line(self) -> str:
        """The last line that the command has printed to standard error."""
        self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, self._errors.tell() - _TAIL_BYTES))
        lines = self._errors.read().decode("utf-8", errors="replace").splitlines()
        return next((make_printable(line.strip())[:_MAX_LINE] for line in reversed(lines) if line.strip()), "")

    def _end_command(self) -> None:
        """Asks the command to end; where it was asked before, kills it."""
        self._signal_group(signal.SIGKILL if self._is_asked else signal.SIGTERM)
        self.deadline = math.inf if self._is_asked else time.monotonic() + END_S
        self._is_asked = True

    def _end_group(self) -> None:
        """Ends what is left of the command's process group, and waits for the command."""
        if self._process.poll() is None and not self._is_asked:
            self._end_command()
            self.wait_gone(END_S)
        self._signal_group(signal.SIGKILL)
        self._process.wait()

    def _signal_group(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _forget_mark(self) -> None:
        if self._mark is not None:
            self._mark.remove()
            self._mark = None
