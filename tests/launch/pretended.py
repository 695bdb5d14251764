"""Jobs that list the devices of machines that are not here."""

from __future__ import annotations

import os

from sweep.messages import Channel, Device

BUILD = "2.13.0+cu130"


def list_none(task: None, channel: Channel) -> tuple[str, list[Device]]:  # noqa: ARG001
    return "scripted", []


def list_three(task: None, channel: Channel) -> tuple[str, list[Device]]:  # noqa: ARG001
    return BUILD, [Device(name=name, memory_gib=80.0) for name in ("one", "two", "three")]


def list_eight(task: None, channel: Channel) -> tuple[str, list[Device]]:  # noqa: ARG001
    return BUILD, [Device(name="pretended", memory_gib=80.0, uuid=f"GPU-{place}") for place in range(8)]


def list_instances(task: None, channel: Channel) -> tuple[str, list[Device]]:  # noqa: ARG001
    """The first MIG instance of those that a process is shown, as with CUDA."""
    first = os.environ["CUDA_VISIBLE_DEVICES"].split(",")[0]
    return BUILD, [Device(name=f"instance {first}", memory_gib=10.0)]
