"""HttpConnection: POST requests over one connection to a server, which stays open from call to call."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import SplitResult, quote, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import h11

from sweep.errors import GeneratorError

Headers = Sequence[tuple[str, str]]

_HERE = ("127.0.0.1", "localhost", "::1")
_READ = 1 << 16
_HAPPY_EYEBALLS_S = 0.25


class NoResponseError(Exception):
    """A call without a complete response; it may succeed when it is repeated."""


@dataclass(frozen=True)
class Response:
    """A response: its status, its headers by their names in small letters, its body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Host:
    """A server or a proxy: where it listens, and whether it speaks TLS."""

    name: str
    port: int
    is_secure: bool

    @property
    def address(self) -> str:
        """Name and port as they stand in addresses."""
        return f"{f'[{self.name}]' if ':' in self.name else self.name}:{self.port}"


@dataclass(frozen=True, kw_only=True)
class Route:
    """The way to a server.

    Attributes:
        server: The server.
        path: Path of its address.
        proxy: The proxy that leads to it; None where it is asked directly.
        proxy_headers: What the proxy is told besides: user and password, where the environment names them.
        tls: Whom to trust, where TLS is spoken.
    """

    server: Host
    path: str
    proxy: Host | None
    proxy_headers: Headers
    tls: ssl.SSLContext | None


def plan_route(url: str) -> Route:
    """The way to an address: through the proxy that the environment names for it, but for one on this machine.

    Certificates are verified, with the system's authorities or those that SSL_CERT_FILE and SSL_CERT_DIR name.

    Raises:
        GeneratorError: If the address, or that of the proxy, cannot be used.
    """
    parts = urlsplit(url)
    server = _find_host(parts, whose=url)
    proxy = None if server.name in _HERE or proxy_bypass(server.name) else _find_proxy(parts.scheme)
    through = None if proxy is None else _find_host(proxy, whose="the proxy that the environment names")
    return Route(
        server=server,
        path=quote(parts.path, safe="/%:@!$&'()*+,;=~"),
        proxy=through,
        proxy_headers=() if proxy is None else _authorize(proxy),
        tls=_make_tls() if server.is_secure or (through and through.is_secure) else None,
    )


def _find_host(parts: SplitResult, *, whose: str) -> Host:
    try:
        name, port = (parts.hostname or "").encode("idna").decode(), parts.port
    except ValueError as error:
        raise GeneratorError(f"{whose}: is no address: {error}") from None
    if not name or parts.scheme not in ("http", "https"):
        raise GeneratorError(f"{whose}: must begin with http:// or https:// and a host, got {parts.scheme}://{name}")
    is_secure = parts.scheme == "https"
    return Host(name, port or (443 if is_secure else 80), is_secure)


def _find_proxy(scheme: str) -> SplitResult | None:
    named = getproxies()
    found = named.get(scheme) or named.get("all")
    return urlsplit(found if "://" in found else f"http://{found}") if found else None


def _authorize(proxy: SplitResult) -> Headers:
    if not proxy.username:
        return ()
    words = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return (("Proxy-Authorization", f"Basic {base64.b64encode(words.encode()).decode()}"),)


def _make_tls() -> ssl.SSLContext:
    from httpx2 import create_ssl_context  # the system's authorities, also where Python has been built without them

    tls = create_ssl_context()
    tls.set_alpn_protocols(["http/1.1"])
    return tls


class HttpConnection:
    """A connection to a server, opened with the first call, and anew once it was closed or a call had no response.

    HTTP is h11's and the network asyncio's: a call takes a quarter of the processor's time that it takes a client with
    a pool.

    Args:
        route: The way to the server.
        headers: Headers of every call.
        max_body: Bytes of a response that are read at most.
    """

    def __init__(self, route: Route, *, headers: Headers, max_body: int) -> None:
        self._route, self._max_body = route, max_body
        self._headers = [("Host", route.server.address), *headers]
        self._target = route.path
        if route.proxy and not route.server.is_secure:
            self._target = f"http://{route.server.address}{route.path}"
            self._headers += route.proxy_headers
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._protocol = h11.Connection(h11.CLIENT)

    async def post(self, path: str, content: bytes) -> Response:
        """The response to a request for a path below the route's.

        Raises:
            NoResponseError: If there is none, or a longer one.
        """
        headers = [*self._headers, ("Content-Length", str(len(content)))]
        request = h11.Request(method="POST", target=f"{self._target}{path}", headers=headers)
        is_open = False
        try:
            if self._streams is None or self._streams[0].at_eof():
                await self._open()
            response = await self._exchange(request, content)
            is_open = self._protocol.our_state is self._protocol.their_state is h11.DONE
            return response
        except OSError as error:
            raise NoResponseError(f"no connection: {error.strerror or type(error).__name__}") from error
        except h11.ProtocolError as error:
            raise NoResponseError(f"no valid HTTP: {error}") from error
        finally:  # a call that was cut short leaves the rest of its response behind
            if is_open:
                self._protocol.start_next_cycle()
            else:
                self.close()

    def close(self) -> None:
        """Closes the connection, at once."""
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None

    async def _open(self) -> None:
        self.close()
        route = self._route
        first = route.proxy or route.server
        _, writer = self._streams = await asyncio.open_connection(
            first.name,
            first.port,
            ssl=route.tls if first.is_secure else None,
            happy_eyeballs_delay=_HAPPY_EYEBALLS_S,
        )
        self._protocol = h11.Connection(h11.CLIENT)
        if route.proxy and route.server.is_secure:
            await self._tunnel(route.proxy)
            assert route.tls is not None
            await writer.start_tls(route.tls, server_hostname=route.server.name)
            self._protocol = h11.Connection(h11.CLIENT)

    async def _tunnel(self, proxy: Host) -> None:
        address = self._route.server.address
        headers = [("Host", address), *self._route.proxy_headers]
        self._send(h11.Request(method="CONNECT", target=address, headers=headers), h11.EndOfMessage())
        answer = await self._receive()
        if not isinstance(answer, h11.Response) or answer.status_code // 100 != 2:
            status = getattr(answer, "status_code", "none")
            raise NoResponseError(f"the proxy {proxy.address} does not lead there: status {status}")

    async def _exchange(self, request: h11.Request, content: bytes) -> Response:
        self._send(request, h11.Data(data=content), h11.EndOfMessage())
        head = await self._receive()
        assert isinstance(head, h11.Response)
        body = bytearray()
        while isinstance(part := await self._receive(), h11.Data):
            body += part.data
            if len(body) > self._max_body:
                raise NoResponseError(f"an answer of more than {self._max_body >> 20} MiB")
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
        return Response(head.status_code, headers, bytes(body))

    def _send(self, *events: h11.Event) -> None:
        assert self._streams is not None
        self._streams[1].write(b"".join(self._protocol.send(event) or b"" for event in events))

    async def _receive(self) -> h11.Event:
        """The next part of a response, which is none that only informs."""
        assert self._streams is not None
        while True:
            event = self._protocol.next_event()
            if event is h11.NEED_DATA:
                data = await self._streams[0].read(_READ)
                if not data and self._protocol.their_state is h11.SEND_RESPONSE:
                    raise NoResponseError("the server closed the connection without an answer")
                self._protocol.receive_data(data)
            elif isinstance(event, h11.Event) and not isinstance(event, h11.InformationalResponse):
                return event
