"""A collection compiled for a study: each text once, by number, and in numbers all that trials need of it.

A trial needs the judged texts, the training columns of its data format and the held-out rows of its validation losses.
Here they are made of a collection, and turned into Arrow tables and back, which may lie in memory or be mapped from
files. Their tokens lie beside them (`sweep.training.tokens`).
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from importlib.metadata import version

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from xxhash import xxh3_128_digest

from sweep.data.arrow import Ragged, to_numpy
from sweep.data.collection import EVALUATED, Collection, DocumentView, EvaluationSet, Split, find_judged
from sweep.data.formats import TrainingRows, choose_format, make_rows
from sweep.data.formats.format import PROMPTS, Columns, Prompt, Roles, columns_of
from sweep.data.grades import GradeRows, find_own, grade_rows
from sweep.data.near_texts import TextWords, count_words
from sweep.data.order import IntArray
from sweep.data.sections import RowSection
from sweep.data.sources import plan_judged
from sweep.data.validation import HeldOutRows, plan_held_out
from sweep.settings.dimensions import RETRIEVAL_FORMAT
from sweep.settings.study_file import StudySpec

IDENTITY = "identity.json"
"""File with the identity of what a folder was compiled from, beside the tables."""

_VERSION = 1
"""Version of what is compiled, and part of its identity."""

_LIBRARIES = ("sentence-transformers", "transformers", "tokenizers", "pyarrow")


@dataclass(frozen=True, kw_only=True)
class JudgedTexts:
    """The texts of an evaluation set, of one benchmark, by number, and its grades.

    Attributes:
        documents: (D,) number of each document's text; the documents descend by id.
        queries: (Q,) number of each query's text.
        grades: For each query, its judged documents' grades by column.
        own: (Q,) column of each query that is itself a document; -1 of the others.
        relevant: Grade from which a document is relevant; None for every grade above 0.
        weight: Weight of its mean in the objective, among those of other benchmarks.
    """

    documents: IntArray
    queries: IntArray
    grades: GradeRows
    own: IntArray
    relevant: float | None = None
    weight: float = 1.0


@dataclass(frozen=True, kw_only=True)
class CompiledFormat:
    """The rows of a data format.

    Attributes:
        roles: Role of each column.
        columns: (R,) numbers of the texts of each training column; empty where no trial trains in the format.
        sections: The R rows by where they come from.
        held_out: Rows of its validation loss, by numbers of texts; None where there are none.
    """

    roles: Roles
    columns: Mapping[str, IntArray]
    sections: tuple[RowSection, ...] = ()
    held_out: HeldOutRows[int] | None = None

    def texts_with(self, task: Prompt) -> IntArray:
        """Numbers of the texts that a model is given as queries, or as documents."""
        trained = [numbers for column, numbers in self.columns.items() if PROMPTS[self.roles[column]] == task]
        held_out = list(self.held_out.texts_with(task)) if self.held_out else []
        return np.concatenate([*trained, np.array(held_out, dtype=np.int64)])


@dataclass(frozen=True, kw_only=True)
class CompiledCollection:
    """All that trials of a study need of its collection, but the tokens.

    Attributes:
        texts: (N,) the distinct texts, of the type ``large_string``.
        characters: (N,) their lengths.
        words: The words of those that are documents of a training column.
        formats: The rows of each data format.
        judged: The evaluation sets, one a benchmark, of each split that has a judged query.
    """

    texts: pa.ChunkedArray
    characters: IntArray
    words: TextWords
    formats: Mapping[str, CompiledFormat]
    judged: Mapping[Split, Sequence[JudgedTexts]]

    def texts_with(self, task: Prompt) -> IntArray:
        """Numbers, ascending, of the texts that a model is given as queries, or as documents."""
        sets = [judged for split in self.judged.values() for judged in split]
        judged = [texts.queries if task == "query" else texts.documents for texts in sets]
        found = [*judged, *(rows.texts_with(task) for rows in self.formats.values())]
        return np.unique(np.concatenate(found))

    def take(self, numbers: IntArray) -> list[str]:
        """The texts of some numbers."""
        texts: list[str] = self.texts.take(pa.array(numbers)).to_pylist()
        return texts


class TextNumbers:
    """A numbering of distinct texts in the order in which they come.

    Texts lie one behind the other as they will in Arrow, and are known again by a hash of 128 bits: two of a billion
    texts have the same one with a chance of 1 in 10^20.
    """

    def __init__(self) -> None:
        self._numbers: dict[bytes, int] = {}
        self._text = bytearray()
        self._ends = array("q", [0])

    def number(self, texts: Iterable[str]) -> list[int]:
        """The number of each text."""
        return [self._number(text.encode()) for text in texts]

    def _number(self, text: bytes) -> int:
        digest = xxh3_128_digest(text)
        number = self._numbers.get(digest)
        if number is None:
            number = self._numbers[digest] = len(self._numbers)
            self._text += text
            self._ends.append(len(self._text))
        return number

    def number_format(
        self,
        roles: Roles,
        columns: Columns,
        held_out: HeldOutRows[str] | None = None,
        *,
        sections: tuple[RowSection, ...] = (),
    ) -> CompiledFormat:
        """A data format's columns and held-out rows by numbers of texts."""
        return CompiledFormat(
            roles=roles,
            columns={column: np.array(self.number(texts), dtype=np.int64) for column, texts in columns.items()},
            sections=sections,
            held_out=held_out.replace(self.number) if held_out else None,
        )

    def number_judged(
        self, chosen: EvaluationSet, collection: Collection, *, document: DocumentView
    ) -> tuple[JudgedTexts, ...]:
        """An evaluation set by numbers of texts, benchmark by benchmark."""
        return tuple(self._number_one(one, collection, document) for one in chosen.by_benchmark())

    def _number_one(self, chosen: EvaluationSet, collection: Collection, document: DocumentView) -> JudgedTexts:
        documents = (collection.documents[name].embedded(document) for name in chosen.document_ids)
        queries = (collection.queries[name] for name in chosen.query_ids)
        return JudgedTexts(
            documents=np.array(self.number(documents), dtype=np.int64),
            queries=np.array(self.number(queries), dtype=np.int64),
            grades=grade_rows(chosen),
            own=find_own(chosen),
            relevant=chosen.relevant,
            weight=chosen.blocks[0].weight if chosen.blocks else 1.0,
        )

    def compile(
        self, *, formats: Mapping[str, CompiledFormat], judged: Mapping[Split, Sequence[JudgedTexts]]
    ) -> CompiledCollection:
        """The collection of formats and evaluation sets whose texts have been numbered."""
        buffers = [None, pa.py_buffer(self._ends), pa.py_buffer(self._text)]
        texts = pa.Array.from_buffers(pa.large_string(), len(self._numbers), buffers)
        documents = [
            known.columns[column]
            for known in formats.values()
            for column in columns_of(known.roles, "positive", "negative")
            if column in known.columns
        ]
        chosen = np.unique(np.concatenate([*documents, np.empty(0, dtype=np.int64)]))
        return CompiledCollection(
            texts=pa.chunked_array([texts]),
            characters=pc.utf8_length(texts).to_numpy(),
            words=count_words((texts[number].as_py() for number in chosen.tolist()), chosen),
            formats=formats,
            judged=judged,
        )


