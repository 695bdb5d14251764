from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import optuna
import pytest

from sweep.stopping.pruners import DropOffPruner

FALLEN = [0.5, 0.551, 0.6, 0.619, 0.621, 0.62, 0.58, 0.54, 0.5, 0.46, 0.42, 0.38, 0.34, 0.3]
README = Path(__file__).resolve().parents[2] / "README.md"


def report_all(pruner: DropOffPruner, values: list[float], *, direction: str = "maximize") -> optuna.Trial:
    trial = optuna.create_study(direction=direction, pruner=pruner).ask()
    for step, value in enumerate(values):
        trial.report(value, step)
    return trial


def test_a_trial_that_fell_from_its_own_peak_is_pruned() -> None:
    pruner = DropOffPruner(last_step=20)
    assert report_all(pruner, FALLEN).should_prune()
    assert not report_all(pruner, FALLEN[:6]).should_prune()
    assert not optuna.create_study(direction="maximize", pruner=pruner).ask().should_prune()


def test_before_the_grace_no_trial_is_pruned() -> None:
    assert not report_all(DropOffPruner(last_step=20, not_before=0.7), FALLEN).should_prune()


def test_a_minimizing_study_and_a_step_beyond_the_last_are_refused() -> None:
    with pytest.raises(ValueError, match="needs a maximize study, got MINIMIZE"):
        report_all(DropOffPruner(last_step=20), FALLEN, direction="minimize").should_prune()
    with pytest.raises(ValueError, match="step 13 lies beyond last_step = 10"):
        report_all(DropOffPruner(last_step=10), FALLEN).should_prune()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"last_step": 0}, "last_step must be at least 1, got 0"),
        ({"last_step": 5, "not_before": 1.5}, r"not_before must lie in \[0, 1\], got 1\.5"),
        ({"last_step": 5, "alpha": 0.7}, r"alpha must lie in \(0, 0\.5\), got 0\.7"),
    ],
)
def test_a_pruner_that_does_not_stand_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        DropOffPruner(**settings)


def test_the_readmes_example_runs_and_prunes() -> None:
    example = next(block for block in re.findall(r"```python\n(.*?)```", README.read_text(), re.S) if "Pruner" in block)
    assert len(example.strip().splitlines()) <= 12
    found: dict[str, Any] = {}
    exec(compile(example, "README.md", "exec"), found)
    states = [trial.state.name for trial in found["study"].trials]
    assert set(states) == {"COMPLETE", "PRUNED"}
