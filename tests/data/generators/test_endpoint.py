from __future__ import annotations

import email.utils
import json
import threading
import time
from collections.abc import Iterator

import pytest
from chat_server import ChatServer, say

from sweep.data import Document
from sweep.data.chat_client import MAX_WAIT_S, choose_wait, read_retry_after
from sweep.data.generators.endpoint import Endpoint
from sweep.errors import GeneratorError

DOCUMENTS = [Document("", f"page{number}") for number in range(8)]
KEY = "sk-very-secret"


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEP_GENERATOR_KEY", KEY)
    monkeypatch.setattr("sweep.data.chat_client.WAIT_S", 0.01)


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with ChatServer() as running:
        yield running


def ask(server: ChatServer, *, documents: list[Document] = DOCUMENTS, **options) -> dict[int, list[str]]:
    """The answers by the places of documents, whose text is the last word of what a model is asked."""
    kept: dict[int, list[str]] = {}
    options = {"url": server.url, "model": "m", "prompt": "Ask for {document}", "timeout_s": 5.0, **options}
    Endpoint.model_validate(options).generate(documents, keep=kept.__setitem__)
    return kept


def fail(server: ChatServer, problem: str, **options) -> dict[int, list[str]]:
    """The answers that are kept where a generator cannot go on, for a reason that is one line without the key."""
    kept: dict[int, list[str]] = {}
    options = {"url": server.url, "model": "m", "prompt": "Ask for {document}", "timeout_s": 5.0, **options}
    with pytest.raises(GeneratorError, match=problem) as raised:
        Endpoint.model_validate(options).generate(DOCUMENTS, keep=kept.__setitem__)
    said = str(raised.value)
    assert KEY not in said
    assert said.isprintable()
    return kept


def test_every_document_is_asked_for_once_with_the_key_and_several_at_once(server: ChatServer):
    together = threading.Barrier(16)  # passes once so many calls are in flight

    def answer(_: int, asked: str):
        together.wait(timeout=30)
        return say(f"q {asked}")

    server.behave = answer
    kept = ask(server, documents=[Document("", f"page{number}") for number in range(64)], concurrency=16)
    assert kept == {number: [f"q Ask for page{number}"] for number in range(64)}
    assert sorted(server.asked) == sorted(f"Ask for page{number}" for number in range(64))
    assert {headers["Authorization"] for headers in server.headers} == {f"Bearer {KEY}"}
    assert {headers["path"] for headers in server.headers} == {"/v1/chat/completions"}


def test_several_queries_of_a_document_are_kept_together(server: ChatServer):
    kept = ask(server, queries=3, temperature=1.0)
    assert all(len(answers) == 3 for answers in kept.values())
    assert len(server.asked) == 24


@pytest.mark.parametrize(
    "failure",
    [
        (429, {"Retry_After": "0.01"}, b"slow down"),
        (503, {}, b""),
        (500, {"Retry_After": "nonsense"}, b"<html>" + b"x" * 1000),
        (200, {}, b"not JSON"),
        (200, {}, b"{}"),
        (200, {}, b'{"choices": []}'),
        (200, {}, b"[" * 100_000),
        (200, {}, b'{"choices": [{"message": {"content": 5}}]}'),
        (200, {}, b"x" * (5 << 20)),
        None,
    ],
    ids=["429", "503", "500", "no JSON", "no choices", "no choice", "deep", "no text", "endless", "cut off"],
)
def test_what_may_pass_is_tried_again(server: ChatServer, failure):
    server.behave = lambda number, asked: failure if number in (0, 3, 4) else say(asked)
    assert ask(server, concurrency=4) == {number: [f"Ask for page{number}"] for number in range(8)}
    assert len(server.asked) == 11


@pytest.mark.parametrize(
    ("response", "problem"),
    [
        ((503, {}, b"overloaded"), r"status 503 \(overloaded\), 2 times; what was answered is kept"),
        ((200, {}, b"nonsense \x1b[31m"), r"an answer that is no chat completion \(nonsense \[31m\), 2 times"),
        (None, r"the server closed the connection without an answer, 2 times"),
        ((401, {}, f"bad key {KEY}".encode()), r"status 401 \(bad key \*\*\*\): the key in SWEEP_GENERATOR_KEY is re"),
        ((404, {}, b"no such model"), r"status 404 \(no such model\): check url and model"),
        ((302, {"Location": "http://127.0.0.1:1/"}, b""), r"status 302 \(nothing\): check url and model"),
    ],
    ids=["busy", "no JSON", "cut off", "key", "model", "moved"],
)
def test_a_server_that_cannot_be_used_is_named_and_what_it_answered_is_kept(server: ChatServer, response, problem):
    server.behave = lambda _, asked: response if asked.endswith("page5") else say(asked)
    assert fail(server, problem, attempts=2, concurrency=1) == {
        number: [f"Ask for page{number}"] for number in range(5)
    }


