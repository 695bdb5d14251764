"""The commands; the only room that prints."""

from sweep.cli.main import main

__all__ = ["main"]
