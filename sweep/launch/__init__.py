"""Starting jobs and talking to them: one protocol, and a way to run jobs for each kind of place."""

from sweep.launch.choice import make_launcher
from sweep.launch.command import CommandLauncher
from sweep.launch.inline import InlineLauncher
from sweep.launch.launcher import Died, Launcher, Message, Slot
from sweep.launch.local import LocalLauncher
from sweep.launch.ray_cluster import RayLauncher

__all__ = [
    "CommandLauncher",
    "Died",
    "InlineLauncher",
    "Launcher",
    "LocalLauncher",
    "Message",
    "RayLauncher",
    "Slot",
    "make_launcher",
]
