from __future__ import annotations

import copy

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sentence_transformers.sentence_transformer.modules import Transformer
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece

from sweep.data.formats.format import TASKS
from sweep.settings.study_file import ModelSpec
from sweep.training import tokens as tokens_module
from sweep.training.bare_tokenizer import PROBES, WordTokenizer
from sweep.training.models import load_base_model, load_model
from sweep.training.tokens import tokenize
from tests.compiled import compile_texts
from tests.model_kinds import KINDS, SPECIALS, VOCABULARY

TEXTS = [*PROBES[2:-1], *(f"{'ab ' * (n % 40)}c{n}" for n in range(60))]


@pytest.fixture
def few_compared(monkeypatch):
    """All but the first 40 texts are left to the bare tokenizer, four at a time, of which two are compared."""
    for name, value in (("COMPARED", 40), ("TOKENIZED_AT_ONCE", 20), ("_BARE_AT_ONCE", 4), ("_COMPARED_OF_EACH", 2)):
        monkeypatch.setattr(tokens_module, name, value)


def assert_tokens_are_those_of_preprocessing(model, task):
    compiled, numbers = compile_texts(TEXTS, task=task)
    found = tokenize(model, compiled)[task]
    for place in range(0, len(TEXTS), 9):
        chosen = numbers[place : place + 9]
        wanted = model.preprocess(TEXTS[place : place + 9], prompt=model.prompts.get(task) or None, task=task)
        made = found.batch(chosen, model)
        assert list(made) == list(wanted)
        assert all(
            (made[key] == value).all() if hasattr(value, "shape") else made[key] == value
            for key, value in wanted.items()
        )
    return found


@pytest.mark.usefixtures("few_compared")
@pytest.mark.parametrize("kind", KINDS)
def test_texts_behind_the_compared_ones_are_tokenized_as_by_the_model(kind, tmp_path):
    write, changes = KINDS[kind]
    write(tmp_path)
    model = load_base_model(ModelSpec(base="model", **changes), tmp_path).model
    for task in TASKS:
        assert assert_tokens_are_those_of_preprocessing(model, task).layout is not None


class Reversing(Transformer):
    """A transformer whose preprocessing changes some texts before they are tokenized."""

    changed = ""

    def preprocess(self, inputs, *arguments, **settings):
        changed = [text[::-1] if self.changed in text else text for text in inputs]
        return super().preprocess(changed, *arguments, **settings)


@pytest.mark.usefixtures("few_compared")
@pytest.mark.parametrize("changed", ["", "UPPER", "c57"])  # all, a probe, and one that is compared among the last
def test_a_preprocessing_that_changes_texts_is_noticed(changed, tiny_model):
    model = load_model(tiny_model, device="cpu")
    model[0].__class__ = type("Changing", (Reversing,), {"changed": changed})
    assert_tokens_are_those_of_preprocessing(model, "document")


BERT = Tokenizer(WordPiece(VOCABULARY, unk_token="[UNK]", max_input_chars_per_word=20))
BERT.add_special_tokens([*SPECIALS])
BERT.normalizer = normalizers.BertNormalizer()
BERT.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
BERT.post_processor = processors.TemplateProcessing(
    single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
)
BERT.enable_truncation(12)

WORDS = ("ab", "cd.e", "[SEP]", "x[MASK]y", "É", "e\u0301", "\u0301", "日本", "Σ", "ΑΣ", "\x1c", "\xa0", "\u2028")
SPACES = (" ", "\n", "\t", "\r\n", "  ")
WRITTEN = st.lists(st.one_of(st.sampled_from(WORDS), st.text(max_size=6), st.sampled_from(SPACES))).map("".join)


@settings(deadline=None, max_examples=300)
@given(st.lists(WRITTEN, min_size=1, max_size=6))
@example(["", " ", "a" * 25, "a b " * 30])
def test_words_tokenized_once_are_what_the_tokenizer_makes_of_the_texts(texts):
    by_words = WordTokenizer.of(BERT)
    assert by_words is not None
    for _ in range(2):  # with words unknown, and known
        found = by_words.tokenize(texts)
        assert [found[row].tolist() for row in range(len(found))] == [each.ids for each in BERT.encode_batch(texts)]


@pytest.mark.parametrize(
    "change",
    [
        lambda tokenizer: setattr(tokenizer, "pre_tokenizer", pre_tokenizers.Metaspace()),
        lambda tokenizer: setattr(tokenizer, "normalizer", normalizers.NFKC()),
        lambda tokenizer: tokenizer.add_tokens(["new york"]),
        lambda tokenizer: tokenizer.enable_truncation(12, direction="left"),
    ],
    ids=["another splitting", "another normalization", "a token with a space", "cut at its beginning"],
)
def test_a_tokenizer_that_does_not_treat_words_by_themselves_is_left_alone(change):
    tokenizer = copy.deepcopy(BERT)
    change(tokenizer)
    assert WordTokenizer.of(tokenizer) is None


def test_known_words_do_not_pile_up(monkeypatch):
    monkeypatch.setattr("sweep.training.bare_tokenizer._KNOWN_WORDS", 10)
    by_words = WordTokenizer.of(BERT)
    texts = [f"a{n} b{n} c{n}" for n in range(50)]
    for text in texts:
        assert by_words.tokenize([text])[0].tolist() == BERT.encode(text).ids
    assert len(by_words._known) <= 13
    np.testing.assert_array_equal(by_words.tokenize(texts).lengths, [len(BERT.encode(text)) for text in texts])
