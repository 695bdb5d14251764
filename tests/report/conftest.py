from __future__ import annotations

import pytest
from made_studies import START, change, make_study

from sweep.study import Study


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A finished study of twelve trials, and one that failed and ran again; to be read, not written."""
    script = {"fail": [3], "diverge": [11]}
    folder = tmp_path_factory.mktemp("study")
    return make_study(folder, script=script, budget={"trials": 12}, space={"start": START})


@pytest.fixture(scope="session")
def untried(study: Study) -> Study:
    """The same study before its first trial."""
    figures = [row for row in study.figures if row["trial"] < 0]
    return change(study, trials=(), tests={}, runs=[], figures=figures)
