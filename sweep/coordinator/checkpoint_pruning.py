"""CheckpointPruner: deletes files of trials, except the best models of the study and those that running trials need.

A checkpoint counts once its manifest is there; what is deleted loses its manifest first (see training.checkpoint).
"""

from __future__ import annotations

import math
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
"""Maximum disk space of a running trial, in models: two peak models, one committed and one being written, and two
checkpoints of weights and two moments, likewise."""

MODELS_ALWAYS = 2
"""Models of finished trials that are always kept: the best, and the default's that it is compared with."""

GIB = 2**30

MARKED = ".replaced"
"""Suffix of a folder that is about to be deleted."""


def saved_step(folder: RunFolder, trial: int) -> int:
    """Optimizer step of a trial's newest complete checkpoint; 0 where there is none."""
    checkpoint = newest_complete(folder.checkpoint_folders(trial))
    return int(checkpoint.name.removeprefix("step-")) if checkpoint else 0


def rank_models(trials: Iterable[TrialRecord], best: TrialRecord | None) -> list[TrialRecord]:
    """The finished trials whose peak models are worth keeping: ``best``, the study's best one, and then by peak."""
    others = [
        (trial.peak.value, trial)
        for trial in trials
        if trial.state in ("complete", "pruned")
        and trial.peak is not None
        and trial.equal_to is None
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
        keep: Maximum number of models.
        room: Maximum bytes of all of them together; None where there is no limit.

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
    """Refuses a limit on the disk that is too low for all trials at once and the models that stay.

    Raises:
        DeviceError: If it is too low; it names the estimate and what to set.
    """
    min_bytes = (slots * MODELS_A_TRIAL + MODELS_ALWAYS) * model_bytes
    if spec.max_gib is not None and min_bytes > spec.max_gib * GIB:
        raise DeviceError(
            f"checkpoints.max_gib = {spec.max_gib:g}: {slots} trials at once and the two models that stay take up to"
            f" {min_bytes / GIB:.3g} GiB (models of {model_bytes / GIB:.3g} GiB): raise it to that, or lower"
            " workers.devices or workers.trials_per_device"
        )


def mark_for_deletion(folder: Path) -> Path:
    """Renames a folder that is about to be deleted, in place of one that a crash left under that name."""
    marked = folder.with_name(folder.name + MARKED)
    if marked.exists():
        remove(marked)
    return folder.rename(marked)


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
    """Deletes files of trials, and tells of it.

    Args:
        folder: The study's run folder.
        spec: The study file's table of checkpoints.
        slots: Trials that run at once.
        tell: Tells of what happened.
    """

    def __init__(self, folder: RunFolder, spec: CheckpointsSpec, *, slots: int, tell: Tell) -> None:
        self._folder = folder
        self._spec = spec
        self._slots = slots
        self._tell = tell

    def mark_peaks_for_deletion(self, trial: int, *, kept: int) -> list[Path]:
        """Renames the models of a running trial's peaks other than ``kept``, its committed one in thousandths.

        The trial may write a model of any name once it goes on, so this is done before; deleting takes longer. `delete`
        deletes the models, which are returned under their new names.
        """
        keep = self._folder.peak_model(trial, kept)
        return [mark_for_deletion(model) for model in self._folder.peak_models(trial) if model != keep]

    def delete(self, trial: int, models: Sequence[Path]) -> None:
        """Deletes models of a trial that were marked."""
        self._delete("replace", models, trial)

    def prune(self, record: StudyRecord) -> None:
        """Deletes the folders of finished trials, half-written ones too, except the best models and what can go on.

        Called at each start as well, for folders that a crash has left.
        """
        on_disk = [record.trials[number] for number in self._folder.trials() if number < len(record.trials)]
        ended = [trial for trial in on_disk if trial.state in FINISHED and not trial.is_resumable]
        finished = {trial.number: trial for trial in ended if not trial.may_be_promoted}
        resumable = [self._folder.trial(trial.number) for trial in on_disk if trial.is_resumable]
        paused_bytes = self._evict([trial for trial in on_disk if trial.may_be_promoted], taken=resumable)
        ranked = rank_models(finished.values(), record.best)
        models = {trial.number: self._peak_model(trial) for trial in finished.values()}
        stored = [trial.number for trial in ranked if trial.number in models and models[trial.number].is_dir()]
        sizes = {number: folder_bytes(models[number]) for number in stored[: self._spec.keep]}
        taken = paused_bytes + sum(map(folder_bytes, resumable))
        kept = plan_kept(stored, sizes, keep=self._spec.keep, room=self._room(taken))
        again = {(trial.number, trial.confirms) for trial in record.trials if trial.confirms is not None}
        kept |= {number for pair in again for number in pair if number in models}
        default = record.default
        if default is not None:
            kept.add(default.number)  # the best is compared with it
        for number in finished:
            keep = models[number] if number in kept else None
            entries = sorted(entry for entry in self._folder.trial(number).iterdir() if entry.is_dir())
            self._delete("delete", [entry for entry in entries if entry != keep], number)
            if keep is None:
                remove(self._folder.trial(number))

    def _evict(self, paused: Sequence[TrialRecord], *, taken: Sequence[Path]) -> int:
        """Deletes the folders of the worst paused trials where there is no room; the bytes of those that stay.

        Whoever is promoted without one is trained again from the start.
        """
        room, total = self._room(sum(map(folder_bytes, taken)) + folder_bytes(self._folder.base_model)), 0
        ranked = sorted(paused, key=lambda trial: (-trial.peak.value if trial.peak else math.inf, trial.number))
        for trial in ranked:
            folder = self._folder.trial(trial.number)
            size = folder_bytes(folder)
            if room is not None and total + size > room:
                self._delete("delete", [folder], trial.number)
            else:
                total += size
        return total

    def _room(self, taken: int) -> int | None:
        """Bytes for the best models: the limit, less ``taken``, the default's model, and running trials' maximum."""
        if self._spec.max_gib is None:
            return None
        model_bytes = folder_bytes(self._folder.base_model)
        return int(self._spec.max_gib * GIB) - (self._slots * MODELS_A_TRIAL + 1) * model_bytes - taken

    def _peak_model(self, trial: TrialRecord) -> Path:
        return self._folder.peak_model(trial.number, trial.peak.progress if trial.peak else 0)

    def _delete(self, kind: EventKind, folders: Sequence[Path], trial: int) -> None:
        if not folders:
            return
        size = sum(folder_bytes(folder) for folder in folders)
        for folder in folders:
            remove(folder)
        names = ", ".join(folder.name.removesuffix(MARKED) for folder in folders)
        self._tell(kind, f"{names} ({size / 2**20:.1f} MiB)", trial, bytes=size)
