"""A search whose trials run in the worker of a study, and are stopped by one of Optuna's pruners alone.

The sampler, its seed, the grid of looks and the evaluation are those of the study; the pruner is set up as a user would
set it up, on the values of the looks. The model that counts is that of the highest look of all trials.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, SuccessiveHalvingPruner, WilcoxonPruner
from optuna.trial import TrialState, create_trial

from sweep.coordinator.proposals import Proposer
from sweep.coordinator.running import RunningTrial, make_job, make_trial
from sweep.coordinator.study_jobs import StudyJobs
from sweep.launch import Died, Launcher, LocalLauncher, Slot
from sweep.launch.jobs import run_job
from sweep.measures.score import Score
from sweep.messages import Done, EvaluationTask, Failure, Job, Report, Verdict
from sweep.plan import StudyPlan, plan_study
from sweep.progress import COMPLETE
from sweep.signals import StopSignal
from sweep.storage.location import locate_study

BODIES = "sweep.trial"

PRUNERS: Mapping[str, Callable[[int], BasePruner]] = {
    "SuccessiveHalving": lambda first: SuccessiveHalvingPruner(min_resource=first, reduction_factor=4),
    "Hyperband": lambda first: HyperbandPruner(min_resource=first, max_resource=COMPLETE, reduction_factor=3),
    "Median": lambda _: MedianPruner(),
    "Wilcoxon": lambda _: WilcoxonPruner(p_threshold=0.1),
}
"""Pruners by name, given the progress of the first look."""


@dataclass(frozen=True)
class Sweep:
    """What a sweep found and took: its best value on dev, its best model's on test, its training pairs and seconds."""

    dev: float
    test: Score
    examples: int
    seconds: float


def search_with(name: str, file: Path) -> Sweep:
    """Searches with the settings of a study file under a pruner; nothing else of the file stops a trial."""
    began, launcher = time.monotonic(), LocalLauncher((BODIES,))
    try:
        with StopSignal() as stop, warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # some of Optuna's pruners are
            optuna.logging.set_verbosity(optuna.logging.WARNING)
            search = _Search(plan_study(locate_study(file)), launcher, stop, name)
            search.run()
            return search.describe(began)
    finally:
        launcher.close()


class _Search:
    """A search on one slot."""

    def __init__(self, plan: StudyPlan, launcher: Launcher, stop: StopSignal, name: str) -> None:
        self._plan, self._launcher, self._stop = plan, launcher, stop
        self._slot: Slot = launcher.find_slots(plan.spec.workers, stop=stop)[0]
        self._pruner = PRUNERS[name](plan.spec.evaluation.grid_points[0])
        self._study = optuna.create_study(direction="maximize", pruner=self._pruner)
        self._best: tuple[float, int, int, NDArray[np.float32]] | None = None  # value, trial, progress, of each query
        self._examples = 0

    def run(self) -> None:
        """Trains the trials of the budget, one after the other."""
        plan = self._plan
        jobs = StudyJobs(plan, self._launcher, self._stop, BODIES, tell=lambda *_, **__: None)
        baseline = jobs.prepare(self._slot).baseline.per_query
        proposer = Proposer(plan.space, seed=plan.spec.seed, trials=plan.spec.budget.trials, trained_as=plan.trained_as)
        for number in range(plan.spec.budget.trials):
            proposal = proposer.propose(number)
            trial = make_trial(plan, number, params=proposal.params, baseline=baseline, origin={})
            proposer.conclude(number, self._train(trial))

    def describe(self, began: float) -> Sweep:
        """What was found, with the best model on the test split."""
        assert self._best is not None
        value, number, progress, _ = self._best
        model = self._plan.run_folder.peak_model(number, progress)
        task = EvaluationTask(**self._task, models={"best": model}, split="test")
        job = Job(
            name="test",
            body=f"{BODIES}:evaluate_models",
            task=task,
            log=self._plan.run_folder.log(None),
            environment=self._slot.environment,
        )
        found = run_job(self._launcher, job, stop=self._stop)["best"]
        score = Score(found.per_query, self._plan.query_weights("test"))
        return Sweep(value, score, self._examples, time.monotonic() - began)

    @property
    def _task(self) -> dict[str, Any]:
        plan = self._plan
        return {
            "spec": plan.spec,
            "folder": plan.folder,
            "run_folder": plan.run_folder.path,
            "device": self._slot.device,
            "content": plan.collection.content_hash,
        }

    def _train(self, trial: RunningTrial) -> float:
        """Trains a trial until its end or the pruner's; its last value."""
        judged, last, examples = self._study.ask(), float("nan"), 0
        self._launcher.start(make_job(self._plan, trial, body=f"{BODIES}:run_trial", slot=self._slot, micro_batch=None))
        while True:
            for message in self._launcher.wait(1.0):
                payload = message.payload
                if isinstance(payload, (Failure, Died)):
                    raise RuntimeError(f"trial {trial.number}: {payload}")
                if isinstance(payload, Done):
                    is_pruned = payload.result.status == "stopped"
                    self._study.tell(judged, None if is_pruned else last, TrialState.PRUNED if is_pruned else None)
                    self._examples += examples
                    return last
                if isinstance(payload, Report):
                    last, examples = payload.evaluation.value, payload.examples
                    stops = payload.progress < COMPLETE and self._prunes(judged, payload)
                    self._note(trial.number, payload)
                    self._launcher.answer(message.job, Verdict(stop=stops, reason="pruned"))

    def _note(self, number: int, report: Report) -> None:
        value = report.evaluation.value
        if self._best is None or value > self._best[0]:
            self._best = value, number, report.progress, report.evaluation.per_query

    def _prunes(self, judged: optuna.Trial, report: Report) -> bool:
        """Whether the pruner stops a trial at a look, which it compares as replay has it compare recorded runs."""
        if not isinstance(self._pruner, WilcoxonPruner):
            judged.report(report.evaluation.value, report.progress)
            return judged.should_prune()
        if self._best is None:
            return False
        study, theirs = optuna.create_study(direction="maximize", pruner=self._pruner), self._best[3]
        study.add_trial(create_trial(value=self._best[0], intermediate_values=dict(enumerate(theirs.tolist()))))
        ours = dict(enumerate(report.evaluation.per_query.tolist()))
        return self._pruner.prune(study, create_trial(state=TrialState.RUNNING, intermediate_values=ours))
