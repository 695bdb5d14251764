"""Retention: which files of trials are kept. The best models of the study, and what its running trials need.

A checkpoint counts once its manifest is there; what is deleted loses its manifest first (see training.checkpoint).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from sweep.coordinator.events import EventKind, Tell
from sweep.errors import DeviceError
from sweep.run_folder import RunFolder
from sweep.settings.study_file import CheckpointsSpec
from sweep.storage.records import StudyRecord, TrialRecord
from sweep.storage.study_tables import FINISHED
from sweep.training.checkpoint import newest_complete, remove

MODELS_A_TRIAL = 8
"""Models' worth of disk that a running trial takes at the most: two peak models, the committed one and the one that is
being written, and two checkpoints of weights and two moments, likewise."""

MODELS_ALWAYS = 2
"""Models of finished trials that are always kept: the best, and the default's that it is judged against."""

GIB = 2**30

ASIDE = ".replaced"
"""How the name ends of a folder that is about to be deleted."""


def saved_step(folder: RunFolder, trial: int) -> int:
    """Optimizer step of a trial's newest whole checkpoint; 0 where there is none."""
    checkpoint = newest_complete(folder.checkpoint_folders(trial))
    return int(checkpoint.name.removeprefix("step-")) if checkpoint else 0


def rank_models(trials: Iterable[TrialRecord], best: TrialRecord | None) -> list[TrialRecord]:
    """The finished trials whose peak models are worth keeping, the study's best one first.

    Args:
        trials: Finished trials, the best among them or not.
        best: The study's best one.
    """
    others = [
        (trial.peak.ndcg, trial)
        for trial in trials
        if trial.state in ("complete", "pruned")
        and trial.peak is not None
        and (best is None or trial.number != best.number)
        and not (trial.stop and trial.stop.kind == "diverged")
    ]
    others.sort(key=lambda pair: (-pair[0], pair[1].number))
    return [*([best] if best is not None else []), *(trial for _, trial in others)]


def plan_kept(ranked: Sequence[int], sizes: Mapping[int, int], *, keep: int, room: int | None) -> set[int]:
    """The trials whose peak models are kept.

    Args:
        ranked: Trials with a peak model, the best first.
        sizes: Bytes of their models.
        keep: How many are to be kept.
        room: Bytes that they may take together; None where there is no limit.

    Returns:
        The best of them, as many as fit without a gap; the very best always.
    """
    kept: set[int] = set()
    taken = 0
    for number in ranked[:keep]:
        taken += sizes.get(number, 0)
        if kept and room is not None and taken > room:
            break
        kept.add(number)
    return kept


def check_disk(spec: CheckpointsSpec, *, slots: int, model_bytes: int) -> None:
    """Refuses a limit on the disk that is below what trials take at once with the best model beside them.

    Raises:
        DeviceError: If it is; it names the estimate and what to set.
    """
    least = (slots * MODELS_A_TRIAL + MODELS_ALWAYS) * model_bytes
    if spec.max_gib is not None and least > spec.max_gib * GIB:
        raise DeviceError(
            f"checkpoints.max_gib = {spec.max_gib:g}: {slots} trials at once and the two models that stay take up to"
            f" {least / GIB:.3g} GiB (models of {model_bytes / GIB:.3g} GiB): raise it to that, or lower"
            " workers.devices or workers.trials_per_device"
        )


def mark_for_deletion(folder: Path) -> Path:
    """Gives a folder that is about to be deleted another name, in place of what a crash left under that name."""
    aside = folder.with_name(folder.name + ASIDE)
    if aside.exists():
        remove(aside)
    return folder.rename(aside)


def folder_bytes(folder: Path) -> int:
    """Bytes of a folder's files."""
    total = 0
    for parent, _, files in os.walk(folder):
        for name in files:
            try:
                total += os.lstat(os.path.join(parent, name)).st_size
            except FileNotFoundError:  # a trial has just renamed or deleted it
                continue
    return total


class CheckpointPruner:
    """Keeps the files of trials, and says what it deletes.

    Args:
        folder: What the study leaves behind.
        spec: What the study file says of checkpoints.
        slots: Trials that run at once.
        tell: Tells of what happened.
    """

    def __init__(self, folder: RunFolder, spec: CheckpointsSpec, *, slots: int, tell: Tell) -> None:
        self._folder = folder
        self._spec = spec
        self._slots = slots
        self._tell = tell

    def mark_peaks_for_deletion(self, trial: int, *, kept: int) -> list[Path]:
        """Gives the models of a running trial's earlier peaks another name, once a later one is committed.

        It is done before the trial goes on, which may write a model of any name then, and takes a moment; deleting the
        models takes longer.

        Args:
            trial: The trial's number.
            kept: Progress of its committed peak in thousandths.

        Returns:
            The models under their new names; `delete` deletes them.
        """
        keep = self._folder.peak_model(trial, kept)
        return [mark_for_deletion(model) for model in self._folder.peak_models(trial) if model != keep]

    def delete(self, trial: int, models: Sequence[Path]) -> None:
        """Deletes models of a trial that were set aside."""
        self._delete("replace", models, trial)

    def prune(self, record: StudyRecord) -> None:
        """Deletes what finished trials no longer need, half-written folders too, but for the best models.

        Called at each start as well, for what a crash kept from being deleted.
        """
        on_disk = [record.trials[number] for number in self._folder.trials() if number < len(record.trials)]
        finished = {trial.number: trial for trial in on_disk if trial.state in FINISHED}
        ranked = rank_models(finished.values(), record.best)
        models = {trial.number: self._peak_model(trial) for trial in finished.values()}
        on_shelf = [trial.number for trial in ranked if trial.number in models and models[trial.number].is_dir()]
        sizes = {number: folder_bytes(models[number]) for number in on_shelf[: self._spec.keep]}
        kept = plan_kept(on_shelf, sizes, keep=self._spec.keep, room=self._room())
        default = record.default
        if default is not None:
            kept.add(default.number)  # what the best is judged against
        for number in finished:
            keep = models[number] if number in kept else None
            entries = sorted(entry for entry in self._folder.trial(number).iterdir() if entry.is_dir())
            self._delete("delete", [entry for entry in entries if entry != keep], number)
            if keep is None:
                remove(self._folder.trial(number))

    def _room(self) -> int | None:
        """Bytes that the best models may take: the limit, less the default's and what running trials take at most."""
        if self._spec.max_gib is None:
            return None
        model_bytes = folder_bytes(self._folder.base_model)
        return int(self._spec.max_gib * GIB) - (self._slots * MODELS_A_TRIAL + 1) * model_bytes

    def _peak_model(self, trial: TrialRecord) -> Path:
        return self._folder.peak_model(trial.number, trial.peak.progress if trial.peak else 0)

    def _delete(self, kind: EventKind, folders: Sequence[Path], trial: int) -> None:
        if not folders:
            return
        size = sum(folder_bytes(folder) for folder in folders)
        for folder in folders:
            remove(folder)
        names = ", ".join(folder.name.removesuffix(ASIDE) for folder in folders)
        self._tell(kind, f"{names} ({size / 2**20:.1f} MiB)", trial, bytes=size)
