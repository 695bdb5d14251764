"""Compilation: the texts and tokens of a study, written once and mapped by every process that needs them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from sentence_transformers import SentenceTransformer

from sweep.data.arrow import map_tables, write_tables
from sweep.data.collection import Collection
from sweep.data.compiled import IDENTITY, CompiledCollection, compile_collection, from_tables, to_tables
from sweep.data.formats.format import TASKS, Prompt
from sweep.data.hard_sample import HardDocuments
from sweep.errors import CheckpointError
from sweep.messages import Sign, give_no_sign
from sweep.settings.study_file import StudySpec
from sweep.training.checkpoint import PARTIAL_SUFFIX, publish, verify
from sweep.training.tokens import Tokens, tokenize


@dataclass(frozen=True)
class Compiled:
    """A collection's texts by number, their tokens by task, and the hard documents of its sample, if it is of these."""

    collection: CompiledCollection
    tokens: dict[Prompt, Tokens]
    hard: HardDocuments | None = None


def compile_study(
    spec: StudySpec,
    collection: Collection,
    model: SentenceTransformer,
    *,
    data_formats: Iterable[str],
    hard: HardDocuments | None = None,
    sign: Sign = give_no_sign,
) -> Compiled:
    """Compiles a collection in memory, for trials in some data formats with any model that tokenizes as this one does.

    Raises:
        CollectionError: If the collection has no judged query for dev, or no row for one of the formats.
    """
    sign(long_call=True)  # columns and held-out rows are made of the whole collection
    compiled = compile_collection(spec, collection, data_formats=data_formats, hard=hard.by_split if hard else None)
    return Compiled(compiled, tokenize(model, compiled, sign=sign), hard)


def write_compiled(compiled: Compiled, folder: Path, *, identity: str, sign: Sign = give_no_sign) -> None:
    """Writes what was compiled, and the identity of what it was compiled from, into a folder, atomically."""
    partial = folder.with_name(folder.name + PARTIAL_SUFFIX)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    tokens = {f"tokens-{task}": found.to_table() for task, found in compiled.tokens.items()}
    hard = compiled.hard.to_tables() if compiled.hard else {}
    write_tables(partial, to_tables(compiled.collection) | tokens | hard)
    (partial / IDENTITY).write_text(json.dumps(identity), encoding="ascii")
    publish(partial, folder, sign=sign)


def open_compiled(folder: Path, *, sign: Sign = give_no_sign) -> Compiled:
    """What was compiled into a folder, mapped into memory.

    Raises:
        CheckpointError: If it is not complete.
    """
    verify(folder, sign=sign)
    try:
        tables = map_tables(folder)
        collection = from_tables(tables)
        tokens = {task: Tokens.from_table(tables[f"tokens-{task}"], collection) for task in TASKS}
        return Compiled(collection, tokens, HardDocuments.from_tables(tables))
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise CheckpointError(f"{folder}: cannot be read as a compiled collection ({error}); delete it") from error
