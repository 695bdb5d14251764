"""Queries that a language model writes for the quickstart's documents: how many a second, and the memory."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from peak_memory import peak_gib

ROOT = Path(__file__).resolve().parents[2]
STUDY = ROOT / "studies" / "queries.toml"

Write = Callable[[Sequence[Any]], list[str]]


def measure_writing(*, documents: int, model: str | None, plain: bool) -> dict[str, Any]:
    """Documents a second in a process of its own, its memory, and the answers.

    Args:
        documents: Documents to write a query for.
        model: The model, in place of the one of the study.
        plain: Whether transformers writes by itself: each prompt in full, 16 at once, to the end of the longest answer.
    """
    code = f"from written import write_alone; write_alone({documents}, {model!r}, plain={plain})"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def write_alone(count: int, name: str | None, *, plain: bool) -> None:
    """Writes queries for documents that are evenly spread, and prints what that took as JSON."""
    import torch

    from sweep.data import load_collection
    from sweep.data.generators import as_generator
    from sweep.data.model_folder import locate_language_model
    from sweep.settings.study_file import load_study
    from sweep.training.language_models import load_language_model
    from sweep.training.text_generation import QueryWriter

    options = tomllib.loads(STUDY.read_text())["formats"]["synthetic-query:smollm"]["generators"][0]
    generator = as_generator({**options, "model": name or options["model"]})
    source = locate_language_model(generator.model, STUDY.parent)
    model, tokenizer = load_language_model(source, device="cpu", precision=generator.precision)
    collection = load_collection(load_study(STUDY).data, folder=STUDY.parent)
    names = sorted({*collection.open_documents()} - collection.evaluated_documents())
    chosen = [collection.documents[name] for name in names[:: len(names) // count][:count]]
    chosen.sort(key=lambda document: len(document.text), reverse=True)
    del collection

    writer = QueryWriter(generator, model, tokenizer, is_causal=True)

    def write(some: Sequence[Any]) -> list[str]:
        if not plain:
            return [answer for (answer,) in writer.write(some, seeds=["" for _ in some])]
        asked = [generator.prompt.replace("{document}", generator.show(document)) for document in some]
        inputs = tokenizer(asked, return_tensors="pt", padding=True, padding_side="left")
        with torch.inference_mode():
            made = model.generate(**inputs, do_sample=False, max_new_tokens=generator.max_tokens)
        return list(tokenizer.batch_decode(made[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True))

    size = 16 if plain else generator.batch
    began, processor = time.perf_counter(), time.process_time()
    answers = [answer for start in range(0, count, size) for answer in write(chosen[start : start + size])]
    seconds, processor = time.perf_counter() - began, time.process_time() - processor
    found = {
        "a_second": count / seconds,
        "processor_s": processor / count,
        "peak_gib": peak_gib(),
        "threads": torch.get_num_threads(),
        "precision": generator.precision,
        "answers": [generator.clean(answer) for answer in answers],
    }
    print(json.dumps(found))
