"""Invented documents and queries, of the word frequencies of a language, taken through every gate."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from invented import invent_texts
from peak_memory import peak_gib

from sweep.data import Document
from sweep.data.gates import GateContext, GateSpec, RoundTripSpec, pass_gates
from sweep.data.generated import GeneratedQuery
from sweep.data.lexical import place_own

HELD = 2_000
"""Queries of dev and test."""

DIMENSIONS = 384
STUDY = Path(__file__).resolve().parents[2] / "studies" / "quickstart.toml"
EXAMPLES = ["move mail to a folder", "list events of a week", "stop a print job"]

Queries = Sequence[GeneratedQuery]


def invent(documents: int) -> tuple[dict[str, Document], list[GeneratedQuery], list[str]]:
    """Documents of 60 words or so, a query for each, and queries of dev and test.

    A query has four words of its document, rarer ones more likely, and two that any text may have; of a hundred queries
    one copies the title, one a span, one another query, one is an example of the prompt and one has markup.
    """
    random = np.random.default_rng(1)
    texts = list(invent_texts(random, documents=documents))
    made: dict[str, Document] = {}
    queries: list[GeneratedQuery] = []
    for place, words in enumerate(texts):
        name = f"d{place:08d}"
        made[name] = Document(" ".join(words[:3]), " ".join(words[3:]))
        queries.append(GeneratedQuery(name, _ask(random, place, words, texts, queries)))
    held = [" ".join(_draw(random, texts[random.integers(documents)])) for _ in range(HELD)]
    return made, queries, held


def _ask(
    random: np.random.Generator, place: int, words: list[str], texts: Sequence[list[str]], queries: Queries
) -> str:
    kind = place % 100
    if kind == 1:
        return " ".join(words[:3])
    if kind == 2:
        return " ".join(words[10:16])
    if kind == 3:
        return queries[random.integers(len(queries))].text
    if kind == 4:
        return EXAMPLES[place % len(EXAMPLES)]
    asked = " ".join([*_draw(random, words), *random.choice(texts[random.integers(len(texts))], size=2)])
    return f"**{asked}**" if kind == 5 else asked


def _draw(random: np.random.Generator, words: list[str]) -> Iterator[str]:
    """Four words of a text; the longer ones, which are the rarer, are more likely."""
    weights = np.array([len(word) ** 2 for word in words], dtype=float)
    yield from (words[place] for place in random.choice(len(words), size=4, p=weights / weights.sum()))


def measure_gates(*, documents: int, by: str) -> dict[str, Any]:
    """Seconds and counts of each gate in a process of its own, and the peak of its memory."""
    code = f"from gated import run_gates; run_gates({documents}, {by!r})"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def run_gates(count: int, by: str) -> None:
    """Takes queries through every gate, and prints what that took as JSON."""
    documents, queries, held = invent(count)
    columns = {name: column for column, name in enumerate(documents)}
    texts = [document.embedded("title-and-text") for document in documents.values()]
    find_lost = _find_lost_by_model if by == "model" else _find_lost_by_words

    def look(asked: Queries, within: int) -> dict[int, str]:
        own = np.array([columns[query.document] for query in asked], dtype=np.int64)
        return dict.fromkeys(find_lost(texts, [query.text for query in asked], own, within), "lost")

    context = GateContext(
        spec=GateSpec(title=True, copied=0.8, round_trip=RoundTripSpec(within=10)),
        documents=documents,
        held=held,
        examples=[EXAMPLES],
        round_trip=look,
    )
    gates = []
    before = peak_gib()
    began, processor = time.perf_counter(), time.process_time()
    for passage in pass_gates(queries, context):
        now, processor_now = time.perf_counter(), time.process_time()
        gates.append([passage.gate.name, now - began, processor_now - processor, len(passage.rejected)])
        began, processor = now, processor_now
    print(json.dumps({"gates": gates, "peak_gib": peak_gib(), "before_gib": before}))


def _find_lost_by_words(texts: list[str], queries: list[str], own: np.ndarray[Any, Any], within: int) -> list[int]:
    ranks = place_own(iter(texts), queries, own=own)
    return np.flatnonzero((ranks < 1) | (ranks > within)).tolist()


def _find_lost_by_model(texts: list[str], queries: list[str], own: np.ndarray[Any, Any], within: int) -> list[int]:
    """By a model that adds up random vectors of words, so that the time is that of the search."""
    from sweep.messages import RoundTripTask
    from sweep.settings.study_file import ModelSpec, load_study
    from sweep.training.round_trip import find_lost_queries

    with tempfile.TemporaryDirectory() as folder:
        _write_model(Path(folder), {word for text in texts for word in text.split()})
        spec = load_study(STUDY)
        task = RoundTripTask(
            spec=spec.model_copy(update={"model": ModelSpec(base=folder)}),
            folder=Path(folder),
            run_folder=Path(folder),
            documents=tuple(texts),
            queries=tuple(queries),
            own=own,
            within=within,
        )
        return find_lost_queries(task, _Silent())


class _Silent:
    """The channel of a job that nobody listens to."""

    def sign(self, *, long_call: bool = False) -> None:
        pass


def _write_model(folder: Path, words: Iterable[str]) -> None:
    """Writes a model of random vectors of words."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, StaticEmbedding
    from tokenizers import Tokenizer, pre_tokenizers
    from tokenizers.models import WordLevel

    numbers = {word: number for number, word in enumerate(["[UNK]", *sorted(words)])}
    tokenizer = Tokenizer(WordLevel(numbers, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    modules = [StaticEmbedding(tokenizer, embedding_dim=DIMENSIONS), Normalize()]
    SentenceTransformer(modules=modules, device="cpu").save(str(folder))
