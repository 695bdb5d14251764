"""Entries: choices of a study file by name, each a class in a file of its own whose fields are its options."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import ValidationError

from sweep.errors import StudyFileError
from sweep.settings.ranges import Table
from sweep.settings.study_file import study_file_error


class Entry(Table):
    """The base of a kind of entry, such as a data format; an instance is an entry with its options chosen.

    A class without a name, by which study files choose it, is no entry.
    """

    name: ClassVar[str]


AnyEntry = TypeVar("AnyEntry", bound=Entry)


def load_entries(package: str, kind: type[AnyEntry]) -> dict[str, type[AnyEntry]]:
    """The entries of one kind by name: every class with a name in a module of the package, in order of the modules.

    A new file in the package is a new entry: no list has to name it.
    """
    path = importlib.import_module(package).__path__
    modules = [importlib.import_module(f"{package}.{module.name}") for module in pkgutil.iter_modules(path)]
    classes = [value for module in modules for value in vars(module).values() if isinstance(value, type)]
    return {entry.name: entry for entry in classes if issubclass(entry, kind) and "name" in vars(entry)}


def check_entry(
    entries: Mapping[str, type[AnyEntry]],
    name: str,
    options: Mapping[str, Any],
    *,
    kind: str,
    file: Path,
    key: str,
    table: str,
) -> AnyEntry:
    """The entry of a name, with its options.

    The rest is for messages: the kind of entry (such as "data format"), the study file, the key of the name in it and
    the table of the options.

    Raises:
        StudyFileError: If there is no such entry, or an option is unknown or invalid.
    """
    if name not in entries:
        raise StudyFileError(file, f"unknown {kind} {name!r}; known: {', '.join(sorted(entries))}", key=key)
    try:
        return entries[name].model_validate(options)
    except ValidationError as error:
        raise study_file_error(file, error, table=entries[name], under=table) from error
