"""Text from outside, made harmless to a terminal."""

from __future__ import annotations


def make_printable(text: str) -> str:
    """The text with a space in place of each character that a terminal would obey or not show."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
