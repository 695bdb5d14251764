"""Collections that were made on this machine, cached per user: written atomically, rebuilt when damaged."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from sweep.data.collection import RawCollection
from sweep.data.readers.beir import read_beir, write_beir
from sweep.errors import CollectionError

_MANIFEST = "manifest.json"


def cache_folder() -> Path:
    """The user's cache folder: ``$SWEEP_CACHE``, else ``$XDG_CACHE_HOME/sweep``, else ``~/.cache/sweep``."""
    if own := os.environ.get("SWEEP_CACHE"):
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "sweep"


def load_cached(name: str, make: Callable[[], RawCollection]) -> RawCollection:
    """The collection cached under a name; where there is none, or it is damaged, it is made and cached.

    Processes may do this at the same time: each makes its own, and the first to be ready is kept. The name must change
    with everything that the collection is made of.

    Raises:
        CollectionError: If the cache cannot be written, or ``make`` raises it.
    """
    folder = fill_cached(Path("collections", name), lambda made: write_beir(made, make()))
    return replace(read_beir(folder), notes=())


def fill_cached(place: Path, fill: Callable[[Path], None]) -> Path:
    """The folder at a place in the cache; where there is none, or it is damaged, it is filled anew.

    Args:
        place: Its path below the cache's folder.
        fill: Writes the files into a folder.

    Raises:
        CollectionError: If the cache cannot be written, or ``fill`` raises it.
    """
    folder = cache_folder() / place
    if _is_sound(folder):
        return folder
    try:
        _write_atomically(folder, fill)
    except OSError as error:
        raise CollectionError(
            f"{folder}: cannot be written ({error.strerror or error}): set SWEEP_CACHE to a folder that can"
        ) from error
    return folder


def _is_sound(folder: Path) -> bool:
    """Whether the files of a folder are those of its manifest."""
    try:
        return bool(json.loads((folder / _MANIFEST).read_bytes()) == _digests(folder))
    except (OSError, ValueError):
        return False


def _write_atomically(folder: Path, fill: Callable[[Path], None]) -> None:
    """Writes beside the folder and then renames, so that no reader ever meets half of it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".making-", ignore_cleanup_errors=True) as place:
        made, damaged = Path(place) / "made", Path(place) / "damaged"
        made.mkdir()
        fill(made)
        (made / _MANIFEST).write_text(json.dumps(_digests(made)), encoding="utf-8")
        try:
            made.rename(folder)
            return
        except OSError:
            # Something is there: another process was faster, or what is there is damaged.
            if _is_sound(folder):
                return
        if folder.is_dir():
            folder.rename(damaged)
        else:
            folder.unlink(missing_ok=True)
        made.rename(folder)


def _digests(folder: Path) -> dict[str, str]:
    """SHA-256 (hex) of every file in a folder but the manifest, by its path there."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != _MANIFEST)
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
