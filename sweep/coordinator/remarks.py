"""What the dashboard shows: why a trial ended and what it was trained with; where a study stands."""

from __future__ import annotations

from collections.abc import Sequence

from sweep.columns import write_leaderboard
from sweep.coordinator.running import RunningTrial
from sweep.progress import WHOLE
from sweep.settings.dimensions import SHOWN
from sweep.settings.study_file import StudySpec
from sweep.storage.records import StudyRecord
from sweep.storage.remarks import quote


def write_remark(trial: RunningTrial, *, reason: str = "", error: str = "", log: Sequence[str] = ()) -> str:
    """A trial's end as Markdown: the reason as plain text, the peak, and the settings as they were used.

    Args:
        trial: The trial.
        reason: Why it ended, in our words.
        error: Why it failed; that can hold anything, so it is shown as code.
        log: The last lines of its log, shown as code too.
    """
    peak = f"{trial.peak.ndcg:.4f} at {trial.peak.progress / WHOLE:.1%}" if trial.peak else "none"
    rows = {
        "peak NDCG@10": peak,
        "last NDCG@10": f"{trial.curve[-1][1]:.4f} at {trial.progress[-1] / WHOLE:.1%}",
        **{one.label: one.say(trial.params) for one in SHOWN},
        "end of warm-up": f"{trial.warmup_end:.1%}",
        "micro-batch": trial.micro_batch or "unknown",
        "optimizer steps": trial.steps,
        "interruptions": trial.interruptions,
    }
    why = quote(error) if error else reason
    table = ["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows.items())]
    return "\n".join([why, "", *(f"{quote(line)}  " for line in log), "", *table])


def write_study_remark(record: StudyRecord, spec: StudySpec) -> str:
    """Where a running study stands as Markdown: how far it is, and the leaderboard.

    Args:
        record: The study.
        spec: Its file.
    """
    untrained = "" if record.baseline is None else f"; the untrained model has {record.baseline:.4f}"
    ended = f"{record.counted} of {spec.budget.trials} trials have ended"
    state = f"{ended}{untrained}. The report and the diagnosis come at its end."
    heading = "### Leaderboard (peaks on dev, selected)"
    return "\n\n".join([f"## {quote(record.name)}", state, heading, write_leaderboard(record, spec.space)])
