"""Format: how a collection becomes training columns, and what each column is to a loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from sweep.data.collection import Collection, DocumentView
from sweep.settings.entries import Entry

Columns = dict[str, list[str]]
"""Equally long columns by name, in the order in which a loss takes them; a row is one training example."""

Role = Literal["anchor", "positive", "negative"]
"""The part of a column in a loss: what is looked for, what is to be found, and what must not be found."""

Roles = Mapping[str, Role]
"""Role of each column by its name."""

ROLES: tuple[Role, ...] = get_args(Role)
"""Every role, in the order in which losses take their columns."""

PROMPTS: Mapping[Role, Literal["query", "document"]] = {
    "anchor": "query",
    "positive": "document",
    "negative": "document",
}
"""Whose prompt the texts of a column have, where the model has one: the one that they are evaluated with."""

PAIR: Roles = {"anchor": "anchor", "positive": "positive"}


def columns_of(roles: Roles, *wanted: Role) -> tuple[str, ...]:
    """Names of the columns with one of the roles, in the order of ``wanted``."""
    return tuple(column for role in wanted for column, found in roles.items() if found == role)


@dataclass(frozen=True)
class Need:
    """Something that a format needs of a collection.

    Attributes:
        text: Its name, for the message to a user whose collection lacks it.
        is_met: Whether a collection has it.
    """

    text: str
    is_met: Callable[[Collection], bool]


TITLES = Need(
    "documents with a title and a text that are not held out",
    lambda collection: any(True for _ in collection.training_documents()),
)
JUDGEMENTS = Need(
    "relevant judgements in the train split",
    lambda collection: any(True for _ in collection.training_judgements()),
)


class Format(Entry):
    """A data format; its fields are its options, which a study file sets in its table ``[formats.NAME]``.

    Attributes:
        needs: What it needs of a collection.
    """

    needs: ClassVar[tuple[Need, ...]]

    @property
    def roles(self) -> Roles:
        """Role of each column that it makes. Prompts, memory, sorting and the validation loss follow from them."""
        return PAIR

    def make(self, collection: Collection, document: DocumentView) -> Columns:
        """The columns, made out of the train split alone; the same ones for the same collection.

        Args:
            collection: What may be trained on: `Collection.training_documents` and ``training_judgements``.
            document: What of a document is embedded.

        Returns:
            A column for each of the roles; they may be empty.
        """
        raise NotImplementedError
