"""MS MARCO's and MIRACL's files: a collection and topics in tables without headers, and TREC's qrels."""

from __future__ import annotations

from sweep.data.collection import RawCollection
from sweep.data.readers.listing import Listing
from sweep.data.readers.reader import LayoutReader
from sweep.data.readers.roles import find_roles, has_header, read_roles
from sweep.errors import CollectionError


class MsMarco(LayoutReader):
    """``ms-marco:FOLDER``: collection.tsv, queries*.tsv and qrels*.tsv, or MIRACL's docs-*.jsonl.gz and topics."""

    name = "ms-marco"
    usage = "ms-marco:FOLDER"
    place = 10
    shape = "collection.tsv, queries*.tsv or topics, and qrels*.tsv (MS MARCO, MIRACL)"

    def takes(self, listing: Listing) -> bool:
        """Whether files of all three roles are there, and documents or queries are in a table without a header."""
        roles = find_roles(listing)
        if not (roles.documents and roles.queries and roles.qrels):
            return False
        try:
            return not all(map(has_header, (roles.documents[0], roles.queries[0])))
        except CollectionError:  # which the layout that takes it will tell
            return False

    def read_files(self, listing: Listing) -> RawCollection:
        """Reads the folder; sets of one split, such as dev and dev.small, are joined."""
        return read_roles(listing, find_roles(listing), layout="MS MARCO or MIRACL files")
