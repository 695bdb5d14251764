"""The collection of a study: what it names, with the queries that were generated for it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from sweep.data.collection import Collection
from sweep.data.formats import choose_format
from sweep.data.formats.format import Format
from sweep.data.recipes import Recipe, add_generated
from sweep.data.sources import load_collection
from sweep.errors import CollectionError
from sweep.settings.study_file import StudySpec


def list_recipes(formats: Iterable[Format]) -> list[Recipe]:
    """The recipes of some data formats and of the parts of mixtures, each once."""
    recipes = {part.label: part.recipe for known in formats for part in known.parts}
    return [recipe for recipe in recipes.values() if recipe is not None]


def load_study_collection(spec: StudySpec, *, folder: Path, content: str | None = None) -> Collection:
    """Loads the collection of a study, with the queries that were generated for the data formats of its space.

    Args:
        spec: The study file.
        folder: Its folder.
        content: Hash of the content that the study was planned with; None where any will do.

    Raises:
        CollectionError: If the collection cannot be loaded, is another one on this machine, or queries have still to be
            generated.
    """
    recipes = list_recipes(choose_format(spec, name) for name in spec.space.data_format)
    collection = add_generated(load_collection(spec.data, folder=folder), recipes, spec, folder=folder)
    if content is not None and collection.content_hash != content:
        raise CollectionError(
            f"{collection.name}: is another version on {os.uname().nodename} ({collection.content_hash[:12]}) than the"
            f" one that the study was planned with ({content[:12]}): put the same one there, and run it again"
        )
    return collection
