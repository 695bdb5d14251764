"""Small real substitutes for tests: a tiny model, a toy collection, and scripted jobs in place of ``sweep.trial``.

The scripted jobs keep the promise of the real ones (reports, verdicts, checkpoints, peak models) without torch: hand
``jobs="sweep.testing"`` to ``run_study``, and the same engine runs curves that are known beforehand, in milliseconds.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import signal
import string
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sweep.data import Document, RawCollection, write_beir
from sweep.measures.geometry import count_cosines
from sweep.messages import (
    Assignment,
    Channel,
    CompilationTask,
    Cosines,
    Evaluation,
    EvaluationTask,
    PreparedStudy,
    Report,
    StudyTask,
    TrialResult,
)
from sweep.progress import COMPLETE
from sweep.run_folder import RunFolder
from sweep.settings.dimensions import Params
from sweep.training.checkpoint import newest_complete, publish, remove

SCRIPT = "script.json"
QUERIES = 60
_ALPHABET = "abcdefghijklmnopqrstuvwxyz"


def write_tiny_model(folder: Path, *, layers: int = 2, dropout: float = 0.1, seed: int = 0) -> None:
    """Writes a Sentence Transformers model of random weights: BERT with 32 hidden units over single letters."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import AutoTokenizer, BertConfig, BertModel, set_seed

    source = folder / "source"
    source.mkdir(parents=True)
    pieces = [*_ALPHABET, *(f"##{letter}" for letter in _ALPHABET), *"0123456789"]
    (source / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *pieces]))
    set_seed(seed)
    config = BertConfig(
        vocab_size=5 + len(pieces),
        hidden_size=32,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    BertModel(config).save_pretrained(source)
    AutoTokenizer.from_pretrained(str(source)).save_pretrained(source)
    transformer = Transformer(str(source), max_seq_length=32)
    pooling = Pooling(transformer.get_embedding_dimension(), pooling_mode="mean")
    model = SentenceTransformer(modules=[transformer, pooling], device="cpu")
    model.save_pretrained(str(folder), create_model_card=False)
    remove(source)


def write_toy_collection(folder: Path, *, documents: int = 240, seed: int = 0) -> None:
    """Writes a BEIR folder without splits: each document has a query that shares its rare words."""
    random = np.random.default_rng(seed)
    words = ["".join(random.choice(list(_ALPHABET), size=random.integers(3, 8))) for _ in range(400)]
    texts, queries, qrels = {}, {}, {}
    for index in range(documents):
        chosen = [words[place] for place in random.choice(len(words), size=12, replace=False)]
        texts[f"d{index:04d}"] = Document(title=f"{chosen[0]} {chosen[1]} page", text=" ".join(chosen[2:]))
        queries[f"q{index:04d}"] = " ".join(chosen[4:8])
        qrels[f"q{index:04d}"] = {f"d{index:04d}": 1}
    write_beir(folder, RawCollection(documents=texts, queries=queries, qrels={"all": qrels}))


def write_toy_study(
    folder: Path,
    *,
    model: str = "model",
    model_settings: Mapping[str, Any] | None = None,
    script: Mapping[str, Any] | None = None,
    **tables: Mapping[str, Any],
) -> Path:
    """Writes a study file, and the toy collection beside it; returns the file.

    Args:
        folder: Folder of the study file and the collection.
        model: Name of the model's folder in it. Where a script is given, a folder of that name is made to hold it.
        model_settings: Further keys of the study file's table of the model.
        script: Behaviour of scripted jobs; see run_trial.
        tables: Tables of the study file that replace keys of the usual ones.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "collection").exists():
        write_toy_collection(folder / "collection")
    if script is not None:
        (folder / model).mkdir(exist_ok=True)
        (folder / model / "model.safetensors").write_bytes(b"scripted")
        (folder / model / SCRIPT).write_text(json.dumps(dict(script)))
    usual: dict[str, dict[str, Any]] = {
        "model": {"base": f"./{model}", **(model_settings or {})},
        "data": {"collection": "beir:collection"},
        "evaluation": {"max_queries": QUERIES, "grid": [0.1, 0.2, 0.4, 0.6, 0.8, 1.0]},
        "budget": {"trials": 4, "examples": 320},
        "space": {"batch_size": {"low": 4, "high": 16}},
        "workers": {"devices": "cpu"},
    }
    merged = {name: {**usual.get(name, {}), **tables.get(name, {})} for name in [*usual, *(set(tables) - set(usual))]}
    lines = ['name = "toy"']
    for name, table in merged.items():
        lines += [f"\n[{name}]", *(f"{_key(key)} = {_toml(value)}" for key, value in table.items())]
    file = folder / "toy.toml"
    file.write_text("\n".join(lines) + "\n")
    return file


def scripted_ndcg(params: Params, progress: int) -> float:
    """Value of a scripted trial: pairs of query and document rise, title and content fall at a high rate."""
    share = progress / COMPLETE
    heat = float(np.clip((np.log10(params.effective_learning_rate) + 5.3) / 2.1, 0.0, 1.0))
    if params.data_format == "query-document":
        return 0.5 + 0.3 * heat * share
    return 0.5 + 0.05 * min(1.0, share / 0.1) - 0.3 * heat * max(0.0, share - 0.1)


def prepare_study(task: StudyTask, channel: Channel) -> PreparedStudy:  # noqa: ARG001 - every job has a channel
    """Stands in for ``sweep.trial.prepare_study``."""
    from sweep.data.compiled import IDENTITY, identify_compiled
    from sweep.data.locate import locate_base_model
    from sweep.data.study_collection import load_study_collection

    _, revision = locate_base_model(task.spec.model.base, task.folder)
    folder = RunFolder(task.run_folder)
    _publish(folder.base_model, "ndcg.json", 0.5)
    collection = load_study_collection(task.spec, folder=task.folder)
    _publish(folder.compiled, IDENTITY, identify_compiled(task.spec, base=revision, content=collection.content_hash))
    file = task.folder / task.spec.model.base / SCRIPT
    benchmarks = json.loads(file.read_text()).get("benchmarks", []) if file.exists() else []
    return PreparedStudy(
        revision=revision,
        parameters=1,
        baseline=_on_benchmarks(_evaluation(0.5, 0), benchmarks, progress=0),
        collection_hash=collection.content_hash,
    )


def compile_again(task: CompilationTask, channel: Channel) -> None:  # noqa: ARG001 - every job has a channel
    """Stands in for ``sweep.trial.compile_again``."""
    from sweep.data.compiled import IDENTITY

    _publish(RunFolder(task.run_folder).compiled, IDENTITY, task.identity)


def evaluate_models(task: EvaluationTask, channel: Channel) -> dict[str, Evaluation]:  # noqa: ARG001 - every job has a channel
    """Stands in for ``sweep.trial.evaluate_models``."""
    return {name: _evaluation(json.loads((path / "ndcg.json").read_text()), 7) for name, path in task.models.items()}


def run_trial(task: Assignment, channel: Channel) -> TrialResult:
    """Stands in for ``sweep.trial.run_trial``: the curve of ``scripted_ndcg``, with checkpoints and peak models.

    The script beside the model may hold: ``step_s``, seconds a step; ``fail``, a list of trials that raise at
    ``fail_step`` (0 by default), with ``failure`` for a message; ``die``, signals by trial number as text, each sent
    once to the trial's own process at ``die_step``, or each time with ``die_always``; ``diverge``, trials whose values
    are not finite from the second evaluation on; ``exhaust``, the largest micro-batch that fits; ``largest_batch``, the
    largest batch that fits at any micro-batch; ``noise``, the standard deviation of a query's value; ``memory_gib``,
    the memory it reports; ``full``, whether the disk is full; ``sick``, the CUDA devices on which trials raise;
    ``doublings``, what a trial of twice the length gains by its end, and what each further doubling adds to that;
    ``benchmarks``, each with its ``queries``, ``weight`` and whether it ``holds`` the untrained model's value;
    ``save_every``, evaluations from one checkpoint to the next (1 by default, as for a checkpoint that costs nothing);
    ``hold``, files by trial number as text: while its file is there, a trial waits before its next step; ``history``, a
    file that takes a line of JSON when a trial begins, reports, is answered and ends.
    """
    script = json.loads((task.folder / task.spec.model.base / SCRIPT).read_text())
    folder = RunFolder(task.run_folder)
    folder.trial(task.trial).mkdir(parents=True, exist_ok=True)
    checkpoint = newest_complete(folder.checkpoint_folders(task.trial))
    resumed = json.loads((checkpoint / "step.json").read_text()) if checkpoint else 0
    micro_batch = _scripted_memory(task, script)
    due = {planned.step: planned.progress for planned in task.evaluations}
    _note(task, script, "begin", step=resumed)
    result = _train(task, channel, script, due, resumed=resumed, micro_batch=micro_batch)
    _note(task, script, "end", step=result.step, status=result.status)
    return result


def _train(
    task: Assignment,
    channel: Channel,
    script: Mapping[str, Any],
    due: Mapping[int, int],
    *,
    resumed: int,
    micro_batch: int,
) -> TrialResult:
    """The steps of a scripted trial after the one that it goes on from."""
    folder = RunFolder(task.run_folder)
    started, saved_at = time.perf_counter(), time.monotonic()
    peak = -1.0 if task.peak is None else task.peak
    for step in range(resumed + 1, task.steps + 1):
        is_at_rung = False
        time.sleep(script.get("step_s", 0.0))
        _scripted_mishap(task, script, step, due)
        if step in due:
            evaluation = _scripted_evaluation(task, script, due[step], list(due.values()).index(due[step]))
            if evaluation.value > peak or due[step] == task.missing_peak:
                peak = max(peak, evaluation.value)
                _publish(folder.peak_model(task.trial, due[step]), "ndcg.json", peak)
            numbers = {"progress": due[step], "ndcg": evaluation.value}
            _note(task, script, "report", step=step, **numbers)
            report = _report(task, due[step], step, evaluation, started, micro_batch)
            verdict = channel.report(dataclasses.replace(report, memory_gib=script.get("memory_gib")))
            _note(task, script, "answered", step=step, stop=verdict.stop, **numbers)
            if verdict.stop:
                return TrialResult(status="stopped", step=step, resumed_from=resumed, micro_batch=micro_batch)
            is_at_rung = verdict.pause
        is_pausing = is_at_rung or (channel.is_pausing() and step < task.steps)
        is_save_due = step < task.steps and time.monotonic() - saved_at > task.spec.checkpoints.every_s
        if _is_saved(script, step, due) or is_save_due or is_pausing:
            _publish(folder.checkpoint(task.trial, step), "step.json", step)
            saved_at = time.monotonic()
        if is_pausing:
            return TrialResult(status="paused", step=step, resumed_from=resumed, micro_batch=micro_batch)
    return TrialResult(status="finished", step=task.steps, resumed_from=resumed, micro_batch=micro_batch)


def _is_saved(script: Mapping[str, Any], step: int, due: Mapping[int, int]) -> bool:
    """Whether a checkpoint follows the evaluation of a step."""
    return step in due and (list(due).index(step) + 1) % script.get("save_every", 1) == 0


def _note(task: Assignment, script: Mapping[str, Any], event: str, **numbers: Any) -> None:
    """Appends a line to the script's history in one write: the trial and its process, the time, device and event."""
    if "history" not in script:
        return
    entry = {
        "time": time.time(),
        "event": event,
        "trial": task.trial,
        "attempt": task.attempt,
        "pid": os.getpid(),
        "devices": os.environ.get("CUDA_VISIBLE_DEVICES"),
        **numbers,
    }
    descriptor = os.open(script["history"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(descriptor, (json.dumps(entry) + "\n").encode())
    os.close(descriptor)


def _scripted_memory(task: Assignment, script: Mapping[str, Any]) -> int:
    from sweep.errors import DeviceMemoryError

    micro_batch = min(task.micro_batch or task.params.batch_size, task.params.batch_size)
    fits = task.params.batch_size <= script.get("largest_batch", task.params.batch_size)
    if micro_batch > script.get("exhaust", micro_batch) or not fits:
        raise DeviceMemoryError(task.device, micro_batch=micro_batch)
    return micro_batch


def _scripted_mishap(task: Assignment, script: Mapping[str, Any], step: int, due: Mapping[int, int]) -> None:
    held_by = script.get("hold", {}).get(str(task.trial))
    while held_by is not None and Path(held_by).exists():
        time.sleep(0.01)
    if task.trial in script.get("fail", []) and step >= script.get("fail_step", 0):
        raise RuntimeError(script.get("failure", "scripted failure"))
    if os.environ.get("CUDA_VISIBLE_DEVICES") in script.get("sick", []):
        raise RuntimeError(f"CUDA error at {id(task):#x}")
    if script.get("full"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    number = script.get("die", {}).get(str(task.trial))
    if number is not None and step == script.get("die_step", max(due) // 2):
        marker = RunFolder(task.run_folder).trial(task.trial) / "died"
        if script.get("die_always") or not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.Signals[number])


def _scripted_evaluation(task: Assignment, script: Mapping[str, Any], progress: int, place: int) -> Evaluation:
    if task.trial in script.get("diverge", []) and place >= 1:
        return _evaluation(float("nan"), 0)
    doublings = script.get("doublings", [])[: task.params.length.bit_length() - 1]
    ndcg = scripted_ndcg(task.params, progress) + sum(doublings) * progress / COMPLETE
    found = _evaluation(ndcg, progress, noise=script.get("noise", 0.02), share=progress / COMPLETE)
    return _on_benchmarks(found, script.get("benchmarks", []), progress=progress)


def _on_benchmarks(found: Evaluation, benchmarks: Sequence[Mapping[str, Any]], *, progress: int) -> Evaluation:
    """A measurement on several benchmarks; on one that holds, the untrained model's value stays."""
    if not benchmarks:
        return found
    still = _evaluation(0.5, progress).per_query
    holds, weights = ([one[key] for one in benchmarks for _ in range(one["queries"])] for key in ("holds", "weight"))
    sizes = [one["queries"] for one in benchmarks for _ in range(one["queries"])]
    return dataclasses.replace(
        found,
        per_query=np.where(holds, still, found.per_query),
        weights=np.array(weights) / np.array(sizes),
    )


def _evaluation(mean: float, seed: int, *, noise: float = 0.02, share: float = 0.0) -> Evaluation:
    """A measurement of a scripted model: losses fall with the share of its training, whatever its value does."""
    spread = np.random.default_rng(seed).normal(0.0, noise, QUERIES)
    values = mean + spread - spread.mean()
    return Evaluation(
        per_query=np.clip(values, 0.0, 1.0).astype(np.float32),
        positives=_cosines(0.3 + 0.5 * mean if np.isfinite(mean) else 0.5),
        negatives=_cosines(0.1 + 0.3 * share),
        seconds=0.001,
        ndcg_10=float(np.mean(values)),
        recall_10=min(1.0, mean + 0.1),
        recall_100=min(1.0, mean + 0.2),
        mrr_10=max(0.0, mean - 0.05),
        alignment=1.0 - mean,
        uniformity=-2.0 - share,
        validation_losses={"own": 2.0 - 1.2 * share, "retrieval": 1.6 - 0.4 * share},
    )


def _cosines(mean: float) -> Cosines:
    """A hundred cosines that are spread evenly about their mean."""
    cosines = mean + np.linspace(-0.15, 0.15, 100)
    low, high = np.percentile(cosines, [5, 95])
    return Cosines(mean=mean, p5=float(low), p95=float(high), histogram=count_cosines(cosines))


def _report(
    task: Assignment, progress: int, step: int, evaluation: Evaluation, started: float, micro_batch: int
) -> Report:
    return Report(
        progress=progress,
        step=step,
        examples=step * task.params.batch_size,
        evaluation=evaluation,
        seconds=time.perf_counter() - started,
        evaluation_seconds=0.001,
        micro_batch=micro_batch,
        loss=1.0 / step,
        learning_rate=task.params.effective_learning_rate * (1.0 - progress / COMPLETE),
        gradient_norm=2.0 / step,
        false_negatives=task.params.batch_size / 1000,
    )


def _publish(folder: Path, name: str, value: float | str) -> None:
    """Writes a folder, such as a checkpoint or a model, that is a value in a file."""
    partial = folder.with_name(folder.name + ".partial")
    remove(partial)
    partial.mkdir(parents=True)
    (partial / name).write_text(json.dumps(value))
    publish(partial, folder)


def _key(name: str) -> str:
    """A key of TOML, in quotation marks where it needs them."""
    return name if set(name) <= {*string.ascii_letters, *string.digits, "-", "_"} else json.dumps(name)


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {_toml(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(_toml(inner) for inner in value) + "]"
    return json.dumps(value)
