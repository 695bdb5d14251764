"""Retries of calls during which the connection to the database was lost.

A server that restarts drops every connection. The connector waits for the server; this module
repeats the calls that were under way, which may have been committed or not. Reading again does no harm; a write is
repeated so that it takes effect once, which can be checked because a study has one writer.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, Concatenate, ParamSpec, TypeVar

from sweep.storage.failures import DATABASE_ERRORS, is_connection_lost

ATTEMPTS = 8
"""Calls after which a server that accepts connections and drops them again counts as gone."""

P = ParamSpec("P")
R = TypeVar("R")

_is_made_again: ContextVar[bool | None] = ContextVar("_is_made_again", default=None)
"""Whether the larger call that every call is a part of is made again; None where there is none."""


def retry(call: Callable[[], R], *, again: Callable[[], R] | None = None) -> R:
    """Makes a call, and repeats it as long as its connection is lost; returns the successful call's result.

    Args:
        call: The call.
        again: Called in its place after the first time, for a write that may be committed already.
    """
    is_again = _is_made_again.get()
    if is_again is not None:
        return (again if is_again and again is not None else call)()
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
    """Makes each call within a ``with`` block once, as a part of a larger one, which may be made ``again``."""
    mark = _is_made_again.set(again)
    try:
        yield
    finally:
        _is_made_again.reset(mark)


def retried(method: Callable[Concatenate[Any, P], R]) -> Callable[Concatenate[Any, P], R]:
    """A method that may be called twice without harm, called again as long as its connection is lost."""

    @functools.wraps(method)
    def call(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return retry(lambda: method(self, *args, **kwargs))

    return call
