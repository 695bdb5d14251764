"""Mutants: faults put into a copy of the code one at a time, to see that a test fails on each (make mutants).

A test that passes whatever the code does holds nothing. Each mutant of the catalogue changes one behaviour and names
the tests of its room; it dies where one of them fails. The tests are run without it first, so that it is the mutant
they fail on.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
TIMEOUT_S = 600.0
FAILED = 1
"""What pytest exits with where a test failed; anything above says that the tests could not be run."""


@dataclass(frozen=True)
class Mutant:
    """A fault.

    Attributes:
        name: What it does, in words.
        file: The file that it changes, from the repository's root.
        old: The text there, which stands in the file once.
        new: What it becomes.
        tests: Tests that hold the behaviour, as pytest takes them.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def apply(self, root: Path) -> None:
        """Puts the fault into the tree below ``root``.

        Raises:
            ValueError: If the old text does not stand in the file exactly once.
        """
        path = root / self.file
        text = path.read_text(encoding="utf-8")
        if text.count(self.old) != 1:
            raise ValueError(f"{self.name}: {self.old!r} stands {text.count(self.old)} times in {self.file}, not once")
        path.write_text(text.replace(self.old, self.new), encoding="utf-8")


def of(file: str, tests: str, *faults: tuple[str, str, str, str]) -> list[Mutant]:
    """Mutants of a file.

    Args:
        file: The file.
        tests: The file of the tests that hold it.
        faults: What each does, the text that it changes, what that becomes, and the test, without its ``test_``.
    """
    return [Mutant(name, file, old, new, (f"{tests}::test_{test}",)) for name, old, new, test in faults]


def run_tests(root: Path, tests: Sequence[str]) -> int:
    """Pytest's exit status for tests of the tree below ``root``, whose own code is imported; 1 for ones that hang."""
    words = ["-q", "-x", "-n", "0", "-p", "no:cacheprovider", "-p", "no:randomly", *tests]
    environment = {**os.environ, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *words], cwd=root, env=environment, capture_output=True, timeout=TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        return FAILED
    return done.returncode


def copy_tree(source: Path, target: Path) -> None:
    """Copies what the tests need: code, tests, studies and settings."""
    target.mkdir()
    for name in ("sweep", "tests", "studies"):
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    for file in (path for path in source.iterdir() if path.is_file()):
        shutil.copy2(file, target)


def try_mutant(mutant: Mutant, source: Path = REPOSITORY) -> int:
    """The exit status of a mutant's tests with the mutant in the code: 1 where it dies, 0 where it survives."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "tree"
        copy_tree(source, root)
        mutant.apply(root)
        return run_tests(root, mutant.tests)


def run_catalogue(mutants: Sequence[Mutant], source: Path = REPOSITORY) -> int:
    """Tries every mutant and prints what became of it; the number of those that did not die."""
    all_tests = tuple(dict.fromkeys(test for mutant in mutants for test in mutant.tests))
    is_sound = run_tests(source, all_tests) == 0  # at once, which is quicker; each alone where that is needed
    sound: dict[tuple[str, ...], bool] = {mutant.tests: True for mutant in mutants if is_sound}
    died = 0
    for mutant in mutants:
        began = time.monotonic()
        if mutant.tests not in sound:
            sound[mutant.tests] = run_tests(source, mutant.tests) == 0
        status = try_mutant(mutant, source) if sound[mutant.tests] else None
        outcome = {None: "its tests fail without it", 0: "SURVIVED", FAILED: "died"}.get(status, "could not be tried")
        died += status == FAILED
        print(f"{outcome:<12}  {mutant.name} ({mutant.file}, {time.monotonic() - began:.0f} s)", flush=True)
    print(f"{died} of {len(mutants)} mutants died.")
    return len(mutants) - died


def main() -> int:
    """The command."""
    from catalogue import MUTANTS

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="", help="mutants whose name or file has this in it")
    words = parser.parse_args()
    chosen = [mutant for mutant in MUTANTS if words.only in mutant.name or words.only in mutant.file]
    return 1 if run_catalogue(chosen) else 0


if __name__ == "__main__":
    sys.exit(main())
