"""What the engine costs besides training: a whole trial of ours against a bare trainer, side by side.

Both sides train the quickstart's model on the same batches at the same rate, and judge it after the same optimizer
steps on the same texts. Both run in a process that one LocalLauncher forks warm, and a side's time is from the
launcher's start until its process is gone.

- ours: ``sweep.trial:run_trial`` as a study runs it: per-query graded NDCG, cosines, peak models, checkpoints, and a
  coordinator that answers every report (here: go on).
- bare: ``SentenceTransformerTrainer`` with the library's ``InformationRetrievalEvaluator`` called in a callback; no
  checkpoints, no models. Its texts come from one JSON file, already in the planned order, so that it pays for no
  collection and no plan. What the library does by itself, its model card among it, is left on.

Last, each side runs once more with its phases timed; that run of ours does not count for the ratio.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import wraps
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sweep.data import choose_format, load_collection, make_columns, plan_evaluation_set, plan_order
from sweep.launch import Died, LocalLauncher, Slot
from sweep.messages import Assignment, Channel, Done, Failure, Job, Report, Started, Verdict
from sweep.progress import count_steps, count_warmup_steps, plan_evaluations
from sweep.run_folder import RunFolder
from sweep.settings.dimensions import Params
from sweep.settings.study_file import WorkersSpec, load_study
from sweep.signals import StopSignal

ROOT = Path(__file__).resolve().parents[2]
STUDY = ROOT / "studies" / "quickstart.toml"
PRELOAD = ("sweep.trial", "sentence_transformers.sentence_transformer.evaluation")
"""Imported by the fork server before either side starts: the bare side's evaluator too."""

PARAMS = Params(
    learning_rate=5.6e-4,
    effective_learning_rate=5.6e-4,
    warmup_ratio=0.1,
    batch_size=64,
    data_format="query-document",
    scale=20.0,
    scheduler="linear",
)
PHASES = (
    "start of the process",
    "loading the model",
    "texts and plan",
    "setting the trainer up",
    "training",
    "evaluation",
    "peak models",
    "checkpoints",
    "answers",
    "rest, exit among it",
)


class Stopwatch:
    """Seconds by phase; a phase within another counts for the inner one alone."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._inner = [0.0]

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        self._inner.append(0.0)
        try:
            yield
        finally:
            whole = time.perf_counter() - began
            self.seconds[name] += whole - self._inner.pop()
            self._inner[-1] += whole

    def watch(self, owner: object, function: str, name: str) -> None:
        """Times every call of a function from now on, for the life of this process."""
        original: Callable[..., Any] = getattr(owner, function)

        @wraps(original)
        def timed(*args: Any, **settings: Any) -> Any:
            with self.phase(name):
                return original(*args, **settings)

        setattr(owner, function, timed)


@dataclass(frozen=True, kw_only=True)
class SideRun:
    """One run of one side, as the launcher's side saw it."""

    seconds: float
    started_s: float
    result: Any
    curve: tuple[float, ...]


# ---- bodies of the processes


def prepare(task: Assignment, channel: Channel) -> dict[str, str]:
    """Prepares our side as a study does, and the bare side's texts in the order in which they are trained on."""
    from sweep.training.models import load_base_model
    from sweep.trial import prepare_study

    prepare_study(task, channel)
    model = load_base_model(task.spec.model, task.folder).model
    spec, view = task.spec, task.spec.data.document
    collection = load_collection(spec.data, folder=task.folder)
    columns = make_columns(collection, choose_format(spec, task.params.data_format), document=view)
    order = plan_order(columns, batch_size=task.params.batch_size, steps=task.steps, seed=spec.seed).ravel().tolist()
    judged = plan_evaluation_set(
        collection,
        "dev",
        max_documents=spec.evaluation.max_documents,
        max_queries=spec.evaluation.max_queries,
        seed=spec.data.split.seed,
    )
    texts = {
        "columns": {name: [column[row] for row in order] for name, column in columns.items()},
        "queries": {name: collection.queries[name] for name in judged.query_ids},
        "corpus": {name: collection.documents[name].embedded(view) for name in judged.document_ids},
        "relevant": {
            query: [name for name, grade in grades.items() if grade > 0] for query, grades in judged.qrels.items()
        },
    }
    texts_file(task).write_text(json.dumps(texts), encoding="utf-8")
    return {
        "model": spec.model.base,
        "parameters": f"{sum(parameter.numel() for parameter in model.parameters()) / 1e6:.1f} M",
        "judged": f"{len(judged.document_ids)} documents, {len(judged.query_ids)} queries",
    }