def compile_collection(
    spec: StudySpec,
    collection: Collection,
    *,
    data_formats: Iterable[str],
    hard: Mapping[Split, Sequence[str]] | None = None,
) -> CompiledCollection:
    """Compiles a collection for trials in some data formats.

    Args:
        spec: The study.
        collection: Its collection.
        data_formats: Names of the formats.
        hard: Ids of hard documents for each split, where the study's sample is of these.

    Raises:
        CollectionError: If it has no judged query for dev, or no row for one of the formats.
    """
    document, trained = spec.data.document, frozenset(data_formats)
    numbers = TextNumbers()
    sets = {
        split: plan_judged(spec, collection, split, hard=(hard or {}).get(split, ()))
        for split in _judged_splits(collection)
    }
    judged = {split: numbers.number_judged(chosen, collection, document=document) for split, chosen in sets.items()}
    formats = {}
    for name in sorted(trained | {RETRIEVAL_FORMAT}):
        known = choose_format(spec, name)
        rows = make_rows(collection, known, document=document) if name in trained else TrainingRows({}, ())
        held_out = plan_held_out(collection, known, judgements=sets["dev"].qrels, document=document)
        formats[name] = numbers.number_format(known.roles, rows.columns, held_out, sections=rows.sections)
    return numbers.compile(formats=formats, judged=judged)


def identify_compiled(spec: StudySpec, *, base: str, content: str) -> str:
    """SHA-256 (hex) of all that a compiled collection and its tokens follow from.

    Args:
        spec: The study.
        base: Identity of the base model.
        content: Hash of the collection's content.
    """
    facts = {
        "version": _VERSION,
        "libraries": {name: version(name) for name in _LIBRARIES},
        "base": base,
        "model": spec.model.model_dump(mode="json", exclude={"base"}),
        "content": content,
        "document": spec.data.document,
        "sample": [spec.evaluation.max_documents, spec.evaluation.max_queries, spec.data.split.seed],
        "trained": sorted(spec.space.data_format),
        "formats": {name: spec.formats.get(name, {}) for name in sorted({*spec.space.data_format, RETRIEVAL_FORMAT})},
    }
    if spec.evaluation.sample != "random":
        facts["sampled"] = spec.evaluation.sample
    return sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _judged_splits(collection: Collection) -> list[Split]:
    """Dev, and test where it has a query that a model can be evaluated on."""
    return ["dev", "test"] if find_judged(collection, "test") else ["dev"]


