from __future__ import annotations

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import BoW

from sweep.data.arrow import map_tables, write_tables
from sweep.data.compiled import from_tables, to_tables
from sweep.data.formats.format import TASKS
from sweep.settings.study_file import ModelSpec
from sweep.training.models import load_base_model, load_model
from sweep.training.tokens import TOKENIZED_AT_ONCE, Tokens, tokenize
from tests.compiled import compile_texts
from tests.model_kinds import KINDS

TEXTS = ["a", "abc def", "z" * 90, "one two three", "Ümläut, 日本", *("ab " * n + "cd" for n in range(1, 60))]


def assert_same(made, wanted):
    assert list(made) == list(wanted)
    for key, value in wanted.items():
        if isinstance(value, torch.Tensor):
            assert made[key].dtype == value.dtype
            assert torch.equal(made[key], value), key
        else:
            assert made[key] == value


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_is_exactly_what_the_models_own_preprocessing_gives(kind, tmp_path):
    write, settings = KINDS[kind]
    write(tmp_path)
    model = load_base_model(ModelSpec(base="model", **settings), tmp_path).model
    random = np.random.default_rng(0)
    for task in TASKS:
        compiled, numbers = compile_texts(TEXTS, task=task)
        tokens = tokenize(model, compiled)[task]
        assert tokens.layout is not None  # nothing is left to tokenize
        (tmp_path / task).mkdir()
        write_tables(tmp_path / task, to_tables(compiled) | {"tokens": tokens.to_table()})
        tables = map_tables(tmp_path / task)
        mapped = Tokens.from_table(tables["tokens"], from_tables(tables))
        for size in (1, 5, len(TEXTS)):
            chosen = random.choice(numbers, size=size, replace=False)
            wanted = model.preprocess(
                [TEXTS[text] for text in chosen], prompt=model.prompts.get(task) or None, task=task
            )
            assert_same(tokens.batch(chosen, model), wanted)
            assert_same(mapped.batch(chosen, model), wanted)
            np.testing.assert_array_equal(tokens.lengths(chosen), mapped.lengths(chosen))


def test_texts_whose_batches_cannot_be_put_together_are_tokenized_with_each(tmp_path):
    model = SentenceTransformer(modules=[BoW(vocab=["ab", "cd", "abc"])], device="cpu")
    compiled, numbers = compile_texts(TEXTS)
    tokens = tokenize(model, compiled)["document"]
    assert tokens.layout is None
    write_tables(tmp_path, to_tables(compiled) | {"tokens": tokens.to_table()})
    tables = map_tables(tmp_path)
    mapped = Tokens.from_table(tables["tokens"], from_tables(tables))
    wanted = model.preprocess(TEXTS[3:9], task="document")
    assert_same(tokens.batch(numbers[3:9], model), wanted)
    assert_same(mapped.batch(numbers[3:9], model), wanted)
    assert mapped.lengths(numbers[3:5]).tolist() == [len(text) for text in TEXTS[3:5]]


def test_a_model_that_pads_to_a_multiple_keeps_its_texts(tiny_model):
    model = load_model(tiny_model, device="cpu")
    model[0].processing_kwargs = {"text": {"pad_to_multiple_of": 8}}
    compiled, numbers = compile_texts(TEXTS)
    tokens = tokenize(model, compiled)["document"]
    assert_same(tokens.batch(numbers[:3], model), model.preprocess(TEXTS[:3], task="document"))


def test_padding_that_is_seen_late_is_kept(tiny_model):
    model = load_model(tiny_model, device="cpu")
    texts = [f"{place:04d}" for place in range(TOKENIZED_AT_ONCE)] + ["a", "bcd", "ef"]  # one length first
    compiled, numbers = compile_texts(texts)
    tokens = tokenize(model, compiled)["document"]
    assert tokens.layout is not None
    chosen = numbers[[0, -1, 5, -3]]
    assert_same(tokens.batch(chosen, model), model.preprocess([texts[text] for text in chosen], task="document"))