def trace_trial(task: Assignment, channel: Channel) -> dict[str, float]:
    """Our trial with its phases timed."""
    import sweep.training.fit as fit
    import sweep.trial as trial
    from sweep.training.evaluator import Evaluator

    clock = Stopwatch()
    clock.watch(trial, "load_model", "loading the model")
    for function in ("open_or_compile", "make_evaluator", "plan_order"):
        clock.watch(trial, function, "texts and plan")
    clock.watch(fit._PlannedTrainer, "__init__", "setting the trainer up")
    clock.watch(fit._PlannedTrainer, "train", "training")
    clock.watch(fit._PlannedTrainer, "_save_checkpoint", "checkpoints")
    clock.watch(fit, "publish", "checkpoints")
    clock.watch(trial, "save_model", "peak models")
    clock.watch(Evaluator, "evaluate", "evaluation")
    clock.watch(channel, "report", "answers")
    trial.run_trial(task, channel)
    return dict(clock.seconds)


def run_bare(task: Assignment, channel: Channel) -> dict[str, Any]:  # noqa: ARG001 - every job has a channel
    """The library alone: its trainer, and its evaluator after the planned steps."""
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.base.sampler import DefaultBatchSampler
    from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from torch.utils.data import SequentialSampler
    from transformers import TrainerCallback

    clock, params = Stopwatch(), task.params
    due = {planned.step for planned in task.evaluations}
    curve: list[float] = []

    class Evaluate(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
            if state.global_step in due:
                with clock.phase("evaluation"):
                    curve.append(evaluator(model)[evaluator.primary_metric])

    with clock.phase("loading the model"):
        folder = RunFolder(task.run_folder).base_model
        model = SentenceTransformer(str(folder), device=task.device, local_files_only=True)
    with clock.phase("texts and plan"):
        texts = json.loads(texts_file(task).read_text(encoding="utf-8"))
        dataset = Dataset.from_dict(texts["columns"])
        evaluator = InformationRetrievalEvaluator(
            queries=texts["queries"],
            corpus=texts["corpus"],
            relevant_docs={query: set(names) for query, names in texts["relevant"].items()},
            ndcg_at_k=[10],
            mrr_at_k=[10],
            accuracy_at_k=[10],
            precision_recall_at_k=[10],
            map_at_k=[10],
            show_progress_bar=False,
        )
    with clock.phase("setting the trainer up"):
        trainer = SentenceTransformerTrainer(
            model=model,
            args=SentenceTransformerTrainingArguments(
                output_dir=str(task.run_folder / "bare"),
                max_steps=task.steps,
                per_device_train_batch_size=params.batch_size,
                learning_rate=params.effective_learning_rate,
                warmup_steps=count_warmup_steps(params.warmup_ratio, task.steps),
                lr_scheduler_type=params.scheduler,
                batch_sampler=lambda rows, batch_size, **_: DefaultBatchSampler(
                    SequentialSampler(rows), batch_size=batch_size, drop_last=True
                ),
                bf16=computes_bf16(task.device),
                use_cpu=task.device == "cpu",
                seed=task.spec.seed,
                eval_strategy="no",
                save_strategy="no",
                logging_strategy="no",
                report_to="none",
                disable_tqdm=True,
                dataloader_pin_memory=task.device == "cuda",
            ),
            train_dataset=dataset,
            loss=MultipleNegativesRankingLoss(model, scale=params.scale),
            callbacks=[Evaluate()],
        )
    with clock.phase("training"):
        trainer.train()
    return {"phases": dict(clock.seconds), "curve": curve}


def computes_bf16(device: str) -> bool:
    from sweep.training.devices import computes_bf16

    return computes_bf16(device)


def texts_file(task: Assignment) -> Path:
    return task.run_folder / "bare.json"


# ---- the launcher's side


def run_job(launcher: LocalLauncher, body: str, task: Assignment, slot: Slot) -> SideRun:
    """Runs one job to the end of its process; every report is answered: go on."""
    log = task.run_folder / f"{body.partition(':')[2]}.log"
    curve: list[float] = []
    began = time.perf_counter()
    launcher.start(Job(name="bench", body=body, task=task, log=log, environment=slot.environment))
    started_s = 0.0
    while True:
        for message in launcher.wait(60.0):
            match message.payload:
                case Started(warm):
                    started_s = time.perf_counter() - began
                    if not warm:
                        raise SystemExit(f"{body}: its process was started cold, so nothing can be compared")
                case Report() as report:
                    launcher.answer(message.job, Verdict(stop=False))
                    curve.append(report.evaluation.value)
                case Done(result):
                    seconds = time.perf_counter() - began
                    return SideRun(seconds=seconds, started_s=started_s, result=result, curve=tuple(curve))
                case Failure(traceback=text):
                    raise SystemExit(text)
                case Died(reason):
                    raise SystemExit(f"{body}: {reason}; {log.read_text(errors='replace')}")


def plan_task(launcher: LocalLauncher, folder: Path, *, examples: int, devices: str) -> tuple[Assignment, Slot]:
    """The trial that is timed, and where it runs."""
    spec = load_study(STUDY)
    steps = count_steps(examples, PARAMS.batch_size)
    slot = launcher.find_slots(WorkersSpec(devices=devices), stop=StopSignal())[0]
    task = Assignment(
        spec=spec,
        folder=STUDY.parent,
        run_folder=folder,
        device=slot.device,
        trial=0,
        params=PARAMS,
        steps=steps,
        evaluations=plan_evaluations(spec.evaluation.grid_points, steps),
    )
    return task, slot


def measure_alone(launcher: LocalLauncher, folder: Path, *, rounds: int, examples: int, devices: str) -> dict[str, Any]:
    """The phases of our trial, once a round."""
    task, slot = plan_task(launcher, folder, examples=examples, devices=devices)
    run_job(launcher, "overhead:prepare", task, slot)
    traced = [run_job(launcher, "overhead:trace_trial", replace(task, trial=number), slot) for number in range(rounds)]
    return {"alone": [by_phase(run, run.result) for run in traced]}


def print_alone(found: dict[str, Any]) -> None:
    print(f"{found['date']}, load {found['load']}, {found['threads']}")
    for name in PHASES:
        print(f"{name:<22}" + "".join(f"{run[name]:>10.2f}" for run in found["alone"]))
    print(f"{'all':<22}" + "".join(f"{sum(run.values()):>10.2f}" for run in found["alone"]))


def measure(launcher: LocalLauncher, folder: Path, *, rounds: int, examples: int, devices: str) -> dict[str, Any]:
    """Every round's seconds of both sides, and the phases of one more run."""
    task, slot = plan_task(launcher, folder, examples=examples, devices=devices)
    prepared = run_job(launcher, "overhead:prepare", task, slot).result
    ours, bare = [], []
    for number in range(rounds):
        ours.append(run_job(launcher, "sweep.trial:run_trial", replace(task, trial=number), slot))
        bare.append(run_job(launcher, "overhead:run_bare", task, slot))
        print(f"round {number + 1}: ours {ours[-1].seconds:.2f} s, bare {bare[-1].seconds:.2f} s", file=sys.stderr)
    traced = run_job(launcher, "overhead:trace_trial", replace(task, trial=rounds), slot)
    traced_bare = run_job(launcher, "overhead:run_bare", task, slot)
    ratios = [mine.seconds / other.seconds for mine, other in zip(ours, bare, strict=True)]
    return {
        "device": slot.label,
        **prepared,
        "steps": task.steps,
        "batch_size": PARAMS.batch_size,
        "evaluations": len(task.evaluations),
        "ours_s": [run.seconds for run in ours],
        "bare_s": [run.seconds for run in bare],
        "ratios": ratios,
        "ratio": {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)},
        "phases": {
            "ours": by_phase(traced, traced.result),
            "bare": by_phase(traced_bare, traced_bare.result["phases"]),
        },
        "ndcg": {"ours": ours[0].curve[-1], "bare": bare[0].result["curve"][-1]},
        "largest_ndcg_gap": max(abs(a - b) for a, b in zip(ours[0].curve, bare[0].result["curve"], strict=True)),
    }


