"""What the dashboard shows: why a trial ended and what it was trained with; where a study stands."""

from __future__ import annotations

from collections.abc import Sequence

from sweep.coordinator.running import RunningTrial
from sweep.progress import WHOLE
from sweep.storage.records import StudyRecord
from sweep.storage.remarks import quote, write_leaderboard


def write_remark(trial: RunningTrial, *, reason: str = "", error: str = "", log: Sequence[str] = ()) -> str:
    """A trial's end as Markdown: the reason as plain text, the peak, and the settings as they were used.

    Args:
        trial: The trial.
        reason: Why it ended, in our words.
        error: Why it failed; that can hold anything, so it is shown as code.
        log: The last lines of its log, shown as code too.
    """
    params = trial.params
    peak = f"{trial.peak.ndcg:.4f} at {trial.peak.progress / WHOLE:.1%}" if trial.peak else "none"
    rows = {
        "peak NDCG@10": peak,
        "last NDCG@10": f"{trial.curve[-1][1]:.4f} at {trial.progress[-1] / WHOLE:.1%}",
        "learning rate": f"{params.learning_rate:.3g}, effective {params.effective_learning_rate:.3g}",
        "warm-up": f"{params.warmup_ratio:.3f} (to {trial.warmup_end:.1%})",
        "batch size": f"{params.batch_size} in micro-batches of {trial.micro_batch or 'unknown size'}",
        "optimizer steps": trial.steps,
        "data format": params.data_format,
        "scale": f"{params.scale:g}",
        "scheduler": params.scheduler,
        "interruptions": trial.interruptions,
    }
    why = quote(error) if error else reason
    table = ["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows.items())]
    return "\n".join([why, "", *(f"{quote(line)}  " for line in log), "", *table])


def write_study_remark(record: StudyRecord, *, trials: int) -> str:
    """Where a running study stands as Markdown: how far it is, and the leaderboard.

    Args:
        record: The study.
        trials: Its budget.
    """
    untrained = "" if record.baseline is None else f"; the untrained model has {record.baseline:.4f}"
    state = f"{record.counted} of {trials} trials have ended{untrained}. The report and the diagnosis come at its end."
    heading = "### Leaderboard (peaks on dev, selected)"
    return "\n\n".join([f"## {quote(record.name)}", state, heading, write_leaderboard(record)])
