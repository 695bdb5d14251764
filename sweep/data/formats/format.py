"""Format: how a collection becomes training columns, and what each column is to a loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from pydantic import PrivateAttr

from sweep.data.collection import Collection, DocumentView
from sweep.data.recipes import Recipe
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
    """Something that a format needs of a collection; ``text`` names it to a user whose collection lacks it.

    ``count`` gives how many there are, of how many that could be.
    """

    text: str
    count: Callable[[Collection], tuple[int, int]]

    def is_met(self, collection: Collection) -> bool:
        """Whether there is one."""
        return self.count(collection)[0] > 0

    def say(self, collection: Collection) -> str:
        """The need, and how far a collection meets it."""
        found, of = self.count(collection)
        return f"{self.text} ({found:,} of {of:,})"


TITLES = Need(
    "documents with a title and a text that are not held out",
    lambda collection: (sum(1 for _ in collection.training_documents()), len(collection.documents)),
)
JUDGEMENTS = Need(
    "relevant judgements in the train split",
    lambda collection: (
        sum(1 for _ in collection.training_judgements()),
        sum(map(len, collection.qrels.get("train", {}).values())),
    ),
)
NEGATIVES = Need(
    "train queries with a document that is judged not relevant",
    lambda collection: (
        sum(bool(collection.training_negatives(query)) for query in collection.qrels.get("train", {})),
        len(collection.qrels.get("train", {})),
    ),
)


class Format(Entry):
    """A data format; its fields are its options, which a study file sets in its table ``[formats.NAME]``."""

    needs: ClassVar[tuple[Need, ...]]

    _label: str = PrivateAttr(default="")

    @property
    def label(self) -> str:
        """Its name in the study: that of its kind, with the variant behind it where there is one."""
        return self._label or self.name

    @property
    def roles(self) -> Roles:
        """Role of each column that it makes. Prompts, memory, sorting and the validation loss follow from them."""
        return PAIR

    @property
    def parts(self) -> tuple[Format, ...]:
        """The formats that it mixes; itself where it is no mixture."""
        return (self,)

    @property
    def recipe(self) -> Recipe | None:
        """How the queries that it trains on are generated; None where it generates none."""
        return None

    def make(self, collection: Collection, document: DocumentView) -> Columns:
        """A column, which may be empty, for each role, from the train split alone; equal for equal collections.

        Only `Collection.training_documents`, ``training_judgements``, ``training_negatives`` and ``training_generated``
        may be trained on.
        """
        raise NotImplementedError

    def labelled(self, label: str) -> Format:
        """The same format under the name that it has in a study."""
        self._label = label
        return self
