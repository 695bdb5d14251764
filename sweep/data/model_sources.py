"""Where models come from: the hub's cache, or a package that is located and never imported; and their hashes."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path

from sweep.errors import ModelError, reason_of


def fetch_from_hub(name: str, patterns: Sequence[str], *, where: str) -> Path:
    """The folder of a hub id in the local cache, into which what is missing of it is fetched.

    Args:
        name: OWNER/NAME.
        patterns: Patterns of the files that are wanted.
        where: What names it, for messages.

    Raises:
        ModelError: If it is not in the cache, and cannot be fetched.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=list(patterns)))
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError) as error:
        raise ModelError(
            f"{where} {name} is neither in the local hub cache nor can it be fetched ({reason_of(error)});"
            " check the name and the network, or name a folder"
        ) from error


def find_package(module: str) -> Path | None:
    """The folder of an installed package, by its import name; None where it is not installed."""
    found = importlib.util.find_spec(module)
    if found is None or not found.submodule_search_locations:
        return None
    return Path(found.submodule_search_locations[0])


def hash_file(file: Path) -> str:
    """SHA-256 (hex) of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
