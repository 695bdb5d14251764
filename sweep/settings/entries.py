"""Entries: what a study file chooses by name, each a class in a file of its own whose fields are its options."""

from __future__ import annotations

import importlib
import pkgutil
from typing import ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict


class Entry(BaseModel):
    """The base of a kind of entry, such as a data format; an instance is an entry with its options chosen.

    Attributes:
        name: The entry's name in study files; a class without one is no entry.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    name: ClassVar[str]


AnyEntry = TypeVar("AnyEntry", bound=Entry)


def load_entries(package: str, kind: type[AnyEntry]) -> dict[str, type[AnyEntry]]:
    """The entries of one kind by name: every class with a name in a module of the package, in order of the modules.

    A new file in the package is a new entry: no list has to name it.
    """
    path = importlib.import_module(package).__path__
    modules = [importlib.import_module(f"{package}.{found.name}") for found in pkgutil.iter_modules(path)]
    classes = [value for module in modules for value in vars(module).values() if isinstance(value, type)]
    return {entry.name: entry for entry in classes if issubclass(entry, kind) and "name" in vars(entry)}
