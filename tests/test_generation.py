"""The generation of a study's queries by a language model, in jobs of a launcher."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from chat_server import ChatServer, say
from hub_server import COMMIT, serve_hub
from language_model_kinds import write_language_model

import sweep
from sweep.errors import ModelError, SweepError
from sweep.generation import Outcome, Step, generate_queries, plan_generation
from sweep.launch import InlineLauncher
from sweep.signals import StopSignal
from sweep.storage.location import locate_study
from sweep.testing import write_toy_study

NAME = "synthetic-query:model"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SWEEP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def write_study(folder: Path, *, documents: int = 6, **options: object) -> Path:
    generator = {"name": "language-model", "model": "writer", "max_tokens": 8, "batch": 4, **options}
    gates = {"text": False, "words": [1, 9], "script": False}
    return write_toy_study(
        folder,
        script={},
        space={"data_format": NAME, "batch_size": 4},
        formats={NAME: {"generators": [generator], "gates": gates, "documents": documents}},
    )


def generate(file: Path) -> tuple[list[Outcome], list[Step]]:
    steps: list[Step] = []
    with StopSignal() as stop:
        plan = plan_generation(locate_study(file))
        outcomes = generate_queries(plan, show=steps.append, stop=stop, launcher=InlineLauncher())
    return outcomes, steps


def read_answers_of(cache: Path) -> list[str]:
    (file,) = (cache / "queries").glob("language-model-*.jsonl")
    return [json.loads(line)["id"] for line in file.read_text().splitlines()[1:]]


def test_a_model_answers_for_each_document_once_in_whatever_run(tmp_path: Path, cache: Path):
    write_language_model(tmp_path / "writer")
    (outcome,), steps = generate(write_study(tmp_path, temperature=1.5, queries=2))
    assert outcome.documents == 6
    assert outcome.answers == 12
    assert [(step.done, step.of) for step in (steps[0], steps[-1])] == [(0, 6), (6, 6)]
    asked = read_answers_of(cache)
    assert len(asked) == len(set(asked)) == 6

    _, steps = generate(write_study(tmp_path, temperature=1.5, queries=2, documents=10))  # a larger sample holds it
    assert (steps[0].done, steps[-1].done) == (6, 10)
    again = read_answers_of(cache)
    assert again[:6] == asked
    assert len(again) == len(set(again)) == 10
    generate(write_study(tmp_path, temperature=1.5, queries=2, documents=10, batch=1))  # batches change no answer
    assert read_answers_of(cache) == again


LOCATE = """
import sys
from pathlib import Path
from sweep.data.model_folder import locate_language_model
from sweep.errors import ModelError

try:
    found = locate_language_model(sys.argv[1], Path())
    print(found.path, found.identity, found.kind)
except ModelError as error:
    print(error)
