"""What a watcher is shown of a running sweep: the state it is in, and an estimate of the time left."""

from __future__ import annotations

from collections.abc import Sequence

from sweep.coordinator.events import RunningView, SweepView
from sweep.coordinator.running import RunningTrial
from sweep.launch import Slot
from sweep.plan import StudyPlan
from sweep.progress import WHOLE
from sweep.storage.records import StudyRecord, count_saved


def make_view(
    plan: StudyPlan, record: StudyRecord, running: Sequence[RunningTrial], slots: Sequence[Slot], baseline: float
) -> SweepView:
    """The state of a running sweep."""
    saved, fraction = count_saved(record.trials)
    return SweepView(
        name=plan.spec.name,
        finished=record.counted,
        trials=plan.spec.budget.trials,
        baseline=baseline,
        best=record.best,
        running=[_running_view(trial) for trial in running if trial.slot],
        space=plan.spec.space,
        slots={slot.name: slot.label for slot in slots},
        saved_examples=saved,
        saved_fraction=fraction,
        seconds_left=estimate_seconds_left(plan, record, running, len(slots)),
    )


def estimate_seconds_left(
    plan: StudyPlan, record: StudyRecord, running: Sequence[RunningTrial], slots: int
) -> float | None:
    """Seconds until the budget is spent, by the pace and the length of the trials so far; None before the first."""
    measured = [trial for trial in record.trials if trial.rows]
    seconds = sum(trial.rows[-1].seconds for trial in measured)
    share_seen = sum(trial.progress for trial in measured) / WHOLE
    if not share_seen:
        return None
    per_trial = seconds / share_seen  # of a whole one
    ended = [trial.progress / WHOLE for trial in measured if trial.is_counted]
    usual = sum(ended) / len(ended) if ended else 1.0
    to_begin = max(0, plan.spec.budget.trials - record.counted - len(running))
    to_finish = sum(max(0.0, usual - trial.progress[-1] / WHOLE) for trial in running)
    return per_trial * (to_begin * usual + to_finish) / max(1, min(slots, to_begin + len(running)))


def _running_view(trial: RunningTrial) -> RunningView:
    return RunningView(
        trial=trial.number,
        slot=trial.slot.name if trial.slot else "",
        params=trial.params,
        progress=trial.progress[-1],
        curve=trial.curve,
        verdict=trial.verdict,
    )
