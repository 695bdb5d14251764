"""Foot: lines at the foot of a terminal that are drawn anew in place, whatever becomes of the terminal meanwhile."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleDimensions
from rich.text import Text

REMEMBERED = 200
"""Lines above the foot that are known again after a resize; no terminal is higher."""


class Foot:
    """Lines at the foot of a terminal, below those that are printed once.

    A terminal that is resized breaks lines anew, at a moment that is not known exactly, so the rows to be erased cannot
    be counted. Its screen is then cleared and printed again.

    Args:
        console: The terminal.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lines: list[str] = []  # as they stand there
        self._uncut: Sequence[str] = ()  # as they were before they were cut
        self._above: deque[Text] = deque(maxlen=REMEMBERED)
        self._size: ConsoleDimensions | None = None

    def draw(self, lines: Sequence[str]) -> None:
        """Draws lines in place of those before: the first in bold, each cut to the width, as many as there is room."""
        size = measure(self._console)
        shown = _fit(lines, size)
        if shown == self._lines and size == self._size:
            return
        self._clear(size, room=len(shown))
        self._write(shown)
        self._uncut = tuple(lines)

    def print(self, text: Text) -> None:
        """Prints a line above the foot."""
        size = measure(self._console)
        shown = _fit(self._uncut, size)
        self._clear(size, room=len(shown))
        self._console.print(text)
        self._above.append(text)
        self._write(shown)

    def erase(self) -> None:
        """Erases the lines, and leaves the cursor where they began."""
        self._clear(measure(self._console), room=0)
        self._uncut = ()

    def _clear(self, size: ConsoleDimensions, *, room: int) -> None:
        """Erases the lines from a terminal of a size; where it is resized meanwhile, it is cleared the next time.

        Args:
            size: The size, for which the next lines are cut too.
            room: Rows that will be drawn next; where the screen is cleared, the lines above leave room for them.
        """
        if self._size not in (None, size):
            self._console.file.write("\x1b[H\x1b[2J")
            for text in self._last(size, room):
                self._console.print(text)
        elif self._lines:
            # row by row: some terminals put what is erased at once into their history
            self._console.file.write("\r\x1b[2K" + "\x1b[1A\x1b[2K" * (len(self._lines) - 1))
        self._console.file.flush()
        self._lines, self._size = [], size

    def _last(self, size: ConsoleDimensions, room: int) -> list[Text]:
        """The last lines above the foot that a screen of a size has room for."""
        left = size.height - room - 1
        fitting: list[Text] = []
        for text in reversed(self._above):
            left -= count_rows(text.plain, size.width)
            if left < 0:
                break
            fitting.insert(0, text)
        return fitting

    def _write(self, lines: list[str]) -> None:
        for place, line in enumerate(lines):
            text = Text(line, style="bold" if place == 0 else "")
            end = "" if place == len(lines) - 1 else "\n"
            self._console.print(text, end=end, no_wrap=True, overflow="ignore", crop=False)
        self._lines = lines


def measure(console: Console) -> ConsoleDimensions:
    """The size that a terminal has now; COLUMNS and LINES, which Rich would believe, are of when a shell set them."""
    with contextlib.suppress(OSError, ValueError):  # no terminal, or no file at all
        console.size = ConsoleDimensions(*os.get_terminal_size(console.file.fileno()))
    return console.size


def _fit(lines: Sequence[str], size: ConsoleDimensions) -> list[str]:
    """As many of the lines as a terminal has room for, each cut to its width."""
    return [cut(line, size.width - 1) for line in lines[: max(1, size.height - 1)]]


def count_rows(line: str, width: int) -> int:
    """Rows that a line takes on a terminal of a width; one that is empty takes one too."""
    return max(1, -(-cell_len(line) // max(1, width)))


def cut(line: str, width: int) -> str:
    """A line that takes at most ``width`` columns; Korean and Chinese letters take two each."""
    return line if cell_len(line) <= width else set_cell_size(line, max(0, width)).rstrip()
