"""The garbage collector while a study runs: what was loaded is left alone, and what the program froze stays frozen."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
from scripted import Recorder, run

from sweep.coordinator.events import Event
from sweep.testing import write_toy_study


class Watcher(Recorder):
    """A watcher that notes how many objects are frozen at each event."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen: list[int] = []

    def show(self, event: Event) -> None:
        super().show(event)
        self.frozen.append(gc.get_freeze_count())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_toy_study(tmp_path, script={}, budget={"trials": 1})


@pytest.fixture
def nothing_frozen() -> Iterator[None]:
    """The state of a program that has just begun; the tests' own comes back."""
    gc.unfreeze()
    yield
    gc.collect()
    gc.freeze()


@pytest.mark.usefixtures("nothing_frozen")
def test_what_was_loaded_is_frozen_while_a_study_runs(file: Path) -> None:
    watcher = Watcher()
    run(file, watcher=watcher)
    assert watcher.frozen[0] == 0
    assert watcher.frozen[-1] > 0
    assert gc.get_freeze_count() == 0


def test_what_a_program_froze_stays_frozen_and_nothing_else_is(file: Path) -> None:
    gc.freeze()
    before, watcher = gc.get_freeze_count(), Watcher()
    run(file, watcher=watcher)
    assert before >= max(watcher.frozen)  # one that is gone counts no more
    assert min(watcher.frozen) > before / 2
    assert gc.get_freeze_count() > before / 2
