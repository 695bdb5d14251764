"""A machine with two MIG instances: a process sees the first of those that it is shown, as with CUDA."""

from __future__ import annotations

import os

from sweep.messages import Channel, Device


def list_devices(task: None, channel: Channel) -> tuple[str, list[Device]]:  # noqa: ARG001
    first = os.environ["CUDA_VISIBLE_DEVICES"].split(",")[0]
    return "2.13.0+cu130", [Device(name=f"instance {first}", memory_gib=10.0)]
