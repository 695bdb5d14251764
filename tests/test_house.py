from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import sweep
from sweep import errors
from sweep.settings.study_file import WorkersSpec, load_study

REPOSITORY = Path(sweep.__file__).resolve().parents[1]
README = REPOSITORY / "README.md"
HEAVY = {"torch", "transformers", "sentence_transformers", "plotly", "ray", "optuna_dashboard", "datasets", "keybert"}
PAGES = ["README.md", "CONTRIBUTING.md"]
DOCS = sorted(f"docs/{path.name}" for path in (REPOSITORY / "docs").glob("*.md"))
MODULES = sorted(
    path.relative_to(REPOSITORY)
    for path in (REPOSITORY / "sweep").rglob("*.py")
    if path.name not in ("__init__.py", "__main__.py")
)
STUDIES = sorted((REPOSITORY / "studies").glob("*.toml"))

LIST_MODULES = """
import sys
import sweep.cli
try:
    sweep.cli.main({words})
except SystemExit:
    pass
print("loaded:", *sorted({{name.partition(".")[0] for name in sys.modules}}))
"""


def loaded_by(*words: str) -> set[str]:
    """The packages that a command has loaded when it ends."""
    done = subprocess.run(
        [sys.executable, "-c", LIST_MODULES.format(words=list(words))],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return set(done.stdout.rpartition("loaded:")[2].split())


def code_of(page: Path) -> str:
    """What stands in the code blocks of a page, and in its inline code."""
    text = page.read_text()
    blocks = re.findall(r"^ *```[^\n]*\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    return "\n".join([*blocks, *re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))])


@pytest.mark.parametrize("words", [("--help",), ("run", "--help"), ("--version",)])
def test_the_command_explains_itself_without_loading_a_library(words: tuple[str, ...]) -> None:
    assert not loaded_by(*words) & (HEAVY | {"optuna", "pydantic", "numpy", "rich"})


def test_status_loads_no_library_that_trains_or_draws() -> None:
    found = loaded_by("status", "studies/quickstart.toml")
    assert "optuna" in found
    assert not found & HEAVY


def test_data_is_shown_without_a_library_that_trains_or_draws() -> None:
    found = loaded_by("data", "studies/quickstart.toml")
    assert "tokenizers" in found
    assert not found & HEAVY


@pytest.mark.parametrize("command", ["run", "check", "data"])
def test_a_study_file_is_read_before_a_library_that_trains_is_loaded(command: str) -> None:
    assert not loaded_by(command, "studies/no-such-study.toml") & HEAVY


def test_there_is_a_study_file() -> None:
    assert STUDIES


@pytest.mark.parametrize("file", STUDIES, ids=lambda file: file.name)
def test_every_study_file_loads_and_is_named_after_its_file(file: Path) -> None:
    assert load_study(file).name == file.stem


@pytest.mark.parametrize("page", PAGES)
def test_every_make_command_that_a_page_names_exists(page: str) -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    named = re.findall(r"(?:^|\s)make ([a-z][a-z-]*)", code_of(REPOSITORY / page), re.MULTILINE)
    assert named
    assert set(named) <= targets


def test_every_sweep_command_that_the_readme_names_exists() -> None:
    usage = subprocess.run(
        [sys.executable, "-m", "sweep", "--help"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout
    commands = set(re.findall(r"^    ([a-z]+)\b", usage, re.MULTILINE))
    assert {"run", "status", "check", "dashboard"} <= commands
    named = re.findall(r"(?:^|[$;&] |bin/|-m )sweep ([a-z]+)(?= |$)(?! = )", code_of(README), re.MULTILINE)
    assert named
    assert set(named) <= commands


@pytest.mark.parametrize("page", [*PAGES, *DOCS])
def test_every_relative_link_of_a_page_leads_somewhere(page: str) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", (REPOSITORY / page).read_text())
    paths = [link.partition("#")[0] for link in links if not re.match(r"[a-z]+:|#", link)]
    assert [path for path in paths if not (REPOSITORY / page).parent.joinpath(path).exists()] == []


def test_the_readme_leads_to_every_page_of_the_documentation() -> None:
    text = README.read_text()
    assert [page for page in DOCS if f"({page})" not in text] == []


@pytest.mark.parametrize("page", DOCS)
def test_every_table_of_a_study_file_that_a_page_shows_is_valid(page: str) -> None:
    blocks = re.findall(r"^```toml\n(.*?)^```", (REPOSITORY / page).read_text(), re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        WorkersSpec.model_validate(tomllib.loads(block.removeprefix("[workers]\n")))


def test_the_readmes_tree_names_every_module() -> None:
    text = README.read_text()
    missing = [str(path) for path in MODULES if len(path.parts) == 2 and not re.search(rf"\b{path.name}\b", text)]
    packages = {path.parts[1] for path in MODULES if len(path.parts) > 2}
    missing += [name for name in sorted(packages) if not re.search(rf"\b{name}/", text)]
    assert missing == []


def test_no_two_modules_have_the_same_file_name() -> None:
    names = [path.name for path in MODULES]
    assert sorted({name for name in names if names.count(name) > 1}) == []


def test_no_module_puts_off_what_is_to_be_done() -> None:
    put_off = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    assert [str(path) for path in MODULES if put_off.search((REPOSITORY / path).read_text())] == []


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_every_module_says_what_it_is(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse((REPOSITORY / path).read_text()))
    assert docstring
    assert len(docstring.splitlines()[0]) <= 120


def is_private(name: str) -> bool:
    return any(part.startswith("_") and not part.startswith("__") for part in name.split("."))


def find_private_names(source: str) -> list[str]:
    """Private names of others that a module uses.

    Imports of them from other packages, and attributes that no class of the module has itself: of whom an object is
    cannot be told, so a name that the module defines on its own classes or functions is taken for its own.
    """
    tree = ast.parse(source)
    found, own = [], set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            own.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            own.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"):
            own.add(node.attr)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names if alias.name != "__version__"]
            found += [name for name in names if not name.startswith("sweep.") and is_private(name)]
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if is_private(alias.name)]
        elif (isinstance(node, ast.Attribute) and is_private(node.attr) and node.attr not in own) or (
            isinstance(node, ast.Call)
            and ast.unparse(node.func) == "getattr"
            and is_private(ast.unparse(node.args[1])[1:])
        ):
            found.append(ast.unparse(node))
    return sorted(set(found))


PRIVATE = {
    # what Python documents under such a name; and the pipe that keeps a fork server alive, which a process of it can
    # give back in no public way
    "sweep/job_process.py": ["forkserver._forkserver", "os._exit"],
}


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_no_module_uses_a_private_name_of_a_library(path: Path) -> None:
    assert find_private_names((REPOSITORY / path).read_text()) == PRIVATE.get(str(path), [])


@pytest.mark.parametrize(
    "line",
    [
        "from optuna.storages._rdb import models",
        "from optuna.search_space.group_decomposed import _SearchSpaceGroup",
        "import torch._dynamo",
        "print(study._storage.engine)",
        "study._storage._backend.engine.dispose()",
        "getattr(study._thing, '_storage')",
        "os.environ._data",
    ],
)
def test_a_private_name_of_a_library_is_found(line: str) -> None:
    assert find_private_names(line)


def test_what_a_module_has_for_itself_is_no_private_name_of_a_library() -> None:
    own = "class A:\n    def _f(self, other): return other._g + self._g\n\n_a = A()\n_a._f(_a)\nos._exit(1)\n"
    assert find_private_names(own) == ["os._exit"]


def test_the_tree_of_errors_is_drawn_as_it_is() -> None:
    assert errors.__doc__ is not None
    drawn = re.findall(r"^(├── |└── )?(\w+Error)  ", errors.__doc__, re.MULTILINE)
    defined = {
        name: error
        for name, error in vars(errors).items()
        if isinstance(error, type) and issubclass(error, Exception) and error.__module__ == errors.__name__
    }
    assert [name for _, name in drawn] == list(defined)
    for branch, name in drawn:
        assert defined[name].__bases__ == ((errors.SweepError,) if branch else (Exception,))


def list_our_imports(path: Path) -> list[tuple[str, str]]:
    """(module, name) of everything of the package that a file imports by name."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    froms = (node for node in nodes if isinstance(node, ast.ImportFrom) and node.module and node.level == 0)
    ours = (node for node in froms if node.module and node.module.split(".")[0] == "sweep")
    return [(node.module or "", name.name) for node in ours for name in node.names]


SCRIPTS = sorted(path for name in ("bench", "chaos", "mutants") for path in (REPOSITORY / "tests" / name).glob("*.py"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_a_script_that_no_test_runs_imports_of_the_package_is_there(path: Path) -> None:
    for module, name in list_our_imports(path):
        loaded = importlib.import_module(module)
        assert hasattr(loaded, name) or importlib.util.find_spec(f"{module}.{name}"), f"{module} has no {name}"
