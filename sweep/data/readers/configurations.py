"""Configurations of a hub data set: which of them make one collection, and the files that its README.md gives them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sweep.data.readers.listing import Listing, role_of, split_words
from sweep.errors import CollectionError

_FRONT_MATTER = re.compile(r"\A\ufeff?---\s*\n(.*?)\n---\s*(?:\n|\Z)", re.DOTALL)
_DEFAULT = "default"
_ROLE_WORDS = re.compile(r"[-_ ]*(corpus|queries|query|qrels|documents|docs|default)[-_ ]*", re.IGNORECASE)


def choose_configurations(names: Sequence[str], *, part: str, source: object) -> list[str]:
    """The configurations that make one collection: corpus, queries and judgements, or one of rows.

    ``en-corpus``, ``en-queries`` and ``en-qrels`` (or ``en``) are the part ``en`` of a data set of several; a corpus or
    queries without such a prefix belong to every part.

    Args:
        names: All configurations.
        part: The wanted part or configuration; empty for the only one, or the default.
        source: Name of the data set in messages.

    Raises:
        CollectionError: If there is no such part, or there are several and none is named.
    """
    parts = {name: _ROLE_WORDS.sub("", name) for name in names}
    has_roles = any(role_of(split_words(name)) in ("documents", "queries") for name in names)
    known = list(dict.fromkeys(parts.values() if has_roles else names))
    wanted = part or ("" if has_roles and "" in known else _DEFAULT if _DEFAULT in known else known[0])
    if wanted not in known and part not in names:
        raise CollectionError(f"{source}: has no part {part!r}; known are {', '.join(filter(None, known))}")
    if not part and wanted not in ("", _DEFAULT) and len(known) > 1:
        shown = ", ".join(filter(None, known))
        raise CollectionError(f"{source}: holds several collections, {shown}: name one, as in {source}#{known[0]}")
    if not has_roles or wanted not in known:
        return [wanted if wanted in names else part]
    own = [name for name in names if parts[name] == wanted]
    roles = {role_of(split_words(name)) for name in own}
    shared = [name for name in names if wanted and not parts[name] and role_of(split_words(name)) not in roles]
    return [*own, *shared]


def read_configurations(listing: Listing, *, part: str = "") -> Listing:
    """The files of the configurations that README.md names in its front matter, known by configuration and split.

    Where it names none, all files.

    Raises:
        CollectionError: If the front matter cannot be read, names a file that is not there, or leaves the choice open.
    """
    readme = listing.path / "README.md"
    named = _read_front_matter(readme) if readme in listing.files else {}
    if not named:
        if part:
            raise CollectionError(f"{listing.path}: has no part {part!r}: its README.md names no configurations")
        return listing
    chosen = choose_configurations(list(named), part=part, source=listing.path)
    known: dict[Path, str] = {}
    for name in chosen:
        for split, pattern in _patterns(name, named[name]):
            found = [file for file in _glob(listing.path, pattern) if file in listing.files]
            if not found:
                raise CollectionError(
                    f"{readme}: names {pattern} for configuration {name!r}, and there is no such file"
                )
            known |= {file: f"{name}/{split or file.name}" for file in found}
    return listing.restrict(known)


def _glob(folder: Path, pattern: str) -> list[Path]:
    try:
        return sorted(folder.glob(pattern))
    except (ValueError, NotImplementedError):  # no pattern of files in the folder
        return []


def _read_front_matter(readme: Path) -> dict[str, Mapping[str, Any]]:
    """The entries of ``configs`` by their names."""
    import yaml  # not for the collections that need it not

    try:
        match = _FRONT_MATTER.match(readme.read_text(encoding="utf-8"))
        metadata = yaml.safe_load(match[1]) if match else None
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise CollectionError(f"{readme}: its front matter cannot be read: {' '.join(str(error).split())}") from error
    entries = metadata.get("configs") if isinstance(metadata, dict) else None
    entries = [entry for entry in entries or () if isinstance(entry, dict)]
    return {str(entry.get("config_name", _DEFAULT)): entry for entry in entries}


def _patterns(name: str, entry: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(split, or nothing, and pattern) of every file that a configuration names."""
    files = entry.get("data_files")
    if files is None:
        yield "", f"{str(entry.get('data_dir', name)).strip('/')}/*"
        return
    if isinstance(files, dict):
        files = [{"split": split, "path": paths} for split, paths in files.items()]
    for each in files if isinstance(files, list) else [files]:
        split, paths = (str(each.get("split", "")), each.get("path", ())) if isinstance(each, dict) else ("", each)
        for path in paths if isinstance(paths, list) else [paths]:
            yield split, str(path).lstrip("/")
