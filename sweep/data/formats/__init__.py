"""The data formats, one file each, found by their names: how a collection becomes training columns."""

from __future__ import annotations

from sweep.data.collection import Collection, DocumentView
from sweep.data.formats.format import ROLES, Columns, Format, columns_of
from sweep.errors import CollectionError
from sweep.settings.entries import load_entries
from sweep.settings.study_file import StudySpec

FORMATS = load_entries("sweep.data.formats", Format)
"""Every data format by its name in study files."""


def choose_format(spec: StudySpec, name: str) -> Format:
    """A data format with the options that a study gives it."""
    return FORMATS[name].model_validate(spec.formats.get(name, {}))


def make_columns(collection: Collection, data_format: Format, *, document: DocumentView) -> Columns:
    """The training columns of a collection in a data format, at least one row, in the order in which a loss takes them.

    Raises:
        CollectionError: If the collection lacks what the format needs, or has no row for it.
        ValueError: If the format makes other columns than it has roles for.
    """
    nothing = f"{collection.name}: the train split yields no pair for format {data_format.name!r}"
    leak = collection.left_out or collection.held_out & collection.leaks.all_documents
    advice = '; what leaks out of dev and test is left out: data.split.leaks = "keep" trains on it' if leak else ""
    for need in data_format.needs:
        if not need.is_met(collection):
            raise CollectionError(f"{nothing}, which needs {need.text}{advice}")
    made, roles = data_format.make(collection, document), data_format.roles
    if made.keys() != roles.keys():
        raise ValueError(f"format {data_format.name!r} must make the columns {', '.join(roles)}, got {', '.join(made)}")
    if not all(made.values()):
        raise CollectionError(f"{nothing}{advice}")
    return {column: made[column] for column in columns_of(roles, *ROLES)}
