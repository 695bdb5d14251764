"""The command ``report``: what happened in a study as one HTML file."""

from __future__ import annotations

import os
from pathlib import Path

from sweep.errors import SweepError
from sweep.report.diagnosis import diagnose
from sweep.report.page import render_page
from sweep.storage.location import StudyLocation
from sweep.study import read_study


def write_report(location: StudyLocation, *, output: str | None = None) -> Path:
    """Writes the report of a study, whole or not at all.

    Args:
        location: Where the study is.
        output: Where it is written; in the study's folder where it is left out.

    Returns:
        Where it was written.

    Raises:
        SweepError: If the study has not begun or cannot be read, or the file cannot be written.
    """
    opened = read_study(location)
    file = Path(output) if output else location.run_folder.report
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
