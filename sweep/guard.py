"""A guard before a web application: the hosts and requests it answers, and headers that bind the browser."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

NAMES = ("127.0.0.1", "localhost")
"""Names of this machine for a browser on it."""

READING = frozenset({"GET", "HEAD"})

CHANGES = (re.compile(r"/api/studies/\d+(/\d+)?/note"),)
"""Paths that may be changed: notes. Everything else in a study is written by its coordinator alone."""

SAFETY = (
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)
INERT = (
    ("Content-Type", "application/octet-stream"),
    ("Content-Disposition", "attachment"),
    ("Content-Security-Policy", "sandbox"),
)
"""Headers of an artifact, whatever its own type: a file to be saved, never a page that runs."""


def guard(application: Application, *, allow_changes: bool = False) -> Application:
    """The application behind a guard.

    A page of another site can make a browser send requests to this machine: under a host name of its own that resolves
    to it (so the name is checked), or openly, but then the browser names the page's origin (so a change is refused to
    any page but this server's own).

    Args:
        application: A WSGI application.
        allow_changes: Whether notes may be changed; every other change is refused either way.
    """

    def guarded(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        refusal = _refuse(environ, allow_changes=allow_changes)
        if refusal is not None:
            status, reason = refusal
            start_response(status, [("Content-Type", "text/plain; charset=utf-8"), *SAFETY])
            return [reason.encode()]

        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            forced = INERT + SAFETY if "/artifacts/" in environ["PATH_INFO"] else SAFETY
            names = {name.lower() for name, _ in forced}
            return start_response(
                status, [pair for pair in headers if pair[0].lower() not in names] + list(forced), *rest
            )

        return application(environ, start)

    return guarded


def _refuse(environ: dict[str, Any], *, allow_changes: bool) -> tuple[str, str] | None:
    """Status and reason of a refusal; None for a request that may pass."""
    host = environ.get("HTTP_HOST", "")
    if host.rsplit(":", 1)[0] not in NAMES:
        return "403 Forbidden", "this dashboard answers to 127.0.0.1 and localhost alone"
    if environ["REQUEST_METHOD"] in READING:
        return None
    if not allow_changes:
        return "405 Method Not Allowed", "this dashboard is for reading alone"
    if not any(pattern.fullmatch(environ["PATH_INFO"].rstrip("/")) for pattern in CHANGES):
        return "405 Method Not Allowed", "notes may be changed here, and nothing else"
    if environ.get("HTTP_ORIGIN", f"http://{host}") != f"http://{host}":
        return "403 Forbidden", "a page of another site may change nothing here"
    return None
