"""RunFolder: every path of a study's output, beside its file."""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sweep.errors import StorageError

MIN_FREE_MIB = 16
"""Free space below which no run begins: the database and its journal need some."""


@dataclass(frozen=True)
class DatabaseFiles:
    """The SQLite file of a study and its lock, in one folder."""

    path: Path

    @property
    def database(self) -> Path:
        """The study's SQLite file."""
        return self.path / "study.db"

    @property
    def lock(self) -> Path:
        """The file that a live coordinator holds a lock on."""
        return self.path / "study.lock"


@dataclass(frozen=True)
class RunFolder(DatabaseFiles):
    """The folder ``studies/x/`` of the study file ``studies/x.toml``."""

    @classmethod
    def beside(cls, study_file: Path | str) -> RunFolder:
        """The run folder of a study file, which need not exist yet."""
        return cls(Path(study_file).resolve().with_suffix(""))

    @property
    def database_reference(self) -> Path:
        """The file that says where the study's SQLite file lies, where that is not in this folder."""
        return self.path / "study.database"

    @property
    def study_name(self) -> Path:
        """The file that holds the name of the study whose folder this is."""
        return self.path / "study.name"

    @property
    def unfinished(self) -> Path:
        """The file that exists while trials run, and afterwards where a run was cut off."""
        return self.path / "unfinished"

    @property
    def base_model(self) -> Path:
        """The untrained model that every trial loads, as a Sentence Transformers folder."""
        return self.path / "base"

    @property
    def compiled(self) -> Path:
        """Folder of the collection's texts and tokens, which every trial maps."""
        return self.path / "compiled"

    @property
    def checkpoints(self) -> Path:
        """Folder of all trials' models and checkpoints."""
        return self.path / "checkpoints"

    @property
    def logs(self) -> Path:
        """Folder of the logs."""
        return self.path / "logs"

    @property
    def report(self) -> Path:
        """The report, one HTML file."""
        return self.path / "report.html"

    def log(self, trial: int | None) -> Path:
        """Log of a trial's process, or of the study's other jobs where ``trial`` is None."""
        return self.logs / ("study.log" if trial is None else f"trial-{trial:04d}.log")

    @property
    def coordinator_log(self) -> Path:
        """Log of the coordinator, one JSON object a line."""
        return self.logs / "coordinator.jsonl"

    def trial(self, trial: int) -> Path:
        """Folder of a trial's models and checkpoints."""
        return self.checkpoints / f"trial-{trial:04d}"

    def trials(self) -> list[int]:
        """The trials that have a folder on disk, ascending."""
        return [int(folder.name.removeprefix("trial-")) for folder in _folders(self.checkpoints, r"trial-\d{4,}")]

    def attempt_lock(self, trial: int) -> Path:
        """The file that a trial's process holds a lock on while it lives."""
        return self.trial(trial) / "attempt.lock"

    def peak_model(self, trial: int, progress: int) -> Path:
        """The model of a trial's evaluation at ``progress`` thousandths, as a Sentence Transformers folder."""
        return self.trial(trial) / f"peak-{progress:04d}"

    def checkpoint(self, trial: int, step: int) -> Path:
        """The state of a trial's training after optimizer step ``step``."""
        return self.trial(trial) / f"step-{step:08d}"

    def peak_models(self, trial: int) -> list[Path]:
        """Every peak model of a trial that is on disk, ascending by progress."""
        return _folders(self.trial(trial), r"peak-\d{4}")

    def checkpoint_folders(self, trial: int) -> list[Path]:
        """Every checkpoint of a trial that is on disk, ascending by step."""
        return _folders(self.trial(trial), r"step-\d{8}")


def claim_folder(path: Path) -> None:
    """Makes a run folder, or makes sure that one that is there can be written to without harm.

    Only its owner may look into it (0700), and nothing in it may be a symbolic link, a pipe or a device, through which
    a study would write or remove something else. The folder itself may be a link, which puts a study on another disk.

    Raises:
        StorageError: If it cannot be made or written to, or holds such an entry.
    """
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            path.chmod(0o700)
    except FileExistsError:
        raise StorageError(f"{path}: is no folder, but the study's must be here; move it or rename the study") from None
    except OSError as error:
        raise StorageError(f"{path}: cannot be made, or not for this user alone: {error.strerror}") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise StorageError(
            f"{path}: cannot be written to; fix its permissions, or move the study file to another folder"
        )
    free = shutil.disk_usage(path).free
    if free < MIN_FREE_MIB << 20:
        raise StorageError(f"{path}: its disk is full ({free >> 20} MiB are free); free some space and run it again")
    for strange in _find_strange(path):
        raise StorageError(
            f"{strange}: is a symlink or special file, and nothing is written through it; remove it; to have the study"
            f" on another disk make {path} itself a link"
        )


def write_study_name(folder: RunFolder, name: str) -> None:
    """Writes down whose folder this is, completely or not at all; one that is written down stands."""
    if not folder.study_name.exists():
        partial = folder.study_name.with_name(f"{folder.study_name.name}.partial")
        partial.write_text(f"{name}\n", encoding="utf-8")
        partial.replace(folder.study_name)


def read_study_name(folder: RunFolder) -> str | None:
    """The name of the study whose folder this is; None where no version of this program has written it down.

    Raises:
        StorageError: If it cannot be read.
    """
    try:
        return folder.study_name.read_text(encoding="utf-8").removesuffix("\n")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise StorageError(f"{folder.study_name}: the study's name cannot be read: {error}") from error


def _find_strange(folder: Path) -> Iterator[Path]:
    """Entries below a folder that are neither a file nor a folder; links are not followed."""
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.is_dir(follow_symlinks=False):
                yield from _find_strange(Path(entry.path))
            elif not entry.is_file(follow_symlinks=False):
                yield Path(entry.path)


def seen_from_here(path: Path) -> Path:
    """A path as seen from the current folder, where it lies below it."""
    return path.relative_to(Path.cwd()) if path.is_absolute() and path.is_relative_to(Path.cwd()) else path


def _folders(parent: Path, pattern: str) -> list[Path]:
    if not parent.is_dir():
        return []
    return sorted(entry for entry in parent.iterdir() if re.fullmatch(pattern, entry.name))
