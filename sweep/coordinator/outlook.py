"""What a watcher is shown of a running sweep: the state it is in, and an estimate of the time left."""

from __future__ import annotations

from collections.abc import Sequence

from sweep.coordinator.events import RunningView, SweepView
from sweep.coordinator.running import RunningTrial
from sweep.coordinator.slots import Slot
from sweep.plan import StudyPlan
from sweep.progress import WHOLE
from sweep.storage.records import StudyRecord, TrialRecord


def make_view(
    plan: StudyPlan, record: StudyRecord, running: Sequence[RunningTrial], slots: Sequence[Slot], baseline: float
) -> SweepView:
    """The state of a running sweep."""
    saved, fraction = count_saved(record.trials, plan.spec.budget.examples)
    return SweepView(
        name=plan.spec.name,
        finished=record.counted,
        trials=plan.spec.budget.trials,
        baseline=baseline,
        best=record.best,
        running=[_running_view(trial) for trial in running if trial.slot],
        slots={slot.name: slot.label for slot in slots},
        saved_examples=saved,
        saved_fraction=fraction,
        seconds_left=estimate_seconds_left(plan, record, running, len(slots)),
    )


def count_saved(trials: Sequence[TrialRecord], examples: int) -> tuple[int, float]:
    """Training pairs that stopping has saved, and their share of what the trials that ended would have seen."""
    ended = [trial for trial in trials if trial.state in ("complete", "pruned") and trial.params and trial.rows]
    planned = {trial.number: _whole_examples(trial, examples) for trial in ended}
    saved = sum(planned[trial.number] - trial.examples for trial in ended if trial.stop_reason)
    total = sum(planned.values())
    return saved, saved / total if total else 0.0


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


def _whole_examples(trial: TrialRecord, examples: int) -> int:
    """Training pairs of a whole trial, in whole batches."""
    batch = trial.params.batch_size if trial.params else 1
    return int(trial.attributes.get("steps", examples // batch)) * batch


def _running_view(trial: RunningTrial) -> RunningView:
    return RunningView(
        trial=trial.number,
        slot=trial.slot.name if trial.slot else "",
        params=trial.params,
        progress=trial.progress[-1],
        curve=trial.curve,
        verdict=trial.verdict,
    )