def test_a_server_that_dies_half_way_is_named(server: ChatServer):
    def die(number: int, asked: str):
        if number == 3:
            server._server.socket.close()
            return None
        return say(asked)

    server.behave = die
    problem = r"(no connection: .*|the server closed the connection without an answer), 2 times"
    assert sorted(fail(server, problem, attempts=2, concurrency=1)) == [0, 1, 2]


def test_a_server_that_does_not_answer_is_left_after_its_time(server: ChatServer):
    server.behave = lambda _, asked: (time.sleep(0.5), say(asked))[1]
    assert fail(server, r"no answer within 0\.1 s, 2 times", attempts=2, timeout_s=0.1) == {}


def test_a_missing_key_is_asked_for_by_its_variable(server: ChatServer, monkeypatch):
    monkeypatch.delenv("SWEEP_GENERATOR_KEY")
    server.behave = lambda *_: (401, {}, b"who are you")
    fail(server, r"status 401 \(who are you\): set OTHER_KEY to its key", key="OTHER_KEY")
    assert all("Authorization" not in headers for headers in server.headers)
    monkeypatch.setenv("OTHER_KEY", "two words")
    fail(server, "OTHER_KEY: its value is no key", key="OTHER_KEY")


@pytest.mark.parametrize(
    "text",
    ["", None, "x" * 1_000_000, "\x00\x1b", "two\nlines", "\ud800"],
    ids=["empty", "none", "long", "control", "lines", "surrogate"],
)
def test_an_answer_is_kept_as_it_came_whatever_it_holds(server: ChatServer, text):
    server.behave = lambda *_: say(text)
    assert ask(server, documents=DOCUMENTS[:1]) == {0: [text or ""]}


def test_limits_stop_before_the_first_call_and_at_the_tokens_that_were_used(server: ChatServer):
    for limit in ({"most_calls": 7}, {"most_tokens": 100}):
        fail(server, r"is below the .* that are needed, about; nothing was asked", **limit)
    assert server.asked == []
    server.behave = lambda _, asked: say(asked, tokens=200)
    problem = "most_tokens = 500 is reached; what was answered is kept"
    assert sorted(fail(server, problem, most_tokens=500, max_tokens=10, concurrency=1)) == [0, 1, 2]


def test_what_calls_will_cost_is_said_before(server: ChatServer):
    made = Endpoint.model_validate({"url": server.url, "model": "m", "queries": 2, "temperature": 1.0})
    assert made.estimate(DOCUMENTS).startswith(f"16 calls to {server.url}, about ")


@pytest.mark.parametrize(
    "options",
    [{"url": "localhost:8000"}, {"url": "http://me:word@host/v1"}, {"url": "http://h/v1?key=x"}, {"key": "sk-123"}],
)
def test_a_key_or_password_in_a_study_file_is_refused(options):
    with pytest.raises(ValueError, match="must be"):
        Endpoint.model_validate({"url": "http://h/v1", "model": "m", **options})


def test_where_a_server_stands_does_not_change_what_was_answered():
    first, second = (
        Endpoint.model_validate({"url": url, "model": "m", "concurrency": count}).model_dump()
        for url, count in (("http://a/v1", 1), ("http://b/v1/", 2))
    )
    assert first == second
    assert KEY not in json.dumps(first)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("3", 3.0), ("0.5", 0.5), ("-4", 0.0), ("", None), ("soon", None), ("nan", None), ("inf", None)],
)
def test_what_a_server_asks_to_wait_is_read(value: str, seconds: float | None):
    assert read_retry_after(value) == seconds
    date = email.utils.formatdate(time.time() + 100, usegmt=True)
    assert 90 < (read_retry_after(date) or 0.0) <= 100


def test_waits_double_up_to_the_longest():
    waits = [choose_wait(attempt) for attempt in range(40)]
    assert all(0 < wait <= MAX_WAIT_S for wait in waits)
    assert waits[10] > waits[0] * 4
