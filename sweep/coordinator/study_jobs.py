"""Jobs of a study that are no trials: preparation, compilation, and the evaluations at its end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sweep.coordinator.events import Tell
from sweep.coordinator.ledger import Ledger
from sweep.data.compiled import IDENTITY, identify_compiled
from sweep.errors import CheckpointError
from sweep.launch import Launcher, Slot
from sweep.launch.jobs import run_job
from sweep.measures.geometry import COLLAPSED
from sweep.messages import CompilationTask, EvaluationTask, Job, PreparedStudy, StudyTask
from sweep.plan import StudyPlan
from sweep.signals import StopSignal
from sweep.storage.confirmations import list_winning
from sweep.storage.evaluations import AS_SAVED, UNTRAINED
from sweep.storage.records import StudyRecord
from sweep.training.checkpoint import verify


@dataclass(frozen=True)
class StudyJobs:
    """Runs jobs of a study, each alone.

    Attributes:
        plan: The study.
        launcher: Runs the jobs.
        stop: Tells of signals.
        module: Module with the bodies of the jobs.
        tell: Tells of what happened.
    """

    plan: StudyPlan
    launcher: Launcher
    stop: StopSignal
    module: str
    tell: Tell

    def compile(self, slot: Slot) -> None:
        """Has the collection compiled, unless that has been done: texts and tokens are made once for all trials."""
        plan = self.plan
        identity = identify_compiled(plan.spec, base=plan.revision, content=plan.collection.content_hash)
        if is_compiled(plan.run_folder.compiled, identity):
            return
        self.tell("prepare", "compiling the collection")
        task = CompilationTask(**self._describe(slot), identity=identity)
        self._run_job("compile_again", task, slot)

    def prepare(self, slot: Slot) -> PreparedStudy:
        """Has the base model saved and evaluated, and the collection compiled."""
        self.tell("prepare", "loading the base model and evaluating it untrained")
        prepared: PreparedStudy = self._run_job("prepare_study", StudyTask(**self._describe(slot)), slot)
        measure = self.plan.spec.evaluation.measure
        self.tell(
            "prepare",
            f"base model of {prepared.parameters / 1e6:.1f} M parameters, untrained {measure.label}"
            f" {prepared.baseline.value:.4f} on dev ({prepared.baseline.seconds:.1f} s an evaluation)",
            metric=measure.key,
            value=prepared.baseline.value,
            parameters=prepared.parameters,
        )
        for change in prepared.changes:
            self.tell("prepare", f"the base model {change}")
        if prepared.baseline.has_collapsed:
            self.tell("warning", f"the untrained model's {COLLAPSED}")
        return prepared

    def find_unevaluated(self, ledger: Ledger, record: StudyRecord) -> dict[Literal["dev", "test"], Mapping[int, Path]]:
        """The models that still have to be evaluated as they were saved, by the split.

        On the test split these are the untrained, the best and the default's, unless that is gone (of a study from
        before it was kept), and all trainings of the best confirmed configuration. On dev it is the best where it may
        not give the figure by which it was chosen: it was saved in another precision than that of training, or training
        computes in another one.
        """
        best, default = record.best, record.default
        if best is None or best.peak is None:
            return {}
        folder = self.plan.run_folder
        chosen = {best.number: folder.peak_model(best.number, best.peak.progress)}
        wanted: dict[Literal["dev", "test"], dict[int, Path]] = {}
        if self.plan.has_test_split:
            wanted["test"] = {UNTRAINED: folder.base_model, **chosen}
            if default is not None and default.peak is not None:
                model = folder.peak_model(default.number, default.peak.progress)
                wanted["test"] |= {default.number: model} if is_complete(model) else {}
            for trial in list_winning(record):
                model = folder.peak_model(trial.number, trial.peak.progress if trial.peak else 0)
                wanted["test"] |= {trial.number: model} if is_complete(model) else {}
        is_on_cpu = best.attributes.get("device_type", "cpu") == "cpu"
        if self.plan.spec.checkpoints.precision == "base" or not is_on_cpu:
            wanted["dev"] = chosen
        left = {
            split: {
                number: path
                for number, path in models.items()
                if ledger.table.model_values(number, AS_SAVED if split == "dev" else split) is None
            }
            for split, models in wanted.items()
        }
        return {split: models for split, models in left.items() if models}

    def evaluate_once(self, ledger: Ledger, slot: Slot) -> None:
        """Evaluates models as they were saved, each once in a study's life on a split."""
        for split, models in self.find_unevaluated(ledger, ledger.record()).items():
            if missing := next((path for path in models.values() if not is_complete(path)), None):
                self.tell("warning", f"the {split} split is not evaluated: {missing} is missing or incomplete")
                continue
            which = "the untrained, the best and the default's model" if split == "test" else "the best model as saved"
            self.tell("test", f"evaluating {which} on the {split} split, once")
            task = EvaluationTask(
                **self._describe(slot),
                models={str(number): path for number, path in models.items()},
                split=split,
            )
            for number, evaluation in self._run_job("evaluate_models", task, slot).items():
                ledger.table.add_model(int(number), AS_SAVED if split == "dev" else split, evaluation)

    def _describe(self, slot: Slot) -> dict[str, Any]:
        """What the tasks of all jobs say of the study."""
        plan = self.plan
        return {
            "spec": plan.spec,
            "folder": plan.folder,
            "run_folder": plan.run_folder.path,
            "device": slot.device,
            "content": plan.collection.content_hash,
        }

    def _run_job(self, function: str, task: StudyTask, slot: Slot) -> Any:
        job = Job(
            name=function,
            body=f"{self.module}:{function}",
            task=task,
            log=self.plan.run_folder.log(None),
            environment=slot.environment,
            slot=slot.name,
        )
        return run_job(self.launcher, job, stop=self.stop)


def is_compiled(folder: Path, identity: str) -> bool:
    """Whether a folder holds the whole collection that has an identity."""
    return is_complete(folder) and json.loads((folder / IDENTITY).read_bytes()) == identity


def is_complete(folder: Path) -> bool:
    """Whether a folder is there with all that its manifest names."""
    try:
        verify(folder)
    except CheckpointError:
        return False
    return True
