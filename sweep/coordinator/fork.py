"""fork_study: a new study that takes over the trials of another that can still be compared with its own."""

from __future__ import annotations

import dataclasses
import itertools
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.distributions import distribution_to_json

from sweep.coordinator.changes import CHOICES, SETTLED, describe_beginning, find_content_changes, find_differences
from sweep.coordinator.ledger import Ledger
from sweep.coordinator.placement import LARGEST_BATCH, LARGEST_MICRO_BATCH, MEMORY_PEAKS
from sweep.errors import StorageError, StudyFileError
from sweep.plan import StudyPlan
from sweep.run_folder import claim_folder, write_study_name
from sweep.settings.space import SearchSpace
from sweep.storage.copying import copy_rows
from sweep.storage.evaluations import UNTRAINED
from sweep.storage.location import Waiting, lock_study
from sweep.storage.records import CONFIRMS, EQUAL_TO, LONGER_THAN, StudyRecord, TrialRecord
from sweep.storage.study_tables import TrialRow, read_content
from sweep.study import read_study
from sweep.training.checkpoint import verify

FORKED_FROM = "forked_from"
"""Study attribute with the other study's name; and a trial's, with its number there."""

COMPARABLE = tuple(key for key in SETTLED if key not in CHOICES)
"""Keys that two studies must share so that any trials of theirs can be compared."""

_TAKEN_ATTRIBUTES = (LARGEST_BATCH, LARGEST_MICRO_BATCH, MEMORY_PEAKS, "parameters")


@dataclass(frozen=True)
class Fork:
    """The trials that a new study took over.

    Attributes:
        taken: The new number of each trial that was taken, by its old one.
        left: Finished trials that were left, because their settings are none of the new space.
        unfinished: Trials that had not ended, had failed or did not count.
    """

    taken: Mapping[int, int]
    left: Sequence[int]
    unfinished: Sequence[int]


def fork_study(old: StudyPlan, new: StudyPlan) -> Fork:
    """Makes a new study of another one's trials; the old one is only read.

    Raises:
        SweepError: If the two cannot be compared, or the new one has begun. Then nothing is left of it.
    """
    if new.location.database.exists() or new.run_folder.path.exists():
        raise StorageError(f"{new.run_folder.path}: there is a study already; give the new one another file name")
    with read_study(old.location) as opened:
        record, storage = opened.record, opened.reader.storage
        trials = read_content(storage).trials
        _check_comparable(old, new, record.attributes)
        verify(old.run_folder.base_model)
        fork = plan_fork(record, trials, new.space)
        counted = sum(record.trials[number].is_counted for number in fork.taken)
        if counted > new.spec.budget.trials:
            problem = f"{new.spec.budget.trials} is below the {counted} trials that {old.file.name} hands over"
            raise StudyFileError(new.file, f"{problem}: raise it", key="budget.trials")
        claim_folder(new.run_folder.path)
        try:
            with lock_study(new.location.database, waiting=Waiting()) as held:
                ledger = Ledger(held.storage, new.spec.name)
                write_study_name(new.run_folder, new.spec.name)
                copy_rows(storage.engine, held.storage.engine, {UNTRAINED: UNTRAINED, **fork.taken})
                _copy_trials(trials, ledger, fork, new.space)
                _copy_models(old, new, fork)
                _begin(ledger, record, new)
        except BaseException as error:  # a fork is complete or not there, whatever cut it off
            new.location.database.discard()
            shutil.rmtree(new.run_folder.path, ignore_errors=True)
            if isinstance(error, OSError):
                raise StorageError(f"{error.filename or new.run_folder.path}: {error.strerror or error}") from error
            raise
    return fork


def plan_fork(record: StudyRecord, trials: Sequence[TrialRow], space: SearchSpace) -> Fork:
    """The trials of a study, in order of number, that a new one takes: they ended well, count, and lie in its space.

    One that trains another's configuration again or for longer is taken with that one alone.
    """
    taken: dict[int, int] = {}
    left, unfinished = [], []
    for trial in record.trials:
        if trial.state not in ("complete", "pruned") or trial.is_excused:
            unfinished.append(trial.number)
        elif _is_origin_taken(trial, taken) and all(_fits(trials[one].values, space) for one in _list_equal(trial)):
            taken[trial.number] = len(taken)
        else:
            left.append(trial.number)
    return Fork(taken, left, unfinished)


def _is_origin_taken(trial: TrialRecord, taken: Collection[int]) -> bool:
    """Whether the trial whose configuration it is, which began before it, is taken, if there is one."""
    return all(number is None or number in taken for number in (trial.confirms, trial.longer_than))


def _list_equal(trial: TrialRecord) -> list[int]:
    """A trial's number, and that of the one whose curve it has."""
    return [trial.number] if trial.equal_to is None else [trial.number, trial.equal_to]


def _fits(values: Mapping[str, Any], space: SearchSpace) -> bool:
    complete = space.complete(values)
    inside = all(space.holds(name, value) for name, value in complete.items())
    return bool(complete) and inside and space.accepts(space.params(complete))


def _check_comparable(old: StudyPlan, new: StudyPlan, attributes: Mapping[str, Any]) -> None:
    """Refuses a new study none of whose trials could be compared with those of the other."""
    before, after = old.spec.model_dump(mode="json"), new.spec.model_dump(mode="json")
    differences = itertools.chain.from_iterable(find_differences(key, before, after) for key in COMPARABLE)
    for key, was, now in itertools.chain(differences, find_content_changes(new, attributes)):
        raise StudyFileError(
            new.file,
            f"is {now!r} and was {was!r} in {old.file.name}: none of its trials can be compared, so there is nothing to"
            " take over; run this file as a study of its own",
            key=key,
        )


def _copy_trials(trials: Sequence[TrialRow], ledger: Ledger, fork: Fork, space: SearchSpace) -> None:
    starts = [space.start_values(start) for start in space.spec.start]
    distributions = {name: distribution_to_json(known) for name, known in space.distributions.items()}
    copies = []
    for before, after in fork.taken.items():
        trial = trials[before]
        attributes = {name: value for name, value in trial.attributes.items() if name not in ("start", "rerun_of")}
        if attributes.get("start_values") in starts:
            attributes["start"] = starts.index(attributes["start_values"])
        for name in attributes.keys() & {EQUAL_TO, CONFIRMS, LONGER_THAN}:
            attributes[name] = fork.taken[attributes[name]]
        values = space.complete(trial.values)
        copies.append(
            dataclasses.replace(
                trial,
                number=after,
                values=values,
                distributions={name: distributions[name] for name in values},
                attributes={**attributes, FORKED_FROM: before},
            )
        )
    ledger.add_trials(copies)


def _copy_models(old: StudyPlan, new: StudyPlan, fork: Fork) -> None:
    """Copies the base model, and the peak models of trials that were taken, where they are kept."""
    shutil.copytree(old.run_folder.base_model, new.run_folder.base_model)
    for before, after in fork.taken.items():
        for model in old.run_folder.peak_models(before):
            shutil.copytree(model, new.run_folder.trial(after) / model.name)


def _begin(ledger: Ledger, record: StudyRecord, new: StudyPlan) -> None:
    """Writes down the new study's beginning; the study file's content comes last, and only then has it begun."""
    taken = {name: record.attributes[name] for name in _TAKEN_ATTRIBUTES if name in record.attributes}
    began = describe_beginning(new, revision=new.revision, collection_hash=new.collection.content_hash)
    ledger.name_metric(new.spec.evaluation.measure.label)
    for name, value in {**taken, FORKED_FROM: record.name, **began}.items():
        ledger.set_attribute(name, value)
