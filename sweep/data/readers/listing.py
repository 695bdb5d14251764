"""Listing: the files of a source, and a cheap look at each, by which its layout is told."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from sweep.data.readers.record_files import FORMATS, format_of, read_keys
from sweep.errors import CollectionError

DEPTH = 3
"""Folders deep that files are looked for; beyond lies no layout that is read."""

NAMED = 5
"""Files that a sentence names before it counts the others."""

_WORDS = re.compile(r"[^a-z0-9]+")
_LFS = b"version https://git-lfs"
_LFS_BYTES = 200

_QUERIES = {"queries", "query", "topics", "topic", "questions"}
_DOCUMENTS = {"corpus", "collection", "collections", "documents", "docs", "passages"}
_JUDGEMENTS = {"judgements", "judgments"}


def split_words(name: str) -> list[str]:
    """Words of a name, in lower case."""
    return [word for word in _WORDS.split(name.lower()) if word]


def role_of(words: Sequence[str]) -> str | None:
    """The role in a collection that the words of a name speak of: ``documents``, ``queries``, ``qrels`` or none."""
    if any("qrel" in word for word in words) or _JUDGEMENTS & {*words}:
        return "qrels"
    if _QUERIES & {*words}:
        return "queries"
    return "documents" if _DOCUMENTS & {*words} else None


class Listing:
    """The files of a folder, or one file, as they were when it was made.

    Args:
        path: The folder or file.

    Raises:
        CollectionError: If it is not there, cannot be listed, or holds no file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.exists():
            raise CollectionError(f"{path}: there is no such file or folder")
        try:
            found = [path] if path.is_file() else sorted(_walk(path, DEPTH))
            self._stamps = {file: _stamp(file) for file in found}
            pointer = next((file for file in found if _is_pointer(file)), None)
        except OSError as error:
            raise CollectionError(f"{path}: cannot be listed: {error.strerror or error}") from error
        if not found:
            raise CollectionError(f"{path}: holds no file")
        if pointer is not None:
            raise CollectionError(f"{pointer}: is a pointer of Git LFS and not the data: run git lfs pull there")
        self.files = [file for file in found if not file.name.startswith(".")]
        self._known_as: Mapping[Path, str] = {}
        self._keys: dict[Path, tuple[str, ...]] = {}
        self._problems: dict[Path, str] = {}
        self._taken: set[Path] = set()

    @property
    def is_file(self) -> bool:
        """Whether the source is one file."""
        return self.path in self._stamps

    @property
    def with_records(self) -> list[Path]:
        """The files whose suffix says that they hold records."""
        return [file for file in self.files if format_of(file) in FORMATS]

    def keys(self, file: Path) -> tuple[str, ...]:
        """Keys of a file's first record; none where it has none, or cannot be read as what its suffix says."""
        if file not in self._keys:
            try:
                self._keys[file] = read_keys(file)
            except CollectionError as error:
                self._keys[file], self._problems[file] = (), str(error)
        return self._keys[file]

    def parts(self, file: Path) -> list[str]:
        """Name of a file, and then of each folder above it in the source; or its split and configuration."""
        return self._known_as.get(file, self.name(file)).split("/")[::-1]

    def restrict(self, known_as: Mapping[Path, str]) -> Listing:
        """Only some of the files, by the paths that a description of the source gives them."""
        self.files = [file for file in self.files if file in known_as]
        self._known_as = known_as
        return self

    def name(self, file: Path) -> str:
        """A file's path within the source."""
        return file.name if self.is_file else file.relative_to(self.path).as_posix()

    def names(self, files: Sequence[Path]) -> str:
        """Paths of files within the source, the first of them by name and the others by number."""
        shown = [self.name(file) for file in files[:NAMED]]
        return ", ".join([*shown, f"{len(files) - NAMED} more"] if len(files) > NAMED else shown)

    def describe_use(self, layout: str, uses: Mapping[str, Sequence[Path]]) -> tuple[str, ...]:
        """Sentences on what the source was read as, which file was taken for what, and which were left aside."""
        self._taken = {file for files in uses.values() for file in files}
        aside = [file for file in self._stamps if file not in self._taken]
        parts = [f"{what} from {self.names(files)}" for what, files in uses.items() if files]
        left = (f"left aside: {self.names(aside)}",) if aside else ()
        return (f"read as {layout}: {'; '.join(parts)}", *left)

    def check_unchanged(self) -> None:
        """Refuses a source of which a file that was read has been changed since this listing was made.

        Raises:
            CollectionError: If a file has another size or time, or is gone.
        """
        for file in self._taken:
            try:
                is_same = _stamp(file) == self._stamps[file]
            except OSError:
                is_same = False
            if not is_same:
                raise CollectionError(f"{file}: was changed while the collection was read: wait until it is complete")

    @cached_property
    def contents(self) -> str:
        """What lies there, and the first of it that cannot be read, for the message of a layout that is none."""
        shown = self.names([*self._stamps])
        keys = [", ".join(keys)[:80] for file in self.with_records if (keys := self.keys(file))]
        empty = [f"{file} is empty" for file, (size, _) in self._stamps.items() if not size]
        problem = next(iter([*self._problems.values(), *empty]), "")
        return "".join([shown, f" (keys: {'; '.join(keys[:2])})" if keys else "", f" ({problem})" if problem else ""])


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    """Every file at most so many folders deep, but for what lies in hidden folders."""
    for entry in os.scandir(folder):
        path = folder / entry.name
        if entry.is_file():
            yield path
        elif entry.is_dir() and depth > 1 and not entry.name.startswith("."):
            yield from _walk(path, depth - 1)


def _is_pointer(file: Path) -> bool:
    if format_of(file) not in FORMATS or file.stat().st_size > _LFS_BYTES:
        return False
    with file.open("rb") as opened:
        return opened.read(len(_LFS)) == _LFS


def _stamp(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_size, status.st_mtime_ns
