"""What data costs a study, in parts: the start of trials, search and scoring, a large corpus, samples of one.

*starts*: a trial's start with a compiled collection, and without one, from the launcher's start of its process, which
is forked warm as in a study, until the first pass through the model. Without the compiled collection a trial reads,
makes and tokenizes all of that itself. *search*: search and scoring beside the library's evaluator with the same
embeddings. *corpus*: time and memory of compiling, and of searching, a million documents. *samples*: how alike samples
of the quickstart's corpus order checkpoints as all of it does; this trains some runs first.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from sweep.launch import Died, LocalLauncher
from sweep.messages import Assignment, Channel, Done, Failure, Job
from sweep.progress import count_steps
from sweep.run_folder import RunFolder
from sweep.settings.dimensions import Params
from sweep.settings.study_file import load_study

ROOT = Path(__file__).resolve().parents[2]
STUDY = ROOT / "studies" / "quickstart.toml"


def prepare(task: Assignment, channel: Channel) -> None:
    """Prepares a study as its first job does."""
    from sweep.trial import prepare_study

    prepare_study(task, channel)


def start_trial(task: Assignment, channel: Channel) -> float:
    """The time at which a trial first passes through the model; it ends after that step."""
    import sweep.trial as trial
    from sweep.training.fit import StepAction

    fit, times = trial.fit, list[float]()

    def note_first(model: Any, plan: Any, **settings: Any) -> int:
        model.register_forward_pre_hook(lambda *_: times.append(time.time()))
        return fit(model, plan, **{**settings, "on_step": lambda *_: StepAction.STOP})

    trial.fit = note_first
    trial.run_trial(task, channel)
    return times[0]


def run_job(launcher: LocalLauncher, function: str, task: Assignment) -> tuple[float, Any]:
    """When the launcher was told, and the result."""
    began = time.time()
    launcher.start(Job(name=function, body=f"data:{function}", task=task, log=task.run_folder / f"{function}.log"))
    while True:
        for message in launcher.wait(60.0):
            match message.payload:
                case Done(result):
                    return began, result
                case Failure(traceback=text) | Died(reason=text):
                    raise SystemExit(text)


def measure_starts(folder: Path, *, rounds: int) -> dict[str, list[float]]:
    """Seconds to a trial's first step, in turn with a compiled collection and without one."""
    spec = load_study(STUDY)
    params = Params(
        learning_rate=5.6e-4,
        effective_learning_rate=5.6e-4,
        warmup_ratio=0.1,
        batch_size=64,
        data_format="query-document",
        scale=20.0,
        scheduler="linear",
    )
    task = Assignment(
        spec=spec,
        folder=STUDY.parent,
        run_folder=folder / "compiled",
        trial=0,
        params=params,
        steps=count_steps(spec.budget.examples, params.batch_size),
        evaluations=(),
    )
    task.run_folder.mkdir()
    launcher = LocalLauncher(("sweep.trial",))
    found: dict[str, list[float]] = {"with": [], "without": []}
    try:
        run_job(launcher, "prepare", task)
        bare = replace(task, run_folder=folder / "bare")
        shutil.copytree(task.run_folder, bare.run_folder)
        shutil.rmtree(RunFolder(bare.run_folder).compiled, ignore_errors=True)
        for _ in range(rounds):
            for name, chosen in (("with", task), ("without", bare)):
                began, first_pass = run_job(launcher, "start_trial", chosen)
                found[name].append(first_pass - began)
    finally:
        launcher.close()
    return found


