"""The command ``report``: what happened in a study as one HTML file."""

from __future__ import annotations

import os
from pathlib import Path

from sweep.errors import SweepError
from sweep.report.diagnosis import diagnose
from sweep.report.page import render_page
from sweep.run_folder import RunFolder
from sweep.study import open_study


def write_report(study: str, *, output: str | None = None, storage: str | None = None) -> Path:
    """Writes the report of a study, whole or not at all.

    Args:
        study: The study file.
        output: Where it is written; in the study's folder where it is left out.
        storage: Address of the study's database in place of the file's.

    Returns:
        Where it was written.

    Raises:
        SweepError: If the study has not begun or cannot be read, or the file cannot be written.
    """
    opened = open_study(study, storage=storage)
    file = Path(output) if output else RunFolder.beside(study).report
    page = render_page(opened, diagnose(opened))
    partial = file.with_name(f".{file.name}.{os.getpid()}.partial")
    try:
        partial.write_text(page, encoding="utf-8")
        partial.replace(file)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise SweepError(
            f"{file}: the report cannot be written: {error.strerror}; name another place with --output"
        ) from error
    return file
