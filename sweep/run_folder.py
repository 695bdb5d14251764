"""RunFolder: every path of what a study leaves behind, beside its file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RunFolder:
    """The folder ``studies/x/`` of the study file ``studies/x.toml``.

    Attributes:
        path: The folder.
    """

    path: Path

    @classmethod
    def beside(cls, study_file: Path | str) -> RunFolder:
        """The run folder of a study file, which need not exist yet."""
        return cls(Path(study_file).resolve().with_suffix(""))

    @property
    def database(self) -> Path:
        """The study's SQLite file."""
        return self.path / "study.db"

    @property
    def lock(self) -> Path:
        """The file that a live coordinator holds a lock on."""
        return self.path / "study.lock"

    @property
    def base_model(self) -> Path:
        """The untrained model that every trial loads, as a Sentence Transformers folder."""
        return self.path / "base"

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
        """The trials of which there is a folder on disk, ascending."""
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


def _folders(parent: Path, pattern: str) -> list[Path]:
    if not parent.is_dir():
        return []
    return sorted(entry for entry in parent.iterdir() if re.fullmatch(pattern, entry.name))
