"""Messages between a worker and its coordinator: what was said arrives, and nothing else is believed."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweep.launch.wire import Wire, WireError

SECRET = b"a secret of the run"


class Marker:
    """Leaves a file where it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.file,)


class Line:
    """The two ends of a connection, and the descriptors between them."""

    def __init__(self, *, theirs: bytes = SECRET) -> None:
        self.to_coordinator, self.from_worker = os.pipe()
        self.to_worker, self.from_coordinator = os.pipe()
        self.coordinator = Wire(self.to_coordinator, self.from_coordinator, secret=SECRET, side="coordinator")
        self.worker = Wire(self.to_worker, self.from_worker, secret=theirs, side="worker")

    def close(self) -> None:
        for descriptor in (self.to_coordinator, self.from_worker, self.to_worker, self.from_coordinator):
            os.close(descriptor)


@pytest.fixture
def line() -> Iterator[Line]:
    made = Line()
    yield made
    made.close()


def test_messages_arrive_in_both_directions_and_in_order(line: Line) -> None:
    for number in range(3):
        line.worker.send({"number": number})
        line.coordinator.send([number])
    assert line.coordinator.receive() == [{"number": 0}, {"number": 1}, {"number": 2}]
    assert line.worker.receive() == [[0], [1], [2]]


def test_a_message_that_comes_in_pieces_is_received_once_it_is_complete(line: Line) -> None:
    line.worker.send("x" * 1000)
    sent = os.read(line.to_coordinator, 10_000)
    for piece in (sent[:5], sent[5:100], sent[100:-1]):
        os.write(line.from_worker, piece)
        assert line.coordinator.receive() == []
    os.write(line.from_worker, sent[-1:])
    assert line.coordinator.receive() == ["x" * 1000]


def test_what_was_read_with_the_greeting_is_not_lost(line: Line) -> None:
    line.worker.send("first")
    received = os.read(line.to_coordinator, 10_000)
    late = Wire(line.to_coordinator, line.from_coordinator, secret=SECRET, side="coordinator", received=received)
    assert late.take() == ["first"]


def test_the_end_of_the_other_side_is_noticed(line: Line) -> None:
    os.close(line.from_worker)
    with pytest.raises(EOFError, match=r"\A\Z"):
        line.coordinator.receive()
    line.from_worker = os.open(os.devnull, os.O_WRONLY)


def test_what_is_printed_into_the_stream_is_no_message(line: Line) -> None:
    os.write(line.from_worker, b"Warning: a library has something to say, and says it at some length\n")
    with pytest.raises(WireError, match=r"what is no message: b'Warning: a library"):
        line.coordinator.receive()


@pytest.mark.parametrize("kind", ["another secret", "changed", "sent again", "sent back"])
def test_a_message_that_the_other_side_did_not_send_is_not_unpickled(tmp_path: Path, kind: str) -> None:
    line, marker = Line(theirs=b"guessed" if kind == "another secret" else SECRET), Marker(tmp_path / "unpickled")
    sender, reading, writing = line.worker, line.to_coordinator, line.from_worker
    if kind == "sent back":
        sender, reading = line.coordinator, line.to_worker
    if kind == "sent again":
        sender.send("harmless")
        frame = os.read(reading, 10_000)
        os.write(writing, frame + frame)
    else:
        sender.send(marker)
        frame = os.read(reading, 10_000)
        os.write(writing, frame[:-1] + b"!" if kind == "changed" else frame)
    with pytest.raises(WireError, match="not of this run"):
        line.coordinator.receive()
    assert not marker.file.exists()
    pickle.loads(pickle.dumps(marker))
    assert marker.file.exists()  # so it would have been seen
    line.close()
