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
"""The part of a column in a loss: the text that asks, the text to find, and a text that must not be found."""

Prompt = Literal["query", "document"]

Roles = Mapping[str, Role]
"""Role of each column by its name."""

TASKS: tuple[Prompt, ...] = get_args(Prompt)
"""What a text is to a model: its prompts, and its routes where it has some, go by this."""

ROLES: tuple[Role, ...] = get_args(Role)
"""Every role, in the order in which losses take their columns."""

PROMPTS: Mapping[Role, Prompt] = {"anchor": "query", "positive": "document", "negative": "document"}
"""The prompt of the texts of a column, where the model has one: the one that they are evaluated with."""

PAIR: Roles = {"anchor": "anchor", "positive": "positive"}


def columns_of(roles: Roles, *wanted: Role) -> tuple[str, ...]:
    """Names of the columns with one of the roles, in the order of ``wanted``."""
    return tuple(column for role in wanted for column, given in roles.items() if given == role)


@dataclass(frozen=True)
class Need:
    """Something that a format needs of a collection; ``text`` names it to a user whose collection lacks it."""

    text: str
    is_met: Callable[[Collection], bool]


TITLES = Need(
    "documents with a title and a text that are not held out",
    lambda collection: any(True for _ in collection.training_documents()),
)
JUDGEMENTS = Need(
    "relevant judgements in the train split", lambda collection: any(True for _ in collection.training_judgements())
)


class Format(Entry):
    """A data format; its fields are its options, which a study file sets in its table ``[formats.NAME]``."""

    needs: ClassVar[tuple[Need, ...]]

    @property
    def roles(self) -> Roles:
        """Role of each column that it makes. Prompts, memory, sorting and the validation loss follow from them."""
        return PAIR

    def make(self, collection: Collection, document: DocumentView) -> Columns:
        """A column, which may be empty, for each role, from the train split alone; equal for equal collections.

        Only `Collection.training_documents` and ``training_judgements`` may be trained on.
        """
        raise NotImplementedError
