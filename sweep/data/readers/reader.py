"""Reader: the interface of a kind of source, and that of a layout of files."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from sweep.data.collection import RawCollection
from sweep.data.readers.listing import Listing
from sweep.errors import CollectionError
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

    def pin(self, source: str) -> str:
        """The source with the revision that it has now, where it can change behind its name; else as it is."""
        return source


class RemoteReader(Reader):
    """Collections elsewhere: fetched once a revision, and then read by their layout like a path."""

    def pin(self, source: str) -> str:
        """The source with the revision that it has now."""
        raise NotImplementedError

    def fetch(self, source: str) -> Path:
        """Folder of the source's files, fetched where they are not here yet.

        Raises:
            CollectionError: If there is no such source, it cannot be reached, or the files cannot be written.
        """
        raise NotImplementedError

    def describe(self, source: str) -> str:
        """A sentence on what was fetched, with its revision."""
        raise NotImplementedError


class LayoutReader(Reader):
    """A layout of files, told by a look at their names and first records.

    Attributes:
        place: Place in the order in which layouts are asked for a path whose layout nobody named; the first that takes
            it reads it.
        shape: The layout in a few words, for the message about a path that no layout takes.
    """

    place: ClassVar[int]
    shape: ClassVar[str]

    def takes(self, listing: Listing) -> bool:
        """Whether files are of this layout, by names, suffixes and first records alone."""
        raise NotImplementedError

    def resembles(self, listing: Listing) -> bool:  # noqa: ARG002 - most layouts are there or are not
        """Whether files look like this layout but for something missing, which reading them will name."""
        return False

    def read_files(self, listing: Listing) -> RawCollection:
        """Reads the files of a listing, with notes on which was taken for what.

        Raises:
            CollectionError: If they are not of this layout, or cannot be read.
        """
        raise NotImplementedError

    def read(self, source: str, *, folder: Path) -> RawCollection:
        """Reads a folder or file of this layout."""
        if not source:
            raise CollectionError(f"collection '{self.name}:' names no folder or file; write {self.usage}")
        return self.read_listing(Listing(folder / Path(source).expanduser()))

    def read_listing(self, listing: Listing) -> RawCollection:
        """Reads the files of a listing, and refuses them where they changed meanwhile."""
        contents = self.read_files(listing)
        listing.check_unchanged()
        return contents
