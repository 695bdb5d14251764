"""What orchestrating costs beside others: the same scripted trials under sweep, plain Optuna and Ray Tune, in one run.

    make bench-peers ARGS="--trials 100 --slots 8"
    make bench-peers ARGS="--cluster"

Each trial sleeps, and at each of its reports writes a model and a checkpoint that are flushed to the disk. Shown are
the seconds from the beginning of the first trial to the end of the last one, of which the start of an orchestrator is
no part, and what of them is not the trials' own sleep. All propose with Optuna's TPE, and none stops a trial.

- sweep: a process for each trial, a study in SQLite.
- Optuna: ``study.optimize`` with as many threads as slots, all in one process, a study in SQLite.
- Ray Tune with OptunaSearch: a process for each trial; and with ``reuse_actors``, where one runs many trials. It gets
  the metrics alone, and keeps no study that could be queried.

With ``--cluster`` a Ray cluster of two nodes is started on this machine, and sweep, sweep on that cluster and Ray Tune
on it are timed: by default four trials at once, each with 20 reports.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "bench"), str(TESTS.parent)]

import trainable  # noqa: E402

RATES = (5e-6, 6e-4)
ENVIRONMENT = {
    "PYTHONPATH": f"{TESTS / 'bench'}:{TESTS.parent}",
    "OMP_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}


def run_sweep(folder: Path, options: argparse.Namespace, *, on_ray: bool = False) -> None:
    from sweep.coordinator.events import Event, SweepView
    from sweep.coordinator.run import run_study
    from sweep.plan import plan_study
    from sweep.signals import StopSignal
    from sweep.storage.location import locate_study
    from sweep.testing import QUERIES, write_toy_study

    class Silent:
        def show(self, event: Event) -> None:
            pass

        def refresh(self, sweep: SweepView) -> None:
            pass

    file = write_toy_study(
        folder / "study",
        script={"step_s": options.seconds / trainable.STEPS, "history": str(folder / "history")},
        budget={"examples": trainable.STEPS * 4, "trials": options.trials},
        evaluation={"max_queries": QUERIES, "grid": [(point + 1) / options.points for point in range(options.points)]},
        space={"batch_size": 4, "data_format": "query-document"},  # whose curves rise: no trial is stopped
        workers={"devices": f"cpu:{options.slots}", **({"cluster": "ray"} if on_ray else {})},
    )
    with StopSignal() as stop:
        run_study(plan_study(locate_study(file)), watcher=Silent(), stop=stop, jobs="sweep.testing")


def run_optuna(folder: Path, options: argparse.Namespace) -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)

    def objective(trial: optuna.Trial) -> float:
        rate = trial.suggest_float("learning_rate", *RATES, log=True)
        found = []

        def report(ndcg: float, step: int) -> None:
            found.append(ndcg)
            trial.report(ndcg, step)

        train(folder / str(trial.number), report, rate=rate)
        return max(found)

    train = functools.partial(
        trainable.train, seconds=options.seconds, points=options.points, history=folder / "history"
    )
    sampler = optuna.samplers.TPESampler(seed=0, n_startup_trials=max(4, options.trials // 5), constant_liar=True)
    study = optuna.create_study(
        storage=f"sqlite:///{folder}/study.db", sampler=sampler, pruner=optuna.pruners.NopPruner(), direction="maximize"
    )
    study.optimize(objective, n_trials=options.trials, n_jobs=options.slots)


def run_ray(folder: Path, options: argparse.Namespace, *, reuse: bool) -> None:
    import optuna
    import ray
    from ray import tune
    from ray.tune.search.optuna import OptunaSearch

    def objective(config: dict[str, float]) -> None:
        train(
            folder / tune.get_context().get_trial_id(),
            lambda ndcg, step: tune.report({"ndcg": ndcg, "step": step}),
            rate=config["learning_rate"],
        )

    train = functools.partial(
        trainable.train, seconds=options.seconds, points=options.points, history=folder / "history"
    )
    new = {} if "RAY_ADDRESS" in os.environ else {"num_cpus": options.slots, "include_dashboard": False}
    ray.init(**new, logging_level="ERROR", log_to_driver=False)
    search = OptunaSearch(
        {"learning_rate": optuna.distributions.FloatDistribution(*RATES, log=True)},
        metric="ndcg",
        mode="max",
        sampler=optuna.samplers.TPESampler(seed=0, n_startup_trials=max(4, options.trials // 5), constant_liar=True),
    )
    tuner = tune.Tuner(
        objective,
        tune_config=tune.TuneConfig(
            search_alg=search, num_samples=options.trials, max_concurrent_trials=options.slots, reuse_actors=reuse
        ),
        run_config=tune.RunConfig(storage_path=str(folder / "ray"), verbose=0),
    )
    found = tuner.fit()
    if found.num_errors or len(found) != options.trials:
        raise SystemExit(f"Ray Tune ran {len(found)} trials, of which {found.num_errors} failed")
    ray.shutdown()


PEERS: dict[str, Callable[[Path, argparse.Namespace], None]] = {
    "sweep": run_sweep,
    "Optuna": run_optuna,
    "Ray Tune": functools.partial(run_ray, reuse=False),
    "Ray Tune, actors reused": functools.partial(run_ray, reuse=True),
    "sweep on Ray": functools.partial(run_sweep, on_ray=True),
}
CLUSTER = ["sweep", "sweep on Ray", "Ray Tune", "Ray Tune, actors reused"]
"""What is timed beside a cluster, which plain Optuna has no use for."""


@contextlib.contextmanager
def start_cluster(slots: int) -> Iterator[None]:
    """A Ray cluster of two nodes of this machine with so many CPUs, at RAY_ADDRESS for the life of a block."""
    os.environ.update(ENVIRONMENT, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(16))
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": slots // 2, "include_dashboard": False})
    cluster.add_node(num_cpus=slots - slots // 2)
    os.environ["RAY_ADDRESS"] = cluster.address
    try:
        yield
    finally:
        cluster.shutdown()


def measure(name: str, words: list[str]) -> tuple[float, float]:
    """Seconds from the first trial's beginning to the last one's end, and of the whole process."""
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=TESTS.parent / "studies") as scratch:
        # a main module of its own would be imported by every trial's process
        command = [sys.executable, "-c", "import peers; peers.main()", *words, "--run", name, "--folder", scratch]
        began = time.perf_counter()
        done = subprocess.run(command, env={**os.environ, **ENVIRONMENT}, capture_output=True, text=True, check=False)
        whole = time.perf_counter() - began
        if done.returncode:
            raise SystemExit(f"{name}: {done.stderr}")
        lines: list[dict[str, Any]] = list(map(json.loads, (Path(scratch) / "history").read_text().splitlines()))
    times = {event: [line["time"] for line in lines if line["event"] == event] for event in ("begin", "end")}
    return max(times["end"]) - min(times["begin"]), whole


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the same scripted trials under several orchestrators.")
    parser.add_argument("--trials", type=int, default=200, help="trials (default: %(default)s)")
    parser.add_argument("--cluster", action="store_true", help="on a Ray cluster of two nodes, which is started here")
    parser.add_argument("--slots", type=int, help="trials at once (default: 16, on a cluster 4)")
    parser.add_argument("--seconds", type=float, default=1.0, help="seconds a trial (default: %(default)s)")
    parser.add_argument("--points", type=int, help="reports a trial (default: 4, on a cluster 20)")
    parser.add_argument("--only", nargs="+", choices=list(PEERS), help="these alone")
    for name in ("--run", "--folder"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        PEERS[options.run](Path(options.folder), options)
        return
    options.slots = options.slots or (4 if options.cluster else 16)
    options.points = options.points or (20 if options.cluster else 4)
    options.only = options.only or (CLUSTER if options.cluster else [name for name in PEERS if name != "sweep on Ray"])
    with start_cluster(options.slots) if options.cluster else contextlib.nullcontext():
        compare(options)


def compare(options: argparse.Namespace) -> None:
    """Times each of the orchestrators, and prints the table."""
    from engine import describe_machine

    words = [f"--{name}={getattr(options, name)}" for name in ("trials", "slots", "seconds", "points")]
    ideal = options.trials * options.seconds / options.slots
    print(f"{describe_machine()}; Ray {version('ray')}")
    print(f"{options.trials} trials of {options.seconds:g} s and {options.points} reports on {options.slots} slots")
    print(f"{'':24} {'seconds':>8} {'overhead':>9} {'a trial':>9} {'of sweep':>9} {'process':>8}")
    ours = None
    for name in options.only:
        seconds, whole = measure(name, words)
        ours = ours or seconds - ideal
        a_trial = (seconds - ideal) * options.slots / options.trials
        print(
            f"{name:24} {seconds:8.1f} {seconds / ideal - 1:9.1%} {a_trial:7.3f} s {(seconds - ideal) / ours:9.2f}"
            f" {whole:6.1f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
