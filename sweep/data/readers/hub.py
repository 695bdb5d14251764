"""`hub:NAME`: a data set on the Hugging Face hub, at one revision, streamed into the cache as JSON lines."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweep.data.cache import cache_folder, fill_cached
from sweep.data.readers.configurations import choose_configurations
from sweep.data.readers.reader import RemoteReader
from sweep.errors import CollectionError, reason_of

_NAME = re.compile(r"(?P<name>[\w.-]+(/[\w.-]+)?)(@(?P<revision>[^@#]+))?(#(?P<part>[^@#]+))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class HubSource:
    """A data set's name, its revision (empty for the newest), and the part of it that is meant (empty for all)."""

    name: str
    revision: str
    part: str

    def __str__(self) -> str:
        """The source as a study file names it, behind the scheme."""
        revision, part = (f"{mark}{value}" if value else "" for mark, value in (("@", self.revision), ("#", self.part)))
        return f"{self.name}{revision}{part}"


class Hub(RemoteReader):
    """``hub:NAME@REVISION``, or ``hub:NAME@REVISION#PART`` of a data set with several collections.

    The token is that of the hub's own tools: ``HF_TOKEN``, or a login.
    """

    name = "hub"
    usage = "hub:NAME@REVISION"

    def pin(self, source: str) -> str:
        """The source at the commit that its revision is now; offline, at the one that it was when last asked."""
        wanted = _parse(source)
        return str(HubSource(wanted.name, _resolve(wanted), wanted.part))

    def fetch(self, source: str) -> Path:
        """Folder in the cache with a file CONFIGURATION/SPLIT.jsonl.gz of each split; the manifest lies beside it."""
        wanted = _parse(self.pin(source))
        place = Path("hub", wanted.name, "-".join(filter(None, (wanted.revision, re.sub(r"\W", "_", wanted.part)))))
        return fill_cached(place, lambda folder: _stream(wanted, folder / "data")) / "data"

    def describe(self, source: str) -> str:
        """The data set and its commit."""
        wanted = _parse(self.pin(source))
        return f"{wanted.name} on the hub at revision {wanted.revision}"


def _parse(source: str) -> HubSource:
    match = _NAME.fullmatch(source)
    if match is None or ".." in source:
        raise CollectionError(f"collection 'hub:{source}' names no data set; write {Hub.usage}")
    return HubSource(match["name"], match["revision"] or "", match["part"] or "")


def _resolve(wanted: HubSource) -> str:
    """The commit of a revision; where the hub cannot be reached, the one that it was when last asked."""
    if _COMMIT.fullmatch(wanted.revision):
        return wanted.revision
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    known = cache_folder() / "hub" / wanted.name / f"{wanted.revision or 'newest'}.revision".replace("/", "_")
    try:
        commit = str(HfApi().dataset_info(wanted.name, revision=wanted.revision or None, timeout=_TIMEOUT_S).sha)
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise _refusal(wanted, error) from error
    except _failures() as error:
        if known.is_file() and _COMMIT.fullmatch(last := known.read_text(encoding="ascii")):
            return last
        raise _refusal(wanted, error) from error
    try:
        known.parent.mkdir(parents=True, exist_ok=True)
        known.write_text(commit, encoding="ascii")
    except OSError as error:
        raise CollectionError(
            f"{known}: cannot be written ({error.strerror or error}): set SWEEP_CACHE to a folder that can"
        ) from error
    return commit


def _stream(wanted: HubSource, folder: Path) -> None:
    """Writes the rows of every split of the configurations that make the collection."""
    for configuration, split, rows in _open_splits(wanted):
        (folder / configuration).mkdir(parents=True, exist_ok=True)
        with gzip.open(folder / configuration / f"{split}.jsonl.gz", "wt", 1, encoding="utf-8") as file:
            for row in rows:
                file.write(json.dumps(row, default=str) + "\n")


def _open_splits(wanted: HubSource) -> Iterator[tuple[str, str, Iterator[Mapping[str, Any]]]]:
    """Configuration, name and rows of every split that belongs to the collection."""
    import datasets

    datasets.disable_progress_bars()  # the watchers of a run own the terminal
    at = {"revision": wanted.revision}
    try:
        names = datasets.get_dataset_config_names(wanted.name, **at)
        chosen = choose_configurations(names, part=wanted.part, source=f"hub:{wanted}")
        splits = [
            (name, split) for name in chosen for split in datasets.get_dataset_split_names(wanted.name, name, **at)
        ]
        for name, split in splits:
            rows = datasets.load_dataset(wanted.name, name, split=split, streaming=True, **at)
            yield name, split, _told(wanted, name, split, iter(rows))
    except _failures() as error:
        raise _refusal(wanted, error) from error


def _told(wanted: HubSource, name: str, split: str, rows: Iterator[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """The rows of a split, with what goes wrong in fetching them told by the place."""
    number = 0
    try:
        for row in rows:
            yield row
            number += 1
    except _failures() as error:
        raise _refusal(wanted, error, place=f" ({name}, {split}) after row {number}") from error


def _failures() -> tuple[type[Exception], ...]:
    """What the hub's libraries raise where something cannot be fetched, and their HTTP client, whose name changes."""
    import datasets
    from huggingface_hub.errors import HfHubHTTPError

    return (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError, *HfHubHTTPError.__bases__)


def _refusal(wanted: HubSource, error: Exception, *, place: str = "") -> CollectionError:
    """Why a data set cannot be read: the reason in one line, and what to do where the hub knows or shows it not."""
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    if isinstance(error, RevisionNotFoundError):
        return CollectionError(f"hub:{wanted}: there is no such revision of it")
    response = getattr(error, "response", None)
    is_hidden = isinstance(error, HfHubHTTPError) and getattr(response, "status_code", 0) in (401, 403, 404)
    if isinstance(error, RepositoryNotFoundError) or is_hidden or type(error).__name__ == "DatasetNotFoundError":
        return CollectionError(
            f"hub:{wanted}: there is no such data set, or it needs a login or its terms accepted: check the name, and"
            " set HF_TOKEN or run hf auth login"
        )
    return CollectionError(f"hub:{wanted}{place}: cannot be read: {reason_of(error)}")
