from __future__ import annotations

import ast
from pathlib import Path

import pytest
from catalogue import MUTANTS
from mutation import REPOSITORY, Mutant, run_catalogue, try_mutant


def test_every_mutant_changes_code_that_is_there_and_names_tests_that_are(tmp_path: Path) -> None:
    for mutant in MUTANTS:
        copy = tmp_path / mutant.file
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text((REPOSITORY / mutant.file).read_text(encoding="utf-8"), encoding="utf-8")
        mutant.apply(tmp_path)
        assert mutant.old.strip() != mutant.new.strip()
        ast.parse(copy.read_text(encoding="utf-8"))
        assert mutant.tests
        for name in mutant.tests:
            file, _, test = name.partition("::")
            assert f"def {test.rpartition('::')[2]}(" in (REPOSITORY / file).read_text(encoding="utf-8"), mutant.name


def test_no_mutant_stands_twice() -> None:
    assert len({(mutant.file, mutant.old, mutant.new) for mutant in MUTANTS}) == len(MUTANTS)
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    (root / "sweep").mkdir(parents=True)
    (root / "tests").mkdir()
    (root / "sweep" / "sums.py").write_text("def add(a, b):\n    return a + b\n")
    (root / "tests" / "test_sums.py").write_text(
        "from sweep.sums import add\n\n\ndef test():\n    assert add(1, 2) == 3\n"
    )
    return root


def sums(new: str, old: str = "a + b", tests: str = "tests/test_sums.py") -> Mutant:
    return Mutant(f"a sum that is {new}", "sweep/sums.py", old, new, (tests,))


def test_a_mutant_dies_where_its_tests_fail_and_survives_where_they_pass(project: Path) -> None:
    assert try_mutant(sums("a - b"), project) == 1
    assert try_mutant(sums("b + a"), project) == 0
    assert (project / "sweep" / "sums.py").read_text() == "def add(a, b):\n    return a + b\n"


def test_the_run_says_what_became_of_each_and_counts_those_that_did_not_die(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "tests" / "test_broken.py").write_text("def test():\n    assert False\n")
    mutants = [sums("a - b"), sums("b + a"), sums("a * b", tests="tests/test_broken.py")]
    assert run_catalogue(mutants, project) == 2
    said = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in said[:3]] == ["died", "SURVIVED", "its tests fail without it"]
    assert said[3] == "1 of 3 mutants died."


def test_a_mutant_whose_text_is_gone_is_refused(project: Path) -> None:
    with pytest.raises(ValueError, match=r"stands 0 times in sweep/sums\.py, not once"):
        try_mutant(sums("a - b", old="a x b"), project)
