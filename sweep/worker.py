"""The worker as a program: ``python -m sweep.worker`` runs jobs for a coordinator at the other end of standard streams.

Whatever starts it (srun, ssh, kubectl exec, docker run) connects the two, see `sweep.launch.wire`. Nothing that this
process or a library prints can reach the coordinator: standard output is taken away before anything is imported, and
what is printed goes to standard error.
"""

from __future__ import annotations

import os

if __name__ == "__main__":
    _READING, _WRITING = os.dup(0), os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)

import sys

from sweep.launch.local import LocalLauncher
from sweep.launch.node import describe_node
from sweep.launch.relay import Ready, Setup, serve_jobs
from sweep.launch.wire import GREETING, PROTOCOL, Wire, WireError, write_all
from sweep.signals import StopSignal

MAX_SECRET = 1024
"""Length above which the coordinator's first line is none."""

STARTED_BY_HAND = (
    "sweep.worker: runs jobs for a coordinator at the other end of its standard streams, and is started by one:"
    ' set command = [..., "{worker}"] under [workers] of a study file'
)


def serve(reading: int, writing: int) -> None:
    """Greets the coordinator, then runs its jobs until it is gone.

    Args:
        reading: Descriptor on which it speaks.
        writing: Descriptor on which it listens.

    Raises:
        EOFError: Once the coordinator is gone.
        OSError: If it is gone while it is being spoken to.
        WireError: If something else than a coordinator speaks.
    """
    write_all(writing, f"{GREETING}{PROTOCOL}\n".encode())
    wire = Wire(reading, writing, secret=_read_secret(reading), side="worker")
    wire.send(describe_node())
    setup = _await_setup(wire)
    wire.send(Ready(setup.mark.answer() if setup.mark else None))
    launcher = LocalLauncher(setup.preload)
    try:
        with StopSignal() as stop:
            serve_jobs(wire, wire.send, launcher, stop=stop)
    finally:
        launcher.close()


def _await_setup(wire: Wire) -> Setup:
    """The coordinator's first message, after which it waits."""
    while True:
        for message in wire.receive():
            if isinstance(message, Setup):
                return message


def _read_secret(reading: int) -> bytes:
    """The secret of the run: the coordinator's first line, read without a byte of what follows it."""
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = os.read(reading, 1)
        if not byte or len(line) > MAX_SECRET:
            raise WireError(STARTED_BY_HAND)
        line += byte
    try:
        return bytes.fromhex(line.decode("ascii"))
    except ValueError:
        raise WireError(STARTED_BY_HAND) from None


def main() -> int:
    """Serves on the standard streams that were taken away; returns the exit status."""
    try:
        serve(_READING, _WRITING)
    except WireError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except (EOFError, OSError):  # the coordinator is gone, and with it whoever would read of it
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
