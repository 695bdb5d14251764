"""Scripted jobs whose base model crashes the program that loads it."""

from __future__ import annotations

from sweep.messages import Channel, StudyTask


def prepare_study(task: StudyTask, channel: Channel) -> None:  # noqa: ARG001
    raise RuntimeError("scripted crash")
