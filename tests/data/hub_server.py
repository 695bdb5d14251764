"""A Hugging Face hub of data sets and models in a folder, served over HTTP as its clients ask for it."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_secret"


class _Hub(ThreadingHTTPServer):
    """Data sets and models by name, each a folder; those whose name ends in -gated need the token."""

    daemon_threads = True
    folder: Path
    commit = COMMIT


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Hub

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        kind = self.headers.get("Content-Type", "")
        self._answer(json.loads(body)["paths"] if "json" in kind else parse_qs(body).get("paths", []))

    def do_GET(self) -> None:
        self._answer([])

    def _answer(self, paths: list[str]) -> None:
        parts = unquote(urlsplit(self.path).path).strip("/").split("/")
        is_api = parts[0] == "api"
        place = 2 if is_api else int(parts[0] == "datasets")  # a model's files lie under its name alone
        name, rest = "/".join(parts[place : place + 2]), parts[place + 2 :]
        folder = self.server.folder / name
        if not folder.is_dir():
            return self._send(404 if name.endswith("gone") else 401, b"{}", {"X-Error-Code": "RepoNotFound"})
        if name.endswith("-gated") and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._send(403, b"{}", {"X-Error-Code": "GatedRepo", "X-Error-Message": "ask for access"})
        revision = rest[1] if len(rest) > 1 else "main"
        if revision not in ("main", self.server.commit):
            return self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        files = {file.relative_to(folder).as_posix(): file for file in sorted(folder.rglob("*")) if file.is_file()}
        if not is_api:
            return self._send_file(files.get("/".join(rest[2:])))
        if rest and rest[0] in ("tree", "paths-info"):
            below = "/".join(rest[2:])
            return self._send_json([*_entries(files, below if rest[0] == "tree" else None, paths)])
        return self._send_json(
            {"id": name, "sha": self.server.commit, "siblings": [{"rfilename": path} for path in files]}
        )

    def _send_file(self, file: Path | None) -> None:
        if file is None:
            return self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
        content, status = file.read_bytes(), 200
        headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": self.server.commit}
        if span := self.headers.get("Range"):
            first, _, last = span.removeprefix("bytes=").partition("-")
            end = min(int(last) if last else len(content) - 1, len(content) - 1)
            headers["Content-Range"] = f"bytes {first}-{end}/{len(content)}"
            content, status = content[int(first) : end + 1], 206
        return self._send(status, content, headers)

    def _send_json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _entries(files: dict[str, Path], below: str | None, paths: list[str]) -> Iterator[dict[str, object]]:
    """Files and folders below a path, or those of certain paths."""
    folders = {parent.as_posix() for path in files for parent in Path(path).parents if parent.as_posix() != "."}
    for path in [*folders, *files]:
        if path in paths or (below is not None and (not below or path.startswith(f"{below}/"))):
            yield {
                "type": "file" if path in files else "directory",
                "path": path,
                "oid": hashlib.sha1(path.encode()).hexdigest(),
                "size": files[path].stat().st_size if path in files else 0,
            }


@contextmanager
def serve_hub(folder: Path) -> Iterator[str]:
    """The address of a hub whose data sets and models are the folders OWNER/NAME in a folder."""
    server = _Hub(("127.0.0.1", 0), _Handler)
    server.folder = folder
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
