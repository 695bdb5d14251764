"""The generator keywords, held against KeyBERT as its users call it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from keybert import KeyBERT
from sentence_transformers import SentenceTransformer

from sweep.data import Document
from sweep.data.generators.keywords import Keywords
from sweep.errors import GeneratorError
from sweep.settings.study_file import ModelSpec

DOCUMENTS = [
    Document("Green tea", "tea is a drink made of leaves of camellia and some like it hot"),
    Document("", "the mail client moves a message into another folder and keeps a copy"),
    Document("Printer", "a print job that has not started can be cancelled by its owner"),
    Document("", "it is not for him"),
]
"""The last one is of stop words alone."""


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> SentenceTransformer:
    return SentenceTransformer(str(tiny_model), device="cpu", local_files_only=True)


def answer(generator: Keywords, model: SentenceTransformer, documents: Sequence[Document]) -> list[list[str]]:
    return generator.answer_all(documents, lambda texts, _: np.asarray(model.encode(list(texts))))


@pytest.mark.parametrize(("diversity", "ngrams"), [(0.0, (1, 1)), (0.5, (1, 1)), (0.9, (1, 3))])
def test_the_keywords_are_those_of_keybert(model, diversity: float, ngrams: tuple[int, int]):
    generator = Keywords(top_n=4, diversity=diversity, keyphrase_ngram_range=ngrams)
    texts = [f"{document.title} {document.text}".strip() for document in DOCUMENTS[:3]]
    settings = {"keyphrase_ngram_range": ngrams, "top_n": 4, "use_mmr": diversity > 0, "diversity": diversity}
    wanted = [[" ".join(word for word, _ in found)] for found in KeyBERT(model).extract_keywords(texts, **settings)]
    assert answer(generator, model, DOCUMENTS[:3]) == wanted
    assert [answer(generator, model, [document])[0] for document in DOCUMENTS[:3]] == wanted  # whatever the batch


def test_several_queries_take_turns_at_the_keywords(model):
    (one,) = answer(Keywords(top_n=6), model, DOCUMENTS[:1])[0]
    first, second = answer(Keywords(top_n=3, queries=2), model, DOCUMENTS[:1])[0]
    assert [first.split(), second.split()] == [one.split()[::2], one.split()[1::2]]
    many = answer(Keywords(top_n=3, queries=30), model, DOCUMENTS[:1])[0]
    assert all(many)
    assert len(set(many)) == len(many)  # a text of few words gives fewer queries


def test_a_document_without_a_word_to_take_gives_no_query(model):
    empty = [DOCUMENTS[3], Document("", ""), Document(" ", "\x00 . -")]
    assert answer(Keywords(), model, empty) == [[], [], []]
    assert answer(Keywords(), model, [DOCUMENTS[0], *empty])[1:] == [[], [], []]
    assert answer(Keywords(stop_words=False), model, empty)[0] != []


def test_words_behind_the_most_are_not_taken(model):
    (query,) = answer(Keywords(max_words=3, top_n=9), model, DOCUMENTS[:1])[0]
    assert set(query.split()) == {"green", "tea"}


def test_the_base_model_and_what_a_study_changes_of_it_identify_the_answers(tiny_model: Path, tmp_path: Path):
    def identify(**changes: object) -> str:
        return Keywords().identify_model(ModelSpec(base=str(tiny_model), **changes), tmp_path)

    assert identify() == identify(max_seq_length=None)
    assert len({identify(), identify(max_seq_length=16), identify(keep_layers=(0,))}) == 3


@pytest.mark.parametrize("ngrams", [(0, 1), (2, 1)])
def test_lengths_that_do_not_ascend_are_refused(ngrams: tuple[int, int]):
    with pytest.raises(ValueError, match=r"keyphrase_ngram_range must ascend from 1, got \["):
        Keywords(keyphrase_ngram_range=ngrams)


def test_where_keybert_is_not_installed_a_line_says_how(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "keybert", None)
    with pytest.raises(GeneratorError, match=r'cannot be imported .*; pip install "retrieval-sweep\[keywords\]"'):
        answer(Keywords(), model, DOCUMENTS)
