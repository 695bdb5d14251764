"""Overview: what a study evaluates on and trains on, in counts, lengths and examples for a person."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sweep.data.collection import Collection, DocumentView, EvaluationSet, Split
from sweep.data.formats.format import Columns, Role, Roles
from sweep.data.lengths import CHARACTERS, Counter, Lengths, count_evenly, measure_lengths, share_above, spread
from sweep.data.survey import count_queries


@dataclass(frozen=True)
class Look:
    """How texts are looked at.

    Attributes:
        counter: Measures their lengths besides those in characters.
        limit: Length, in its unit, from which a model does not read on; None where that is not known.
        examples: Rows of a format, and queries of a split, to show.
    """

    counter: Counter
    limit: int | None = None
    examples: int = 3


@dataclass(frozen=True, kw_only=True)
class TextOverview:
    """Some texts of one kind.

    Attributes:
        count: How many there are.
        distinct: How many differ.
        characters: Their lengths in characters.
        lengths: Their lengths in another unit.
        cut: Share of them of which a model does not read the end; None where that is not known.
    """

    count: int
    distinct: int
    characters: Lengths
    lengths: Lengths
    cut: float | None


@dataclass(frozen=True, kw_only=True)
class SplitOverview:
    """What a model is evaluated on in a split.

    Attributes:
        split: Its name.
        benchmark: Name of the collection that it is of, where there are several benchmarks; else empty.
        queries: Its queries that are evaluated on.
        documents: The documents that are ranked.
        judged_queries: Queries that the collection judges for it.
        unanswered: Those of them without a relevant document, which are left out.
        judged_documents: Documents among the ranked that are judged for one of the queries.
        grades: Number of judgements by grade, of the queries that are evaluated on; ascending.
        judged: Judged documents of a query.
        relevant: Relevant documents of a query.
        examples: Texts of some queries, each with one of its relevant documents.
    """

    split: Split
    benchmark: str
    queries: TextOverview
    documents: TextOverview
    judged_queries: int
    unanswered: int
    judged_documents: int
    grades: Mapping[float, int]
    judged: Lengths
    relevant: Lengths
    examples: Sequence[tuple[str, str]]

    @property
    def name(self) -> str:
        """The split, with the benchmark that it is of."""
        return f"{self.split}, {self.benchmark}" if self.benchmark else self.split


@dataclass(frozen=True, kw_only=True)
class FormatOverview:
    """What is trained on in a data format.

    Attributes:
        name: Its name in study files.
        pairs: Its training examples.
        leaking: Examples that give dev or test away: left out, or among the pairs where a study keeps them.
        columns: Its columns by name, with the role of each in the loss, in the order in which it takes them.
        examples: The texts of some of its rows, by column.
    """

    name: str
    pairs: int
    leaking: int
    columns: Mapping[str, tuple[Role, TextOverview]]
    examples: Sequence[Mapping[str, str]]


def view_splits(
    collection: Collection, judged: EvaluationSet, *, split: Split, document: DocumentView, look: Look
) -> list[SplitOverview]:
    """What models are evaluated on in a split, by benchmark where there are several; see `view_split`."""
    parts = {part.name: part for part in collection.benchmarks}
    return [
        view_split(
            collection.take(parts[one.blocks[0].name]) if one.blocks else collection,
            one,
            split=split,
            document=document,
            look=look,
        )
        for one in judged.by_benchmark()
    ]


def view_split(
    collection: Collection, judged: EvaluationSet, *, split: Split, document: DocumentView, look: Look
) -> SplitOverview:
    """What models are evaluated on in a split.

    Args:
        collection: The collection.
        judged: The queries and documents of the split that models are evaluated on.
        split: The split.
        document: The part of a document that is embedded.
        look: What is measured, and how many queries are shown.
    """
    evaluable, every = count_queries(collection, split)
    grades = [grade for each in judged.qrels.values() for grade in each.values()]
    relevant = {
        query: [name for name, grade in each.items() if collection.is_relevant(grade)]
        for query, each in judged.qrels.items()
    }
    shown = [judged.query_ids[place] for place in spread(len(judged.query_ids), look.examples)]
    return SplitOverview(
        split=split,
        benchmark=judged.blocks[0].name if judged.blocks else "",
        queries=view_texts([collection.queries[name] for name in judged.query_ids], look),
        documents=view_texts([collection.documents[name].embedded(document) for name in judged.document_ids], look),
        judged_queries=every,
        unanswered=every - evaluable,
        judged_documents=judged.judged_documents,
        grades=dict(sorted(Tally(grades).items())),
        judged=measure_lengths([len(each) for each in judged.qrels.values()]),
        relevant=measure_lengths(list(map(len, relevant.values()))),
        examples=[
            (collection.queries[query], collection.documents[relevant[query][0]].embedded(document)) for query in shown
        ],
    )


def view_format(name: str, columns: Columns, *, roles: Roles, leaking: int, look: Look) -> FormatOverview:
    """What is trained on in a data format."""
    pairs = len(next(iter(columns.values())))
    return FormatOverview(
        name=name,
        pairs=pairs,
        leaking=leaking,
        columns={column: (roles[column], view_texts(texts, look)) for column, texts in columns.items()},
        examples=[
            {column: texts[place] for column, texts in columns.items()} for place in spread(pairs, look.examples)
        ],
    )


def view_texts(texts: Sequence[str], look: Look) -> TextOverview:
    """Some texts of one kind."""
    lengths = count_evenly(texts, look.counter)
    return TextOverview(
        count=len(texts),
        distinct=len(set(texts)),
        characters=measure_lengths(CHARACTERS.count(texts)),
        lengths=measure_lengths(lengths),
        cut=None if look.limit is None else share_above(lengths, look.limit),
    )
