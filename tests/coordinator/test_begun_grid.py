"""A study that began when the default grid was another one: it goes on with the looks that it began with."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from scripted import check_finished, rewrite, run

from sweep.errors import StudyChangedError
from sweep.plan import plan_study
from sweep.progress import DEFAULT_GRID
from sweep.run_folder import RunFolder
from sweep.storage.location import locate_study
from sweep.testing import write_toy_study

OLD_GRID = (10, 20, 35, 50, 75, 100, 125, 150, 200, 250, 300, 400, 500, 600, 700, 800, 900, 1000)
"""The default of studies from before."""

LINE = f"grid = {[point / 1000 for point in OLD_GRID]}\n"


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """A study of one trial that was stored with the old default; its file leaves the grid out."""
    tables: dict[str, Any] = {"budget": {"trials": 1, "examples": 800}, "space": {"batch_size": 8}}
    tables["stopping"] = {"drop_off": False}
    file = write_toy_study(tmp_path, script={}, **tables)
    rewrite(file, "grid = [0.1, 0.2, 0.4, 0.6, 0.8, 1.0]\n", LINE)
    run(file)
    rewrite(file, LINE, "")
    return file


def test_it_goes_on_with_the_old_default(older: Path) -> None:
    rewrite(older, "trials = 1\n", "trials = 2\n")
    assert plan_study(locate_study(older)).spec.evaluation.grid_points == OLD_GRID
    _, recorder = run(older)
    assert recorder.texts("change") == ["budget.trials: 1 is now 2"]
    looks = [tuple(row.progress for row in trial.rows) for trial in check_finished(older).trials]
    assert looks[0] == looks[1] == OLD_GRID


def test_the_same_file_as_a_study_of_its_own_has_the_default_of_today(older: Path) -> None:
    shutil.rmtree(RunFolder.beside(older).path)
    assert plan_study(locate_study(older)).spec.evaluation.grid_points == DEFAULT_GRID


def test_a_file_that_names_the_default_of_today_is_refused_by_the_key(older: Path) -> None:
    rewrite(older, "[evaluation]\n", f"[evaluation]\ngrid = {[point / 1000 for point in DEFAULT_GRID]}\n")
    with pytest.raises(StudyChangedError, match=r"evaluation\.grid"):
        run(older)
