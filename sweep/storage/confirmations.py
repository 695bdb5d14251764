"""Confirmed configurations: the best trials of a study, trained again with other seeds.

The best of many trials is chosen by figures that hold luck: that of its queries, and that of its training. The mean
over trainings with other seeds holds less of the second, and their spread says how much trainings differ that differ in
nothing but chance.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sweep.storage.records import StudyRecord, TrialRecord
from sweep.storage.study_tables import FINISHED


@dataclass(frozen=True)
class Confirmed:
    """A configuration that was trained with several seeds.

    Attributes:
        runs: Its trainings, the first one that the search made first.
    """

    runs: tuple[TrialRecord, ...]

    @property
    def number(self) -> int:
        """Number of its first training."""
        return self.runs[0].number

    @cached_property
    def peaks(self) -> tuple[float, ...]:
        """The highest value on dev of each training."""
        return tuple(trial.peak.value for trial in self.runs if trial.peak)

    @property
    def mean(self) -> float:
        """Mean of the peaks."""
        return float(np.mean(self.peaks))

    @property
    def spread(self) -> float:
        """Standard deviation of the peaks."""
        return float(np.std(self.peaks, ddof=1))

    @property
    def best(self) -> TrialRecord:
        """The training with the highest peak, the earliest of equals."""
        return max(self.runs, key=lambda trial: (trial.peak.value if trial.peak else -1.0, -trial.number))


def rank_configurations(record: StudyRecord) -> list[TrialRecord]:
    """The trials of the search that ended by themselves or by their own curve, the highest peak first.

    A trial that was not promoted, or was cut off by the end of its study, was not trained as its replicates would be.
    """
    return [
        trial
        for trial in record.leaderboard()
        if trial.state in ("complete", "pruned")
        and trial.confirms is None
        and trial.equal_to is None
        and not trial.is_excused
        and (trial.stop is None or trial.stop.kind not in ("diverged", "not promoted", "study ended"))
    ]


def list_winning(record: StudyRecord) -> tuple[TrialRecord, ...]:
    """The trainings of the confirmed configuration with the highest mean; none where none is confirmed."""
    confirmed = find_confirmed(record)
    return confirmed[0].runs if confirmed else ()


def find_confirmed(record: StudyRecord) -> tuple[Confirmed, ...]:
    """The configurations that were trained with several seeds, the highest mean first; none while one still trains."""
    again = [trial for trial in record.trials if trial.confirms is not None]
    if any(trial.state not in FINISHED for trial in again):
        return ()
    groups = []
    for number in dict.fromkeys(trial.confirms for trial in again):
        runs = [record.trials[number or 0], *(trial for trial in again if trial.confirms == number)]
        groups.append(Confirmed(tuple(trial for trial in runs if trial.peak and trial.state != "fail")))
    known = [group for group in groups if len(group.runs) > 1]
    return tuple(sorted(known, key=lambda group: (-group.mean, group.number)))
