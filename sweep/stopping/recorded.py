"""RecordedRun: a training run that went to its end, with the value of every query; and files of many of them."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweep.errors import SweepError
from sweep.measures.measures import DEFAULT_METRIC
from sweep.measures.score import Score
from sweep.progress import COMPLETE
from sweep.settings.dimensions import add_older

BANK_VERSION = 2


@dataclass(frozen=True, kw_only=True)
class RecordedRun:
    """A run as it was measured.

    Attributes:
        name: Its study and its number, which tell it from the others.
        group: The evaluation set; only the values of runs on the same one can be compared.
        progress: (T,) progress of each measurement in thousandths, ascending, the untrained model's first.
        per_query: (T, Q) value of each query.
        warmup_end: Progress in [0, 1] at which the learning rate has risen.
        scheduler: Course of the learning rate after that.
        examples: Training pairs of the complete run.
        params: Its settings by name.
        metric: Metric of its values; banks of version 1 do not name it.
        weights: (Q,) weight of each query; None where all count the same.
    """

    name: str
    group: str
    progress: NDArray[np.int64]
    per_query: NDArray[np.float32]
    warmup_end: float
    scheduler: str
    examples: int
    params: Mapping[str, Any]
    metric: str = DEFAULT_METRIC
    weights: NDArray[np.float64] | None = None

    @cached_property
    def means(self) -> NDArray[np.float64]:
        """(T,) mean of each measurement; what is not finite counts as 0."""
        return Score(np.where(np.isfinite(self.per_query), self.per_query, 0.0), self.weights).means

    @property
    def is_complete(self) -> bool:
        """Whether it was measured to its end."""
        return bool(self.progress[-1] >= COMPLETE)

    def on_queries(self, chosen: NDArray[np.int64]) -> RecordedRun:
        """The same run on some of its queries alone."""
        weights = None if self.weights is None else self.weights[chosen]
        return replace(self, per_query=self.per_query[:, chosen], weights=weights)


def load_bank(file: Path) -> list[RecordedRun]:
    """Reads the runs of a bank's file.

    Raises:
        SweepError: If it cannot be read, is no bank, or of a newer version.
    """
    try:
        with np.load(file, allow_pickle=False) as arrays:
            header = json.loads(arrays["header"].tobytes())
            if header["version"] > BANK_VERSION:
                raise SweepError(
                    f"{file}: is a bank of version {header['version']}, and {BANK_VERSION} is known: upgrade"
                )
            return [
                RecordedRun(
                    **{**described, "params": add_older(described["params"])},
                    progress=arrays[f"progress_{place}"].astype(np.int64),
                    per_query=arrays[f"per_query_{place}"].astype(np.float32),
                    weights=arrays.get(f"weights_{place}"),
                )
                for place, described in enumerate(header["runs"])
            ]
    except OSError as error:
        raise SweepError(f"{file}: cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise SweepError(f"{file}: is no bank of recorded runs") from error
