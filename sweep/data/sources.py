"""Collections loaded by the names that study files give them, with their splits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sweep.data.collection import SPLITS, Collection, Qrels, RawCollection, Split
from sweep.data.preparation import fill_in, group_documents, guard
from sweep.data.readers.reader import Reader
from sweep.data.split import split_by_document
from sweep.errors import CollectionError
from sweep.settings.entries import load_entries
from sweep.settings.study_file import DataSpec, SplitSpec

READERS = load_entries("sweep.data.readers", Reader)
"""Every reader by its scheme."""


def load_collection(data: DataSpec, *, folder: Path) -> Collection:
    """Loads the collection that a study file names.

    A collection with one qrels file, whatever its name, has no splits: it is split by document, as ``data.split``
    says. Where there is a dev split the authors' splits are taken as they are, an absent train or test split being
    empty. Train and test without dev keep their test; dev is carved by document out of train. ``folder`` is the study
    file's, against which ``beir:FOLDER`` is resolved.

    Raises:
        CollectionError: If the collection is unknown, cannot be read, or cannot be split.
    """
    contents = _read(data.collection, folder=folder)
    prepared = contents if data.rules == 1 else fill_in(contents)
    try:
        qrels, held_out = _split(prepared, data.split)
    except CollectionError as error:
        raise CollectionError(f"{data.collection}: {error}") from error
    collection = Collection(
        name=data.collection,
        documents=prepared.documents,
        queries=prepared.queries,
        qrels={split: qrels.get(split, {}) for split in SPLITS},
        held_out=held_out,
    )
    return collection if data.rules == 1 else guard(collection, data.split, source=contents)


def _read(name: str, *, folder: Path) -> RawCollection:
    scheme, _, source = name.partition(":")
    if scheme not in READERS:
        known = ", ".join(reader.usage for reader in READERS.values())
        raise CollectionError(f"collection {name!r} has an unknown scheme; known are {known}")
    return READERS[scheme]().read(source, folder=folder)


def _split(contents: RawCollection, split: SplitSpec) -> tuple[Mapping[Split, Qrels], frozenset[str]]:
    """The judgements by split, and the documents that are held out."""
    documents, queries, qrels = contents.documents, contents.queries, contents.qrels
    groups = group_documents(contents.documents, split)
    if len(qrels) == 1:
        (only,) = qrels.values()
        return split_by_document(
            documents, queries, only, dev=split.dev, test=split.test, seed=split.seed, groups=groups
        )
    if unknown := sorted(set(qrels) - set(SPLITS)):
        raise CollectionError(
            f"qrels/{unknown[0]}.tsv is the file of no known split; several qrels files must be named"
            f" {', '.join(f'{name}.tsv' for name in SPLITS)}"
        )
    theirs: dict[Split, Qrels] = {name: qrels[name] for name in SPLITS if name in qrels}
    if "dev" in theirs:
        return theirs, frozenset()
    carved, held_out = split_by_document(
        documents, queries, theirs["train"], dev=split.dev, test=0.0, seed=split.seed, groups=groups
    )
    return {**carved, "test": theirs["test"]}, held_out
