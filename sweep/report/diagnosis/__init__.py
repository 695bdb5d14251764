"""The diagnosis: which suspected causes made the runs of a study fall, and the trials that would settle the rest."""

from __future__ import annotations

from sweep.report.diagnosis.findings import Finding, diagnose

__all__ = ["Finding", "diagnose"]
