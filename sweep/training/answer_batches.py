"""What the jobs of generators share: batches of documents that are answered for, longest first, and appended."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from sweep.data.answers import append_answers
from sweep.data.collection import Document
from sweep.data.formats import choose_format
from sweep.data.generators.generator import Generator
from sweep.messages import AnswerTask

Answer = Callable[[Sequence[Document], Sequence[str]], Sequence[Sequence[str]]]
"""Gives the answers for each document of a batch, with the hashes of their contents."""


def find_generator(task: AnswerTask) -> Generator:
    """The generator that a task names."""
    (part,) = choose_format(task.spec, task.data_format).parts
    assert part.recipe is not None
    return part.recipe.generators[task.generator]


def answer_in_batches(task: AnswerTask, answer: Answer, *, batch: int) -> int:
    """Appends the answers for the documents of a task, each batch as it comes, and returns how many documents it has.

    Raises:
        OSError: If the answers cannot be written; those that were stay.
    """
    descriptor = os.open(task.answers, os.O_WRONLY | os.O_APPEND)
    try:
        by_length = sorted(task.documents, key=lambda each: len(each[3]), reverse=True)
        for start in range(0, len(by_length), batch):
            some = by_length[start : start + batch]
            documents = [Document(title, text) for _, _, title, text in some]
            answers = answer(documents, [content for _, content, _, _ in some])
            for (name, content, _, _), found in zip(some, answers, strict=True):
                append_answers(descriptor, content, name, found)
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return len(task.documents)
