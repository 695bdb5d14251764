from __future__ import annotations

from pathlib import Path

import pytest
from model_kinds import KINDS

from sweep.training.models import load_model
from sweep.training.token_counts import MAX_TEXTS, count_tokens


def test_documents_are_counted_with_special_tokens_and_cut_ones_are_known(tiny_model: Path) -> None:
    model = load_model(tiny_model, device="cpu")
    model.max_seq_length = 12
    short, long = "abc def", "abcdefgh " * 3
    lengths = [len(model.tokenizer(text)["input_ids"]) for text in (short, long)]
    assert lengths[0] < 12 < lengths[1]
    counts = count_tokens(model, documents=[short, short, long], queries=["abc"])
    assert counts is not None
    assert (counts.documents, counts.median, counts.limit) == (3, lengths[0], 12)
    assert counts.cut == pytest.approx(1 / 3)
    assert counts.unknown == 0.0


def test_a_text_of_just_the_limit_is_not_cut(tiny_model: Path) -> None:
    model = load_model(tiny_model, device="cpu")
    text = "abcdefgh"
    model.max_seq_length = len(model.tokenizer(text)["input_ids"])
    counts = count_tokens(model, documents=[text], queries=[])
    assert counts is not None
    assert counts.cut == 0.0
    model.max_seq_length -= 1
    cut = count_tokens(model, documents=[text], queries=[])
    assert cut is not None
    assert cut.cut == 1.0


def test_unknown_tokens_of_documents_and_queries_are_counted_among_their_own(tiny_model: Path) -> None:
    model = load_model(tiny_model, device="cpu")
    counts = count_tokens(model, documents=["a \u6f22"], queries=["\u6f22 \u5b57"])
    assert counts is not None
    assert counts.unknown == pytest.approx(3 / 4)


def test_many_documents_are_counted_in_part(tiny_model: Path) -> None:
    model = load_model(tiny_model, device="cpu")
    counts = count_tokens(model, documents=["a"] * (MAX_TEXTS + 1), queries=["a"])
    assert counts is not None
    assert counts.documents <= MAX_TEXTS
    assert count_tokens(model, documents=[], queries=["a"]) is None


@pytest.mark.parametrize(
    "name", ["prompts", "Router, static and BERT", "Router, two encoders", "StaticEmbedding", "T5"]
)
def test_tokens_of_every_kind_of_model_are_counted(name: str, tmp_path: Path) -> None:
    write, _ = KINDS[name]
    write(tmp_path)
    model = load_model(tmp_path / "model", device="cpu")
    counts = count_tokens(model, documents=["abc def", "abc"], queries=["abc"])
    assert counts is not None
    assert 3 <= counts.median <= 20