def to_tables(compiled: CompiledCollection) -> dict[str, pa.Table]:
    """A compiled collection as Arrow tables by name."""
    words = compiled.words
    tables = {
        "texts": pa.table({"text": compiled.texts, "characters": compiled.characters}),
        "words": pa.table(
            {"text": words.texts, "words": words.words.to_arrow()}
            | {f"band_{place}": band for place, band in enumerate(words.signatures.T)}
        ),
    }
    for place, (name, known) in enumerate(compiled.formats.items()):
        sections = [asdict(section) for section in known.sections]
        facts = {"name": name, "roles": json.dumps(known.roles), "sections": json.dumps(sections)}
        tables[f"format-{place}"] = pa.table(dict(known.columns)).replace_schema_metadata(facts)
        if known.held_out:
            rows = {column: np.array(texts).ravel() for column, texts in known.held_out.texts.items()}
            batch_size = len(next(iter(known.held_out.texts.values()))[0])
            facts = {"batch_size": str(batch_size)}
            tables[f"held-out-{place}"] = pa.table(rows).replace_schema_metadata(facts)
    for split, sets in compiled.judged.items():
        for place, judged in enumerate(sets):
            tables |= _write_judged(f"{split}-{place}", judged)
    return tables


def _write_judged(name: str, judged: JudgedTexts) -> dict[str, pa.Table]:
    columns = Ragged.of([np.array(list(row), dtype=np.int64) for row in judged.grades], np.int64)
    grades = Ragged.of([np.array(list(row.values()), dtype=np.float64) for row in judged.grades], np.float64)
    facts = {"relevant": json.dumps(judged.relevant), "weight": json.dumps(judged.weight)}
    queries = {"text": judged.queries, "own": judged.own, "columns": columns.to_arrow(), "grades": grades.to_arrow()}
    return {
        f"documents-{name}": pa.table({"text": judged.documents}),
        f"queries-{name}": pa.table(queries).replace_schema_metadata(facts),
    }


def from_tables(tables: Mapping[str, pa.Table]) -> CompiledCollection:
    """The compiled collection of Arrow tables, whose arrays lie where the tables do."""
    texts, words = tables["texts"], tables["words"]
    bands = [to_numpy(words[name]) for name in words.column_names if name.startswith("band_")]
    formats = (_read_format(tables, place) for place in range(sum(name.startswith("format-") for name in tables)))
    return CompiledCollection(
        texts=texts["text"],
        characters=to_numpy(texts["characters"]),
        words=TextWords(to_numpy(words["text"]), Ragged.from_arrow(words["words"]), np.stack(bands, axis=1)),
        formats=dict(formats),
        judged={split: _read_split(tables, split) for split in EVALUATED if f"queries-{split}-0" in tables},
    )


def _read_format(tables: Mapping[str, pa.Table], place: int) -> tuple[str, CompiledFormat]:
    table, held_out = tables[f"format-{place}"], tables.get(f"held-out-{place}")
    facts = _facts(table)
    roles: Roles = json.loads(facts["roles"])
    rows = None
    if held_out is not None:
        batch_size = int(_facts(held_out)["batch_size"])
        batches = {name: to_numpy(held_out[name]).reshape(-1, batch_size).tolist() for name in held_out.column_names}
        rows = HeldOutRows({name: tuple(map(tuple, found)) for name, found in batches.items()}, roles)
    columns = {name: to_numpy(table[name]) for name in table.column_names}
    sections = tuple(RowSection(**section) for section in json.loads(facts["sections"]))
    return facts["name"], CompiledFormat(roles=roles, columns=columns, sections=sections, held_out=rows)


def _read_split(tables: Mapping[str, pa.Table], split: Split) -> tuple[JudgedTexts, ...]:
    count = sum(name.startswith(f"queries-{split}-") for name in tables)
    return tuple(_read_judged(tables, f"{split}-{place}") for place in range(count))


def _read_judged(tables: Mapping[str, pa.Table], name: str) -> JudgedTexts:
    queries = tables[f"queries-{name}"]
    columns, grades = Ragged.from_arrow(queries["columns"]), Ragged.from_arrow(queries["grades"])
    return JudgedTexts(
        documents=to_numpy(tables[f"documents-{name}"]["text"]),
        queries=to_numpy(queries["text"]),
        grades=[dict(zip(columns[row].tolist(), grades[row].tolist(), strict=True)) for row in range(len(columns))],
        own=to_numpy(queries["own"]),
        relevant=json.loads(_facts(queries)["relevant"]),
        weight=json.loads(_facts(queries)["weight"]),
    )


def _facts(table: pa.Table) -> dict[str, str]:
    return {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
