from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from model_kinds import KINDS
from sentence_transformers.sentence_transformer.modules import Transformer

from sweep.settings.study_file import ModelSpec
from sweep.training.models import load_model, prepare_base_model
from sweep.training.tokenizer_file import TextLimits, load_token_counter, read_text_limits

TEXTS = ["abc", "what is a 7 z", "", "abcdefgh " * 30]


@pytest.mark.parametrize("kind", KINDS)
def test_a_models_files_say_how_much_it_reads_before_it_is_loaded(kind: str, tmp_path: Path) -> None:
    write, settings = KINDS[kind]
    write(tmp_path)
    left = {name: value for name, value in settings.items() if name == "pad_token"}
    model = prepare_base_model(ModelSpec(base="./model", **left), tmp_path, into=tmp_path / "saved").model
    limits = [module.max_seq_length for module in model.modules() if isinstance(module, Transformer)]
    known = min((int(limit) for limit in limits if limit is not None and limit < 1e9), default=None)
    assert read_text_limits(tmp_path / "model").tokens == known
    assert read_text_limits(tmp_path / "model").is_settable == bool(limits)


def test_tokens_are_counted_as_the_model_makes_them_and_none_is_cut(tiny_model: Path) -> None:
    tokenizer = load_model(tiny_model, device="cpu").tokenizer
    count = load_token_counter(tiny_model)
    assert count is not None
    assert count(TEXTS) == [len(tokenizer(text, truncation=False)["input_ids"]) for text in TEXTS]
    assert max(count(TEXTS)) > read_text_limits(tiny_model).tokens == 32  # type: ignore[operator]
    assert read_text_limits(tiny_model).positions == 64


@pytest.mark.parametrize("content", [None, "{", "[]", "\x00"])
def test_a_tokenizer_that_cannot_be_read_counts_nothing(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)
        (tmp_path / "config.json").write_text(content)
    assert load_token_counter(tmp_path) is None
    assert read_text_limits(tmp_path) == TextLimits(tokens=None, positions=None, is_settable=False)


def test_a_limit_that_is_none_is_none(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "t5"}))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 1e30}))
    assert read_text_limits(tmp_path) == TextLimits(tokens=None, positions=None)


def test_neither_loads_torch(tiny_model: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from sweep.training.tokenizer_file import *;"
        f"folder = Path({str(tiny_model)!r}); load_token_counter(folder)(['abc']); read_text_limits(folder);"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
