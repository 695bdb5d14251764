"""The command ``report``: the report of a study as one HTML file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from sweep.errors import SweepError
from sweep.report.diagnosis import Finding
from sweep.report.page import render_page
from sweep.study import Study


def write_report(study: Study, findings: Sequence[Finding], *, output: str | None = None) -> Path:
    """Writes the report of a study, completely or not at all, to ``output`` or into the study's folder.

    Returns:
        The file.

    Raises:
        SweepError: If the study cannot be read, or the file cannot be written.
    """
    file = Path(output) if output else study.run_folder.report
    page = render_page(study, findings)
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
