"""The catalogue: mutants of behaviour, file by file, each with the test of its room that is to fail on it."""

from __future__ import annotations

from engine_mutants import COORDINATOR, PROCESSES, STORAGE, TRAINING
from statistics_mutants import DATA, MEASURES, REPORT, SETTINGS, STOPPING
from study_mutants import STUDY

MUTANTS = [*MEASURES, *SETTINGS, *DATA, *STOPPING, *REPORT, *COORDINATOR, *STORAGE, *PROCESSES, *TRAINING, *STUDY]
