"""The command ``fork``: a new study out of the trials of another that still fit."""

from __future__ import annotations

from sweep.coordinator.fork import fork_study
from sweep.plan import plan_study
from sweep.storage.location import StudyLocation


def fork(old: StudyLocation, new: StudyLocation) -> None:
    """Makes the new study and prints what it took over.

    Raises:
        SweepError: If the two cannot be compared, or the new one has begun.
    """
    made = fork_study(plan_study(old), plan_study(new, after=old))
    print(f"{new.file}: takes over {len(made.taken)} trials of {old.file}")
    if made.left:
        print(f"  left, since their settings are none of the new space: {', '.join(map(str, made.left))}")
    if made.unfinished:
        print(f"  left, since they failed or have not ended: {', '.join(map(str, made.unfinished))}")
    print(f"Go on:  sweep run {new.arguments}")
