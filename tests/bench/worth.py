"""What generated queries are worth beside titles and real ones: the finished study studies/queries.toml, as a table.

The peak model of every training is evaluated on the test split. The share of the gap that a format closes is
(format - floor) / (ceiling - floor), of test NDCG@10; its interval holds every share s for which format - floor -
s (ceiling - floor), over queries and seeds, cannot be told from nought (Fieller, 1954).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sweep.measures.over_seeds import mean_over_seeds
from sweep.messages import StudyTask
from sweep.study import Study, open_study
from sweep.trial import evaluate_saved, open_or_compile

STUDY = Path(__file__).resolve().parents[2] / "studies" / "queries.toml"
FLOOR, CEILING = "title-content", "query-document"
UNTRAINED = "untrained"
SHARES = np.linspace(-3.0, 4.0, 7001)
"""Shares of the gap that are tried."""

ByFormat = Mapping[str, NDArray[np.float32]]
"""(S, Q) test NDCG@10 of each query, for each seed of a data format; (1, Q) of the untrained model."""


def tabulate_worth(file: Path = STUDY) -> Iterator[str]:
    """The lines of the table.

    Raises:
        ValueError: If the study has not ended with a model of each training.
    """
    with open_study(file) as study:
        frame = study.trials()
        tested = evaluate_on_test(study)
        untrained = tested[UNTRAINED]
        yield "| data format | dev peak | dev end | retention | test | over untrained | gap closed |"
        yield "| --- |" + " --- |" * 6
        yield f"| untrained | {study.record.baseline:.4f} | | | {untrained.mean():.4f} | | |"
        for name in frame["data_format"].unique():
            own = frame[frame["data_format"] == name]
            columns = " | ".join(describe_spread(own[column]) for column in ("peak", "last", "retention"))
            value, gain = mean_over_seeds(tested[name]), mean_over_seeds(tested[name] - untrained)
            yield (
                f"| `{name}` | {columns} | {value.mean:.4f} | {gain.mean:+.4f} ({gain.low:+.4f} to {gain.high:+.4f}) |"
                f" {describe_share(tested, name)} |"
            )


def evaluate_on_test(study: Study) -> ByFormat:
    """Evaluates the peak model of every training on the test split."""
    models = {UNTRAINED: study.run_folder.base_model}
    for trial in study.record.trials:
        if trial.peak is None:
            raise ValueError(f"{study.file}: trial {trial.number} has no peak: run the study to its end first")
        models[str(trial.number)] = study.run_folder.peak_model(trial.number, trial.peak.progress)
    missing = [name for name, folder in models.items() if not folder.is_dir()]
    if missing:
        raise ValueError(f"{study.file}: the models of trials {', '.join(missing)} are not there (checkpoints.keep)")
    task = StudyTask(spec=study.spec, folder=study.file.parent, run_folder=study.run_folder.path)
    found = evaluate_saved(task, lambda model: open_or_compile(task, model), "test", models)
    formats = {UNTRAINED: UNTRAINED} | {
        str(trial.number): str(trial.params.data_format) for trial in study.record.trials if trial.params
    }
    return {
        name: np.stack([found[number].per_query for number in models if formats[number] == name])
        for name in dict.fromkeys(formats.values())
    }


def describe_spread(values: Sequence[float]) -> str:
    """The mean of trainings, and how far apart they are."""
    return f"{np.mean(values):.4f} ({np.min(values):.4f} to {np.max(values):.4f})"


def describe_share(tested: ByFormat, name: str) -> str:
    """The share of the gap between floor and ceiling that a format closes, with its interval."""
    if name in (FLOOR, CEILING):
        return "0, the floor" if name == FLOOR else "1, the ceiling"
    gain, gap = tested[name] - tested[FLOOR], tested[CEILING] - tested[FLOOR]
    means = [mean_over_seeds(gain - share * gap) for share in SHARES]
    held = [share for share, mean in zip(SHARES, means, strict=True) if mean.low <= 0.0 <= mean.high]
    return f"{gain.mean() / gap.mean():.2f} ({min(held):.2f} to {max(held):.2f})"