def report_starts(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Measures and prints the starts of trials."""
    starts = measure_starts(folder, rounds=options.rounds)
    medians = {name: statistics.median(seconds) for name, seconds in starts.items()}
    for name, seconds in starts.items():
        _print(f"start, {name}", f"{medians[name]:6.2f} s (median of {len(seconds)})")
    _print("ratio", f"{medians['with'] / medians['without']:6.2f}")
    return {"starts_s": starts}


def report_search(folder: Path, options: argparse.Namespace) -> dict[str, Any]:  # noqa: ARG001 - every part has both
    """Measures and prints search and scoring beside the library."""
    from search import measure_search

    found = measure_search(documents=options.documents or 200_000, queries=2_000, rounds=options.rounds)
    medians = {name: statistics.median(seconds) for name, seconds in found["seconds"].items()}
    _print("search over", f"{found['documents']:,} documents, {found['queries']:,} queries, {found['threads']} threads")
    for name, seconds in medians.items():
        _print(name, f"{seconds:6.2f} s (median of {options.rounds})")
    _print("library / search", f"{medians['library'] / medians['search']:6.2f}")
    _print(
        "library / product", f"{medians['library'] / medians['matrix product']:6.2f} (more is not to be had in float32)"
    )
    for name in ("largest difference, binary", "largest difference from trec_eval, graded"):
        _print(name, f"{found[name]:.1e}")
    return {"search": found}


def report_corpus(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Measures and prints what a large corpus takes."""
    from invented import measure_compilation
    from search import measure_memory

    documents = options.documents or 1_000_000
    compiled = measure_compilation(folder, documents=documents, formats=("query-document",))
    for step, seconds in compiled["seconds"].items():
        _print(step, f"{seconds:6.1f} s")
    total = sum(compiled["seconds"].values())
    _print("compiled", f"{documents:,} documents in {total:.0f} s ({compiled['processor_s']:.0f} s of processors)")
    _print("peak", f"{compiled['peak_gib']:6.2f} GiB")
    searched = measure_memory(documents=documents, queries=2_000)
    _print("searched", f"{documents:,} documents, 2,000 queries in {searched['seconds']:.0f} s")
    _print("peak", f"{searched['peak_gib']:6.2f} GiB, {searched['embeddings_gib']:.2f} of it embeddings")
    return {"compilation": compiled, "search_memory": searched}


def report_samples(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Measures and prints how alike samples order checkpoints as the whole corpus does."""
    from samples import measure_samples

    found = measure_samples(STUDY, keep=options.keep or folder, trainings=options.trainings)
    _print("checkpoints", f"{len(found['checkpoints'])}, on the whole corpus of {STUDY.stem}")
    for one in found["sizes"]:
        random = one["random"]
        _print(
            f"concordance, {one['documents']:,} documents",
            f"hard {one['hard']:.3f}, random {random['mean']:.3f} ({random['least']:.3f} to {random['most']:.3f})",
        )
    return {"samples": found}


PARTS = {"starts": report_starts, "search": report_search, "corpus": report_corpus, "samples": report_samples}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what data costs a study.")
    parser.add_argument(
        "--parts",
        nargs="+",
        choices=PARTS,
        default=["starts", "search"],
        help="what to measure (default: starts search)",
    )
    parser.add_argument("--rounds", type=int, default=5, help="times that each is measured (default: %(default)s)")
    parser.add_argument("--documents", type=int, help="documents, in place of 200,000 and of a million")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="place of the checkpoints of samples")
    text = "trainings whose checkpoints samples order (default: %(default)s, all)"
    parser.add_argument("--trainings", type=int, default=10, metavar="N", help=text)
    parser.add_argument("--save", type=Path, metavar="FILE", help="write what was found as JSON too")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that the scratch folder goes too
    found: dict[str, Any] = {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": " ".join(["tests/bench/data.py", *sys.argv[1:]]),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "load": f"{os.getloadavg()[0]:.1f} before the run",
    }
    for name, fact in found.items():
        _print(name, fact)
    for part in options.parts:
        with tempfile.TemporaryDirectory(dir=STUDY.parent, prefix=".bench-") as scratch:
            found |= PARTS[part](Path(scratch), options)
        if options.save:
            options.save.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def _print(name: str, fact: str) -> None:
    print(f"{name:<42}{fact}", flush=True)


if __name__ == "__main__":
    main()
