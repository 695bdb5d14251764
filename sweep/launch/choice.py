"""make_launcher: the launcher of the workers that a study file asks for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sweep.launch.command import CommandLauncher
from sweep.launch.launcher import Launcher
from sweep.launch.local import LocalLauncher
from sweep.launch.ray_cluster import RayLauncher
from sweep.settings.study_file import WorkersSpec


def make_launcher(workers: WorkersSpec, preload: Sequence[str], *, shared: Path) -> Launcher:
    """The launcher of a study's workers.

    Args:
        workers: What the study file says of them.
        preload: Modules that are imported before the first job.
        shared: Folder that workers elsewhere must share with this process.
    """
    if workers.command is not None:
        return CommandLauncher(workers.command, preload, shared=shared)
    if workers.cluster is not None:
        is_open = workers.authentication == "none"
        return RayLauncher(workers.cluster, preload, shared=shared, is_open=is_open)
    return LocalLauncher(preload)
