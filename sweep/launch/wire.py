"""Wire: authenticated messages over two file descriptors, for a worker that is reached by its standard streams.

A worker begins with the greeting, a line of text that names its protocol, and is answered with the secret of the run, a
line as well. From then on each side sends frames: the length, a keyed hash (HMAC-SHA256) over direction, number and
content, the content, a pickle, and the end of a line, until which some relays (Slurm's srun) keep back what they have.
Nothing is unpickled whose hash is not right, so whatever a wrapper or a library prints into the stream ends the
connection and does nothing else.
"""

from __future__ import annotations

import hmac
import os
import pickle
import struct
from typing import Any, Literal

from sweep.errors import SweepError

PROTOCOL = 2
"""Version of the protocol; a change of it, or of a message, raises it."""

GREETING = "sweep worker, protocol "
"""Start of a worker's first line, which ends with its protocol."""

MAX_BYTES = 2**30
"""Length above which a frame is none."""

_HEADER = struct.Struct(">Q32s")
_END = b"\n"
_CHUNK = 1 << 16

Side = Literal["worker", "coordinator"]


class WireError(SweepError):
    """A stream that holds something that the other side did not send."""


class Wire:
    """One side's end of a connection after the greeting.

    Args:
        reading: Descriptor to read from.
        writing: Descriptor to write to.
        secret: The secret of the run.
        side: Which side this is.
        received: What was read of it with the greeting.
    """

    def __init__(self, reading: int, writing: int, *, secret: bytes, side: Side, received: bytes = b"") -> None:
        self._reading = reading
        self._writing = writing
        self._secret = secret
        self._side = side
        self._buffer = bytearray(received)
        self._sent = 0
        self._received = 0

    def fileno(self) -> int:
        """Descriptor that is readable once there is something to receive."""
        return self._reading

    def send(self, message: Any) -> None:
        """Sends a message; waits while the pipe is full.

        Raises:
            OSError: If the other side is gone.
        """
        content = pickle.dumps(message)
        frame = _HEADER.pack(len(content), self._sign(self._side, self._sent, content)) + content + _END
        self._sent += 1
        write_all(self._writing, frame)

    def receive(self) -> list[Any]:
        """The messages that have arrived completely; waits for one read where nothing is there to be read.

        Raises:
            EOFError: If the other side has closed the connection.
            WireError: If something else stands in the stream.
        """
        messages = self.take()
        if messages:
            return messages
        chunk = os.read(self._reading, _CHUNK)
        if not chunk:
            raise EOFError
        self._buffer += chunk
        return self.take()

    def take(self) -> list[Any]:
        """The messages that were read completely.

        Raises:
            WireError: If something else stands in the stream.
        """
        messages = []
        while len(self._buffer) >= _HEADER.size:
            length, signature = _HEADER.unpack_from(self._buffer)
            if length > MAX_BYTES:
                raise WireError(f"the stream holds what is no message: {bytes(self._buffer[:60])!r}")
            size = _HEADER.size + length + len(_END)
            if len(self._buffer) < size:
                break
            content, end = bytes(self._buffer[_HEADER.size : size - len(_END)]), self._buffer[size - len(_END) : size]
            side: Side = "worker" if self._side == "coordinator" else "coordinator"
            if end != _END or not hmac.compare_digest(signature, self._sign(side, self._received, content)):
                raise WireError(f"the stream holds a message that is not of this run: {content[:60]!r}")
            del self._buffer[:size]
            self._received += 1
            messages.append(pickle.loads(content))
        return messages

    def _sign(self, side: Side, number: int, content: bytes) -> bytes:
        return hmac.digest(self._secret, f"{side} {number} ".encode() + content, "sha256")


def write_all(descriptor: int, content: bytes) -> None:
    """Writes all of some bytes to a descriptor.

    Raises:
        OSError: If nobody reads them any more.
    """
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]
