"""The diagnosis: which of the suspected causes made the runs of a study fall, and what would settle the rest."""

from __future__ import annotations

from sweep.report.diagnosis.verdicts import Verdict, diagnose

__all__ = ["Verdict", "diagnose"]
