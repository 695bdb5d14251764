"""Files of trials: how far a trial has been saved, and what is kept of one that has ended."""

from __future__ import annotations

from sweep.run_folder import RunFolder
from sweep.storage.records import FINISHED, StudyRecord
from sweep.training.checkpoint import newest_whole, remove


def saved_step(folder: RunFolder, trial: int) -> int:
    """Optimizer step of a trial's newest whole checkpoint; 0 where there is none."""
    checkpoint = newest_whole(folder.checkpoint_folders(trial))
    return int(checkpoint.name.removeprefix("step-")) if checkpoint else 0


def forget_peaks(folder: RunFolder, trial: int, *, kept: int) -> None:
    """Deletes the models of a trial's earlier peaks, once a later one is committed.

    Args:
        folder: What the study leaves behind.
        trial: The trial's number.
        kept: Progress of its committed peak in thousandths.
    """
    for model in folder.peak_models(trial):
        if model != folder.peak_model(trial, kept):
            remove(model)


def tidy(folder: RunFolder, record: StudyRecord) -> None:
    """Deletes every model and checkpoint of finished trials, half-written ones too, but for the best and the default's.

    Called at each start as well, for what a crash kept from being deleted.
    """
    kept = {
        folder.peak_model(trial.number, trial.peak.progress)
        for trial in (record.best, record.default)
        if trial and trial.peak
    }
    for trial in record.trials:
        if trial.state in FINISHED and folder.trial(trial.number).is_dir():
            for entry in folder.trial(trial.number).iterdir():
                if entry not in kept and entry.is_dir():
                    remove(entry)
