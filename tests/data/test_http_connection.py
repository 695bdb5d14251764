from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from chat_server import ChatServer, say

from sweep.data.http_connection import HttpConnection, NoResponseError, Response, plan_route
from sweep.errors import GeneratorError

BODY = b'{"messages": [{"content": "tea"}]}'


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def post(url: str, *, times: int = 1, max_body: int = 1 << 20) -> list[Response]:
    """The responses to equal calls over one connection."""

    async def call() -> list[Response]:
        connection = HttpConnection(plan_route(url), headers=[("X-Of", "test")], max_body=max_body)
        with closing(connection):
            return [await connection.post("/chat", BODY) for _ in range(times)]

    return asyncio.run(call())


@contextmanager
def serve(*answers: bytes) -> Iterator[tuple[str, list[int]]]:
    """A server that says some bytes to one call after another; its address, and its calls by connection."""
    listener = socket.create_server(("127.0.0.1", 0))
    counts: list[int] = []

    def run() -> None:
        waiting = list(answers)
        while waiting:
            connection, _ = listener.accept()
            counts.append(0)
            with connection:
                while waiting and connection.recv(1 << 16):
                    counts[-1] += 1
                    answer = waiting.pop(0)
                    connection.sendall(answer)
                    if b"close" in answer:
                        break

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    with listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1", counts
        thread.join(timeout=30)


def test_calls_share_a_connection_until_the_server_closes_it():
    kept = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nRetry-After: 3\r\n\r\nab"
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n0\r\n\r\n"
    last = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nab"
    endless = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nab"
    with serve(kept, b"HTTP/1.1 102 Processing\r\n\r\n" + chunked, last, endless, kept) as (url, counts):
        responses = post(url, times=5)
    assert counts == [3, 1, 1]
    assert [response.body for response in responses] == [b"ab"] * 5
    assert responses[0].headers["retry-after"] == "3"


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"SSH-2.0-OpenSSH\r\n\r\nclose", "no valid HTTP: illegal status line"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nclose", "no valid HTTP: peer closed connection"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"close", "no valid HTTP: Receive buffer too long"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2097152\r\n\r\n" + b"x" * 2097152 + b"close", "of more than 1 MiB"),
    ],
    ids=["no HTTP", "torn", "endless header", "large"],
)
def test_a_response_that_is_none_is_named_and_the_next_call_has_a_connection_of_its_own(answer: bytes, problem: str):
    async def call(url: str) -> Response:
        connection = HttpConnection(plan_route(url), headers=[], max_body=1 << 20)
        with closing(connection):
            with pytest.raises(NoResponseError, match=problem):
                await connection.post("/chat", BODY)
            return await connection.post("/chat", BODY)

    with serve(answer, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab") as (url, counts):
        assert asyncio.run(call(url)).body == b"ab"
    assert counts == [1, 1]


def test_a_port_that_nobody_listens_on_is_named():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(NoResponseError, match=r"no connection: .*(refused|failed)"):
        post(f"http://127.0.0.1:{port}/v1")


def test_a_proxy_of_the_environment_is_asked_for_other_machines_alone(monkeypatch: pytest.MonkeyPatch):
    with ChatServer() as proxy, ChatServer() as here:
        address = proxy.url.removeprefix("http://").removesuffix("/v1")
        monkeypatch.setenv("HTTP_PROXY", f"http://me:w%20rd@{address}")
        monkeypatch.setenv("NO_PROXY", "other.invalid")
        assert post("http://model.invalid:81/v1")[0].status == 200
        assert proxy.headers[0]["path"] == "http://model.invalid:81/v1/chat"
        assert proxy.headers[0]["Host"] == "model.invalid:81"
        assert proxy.headers[0]["Proxy-Authorization"] == "Basic bWU6dyByZA=="
        assert post(here.url)[0].status == 200
        assert "Proxy-Authorization" not in here.headers[0]
        assert plan_route("http://other.invalid/v1").proxy is None
    monkeypatch.delenv("HTTP_PROXY")
    monkeypatch.setenv("ALL_PROXY", "socks5://localhost:1")
    with pytest.raises(GeneratorError, match=r"the proxy that the environment names: must begin with http://"):
        plan_route("http://model.invalid/v1")


@pytest.mark.parametrize("url", ["http://host:99999/v1", "http://:80/v1", f"http://{'a' * 70}.org/v1"])
def test_an_address_that_is_none_is_refused(url: str):
    with pytest.raises(GeneratorError, match=r"is no address|must begin with"):
        plan_route(url)


class _Tunnel(BaseHTTPRequestHandler):
    """Leads every CONNECT to one port of this machine, whatever name it asks for."""

    port = 0
    asked: list[str]

    def do_CONNECT(self) -> None:
        self.asked.append(f"{self.path} {self.headers['Proxy-Authorization']}")
        if not self.port:
            self.send_error(407)
            return
        self.send_response(200)
        self.end_headers()
        with socket.create_connection(("127.0.0.1", self.port)) as server:
            back = threading.Thread(target=self._copy, args=(server, self.connection), daemon=True)
            back.start()
            self._copy(self.connection, server)
            back.join(timeout=30)

    @staticmethod
    def _copy(source: socket.socket, target: socket.socket) -> None:
        with closing(target):
            try:
                while data := source.recv(1 << 16):
                    target.sendall(data)
            except OSError:
                pass

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for model.invalid and localhost, which itself signed."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test"
    names = ["-addext", "subjectAltName=DNS:model.invalid,DNS:localhost"]
    subprocess.run(
        ["openssl", *words.split(), *names, "-keyout", file, "-out", file.with_suffix(".crt")],
        check=True,
        capture_output=True,
    )
    file.write_bytes(file.read_bytes() + file.with_suffix(".crt").read_bytes())
    return file


@pytest.fixture
def secure(certificate: Path) -> Iterator[ChatServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with ChatServer(lambda *_: say("tea"), tls=context) as server:
        yield server


def test_a_certificate_is_verified(secure: ChatServer, certificate: Path, monkeypatch: pytest.MonkeyPatch):
    url = secure.url.replace("127.0.0.1", "localhost")
    with pytest.raises(NoResponseError, match="certificate verify failed"):
        post(url)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert [response.status for response in post(url, times=2)] == [200, 200]
    with pytest.raises(NoResponseError, match="certificate verify failed"):  # of another name
        post(secure.url)


def test_a_secure_server_is_reached_through_a_tunnel(
    secure: ChatServer, certificate: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    tunnel = type("Tunnel", (_Tunnel,), {"port": int(secure.url.rpartition(":")[2].split("/")[0]), "asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), tunnel) as proxy:
        proxy.daemon_threads = True
        threading.Thread(target=proxy.serve_forever, args=(0.02,), daemon=True).start()
        monkeypatch.setenv("HTTPS_PROXY", f"me:word@127.0.0.1:{proxy.server_port}")
        responses = post("https://model.invalid/v1", times=2)
        tunnel.port = 0
        with pytest.raises(NoResponseError, match=r"the proxy 127\.0\.0\.1:\d+ does not lead there: status 407"):
            post("https://model.invalid/v1")
        proxy.shutdown()
    assert [response.status for response in responses] == [200, 200]
    assert tunnel.asked == ["model.invalid:443 Basic bWU6d29yZA=="] * 2
    assert "Proxy-Authorization" not in secure.headers[0]
