"""Recipe: the generators and gates of a data format, the documents that it asks for, and the queries that it made."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweep.data.answers import read_answers
from sweep.data.cache import cache_folder
from sweep.data.collection import Collection
from sweep.data.gates import GateSpec, Passage
from sweep.data.generated import Generated, GeneratedQuery
from sweep.data.generators.generator import Generator, hash_document, hash_facts, identify_generator
from sweep.data.leaks import find_document_leaks
from sweep.data.lengths import spread
from sweep.data.preparation import group_documents
from sweep.errors import CollectionError
from sweep.output_files import write_output
from sweep.settings.study_file import ModelSpec, StudySpec

SHOWN = 20
"""Queries that are kept to be looked at, of those that a gate kept and of those that it rejected."""

MAX_CHARACTERS = 500
"""Characters of a rejected answer that are kept to be looked at."""

_VERSION = 1
"""Version of how queries are made of answers, and part of their identity."""


@dataclass(frozen=True)
class Recipe:
    """How the queries of a data format are made.

    Attributes:
        label: Name of the data format in the study.
        generators: Its generators.
        gates: Its gates.
        documents: Documents to generate for, a seeded sample of those that are open; None for all.
        is_evaluated: Whether dev and test are made of its queries; else they are trained on.
    """

    label: str
    generators: Sequence[Generator]
    gates: GateSpec
    documents: int | None = None
    is_evaluated: bool = False

    @property
    def title(self) -> str:
        """What its queries are for, for a person."""
        return f"{self.label}, for dev and test" if self.is_evaluated else self.label

    @property
    def needs_model(self) -> bool:
        """Whether the untrained model takes part in the gates."""
        return self.gates.round_trip is not False and self.gates.round_trip.by == "model"


def find_askable(collection: Collection, spec: StudySpec, recipe: Recipe) -> list[str]:
    """Ids, ascending, of the documents that queries are generated for.

    Those of a recipe for dev and test are held out for these. Others have a text and may be trained on; none is judged
    for dev or test, at whatever grade, even where a study keeps leaks. Documents that no other format trains on are not
    among the collection's leaks, and are looked through here. A sample of them depends on their content alone, so that
    a larger one holds the smaller.
    """
    if recipe.is_evaluated:
        found = sorted(collection.evaluated_documents())
    else:
        found = sorted({*collection.open_documents()} - collection.evaluated_documents())
        if spec.data.split.leaks == "leave-out" and spec.data.rules > 1:
            leaks = _find_unsearched_leaks(collection, spec, found)
            found = [name for name in found if name not in leaks]
    most = recipe.documents
    if most is not None and most < len(found):
        found = sorted(found, key=lambda name: hash_facts([name, hash_document(collection.documents[name])]))[:most]
    return sorted(found)


def _find_unsearched_leaks(collection: Collection, spec: StudySpec, names: Sequence[str]) -> set[str]:
    """Documents that leak, among those in which the collection's leaks were not looked for."""
    searched = {*collection.training_documents(), *(document for _, document in collection.training_judgements())}
    if not {*names} - searched:
        return set()
    leaks = find_document_leaks(
        {name: document.text for name, document in collection.documents.items()},
        {name: document.title for name, document in collection.documents.items()},
        answers=collection.evaluated_documents(relevant=True),
        trainable={*names} - searched,
        groups=group_documents(collection.documents, spec.data.split),
    )
    return set().union(*leaks.values())


def answer_path(facts: Mapping[str, Any]) -> Path:
    """The file of the answers that follow from some facts; see `identify_generator`."""
    return cache_folder() / "queries" / f"{facts['generator']}-{hash_facts(facts)[:16]}.jsonl"


@dataclass(frozen=True)
class Missing:
    """Documents for which a generator has not answered yet, of all that are asked for."""

    documents: Sequence[str]
    of: int


def find_missing(
    collection: Collection, generator: Generator, names: Sequence[str], *, base: ModelSpec, folder: Path
) -> Missing:
    """The documents among some that a generator has still to answer for; see `Generator.identify_model`."""
    answered = read_answers(answer_path(identify_generator(generator, base, folder=folder)))
    return Missing([name for name in names if hash_document(collection.documents[name]) not in answered], len(names))


def collect_queries(
    collection: Collection, recipe: Recipe, names: Sequence[str], *, base: ModelSpec, folder: Path
) -> list[GeneratedQuery]:
    """The queries of all generators for some documents, as they were answered, by document; no gate has seen them."""
    facts = [identify_generator(each, base, folder=folder) for each in recipe.generators]
    answers = [read_answers(answer_path(each)) for each in facts]
    queries = []
    for name in names:
        content = hash_document(collection.documents[name])
        for place, generator in enumerate(recipe.generators):
            queries += [
                GeneratedQuery(name, generator.clean(answer), place) for answer in answers[place].get(content, ())
            ]
    return queries


