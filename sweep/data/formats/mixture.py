"""Mixture: the rows of several data formats in one training, as ``A+B`` in a study file.

It has no name of its own and no options: it is its parts, with theirs. The share of each is a setting of the trial
(``space.mixture``), which the order of examples obeys.
"""

from __future__ import annotations

from sweep.data.collection import Collection, DocumentView
from sweep.data.formats.format import Columns, Format, Roles


class Mixture(Format):
    """The rows of its formats, one format behind the other; all have columns of the same roles."""

    formats: tuple[Format, ...]

    @property
    def roles(self) -> Roles:
        """Those of its formats."""
        return self.formats[0].roles

    @property
    def parts(self) -> tuple[Format, ...]:
        """Its formats."""
        return self.formats

    def make(self, collection: Collection, document: DocumentView) -> Columns:
        """The columns of its formats, joined."""
        made = [part.make(collection, document) for part in self.formats]
        return {column: [text for columns in made for text in columns[column]] for column in self.roles}
