"""Collections loaded by the names that study files give them, with their splits."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from sweep.data.collection import (
    EVALUATED,
    SPLITS,
    Collection,
    EvaluationSet,
    Part,
    Qrels,
    RawCollection,
    Split,
    plan_evaluation_set,
)
from sweep.data.merging import divide_queries, merge, merge_raw, prefix_raw, prefix_split
from sweep.data.preparation import fill_in, group_documents, guard
from sweep.data.readers.beir import is_canonical
from sweep.data.readers.configurations import read_configurations
from sweep.data.readers.listing import Listing
from sweep.data.readers.reader import LayoutReader, Reader, RemoteReader
from sweep.data.readers.roles import read_documents
from sweep.data.split import split_by_document
from sweep.errors import CollectionError
from sweep.settings.data_spec import DataSpec, Source
from sweep.settings.entries import load_entries
from sweep.settings.study_file import StudySpec

READERS = load_entries("sweep.data.readers", Reader)
"""Every reader by its scheme."""

LAYOUTS = sorted(
    (reader() for reader in READERS.values() if issubclass(reader, LayoutReader)), key=lambda layout: layout.place
)
"""Layouts of files, in the order in which they are asked for a path."""

EVALUATES_GENERATED = "evaluation.generated_queries"
"""Key of the study file by which a collection without judgements is evaluated on generated queries."""

_ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".7z")

_SCHEME = re.compile(r"[a-z][a-z-]+")


def load_collection(data: DataSpec, *, folder: Path) -> Collection:
    """Loads the collection that a study file names: by a scheme, or as a path whose layout is told by a look at it.

    A collection with one set of judgements, whatever its name, has no splits: it is split by document, as
    ``data.split`` says. Where there is a dev split the authors' splits are taken as they are, an absent train or test
    split being empty. Train and test without dev keep their test; dev is carved by document out of train. ``folder`` is
    the study file's, against which a path is resolved.

    Raises:
        CollectionError: If the collection is unknown, cannot be read, or cannot be split.
    """
    if data.sources:
        return _load_several(data, folder=folder)
    contents = _read(data.collection, folder=folder)
    prepared = contents if data.rules == 1 else fill_in(contents)
    try:
        qrels, held_out = _split(prepared, data)
    except CollectionError as error:
        raise CollectionError(f"{data.collection}: {error}") from error
    collection = Collection(
        name=data.collection,
        documents=prepared.documents,
        queries=prepared.queries,
        qrels={split: qrels.get(split, {}) for split in SPLITS},
        held_out=held_out,
        relevant=data.relevant,
        notes=contents.notes,
    )
    return collection if data.rules == 1 else guard(collection, data.split, source=contents)


def load_unjudged(data: DataSpec, *, folder: Path) -> Collection:
    """Loads a collection in which nothing is judged, with the documents that are held out for dev and test.

    Each of these has a query without a text under its own id, in whose place generated ones come. The split is by
    document, as that of judgements, with the shares, seed and groups of ``data.split``: documents of equal text stay
    together, and what leaks is left out of training.

    Raises:
        CollectionError: If the collection cannot be read or split, or has judgements.
    """
    if data.sources:
        raise CollectionError(f"{EVALUATES_GENERATED} takes one data.collection, not data.train and data.evaluate")
    name = data.collection
    path = folder / Path(name.removeprefix("beir:")).expanduser()
    contents = read_documents(Listing(path)) if path.exists() else _read(name, folder=folder)
    if contents.qrels:
        raise CollectionError(f"{name}: holds judgements: leave {EVALUATES_GENERATED} out")
    prepared = fill_in(contents)
    names = [document for document, content in prepared.documents.items() if content.text.strip()]
    try:
        qrels, held_out = split_by_document(
            prepared.documents,
            dict.fromkeys(names, ""),
            {document: {document: 1} for document in names},
            dev=data.split.dev,
            test=data.split.test,
            seed=data.split.seed,
            groups=group_documents(prepared.documents, data.split),
        )
    except CollectionError as error:
        raise CollectionError(f"{name}: {error}") from error
    collection = Collection(
        name=name,
        documents=prepared.documents,
        queries={},
        qrels={**qrels, "train": {}},
        held_out=held_out,
        notes=contents.notes,
    )
    return guard(collection, data.split, source=contents)


def _load_several(data: DataSpec, *, folder: Path) -> Collection:
    """Loads the sources of a study as one collection, in which each has its name before its ids.

    What a source is used for decides its splits. One to train on alone trains on its train split, or on all of its
    judgements where it has no splits; one to evaluate on alone gives dev and test, and is divided among these where it
    has no splits. Leaks are looked for across all of them.
    """
    contents, collections = [], []
    for source in data.sources:
        read = _read(source.collection, folder=folder)
        prepared = fill_in(read)
        try:
            qrels, held_out = _split_source(prepared, data, source)
        except CollectionError as error:
            raise CollectionError(f"{source.collection}: {error}") from error
        contents.append(prefix_raw(read, source.name))
        collections.append(prefix_split(prepared, source.name, qrels, held_out))
    parts = tuple(Part(name=one.name, trains=one.trains, evaluates=one.evaluates) for one in data.sources)
    merged = merge(collections, parts, relevant=data.relevant)
    return guard(merged, data.split, source=merge_raw(contents))


def _split_source(
    contents: RawCollection, data: DataSpec, source: Source
) -> tuple[Mapping[Split, Qrels], frozenset[str]]:
    """The judgements of one of several sources by split, as far as it is used, and the documents that are held out."""
    if source.trains is not None and source.evaluates is not None:
        return _split(contents, data)
    if source.evaluates is None:
        alone = len(contents.qrels) == 1
        return {"train": next(iter(contents.qrels.values())) if alone else contents.qrels.get("train", {})}, frozenset()
    if len(contents.qrels) > 1:
        theirs, held_out = _split(contents, data)
        return {split: theirs[split] for split in EVALUATED if split in theirs}, held_out
    whole = data.split.dev + data.split.test
    shares: dict[Split, float] = {"dev": data.split.dev / whole, "test": data.split.test / whole}
    (qrels,) = contents.qrels.values()
    return divide_queries(qrels, contents.queries, shares, seed=data.split.seed), frozenset()


def pin_collection(data: DataSpec) -> DataSpec:
    """The same collection by the revision that it has now, where it can change behind its name.

    Raises:
        CollectionError: If its revision cannot be found out.
    """
    update: dict[str, object] = {"collection": _pin(data.collection)}
    for role in ("train", "evaluate"):
        sources = getattr(data, role)
        update[role] = tuple(one.model_copy(update={"collection": _pin(one.collection)}) for one in sources)
    return data.model_copy(update=update)


def _pin(name: str) -> str:
    scheme, _, source = name.partition(":")
    return f"{scheme}:{READERS[scheme]().pin(source)}" if scheme in READERS else name


def plan_judged(spec: StudySpec, collection: Collection, split: Split, *, hard: Sequence[str] = ()) -> EvaluationSet:
    """The queries and documents of a split that a study evaluates models on; see `plan_evaluation_set`.

    Where its sample is of hard documents, which only a study that has begun knows, random ones stand in the place of
    those that are not given: the same queries, and as many documents.
    """
    evaluation = spec.evaluation
    return plan_evaluation_set(
        collection,
        split,
        max_documents=evaluation.max_documents,
        max_queries=evaluation.max_queries,
        seed=spec.data.split.seed,
        hard=hard,
    )


def _read(name: str, *, folder: Path) -> RawCollection:
    scheme, colon, source = name.partition(":")
    reader = READERS.get(scheme) if colon else None
    if reader is not None and issubclass(reader, RemoteReader):
        contents = _read_path(Listing(reader().fetch(source)))
        return replace(contents, notes=(reader().describe(source), *contents.notes))
    if reader is not None and not (scheme == "beir" and source):
        return reader().read(source, folder=folder)
    source = source if scheme == "beir" else name
    path, part = folder / Path(source).expanduser(), ""
    if not path.exists() and "#" in source:
        source, _, part = source.rpartition("#")
        path = folder / Path(source).expanduser()
    known = ", ".join(reader.usage for reader in READERS.values())
    if not path.exists() and scheme != "beir":
        near = difflib.get_close_matches(path.name, _names_in(path.parent), n=1)
        problem = f"is no path ({path})" + (f"; did you mean {near[0]}?" if near else "")
        if colon and _SCHEME.fullmatch(scheme):
            problem = "has an unknown scheme"
        raise CollectionError(f"collection {name!r} {problem}; known are a FOLDER or FILE, {known}")
    return _read_path(Listing(path), part=part, is_beir=scheme == "beir")


def _read_path(listing: Listing, *, part: str = "", is_beir: bool = False) -> RawCollection:
    """Reads a path by the first layout that takes it; under ``beir:`` it is what it is, too, and that is said.

    Of a hub data set with several collections the part of a name is read.
    """
    if part or not is_canonical(listing):
        listing = read_configurations(listing, part=part)
    layout = next((layout for layout in LAYOUTS if layout.takes(listing)), None)
    layout = layout or next((layout for layout in LAYOUTS if layout.resembles(listing)), None)
    if layout is None:
        shapes = "; ".join(layout.shape for layout in LAYOUTS)
        raise CollectionError(
            f"{listing.path}: is of no layout that is read{_hint(listing)}: there lies {listing.contents};"
            f" read are {shapes}"
        )
    contents = layout.read_listing(listing)
    if is_beir and layout.name != "beir":
        return replace(
            contents, notes=(f"{listing.path.name} is not in BEIR's format, and is read as it is", *contents.notes)
        )
    return contents


def _names_in(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except OSError:
        return []


def _hint(listing: Listing) -> str:
    """What was probably meant by a file of no layout."""
    if listing.is_file and listing.path.suffix.lower() in _ARCHIVES:
        return " (an archive: unpack it, and name its folder)"
    if not listing.is_file:
        return ""
    try:
        around = Listing(listing.path.parent)
    except CollectionError:
        return ""
    taking = next((layout for layout in LAYOUTS if layout.takes(around)), None)
    return f" (its folder is: name {around.path})" if taking else ""


def _split(contents: RawCollection, data: DataSpec) -> tuple[Mapping[Split, Qrels], frozenset[str]]:
    """The judgements by split, and the documents that are held out."""
    qrels, split = contents.qrels, data.split
    groups = group_documents(contents.documents, split)

    def divide(judgements: Qrels, test: float) -> tuple[Mapping[Split, Qrels], frozenset[str]]:
        return split_by_document(
            contents.documents,
            contents.queries,
            judgements,
            dev=split.dev,
            test=test,
            seed=split.seed,
            groups=groups,
            relevant=data.relevant,
            any_grade_ties=data.rules == 1,
        )

    if len(qrels) == 1:
        (only,) = qrels.values()
        return divide(only, split.test)
    if unknown := sorted(set(qrels) - set(SPLITS)):
        raise CollectionError(
            f"its judgements {unknown[0]!r} are of no known split; where there are several sets, files or splits must"
            f" be named {', '.join(SPLITS)}"
        )
    theirs: dict[Split, Qrels] = {name: qrels[name] for name in SPLITS if name in qrels}
    if "dev" in theirs:
        return theirs, frozenset()
    carved, held_out = divide(theirs["train"], 0.0)
    return {**carved, "test": theirs["test"]}, held_out
