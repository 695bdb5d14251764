"""The command ``report``: the report of a study as one HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sweep.errors import SweepError
from sweep.output_files import write_output
from sweep.report.diagnosis import Finding
from sweep.report.page import render_page
from sweep.study import Study


def write_report(study: Study, findings: Sequence[Finding], *, output: str | None = None) -> Path:
    """Writes the report of a study to ``output``, which may be a link, a pipe or a device, or into the study's folder.

    Returns:
        The file.

    Raises:
        SweepError: If the study cannot be read, or the file cannot be written.
    """
    file = Path(output) if output else study.run_folder.report
    page = render_page(study, findings)
    try:
        write_output(file, page)
    except OSError as error:
        raise SweepError(
            f"{file}: the report cannot be written: {error.strerror}; name another place with --output"
        ) from error
    return file
