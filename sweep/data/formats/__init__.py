"""The data formats, one file each, found by their names: how a collection becomes training columns.

A study may have several variants of one format, ``NAME:VARIANT``, each with a table of options, and mixtures, ``A+B``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sweep.data.collection import Collection, DocumentView
from sweep.data.formats.format import ROLES, Columns, Format, columns_of
from sweep.data.formats.mixture import Mixture
from sweep.data.sections import RowSection
from sweep.errors import CollectionError
from sweep.settings.dimensions import MIXTURE
from sweep.settings.entries import load_entries
from sweep.settings.study_file import StudySpec

FORMATS = load_entries("sweep.data.formats", Format)
"""Every data format by its name in study files."""


@dataclass(frozen=True)
class TrainingRows:
    """Training columns, and their rows by where they come from."""

    columns: Columns
    sections: tuple[RowSection, ...]


VARIANT = ":"
"""Sign between the name of a format and that of a variant of it."""


def kind_of(name: str) -> str:
    """Name of the format that a name in a study file is a variant of."""
    return name.partition(VARIANT)[0]


def choose_format(spec: StudySpec, name: str) -> Format:
    """A data format, a variant of one or a mixture of several, with the options that a study gives."""
    return find_format(name, spec.formats)


def find_format(name: str, options: Mapping[str, Mapping[str, Any]]) -> Format:
    """The format with a name in a study file.

    Args:
        name: Its name, with its variant, or names with ``+`` between them.
        options: The options of each name.
    """
    names = name.split(MIXTURE)
    formats = [FORMATS[kind_of(one)].model_validate(options.get(one, {})).labelled(one) for one in names]
    return formats[0] if len(formats) == 1 else Mixture(formats=tuple(formats)).labelled(name)


def make_columns(collection: Collection, data_format: Format, *, document: DocumentView) -> Columns:
    """The training columns of a collection in a data format, at least one row, in the order in which a loss takes them.

    The rows of a mixture are those of its parts, one behind the other.

    Raises:
        CollectionError: If the collection lacks what the format needs, or has no row for it.
        ValueError: If the format makes other columns than it has roles for.
    """
    return make_rows(collection, data_format, document=document).columns


def make_rows(collection: Collection, data_format: Format, *, document: DocumentView) -> TrainingRows:
    """The training columns of a collection by the parts of a data format; see `make_columns`."""
    made, sections = list[Columns](), list[RowSection]()
    for place, part in enumerate(data_format.parts):
        for weight, columns in _make_by_source(collection, part, document):
            made.append(columns)
            rows = len(next(iter(columns.values())))
            sections.append(RowSection(rows, place, len(data_format.parts), weight))
    joined = {column: [text for columns in made for text in columns[column]] for column in made[0]}
    return TrainingRows(joined, tuple(sections))


def _make_by_source(
    collection: Collection, data_format: Format, document: DocumentView
) -> Iterator[tuple[float, Columns]]:
    """The weight and the columns of each source that has rows for a format."""
    if not collection.parts:
        yield 1.0, _make_part(collection, data_format, document)
        return
    errors = []
    for source in collection.parts:
        if source.trains is not None:
            try:
                yield source.trains, _make_part(collection.take(source), data_format, document)
            except CollectionError as error:
                errors.append(str(error))
    if len(errors) == sum(source.trains is not None for source in collection.parts):
        raise CollectionError("; ".join(errors))


def _make_part(collection: Collection, data_format: Format, document: DocumentView) -> Columns:
    nothing = f"{collection.name}: the train split yields no pair for format {data_format.label!r}"
    leak = collection.left_out or collection.held_out & collection.leaks.all_documents
    advice = '; what leaks out of dev and test is left out: data.split.leaks = "keep" trains on it' if leak else ""
    for need in data_format.needs:
        if not need.is_met(collection):
            raise CollectionError(f"{nothing}, which needs {need.say(collection)}{advice}")
    made, roles = data_format.make(collection, document), data_format.roles
    if made.keys() != roles.keys():
        raise ValueError(
            f"format {data_format.label!r} must make the columns {', '.join(roles)}, got {', '.join(made)}"
        )
    if not all(made.values()):
        raise CollectionError(f"{nothing}{advice}")
    return {column: made[column] for column in columns_of(roles, *ROLES)}
