"""Folders that count only when they are complete: sealed with a manifest that is written last.

A folder is filled under a temporary name, every file is flushed to the disk, the manifest with sizes and hashes is
written, and the folder is renamed. Under its final name, with a manifest that matches, it may be loaded.

The hash is XXH3, which detects damage by a disk or a crash in a tenth of the time of SHA-256. It detects no attacker
who can write to the folder; so only formats are loaded that are safe whoever wrote them.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import xxhash

from sweep.errors import CheckpointError
from sweep.messages import Sign, give_no_sign

MANIFEST = "manifest.json"
PARTIAL_SUFFIX = ".partial"

MAX_FLUSHES = 8
"""Files that are flushed at once."""

_CHUNK = 1 << 20
"""Bytes that are hashed between two signs of life."""


def publish(partial: Path, final: Path, *, sign: Sign = give_no_sign) -> None:
    """Seals a filled folder and gives it its final name, on the same file system, replacing what stood there."""
    _seal(partial, sign)
    remove(final)
    partial.rename(final)
    _fsync(final.parent)


def verify(folder: Path, *, sign: Sign = give_no_sign) -> None:
    """Checks every file of a sealed folder against its manifest; gives a sign of life between files and their chunks.

    Raises:
        CheckpointError: If the manifest is missing or unreadable or names a file outside of the folder, or a file is
            missing or not what it says.
    """
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        for name, expected in files.items():
            if Path(name).is_absolute() or ".." in Path(name).parts:
                raise CheckpointError(f"{folder / MANIFEST}: names {name!r} outside of its folder; delete the folder")
            if _describe(folder / name, sign) != expected:
                raise CheckpointError(f"{folder / name}: is not what its manifest says; delete the folder")
    except FileNotFoundError as error:
        raise CheckpointError(f"{error.filename}: is missing, so this checkpoint does not count") from error
    except OSError as error:
        raise CheckpointError(f"{error.filename}: cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{folder / MANIFEST}: is not a manifest; delete the folder") from error


def newest_complete(folders: Iterable[Path], *, sign: Sign = give_no_sign) -> Path | None:
    """The last of ``folders`` (ascending) that is complete; a broken one falls back to the one before it."""
    for folder in reversed(list(folders)):
        try:
            verify(folder, sign=sign)
        except CheckpointError:
            continue
        return folder
    return None


def remove(folder: Path) -> None:
    """Deletes a folder; its manifest goes first, so that a half-deleted folder no longer counts."""
    (folder / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def _seal(folder: Path, sign: Sign) -> None:
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != MANIFEST]
    files = {path.relative_to(folder).as_posix(): _describe(path, sign) for path in paths}
    sign(long_call=True)  # the kernel writes the files, and says nothing meanwhile
    with ThreadPoolExecutor(MAX_FLUSHES) as pool:  # together, so that a file system's journal is written once for many
        list(pool.map(_fsync, paths))
    manifest = folder / MANIFEST
    manifest.write_text(json.dumps({"files": files}, indent=1), encoding="utf-8")
    _fsync(manifest)
    _fsync(folder)
    sign()


def _describe(path: Path, sign: Sign) -> dict[str, int | str]:
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            sign()
    return {"bytes": path.stat().st_size, "xxh3_128": digest.hexdigest()}


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
