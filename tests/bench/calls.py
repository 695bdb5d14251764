"""Calls of the endpoint client: how many it makes a second, and what each takes of the processor.

The server answers after a fixed time, in a process of its own, so that the client is what is measured. Plain httpx2
with one shared pool, as its documentation shows it, makes the same calls beside it.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2

from sweep.data import Document
from sweep.data.generators.endpoint import Endpoint

ANSWER_S = 0.05
CONCURRENCY = 64
ANSWER = json.dumps(
    {"choices": [{"message": {"role": "assistant", "content": "what is tea"}}], "usage": {"total_tokens": 9}}
).encode()


@dataclass(frozen=True)
class Rate:
    """Calls a second, and milliseconds of the processor that each took."""

    a_second: float
    processor_ms: float


async def answer_slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers calls of a connection, each after `ANSWER_S`."""
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            await reader.readexactly(int(head.partition(b"content-length:")[2].split(b"\r\n")[0]))
            await asyncio.sleep(ANSWER_S)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(ANSWER), ANSWER))
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def serve() -> None:
    """Serves on a free port, which it prints."""
    server = await asyncio.start_server(answer_slowly, "127.0.0.1", 0, backlog=CONCURRENCY * 2)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def run_server() -> Iterator[str]:
    """The address of a server in a process of its own."""
    with subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
        finally:
            process.kill()


def measure(ask: Callable[[str, list[Document]], None], url: str, *, calls: int) -> Rate:
    """The rate of some calls, after a few that are not counted."""
    documents = [Document("", f"page {number} {'word ' * 60}") for number in range(calls)]
    ask(url, documents[: 2 * CONCURRENCY])
    began, processor = time.perf_counter(), time.process_time()
    ask(url, documents)
    seconds, processor = time.perf_counter() - began, time.process_time() - processor
    return Rate(calls / seconds, processor / calls * 1e3)


def ask_by_endpoint(url: str, documents: list[Document]) -> None:
    """Asks as `sweep generate` does."""
    kept: dict[int, Any] = {}
    Endpoint(url=url, model="m", concurrency=CONCURRENCY).generate(documents, keep=kept.__setitem__)
    if sorted(kept) != [*range(len(documents))]:
        raise AssertionError(f"{len(documents)} documents were asked for, and {len(kept)} answered")


def ask_by_httpx(url: str, documents: list[Document]) -> None:
    """Asks by a shared client of httpx2."""
    asyncio.run(_ask_by_httpx(url, documents))


async def _ask_by_httpx(url: str, documents: list[Document]) -> None:
    waiting = iter(documents)
    limits = httpx2.Limits(max_connections=CONCURRENCY, max_keepalive_connections=CONCURRENCY)
    async with httpx2.AsyncClient(limits=limits, timeout=60, trust_env=False) as client:

        async def work() -> None:
            for document in waiting:
                body = {"model": "m", "messages": [{"role": "user", "content": document.text}]}
                response = await client.post(f"{url}/chat/completions", json=body)
                response.json()["choices"][0]["message"]["content"]

        await asyncio.gather(*(work() for _ in range(CONCURRENCY)))


if __name__ == "__main__":
    asyncio.run(serve())
