"""optuna-dashboard on a study: on this machine alone, and for reading alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from optuna_dashboard import wsgi

from sweep.errors import SweepError
from sweep.run_folder import RunFolder
from sweep.spec import load_study
from sweep.storage.database import open_storage_read_only

HOST = "127.0.0.1"
READING = frozenset({"GET", "HEAD"})


class DashboardServer(ThreadingMixIn, WSGIServer):
    """A server that answers its requests side by side, and keeps no request waiting at its end."""

    daemon_threads = True


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Prints no line for every request."""


Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def open_dashboard(study_file: Path | str, *, port: int) -> DashboardServer:
    """A server of optuna-dashboard for a study, bound to 127.0.0.1 and not yet serving.

    The dashboard has no login and does not look at the name it is called by, so a page of another site could have a
    browser change the study. Requests for another host and requests that are not for reading are refused, and the
    database is open for reading alone.

    Args:
        study_file: The study file.
        port: Port to listen on; 0 for any that is free.

    Raises:
        SweepError: If the file is no study file, the study has not begun, or the port is taken.
    """
    load_study(study_file)
    storage = open_storage_read_only(RunFolder.beside(study_file).database)
    try:
        return make_server(
            HOST,
            port,
            _refuse_all_else(wsgi(storage)),
            server_class=DashboardServer,
            handler_class=_QuietHandler,
        )
    except (OSError, OverflowError) as error:
        raise SweepError(f"port {port} on {HOST} cannot be listened on ({error}); name another with --port") from error


def _refuse_all_else(application: Application) -> Application:
    def guarded(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        host = environ.get("HTTP_HOST", "").rsplit(":", 1)[0]
        if host not in (HOST, "localhost"):
            return _refuse(start_response, "403 Forbidden", "this dashboard answers to 127.0.0.1 and localhost alone")
        if environ["REQUEST_METHOD"] not in READING:
            return _refuse(start_response, "405 Method Not Allowed", "this dashboard is for reading alone")
        return application(environ, start_response)

    return guarded


def _refuse(start_response: Callable[..., Any], status: str, reason: str) -> Iterable[bytes]:
    start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
    return [reason.encode()]
