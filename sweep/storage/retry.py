"""Calls that are made again when the connection to the database was lost in the midst of one.

A server that is restarted takes every connection with it. The connection for the next call is waited for where it is
made; what is left are calls that were under way, of which nobody knows whether they were committed. Reading again does
no harm. A write is made again in such a way that it stands once, which can be told because a study has one writer.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, Concatenate, ParamSpec, TypeVar

from sweep.storage.failures import DATABASE_ERRORS, is_connection_lost

ATTEMPTS = 8
"""How often a call is made before a server that takes connections and drops them again counts as gone."""

P = ParamSpec("P")
R = TypeVar("R")

_is_made_again: ContextVar[bool | None] = ContextVar("_is_made_again", default=None)
"""Whether the larger call is made again that every call takes part in; None where there is none."""


def retry(call: Callable[[], R], *, again: Callable[[], R] | None = None) -> R:
    """Makes a call, and makes it again as long as its connection is lost.

    Args:
        call: The call.
        again: What is called in its place after the first time, for a write that may stand already.

    Returns:
        What the call that came through returned.
    """
    if _is_made_again.get() is not None:
        return (again if is_retry() and again is not None else call)()
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return call()
        except DATABASE_ERRORS as error:
            if attempt == ATTEMPTS or not is_connection_lost(error):
                raise
        call = again or call
    raise AssertionError("the last attempt returns or raises")


@contextlib.contextmanager
def taking_part(*, again: bool) -> Iterator[None]:
    """Has each call within a ``with`` block made once, as a part of a larger one that is retried as a whole.

    Args:
        again: Whether the larger one is made again, so that each write may stand already.
    """
    mark = _is_made_again.set(again)
    try:
        yield
    finally:
        _is_made_again.reset(mark)


def is_retry() -> bool:
    """Whether the larger call is made again that this one takes part in."""
    return bool(_is_made_again.get())


def retried(method: Callable[Concatenate[Any, P], R]) -> Callable[Concatenate[Any, P], R]:
    """A method that may be called twice without harm, called again as long as its connection is lost."""

    @functools.wraps(method)
    def call(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return retry(lambda: method(self, *args, **kwargs))

    return call
