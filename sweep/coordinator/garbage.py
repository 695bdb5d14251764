"""When Python looks for garbage, so that the coordinator of a large study does not stand still for it.

A study of 5,000 trials is a million objects that stay. To look through all of them takes 0.2 s, in which no report is
answered; with Python's own settings it was done thirty times while such a study was loaded, for half of the time that
took.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

YOUNG = 20_000
"""New objects after which those are looked through; Python's own 700 are for programs that make few."""


@contextlib.contextmanager
def rare_collections() -> Iterator[None]:
    """Has garbage in cycles looked for more rarely in a ``with`` block; afterwards it is as it was."""
    before = gc.get_threshold()
    gc.set_threshold(YOUNG, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def leave_alone() -> None:
    """Has all that is there by now left alone until the block of `rare_collections` ends: a study that was loaded."""
    gc.collect()
    gc.freeze()
