"""Reader: the interface of a kind of source."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from sweep.data.collection import RawCollection
from sweep.settings.entries import Entry


class Reader(Entry):
    """A kind of source; its name is the scheme of ``data.collection``, its usage an example for messages."""

    usage: ClassVar[str]

    def read(self, source: str, *, folder: Path) -> RawCollection:
        """Reads a source strictly and as it is; runs no code from it and loads no pickle.

        A single set of judgements is split by `sweep.data.sources`, whatever its name.

        Args:
            source: The part after the scheme and its colon.
            folder: The study file's folder, against which a relative path is resolved.

        Raises:
            CollectionError: If the source is missing or cannot be read; one line with the file, and the line in it.
        """
        raise NotImplementedError
