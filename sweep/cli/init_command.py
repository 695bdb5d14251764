"""The command ``init``: a study file drafted from a look at a collection, and checked."""

from __future__ import annotations

import contextlib
import shlex
from pathlib import Path

from sweep.cli.check import check_plan
from sweep.drafting.study_draft import clean_name, draft_study, name_study
from sweep.errors import SweepError
from sweep.output_files import create_output, write_output
from sweep.plan import plan_study
from sweep.run_folder import RunFolder
from sweep.storage.location import locate_spec

FOLDER = "studies"
"""Folder, below the current one, of a study file for which nobody names another place."""

SUFFIX = ".toml"


def init(
    collection: str,
    *,
    base: str | None = None,
    output: str | None = None,
    force: bool = False,
    storage: str | None = None,
    measure: bool = True,
) -> None:
    """Drafts a study file for a collection, writes it, and goes the way of ``check`` with it.

    Nothing is written before the draft is a valid study of a collection and a base model that are there.

    Args:
        collection: What ``data.collection`` takes; a path is one from here.
        base: The base model; None for the default.
        output: The file; None for one in the folder `FOLDER`, named after the collection.
        force: Whether a file that is there may be overwritten.
        storage: Address of the study's database, for the check.
        measure: Whether the check times training.

    Raises:
        SweepError: If the collection or the base model cannot be used, or the file may not or cannot be written; or for
            what the check finds, when the file is there.
    """
    file = Path(output) if output else Path(FOLDER, name_study(collection) + SUFFIX)
    _check_place(file, force=force)
    draft = draft_study(
        collection, name=clean_name(file.stem), base=base, here=Path.cwd(), folder=file.resolve().parent
    )
    plan = plan_study(locate_spec(file, draft.spec, storage=storage), collection=draft.collection)
    _write(file, draft.text, force=force)
    print(f"Wrote {file}. A run of it would do this:\n", flush=True)
    check_plan(plan, measure=measure)
    name = shlex.quote(str(file))
    print(f"Look at its texts:  sweep data {name}\nRun it:             sweep run {name}")


def _check_place(file: Path, *, force: bool) -> None:
    """Refuses a place where a file stands, or where the study's output could not lie."""
    if file.suffix != SUFFIX:
        raise SweepError(f"{file}: the name of a study file ends with {SUFFIX}; name another with --output")
    if file.is_symlink() or file.exists():
        if file.is_dir():
            raise SweepError(f"{file}: is a folder; name a file with --output")
        if not force:
            raise SweepError(f"{file}: is there already; name another file with --output, or overwrite it with --force")
    folder = RunFolder.beside(file).path
    if folder.exists() or folder.is_symlink():
        raise SweepError(
            f"{folder}: is there already, and the study's output would lie there; name another file with --output"
        )


def _write(file: Path, text: str, *, force: bool) -> None:
    """Writes the file, and makes the folder of files for which nobody names another place."""
    is_new = file.parent == Path(FOLDER) and not file.parent.exists()
    try:
        if is_new:
            file.parent.mkdir()
        if force:
            write_output(file, text)
        else:
            create_output(file, text)
    except FileExistsError as error:
        raise SweepError(f"{file}: is there already, since a moment ago; it was not overwritten") from error
    except OSError as error:
        if is_new:
            with contextlib.suppress(OSError):
                file.parent.rmdir()
        raise SweepError(f"{file}: cannot be written: {error.strerror}; name another place with --output") from error
