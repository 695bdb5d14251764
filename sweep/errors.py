"""Errors that a user can act on.

SweepError                    one line says what, where and what to do; the command exits with 2
├── StudyFileError            the study file: its syntax, a key, a value
├── StudyChangedError         the study file disagrees with the study that it began
├── CollectionError           documents, queries, judgements, training pairs
├── GeneratorError            a generator of queries that cannot go on
├── ModelError                the base model cannot be loaded, or is not what it says it is
├── DeviceError               a device that is not there, or that torch cannot use
├── DeviceMemoryError         a device's memory was exhausted by a trial
├── StorageError              the study's database, or its folder
├── StudyLockedError          another live coordinator holds the study
├── AttemptHeldError          an older process of a trial is alive and cannot be ended
├── CheckpointError           a checkpoint that is incomplete or not what its manifest says
└── StudyEndedError           trials kept failing, so the study was ended; exits with 1
"""

from __future__ import annotations

import re
from pathlib import Path


class SweepError(Exception):
    """The root: its text is one line that says what is wrong, where, and what to do."""

    exit_code = 2
    """Exit code of a command that this error ends."""


class StudyFileError(SweepError):
    """A study file that cannot be read, or a key or value in it that is not valid.

    Args:
        file: The study file.
        problem: The mistake, and what to do.
        key: Dotted path of the offending key, such as ``space.learning_rate.low``.
    """

    def __init__(self, file: Path | str, problem: str, *, key: str | None = None) -> None:
        super().__init__(f"{file}: {key}: {problem}" if key else f"{file}: {problem}")
        self.file = file
        self.key = key
        self.problem = problem


class StudyChangedError(SweepError):
    """A study file whose key (a dotted path) has another value than the one with which its study began.

    Args:
        file: The study file.
        key: The key.
        old: Its value at the study's beginning.
        new: Its value now.
        why: The reason for which it may not change.
    """

    def __init__(
        self,
        file: Path | str,
        *,
        key: str,
        old: object,
        new: object,
        why: str = "its trials could no longer be compared",
    ) -> None:
        super().__init__(
            f"{file}: {key} was {old!r} when this study began and is {new!r} now: {why}; put the old value back, or"
            " give the file another name to begin a new study (`sweep fork` takes over the trials that still fit)"
        )
        self.key = key
        self.old = old
        self.new = new


class CollectionError(SweepError):
    """A collection that cannot be read, or that cannot train or evaluate what the study asks for."""


class GeneratorError(SweepError):
    """A generator of queries whose server cannot be used, or whose limits are reached."""


class ModelError(SweepError):
    """A base model that cannot be loaded, or is not what it says it is."""


class DeviceError(SweepError):
    """A device that is not there, or that torch cannot use."""


class DeviceMemoryError(SweepError):
    """A trial ran out of a device's memory, at a micro-batch of so many pairs."""

    def __init__(self, device: str, *, micro_batch: int) -> None:
        super().__init__(f"out of memory on {device} at micro-batch {micro_batch}")
        self.micro_batch = micro_batch


class StorageError(SweepError):
    """The study's database or folder cannot be opened, read or written."""


class StudyLockedError(SweepError):
    """Another live coordinator holds the study."""


class AttemptHeldError(SweepError):
    """An older process of a trial is alive, and cannot be ended from here."""


class CheckpointError(SweepError):
    """A checkpoint that is incomplete, or whose files are not what its manifest says."""


class StudyEndedError(SweepError):
    """Trials kept failing, so the study was ended before its budget was spent."""

    exit_code = 1


def reason_of(error: BaseException) -> str:
    """The line of an error's message that has the reason, or the error's type where it has no message.

    Libraries put headings before it that end with a colon: ``Error(s) in loading state_dict for BertModel:``.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = next((line for line in lines if not line.endswith(":")), lines[0] if lines else type(error).__name__)
    return re.sub(r"^(?:[A-Za-z_]+\.)*[A-Za-z_]*(?:Error|Exception): ", "", reason)
