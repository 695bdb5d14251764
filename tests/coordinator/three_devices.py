"""Scripted jobs on a machine with three CUDA devices."""

from __future__ import annotations

from sweep.messages import Channel, Device
from sweep.testing import judge_models, prepare_study, run_trial

__all__ = ["judge_models", "list_devices", "prepare_study", "run_trial"]


def list_devices(task: None, channel: Channel) -> tuple[str, list[Device]]:  # noqa: ARG001
    return "2.13.0+cu130", [Device(name=name, memory_gib=80.0) for name in ("one", "two", "three")]