def queries_path(collection: Collection, recipe: Recipe, spec: StudySpec, *, folder: Path) -> Path:
    """The file of the queries that a recipe makes of a collection, which is named after all that they follow from."""
    plain = dataclasses.replace(collection, generated={}) if collection.generated else collection
    facts = {
        "version": _VERSION,
        "collection": plain.content_hash,
        "generators": [identify_generator(each, spec.model, folder=folder) for each in recipe.generators],
        "gates": recipe.gates.model_dump(mode="json"),
        "documents": recipe.documents,
        "document": spec.data.document,
        "leaks": spec.data.split.leaks,
        "model": spec.model.model_dump(mode="json") if recipe.needs_model else None,
        **({"is_evaluated": True} if recipe.is_evaluated else {}),
    }
    return cache_folder() / "queries" / f"passed-{hash_facts(facts)[:24]}.json"


def write_queries(
    path: Path, recipe: Recipe, answers: Sequence[GeneratedQuery], passages: Sequence[Passage], *, documents: int
) -> None:
    """Writes the queries that passed all gates, and what each gate did; completely or not at all.

    Raises:
        CollectionError: If no query passed, with what each gate took, or the file cannot be written.
    """
    kept = passages[-1].kept if passages else answers
    if not kept:
        took = ", ".join(f"{passage.gate.name} {len(passage.rejected):,}" for passage in passages if passage.rejected)
        raise CollectionError(
            f"{recipe.title}: no query is left of {len(answers):,} for {documents:,} documents"
            + (f"; the gates took: {took}" if took else "")
        )
    stored = {
        "documents": documents,
        "answers": len(answers),
        "made_by": [generator.describe() for generator in recipe.generators],
        "gates": [_describe_passage(passage) for passage in passages],
        "queries": [[query.document, query.text, query.generator] for query in kept],
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_output(path, json.dumps(stored))
    except OSError as error:
        raise CollectionError(
            f"{path}: cannot be written ({error.strerror}): what was answered stands; fix that and run it again"
        ) from error


def _describe_passage(passage: Passage) -> dict[str, Any]:
    """What a gate did, with some of the queries that it kept and rejected, evenly spread."""
    kept = [passage.kept[place] for place in spread(len(passage.kept), SHOWN)]
    rejected = [passage.rejected[place] for place in spread(len(passage.rejected), SHOWN)]
    return {
        "name": passage.gate.name,
        "label": passage.gate.label,
        "kept": len(passage.kept),
        "rejected": len(passage.rejected),
        "examples": {
            "kept": [[query.document, query.text[:MAX_CHARACTERS], query.generator, ""] for query in kept],
            "rejected": [
                [query.document, query.text[:MAX_CHARACTERS], query.generator, reason] for query, reason in rejected
            ],
        },
    }


def read_queries(path: Path) -> dict[str, Any]:
    """What was written of generated queries and their gates.

    Raises:
        CollectionError: If it cannot be read.
    """
    try:
        stored: dict[str, Any] = json.loads(path.read_bytes())
        return stored
    except (OSError, ValueError) as error:
        raise CollectionError(
            f"{path}: cannot be read ({error}): delete it, and `sweep generate` writes it anew"
        ) from error


def add_generated(collection: Collection, recipes: Sequence[Recipe], spec: StudySpec, *, folder: Path) -> Collection:
    """A collection with the generated queries of some recipes.

    Raises:
        CollectionError: If queries have still to be generated, which it says in counts.
    """
    generated = {}
    for recipe in recipes:
        path = queries_path(collection, recipe, spec, folder=folder)
        if not path.exists():
            raise CollectionError(describe_missing(collection, recipe, spec, folder=folder))
        stored = read_queries(path)
        generated[recipe.label] = Generated(
            queries=tuple(GeneratedQuery(*query) for query in stored["queries"]),
            documents=stored["documents"],
            answers=stored["answers"],
            rejected={gate["name"]: gate["rejected"] for gate in stored["gates"]},
            made_by=tuple(stored["made_by"]),
        )
    return dataclasses.replace(collection, generated=generated) if generated else collection


def describe_missing(collection: Collection, recipe: Recipe, spec: StudySpec, *, folder: Path) -> str:
    """What has still to be done before a data format can train on its queries."""
    names = find_askable(collection, spec, recipe)
    missing = [
        find_missing(collection, generator, names, base=spec.model, folder=folder) for generator in recipe.generators
    ]
    parts = [
        f"{generator.describe()} has not answered for {len(each.documents):,} of {each.of:,} documents"
        for generator, each in zip(recipe.generators, missing, strict=True)
        if each.documents
    ]
    said = "; ".join(parts) or "its answers have not gone through its gates"
    return f"{recipe.title}: {said}; `sweep generate` makes its queries, and goes on where it was stopped"
