"""ChatClient: calls to a server with an OpenAI-compatible interface, many at once, repeated where that may help."""

from __future__ import annotations

import asyncio
import email.utils
import json
import math
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sweep.errors import GeneratorError
from sweep.printable import make_printable

if TYPE_CHECKING:
    from sweep.data.http_connection import HttpConnection, Response

MAX_BODY = 4 << 20
"""Bytes of a response that are read at most: an answer of a megabyte is kept, and rejected by its length."""

WAIT_S, MAX_WAIT_S = 0.5, 60.0
"""The first wait before a call is repeated, which doubles each time, and the longest, whatever the server asks for."""

_PASSING = {408, 409, 425, 429, 500, 502, 503, 504, 529}
"""Statuses after which the same call may succeed."""

Body = Mapping[str, Any]


@dataclass
class Usage:
    """Calls and tokens."""

    calls: float = 0
    tokens: float = 0


class _PassingError(Exception):
    """A call that may succeed when it is repeated, after the seconds that the server asks for, if it does."""

    def __init__(self, problem: str, wait_s: float | None = None) -> None:
        super().__init__(problem)
        self.wait_s = wait_s


class ChatClient:
    """Asks a server for completions.

    Args:
        url: Its address, up to ``/v1``.
        key: Its key; empty for none. It is put into no message, also where the server repeats it.
        variable: Name of the variable that the key came from, for messages.
        concurrency: Calls in flight at once.
        timeout_s: Seconds that an answer may take.
        attempts: Attempts of a call.
        limits: Calls and tokens of all, at which it stops.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str,
        variable: str,
        concurrency: int,
        timeout_s: float,
        attempts: int,
        limits: Usage,
    ) -> None:
        self._url, self._key, self._variable = url, key.strip(), variable
        self._concurrency, self._timeout_s, self._attempts = concurrency, timeout_s, attempts
        self._limits, self._used = limits, Usage()
        if any(not 32 < ord(sign) < 127 for sign in self._key):
            raise GeneratorError(f"{variable}: its value is no key: it holds spaces or signs that no header can carry")

    def ask_all(self, bodies: Iterable[Sequence[Body]], *, keep: Callable[[int, Sequence[str]], None]) -> None:
        """Asks for the completions of several bodies at each place, and keeps their answers once all are there.

        Raises:
            GeneratorError: If the server cannot be used, or a limit is reached; what was kept stays.
        """
        asyncio.run(self._ask_all(enumerate(bodies), keep))

    async def _ask_all(
        self, waiting: Iterator[tuple[int, Sequence[Body]]], keep: Callable[[int, Sequence[str]], None]
    ) -> None:
        from sweep.data.http_connection import HttpConnection, plan_route  # not for every start of a command

        route = plan_route(self._url)

        async def work() -> None:
            connection = HttpConnection(route, headers=self._list_headers(), max_body=MAX_BODY)
            try:
                for place, bodies in waiting:  # shared: each worker takes the next one
                    keep(place, [await self._ask(connection, body) for body in bodies])
            finally:
                connection.close()

        workers = [asyncio.create_task(work()) for _ in range(self._concurrency)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    def _list_headers(self) -> list[tuple[str, str]]:
        headers = [
            ("User-Agent", "retrieval-sweep"),
            ("Content-Type", "application/json"),
            ("Accept", "application/json"),
            ("Accept-Encoding", "identity"),
        ]
        return [*headers, ("Authorization", f"Bearer {self._key}")] if self._key else headers

    async def _ask(self, connection: HttpConnection, body: Body) -> str:
        content = json.dumps(body).encode()
        problem = ""
        for attempt in range(self._attempts):
            self._check_limits()
            self._used.calls += 1
            try:
                async with asyncio.timeout(self._timeout_s):
                    return await self._call(connection, content)
            except TimeoutError:
                problem, wait_s = f"no answer within {self._timeout_s:g} s", None
            except _PassingError as error:
                problem, wait_s = str(error), error.wait_s
            if attempt + 1 < self._attempts:
                await asyncio.sleep(min(MAX_WAIT_S, choose_wait(attempt) if wait_s is None else wait_s))
        raise self._fail(f"{problem}, {self._attempts} times; what was answered is kept, and the next run goes on")

    async def _call(self, connection: HttpConnection, content: bytes) -> str:
        from sweep.data.http_connection import NoResponseError

        try:
            response = await connection.post("/chat/completions", content)
        except NoResponseError as error:
            raise _PassingError(self._show(str(error).encode())) from error
        if response.status != 200:
            raise self._explain(response)
        return self._read(response.body)

    def _read(self, body: bytes) -> str:
        """The text of a completion."""
        try:
            answer = json.loads(body)
            text = answer["choices"][0]["message"]["content"]
            self._used.tokens += int((answer.get("usage") or {}).get("total_tokens") or 0)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
            raise _PassingError(f"an answer that is no chat completion ({self._show(body)})") from None
        if text is None:
            return ""
        if not isinstance(text, str):
            raise _PassingError(f"an answer that is no text ({self._show(body)})")
        return text

    def _explain(self, response: Response) -> Exception:
        status, said = response.status, self._show(response.body)
        if status in (401, 403):
            how = f"the key in {self._variable} is refused" if self._key else f"set {self._variable} to its key"
            return self._fail(f"status {status} ({said}): {how}")
        if status in _PASSING:
            return _PassingError(f"status {status} ({said})", read_retry_after(response.headers.get("retry-after", "")))
        return self._fail(f"status {status} ({said}): check url and model")

    def _check_limits(self) -> None:
        for name, used, most in (
            ("most_calls", self._used.calls, self._limits.calls),
            ("most_tokens", self._used.tokens, self._limits.tokens),
        ):
            if used >= most:
                raise self._fail(f"{name} = {most:,} is reached; what was answered is kept: raise it and run it again")

    def _fail(self, problem: str) -> GeneratorError:
        return GeneratorError(f"{self._url}: {problem}")

    def _show(self, body: bytes) -> str:
        """The beginning of a response, without the key."""
        text = body.decode("utf-8", "replace")
        text = text.replace(self._key, "***") if self._key else text
        return " ".join(make_printable(text[:200]).split()) or "nothing"


def choose_wait(attempt: int) -> float:
    """Seconds to wait after a failed attempt, from 0: twice as long each time, a part of it by chance."""
    longest = min(MAX_WAIT_S, WAIT_S * 2.0**attempt)
    return longest * random.uniform(0.5, 1.0)


def read_retry_after(value: str) -> float | None:
    """Seconds that a header ``Retry-After`` asks to wait, given as such or as a date; None where it says nothing."""
    try:
        seconds = float(value)
        return max(0.0, seconds) if math.isfinite(seconds) else None
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None