def by_phase(run: SideRun, seconds: dict[str, float]) -> dict[str, float]:
    known = {"start of the process": run.started_s, **seconds}
    return {**{name: known.get(name, 0.0) for name in PHASES[:-1]}, PHASES[-1]: run.seconds - sum(known.values())}


# ---- the table


def describe_machine() -> dict[str, Any]:
    return {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": " ".join(["python", *sys.argv]),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "load": f"{os.getloadavg()[0]:.1f} before the run",
        "threads": f"OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'not set')}",
        "python": platform.python_version(),
        "torch": version("torch"),
        "sentence-transformers": version("sentence-transformers"),
    }


def print_table(found: dict[str, Any]) -> None:
    for name in ("date", "command", "machine", "load", "device", "threads", "python", "torch", "sentence-transformers"):
        print(f"{name:<22}{found[name]}")
    print(f"{'model':<22}{found['model']}, {found['parameters']} parameters")
    print(
        f"{'work':<22}{found['steps']} steps of {found['batch_size']}, {found['evaluations']} evaluations of", end=" "
    )
    print(found["judged"])
    ndcg = found["ndcg"]
    print(f"{'last NDCG@10':<22}ours {ndcg['ours']:.4f}, bare {ndcg['bare']:.4f}", end="; ")
    print(f"largest gap of the curves {found['largest_ndcg_gap']:.1e}\n")
    print(f"{'round':<22}{'ours s':>10}{'bare s':>10}{'ratio':>10}")
    for number, row in enumerate(zip(found["ours_s"], found["bare_s"], found["ratios"], strict=True), 1):
        print(f"{number:<22}{row[0]:>10.2f}{row[1]:>10.2f}{row[2]:>10.3f}")
    medians = statistics.median(found["ours_s"]), statistics.median(found["bare_s"])
    ratio = found["ratio"]
    print(f"{'median':<22}{medians[0]:>10.2f}{medians[1]:>10.2f}{ratio['median']:>10.3f}", end="")
    print(f"   (ratios from {ratio['min']:.3f} to {ratio['max']:.3f})\n")
    print(f"{'once more, by phase':<22}{'ours s':>10}{'bare s':>10}")
    ours, bare = found["phases"]["ours"], found["phases"]["bare"]
    for name in PHASES:
        print(f"{name:<22}{ours[name]:>10.2f}{bare[name]:>10.2f}")
    print(f"{'all':<22}{sum(ours.values()):>10.2f}{sum(bare.values()):>10.2f}")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time a whole trial of ours against a bare trainer, side by side.")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each side, in turn (default: %(default)s)")
    parser.add_argument("--examples", type=int, default=1920, help="training pairs of a trial (default: %(default)s)")
    parser.add_argument("--device", choices=["auto", "cpu"], default="auto", help="where to train (default: auto)")
    parser.add_argument("--alone", action="store_true", help="time the phases of our trial, and no bare trainer")
    parser.add_argument("--startup", action="store_true", help="time the command and the start of trials too")
    parser.add_argument("--save", type=Path, metavar="FILE", help="write what was found as JSON too")
    options = parser.parse_args(arguments)
    if options.rounds < 1 or options.examples < 1:
        parser.error("--rounds and --examples must be at least 1")
    return options


def main() -> None:
    options = parse()
    found = describe_machine()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that the scratch folder goes too
    # On the disk where studies leave their checkpoints: on another, flushing could cost nothing.
    with tempfile.TemporaryDirectory(dir=STUDY.parent, prefix=".bench-") as scratch:
        launcher = LocalLauncher(PRELOAD)
        chosen = measure_alone if options.alone else measure
        try:
            found |= chosen(
                launcher, Path(scratch), rounds=options.rounds, examples=options.examples, devices=options.device
            )
        finally:
            launcher.close()
        (print_alone if options.alone else print_table)(found)
        if options.startup:  # in a process of its own, since one process has one fork server
            print(flush=True)
            saved = Path(scratch) / "startup.json"
            startup = Path(__file__).with_name("startup.py")
            subprocess.run([sys.executable, str(startup), "--save", str(saved)], check=True)
            found["startup"] = json.loads(saved.read_text(encoding="utf-8"))
    if options.save:
        options.save.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
