"""optuna-dashboard for a study: on this machine alone, and read-only unless changes are asked for."""

from __future__ import annotations

from contextlib import ExitStack
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from optuna_dashboard import wsgi

from sweep.errors import SweepError
from sweep.guard import guard
from sweep.storage.location import StudyLocation, Waiting, lock_study

HOST = "127.0.0.1"
REFRESH_S = 2.0
"""Seconds after which a page shows a newer copy of a study; the dashboard itself polls every ten."""


class DashboardServer(ThreadingMixIn, WSGIServer):
    """A server that answers requests in parallel, and does not wait for them when it closes."""

    daemon_threads = True
    held: ExitStack = ExitStack()

    def server_close(self) -> None:
        """Stops listening, and releases the study."""
        super().server_close()
        self.held.close()


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Prints no line for every request."""


def open_dashboard(location: StudyLocation, *, port: int, allow_changes: bool = False) -> DashboardServer:
    """A server of optuna-dashboard for a study, bound to 127.0.0.1 and not yet serving.

    The dashboard has no login and does not check its host name, so a page of another site could make a browser change
    the study. Requests for another host and requests that write are refused, and the database is open for reading
    alone. Where changes are allowed, pages of this server alone may write notes; the study is locked meanwhile, so that
    no coordinator writes it at the same time.

    Args:
        location: The study's file and database.
        port: Port to listen on; 0 for any that is free.
        allow_changes: Whether notes may be written.

    Raises:
        SweepError: If the study has not begun, or the port is taken; with changes, if the study is being run.
    """
    opened = location.database.open_read_only(refresh_s=REFRESH_S)
    try:
        with ExitStack() as held:
            if allow_changes:
                opened = held.enter_context(lock_study(location.database, waiting=Waiting())).storage
            application = guard(wsgi(opened), allow_changes=allow_changes)
            server = make_server(HOST, port, application, server_class=DashboardServer, handler_class=_QuietHandler)
            server.held = held.pop_all()
            return server
    except (OSError, OverflowError) as error:
        raise SweepError(f"port {port} on {HOST} cannot be listened on ({error}); name another with --port") from error
