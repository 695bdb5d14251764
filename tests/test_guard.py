from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from sweep.guard import guard

ACTIVE = [("Content-Type", "text/html"), ("X-Frame-Options", "ALLOWALL"), ("Content-Security-Policy", "default-src *")]


def application(_: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", list(ACTIVE))
    return [b"<script>1</script>"]


def ask(
    path: str, *, method: str = "GET", allow_changes: bool = False, **named: str
) -> tuple[int, dict[str, str], bytes]:
    answered: list[Any] = []
    environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "HTTP_HOST": "127.0.0.1:8080", **named}
    body = guard(application, allow_changes=allow_changes)(environ, lambda *answer: answered.extend(answer))
    return int(answered[0].split()[0]), dict(answered[1]), b"".join(body)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:1", "localhost", "localhost:8080"])
def test_this_machines_own_names_are_let_through(host: str) -> None:
    assert ask("/dashboard", HTTP_HOST=host)[0] == 200


@pytest.mark.parametrize("host", ["", "example.com", "127.0.0.1.example.com:80", "localhost.", "[::1]", "0.0.0.0"])
@pytest.mark.parametrize("allow_changes", [False, True])
def test_any_other_name_is_refused(host: str, allow_changes: bool) -> None:
    for method in ("GET", "PUT"):
        status, _, said = ask("/api/studies/1/note", method=method, allow_changes=allow_changes, HTTP_HOST=host)
        assert (status, said) == (403, b"this dashboard answers to 127.0.0.1 and localhost alone")


@pytest.mark.parametrize("path", ["/artifacts/1/ab-12", "/artifacts/1/2/ab-12", "//artifacts/1/ab", "/artifacts/1/ab/"])
def test_an_artifact_is_a_file_to_be_saved_whatever_it_says_it_is(path: str) -> None:
    status, headers, _ = ask(path)
    assert status == 200
    assert headers["Content-Type"] == "application/octet-stream"
    assert headers["Content-Disposition"] == "attachment"
    assert headers["Content-Security-Policy"] == "sandbox"
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_other_answers_keep_their_kind_and_may_not_be_framed_by_another_page() -> None:
    _, headers, _ = ask("/dashboard")
    assert headers["Content-Type"] == "text/html"
    assert headers["Content-Security-Policy"] == "default-src *"
    assert headers["X-Frame-Options"] == "DENY"


@pytest.mark.parametrize("path", ["/api/studies/1/note", "/api/studies/12/3/note", "/api/studies/1/note/"])
def test_notes_alone_may_be_changed_and_only_where_that_is_allowed(path: str) -> None:
    assert ask(path, method="PUT")[0] == 405
    assert ask(path, method="PUT", allow_changes=True)[0] == 200
    own = {"HTTP_ORIGIN": "http://127.0.0.1:8080"}
    assert ask(path, method="PUT", allow_changes=True, **own)[0] == 200


@pytest.mark.parametrize("origin", ["null", "http://example.com", "https://127.0.0.1:8080", "http://127.0.0.1:9"])
def test_a_page_of_another_site_changes_nothing(origin: str) -> None:
    status, _, said = ask("/api/studies/1/note", method="PUT", allow_changes=True, HTTP_ORIGIN=origin)
    assert (status, said) == (403, b"a page of another site may change nothing here")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/api/studies/1"),
        ("POST", "/api/studies"),
        ("POST", "/api/studies/1/rename"),
        ("POST", "/api/trials/1/tell"),
        ("POST", "/api/trials/1/user-attrs"),
        ("POST", "/api/artifacts/1"),
        ("PUT", "/api/studies/1/note/../../1"),
    ],
)
def test_what_the_coordinator_alone_writes_is_refused_even_where_changes_are_allowed(method: str, path: str) -> None:
    status, _, said = ask(path, method=method, allow_changes=True)
    assert (status, said) == (405, b"notes may be changed here, and nothing else")