"""


def test_a_model_of_the_hub_is_fetched_once_and_known_by_its_revision(tmp_path: Path):
    write_language_model(tmp_path / "hub" / "me" / "writer")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    environment |= {"HF_HOME": str(tmp_path / "hf"), "PYTHONPATH": str(Path(sweep.__file__).parents[1])}

    def locate(name: str, hub: str) -> str:
        words, variables = [sys.executable, "-c", LOCATE, name], {**environment, "HF_ENDPOINT": hub}
        done = subprocess.run(words, env=variables, capture_output=True, text=True, check=True, timeout=300)
        return done.stdout.strip()

    with serve_hub(tmp_path / "hub") as hub:
        path, identity, kind = locate("me/writer", hub).split()
    assert (identity, kind) == (COMMIT, "causal")
    assert locate("me/writer", hub).split() == [path, identity, kind]  # the hub is gone, and not needed
    assert "generator me/other is neither in the local hub cache nor can it be fetched" in locate("me/other", hub)
    (outcome,), _ = generate(write_study(tmp_path, model=path))
    assert outcome.answers == 6


def test_no_kill_loses_an_answer_or_has_one_asked_for_again(tmp_path: Path, cache: Path):
    kills, concurrency = int(os.environ.get("SWEEP_KILLS", "3")), 4
    with ChatServer(lambda _, asked: (time.sleep(0.01 * kills), say(f"what is {asked.split()[-1]}"))[1]) as server:
        generator = {"name": "endpoint", "url": server.url, "model": "m", "concurrency": concurrency}
        space = {"data_format": NAME, "batch_size": 4}
        formats = {NAME: {"generators": [generator]}}
        file = write_toy_study(tmp_path, script={}, space=space, formats=formats)
        script = [sys.executable, str(Path(__file__).with_name("killed_generations.py")), str(file), str(kills), "0.6"]
        subprocess.run(script, check=True, timeout=500)
    (answers,) = (cache / "queries").glob("endpoint-*.jsonl")
    found = [json.loads(line) for line in answers.read_text().splitlines()[1:]]
    assert len(found) == len({one["id"] for one in found}) == 144
    assert len(server.asked) <= 144 + kills * concurrency  # those in flight at a kill were not finished
    assert list((cache / "queries").glob("passed-*.json"))


def test_the_untrained_model_looks_for_the_documents_where_a_study_says_so(tmp_path: Path, tiny_model: Path):
    def count_kept(**gates: object) -> list[int]:
        formats = {NAME: {"generators": ["sampled-span"], "gates": gates, "documents": 40}}
        settings = {"base": str(tiny_model), "max_seq_length": 32}
        space = {"data_format": NAME, "batch_size": 4}
        (outcome,), _ = generate(write_toy_study(tmp_path, model_settings=settings, space=space, formats=formats))
        return [len(passage.kept) for passage in outcome.passages][-2:]

    for within in (1, 20, 240):
        before, kept = count_kept(round_trip={"by": "model", "within": within})
        assert before == 40
        assert kept == 40 if within == 240 else 0 < kept < 40
    assert count_kept(round_trip={"by": "bm25", "within": 1}) == [40, 40]


def write_keywords_study(folder: Path, model: Path, **settings: object) -> Path:
    formats = {NAME: {"generators": [{"name": "keywords", "queries": 2, "top_n": 2, "batch": 16}], "documents": 40}}
    model_settings = {"base": str(model), "max_seq_length": 32, **settings}
    space = {"data_format": NAME, "batch_size": 4}
    return write_toy_study(folder, model_settings=model_settings, space=space, formats=formats)


def test_keywords_are_those_of_the_studys_own_encoder(tmp_path: Path, tiny_model: Path, cache: Path):
    (outcome,), steps = generate(write_keywords_study(tmp_path, tiny_model))
    assert (outcome.documents, outcome.answers) == (40, 80)
    assert (steps[0].done, steps[-1].done) == (0, 40)
    plan = plan_generation(locate_study(tmp_path / "toy.toml"))
    for document, text, _ in plan.read_queries(plan.recipes[0])["queries"]:
        assert {*text.split()} <= {*plan.collection.documents[document].embedded("title-and-text").split()}
    _, again = generate(write_keywords_study(tmp_path, tiny_model))
    assert again[0].done == 40
    _, others = generate(write_keywords_study(tmp_path, tiny_model, keep_layers=[0]))  # another encoder, other answers
    assert others[0].done == 0
    assert len(list((cache / "queries").glob("keywords-*.jsonl"))) == 2


def test_keywords_without_keybert_are_refused_in_a_line_and_nothing_is_lost(tmp_path, tiny_model, monkeypatch):
    file = write_keywords_study(tmp_path, tiny_model)
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "keybert", None)
        with pytest.raises(
            SweepError, match=r'^keywords: KeyBERT .*; pip install "retrieval-sweep\[keywords\]"$'
        ) as raised:
            generate(file)
    assert raised.value.exit_code == 2
    assert generate(file)[1][-1].done == 40


@pytest.mark.parametrize(
    ("damage", "error", "problem"),
    [
        ("config.json", ModelError, "writer: BertModel has no head that writes text"),
        ("model.safetensors", SweepError, "writer: cannot be loaded as a language model"),
    ],
)
def test_a_model_that_cannot_be_used_is_named(tmp_path: Path, damage: str, error: type[SweepError], problem: str):
    (write_language_model(tmp_path / "writer") / damage).write_text('{"architectures": ["BertModel"]}')
    with pytest.raises(error, match=problem) as raised:
        generate(write_study(tmp_path))
    assert raised.value.exit_code == 2
