"""Memory in use, by what the driver says, and the memory of the machine."""

from __future__ import annotations

from types import SimpleNamespace

import psutil
import pynvml
import pytest

from sweep.launch import InlineLauncher, Slot
from sweep.launch.memory import read_machine_gib, read_used_gib


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that knows one MIG instance, of which 3 of 10 GiB are in use."""

    def find(uuid: str) -> str:
        if uuid != "MIG-a":
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return "its handle"

    said = {"its handle": SimpleNamespace(total=10 * 2**30, free=7 * 2**30, used=3 * 2**30)}
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByUUID", find)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetMemoryInfo", said.__getitem__)


@pytest.mark.usefixtures("driver")
def test_the_memory_in_use_is_what_the_driver_says_in_gib() -> None:
    assert InlineLauncher().used_gib(Slot("cuda:0", "an instance", "cuda", uuids=("MIG-a",))) == 3.0


@pytest.mark.usefixtures("driver")
def test_a_device_that_the_driver_does_not_know_has_no_figure() -> None:
    assert read_used_gib("GPU-of-somewhere-else") is None


def test_a_machine_without_a_driver_has_no_figure_and_asking_is_no_error() -> None:
    assert read_used_gib("GPU-nowhere") is None
    assert InlineLauncher().used_gib(Slot("cpu", "CPU")) is None


def test_the_memory_of_the_machine_is_at_most_what_the_kernel_counts() -> None:
    assert 0.1 < read_machine_gib() <= psutil.virtual_memory().total / 2**30
