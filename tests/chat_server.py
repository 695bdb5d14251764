"""A real HTTP server with an OpenAI-compatible interface, which misbehaves as a test tells it to."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Response = tuple[int, dict[str, str], bytes]
"""Status, headers and body of a response."""

Behave = Callable[[int, str], "Response | None"]
"""The response to the call with a number, from 0, by what it asks; None cuts the connection."""


def say(text: Any, *, status: int = 200, tokens: int = 7, **headers: str) -> Response:
    """A completion."""
    body = {"choices": [{"message": {"role": "assistant", "content": text}}], "usage": {"total_tokens": tokens}}
    return status, headers, json.dumps(body).encode()


class ChatServer:
    """A server on a free port of this machine, in threads, until the end of a ``with`` block.

    Attributes:
        behave: What it does; a test may change it.
        asked: What it was asked, in the order of calls.
        headers: Headers of each call.
    """

    def __init__(
        self,
        behave: Behave = lambda _, asked: say(f"what is {asked.split()[-1]}"),
        *,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.behave, self.asked, self.headers = behave, list[str](), list[dict[str, str]]()
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._make_handler())
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> ChatServer:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _take(self, headers: dict[str, str], asked: str) -> int:
        with self._lock:
            self.asked.append(asked)
            self.headers.append(headers)
            return len(self.asked) - 1

    def _make_handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                asked = body["messages"][0]["content"]
                number = server._take({**self.headers, "path": self.path}, asked)
                response = server.behave(number, asked)
                if response is None:
                    self.close_connection = True
                    return
                status, headers, content = response
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        return Handler
