"""The file system of a path: SQLite's locks do not hold on one that is shared over a network."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import psutil

from sweep.errors import StorageError

NETWORK = frozenset(
    {
        *("nfs", "nfs3", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "afpfs", "afs", "webdav", "davfs", "ncpfs"),
        *("ceph", "glusterfs", "lustre", "gpfs", "beegfs", "orangefs", "pvfs2", "panfs", "wekafs", "moosefs", "ocfs2"),
        *("gcsfuse", "s3fs", "sshfs", "goofys", "rclone", "juicefs", "blobfuse", "blobfuse2"),
    }
)
"""File systems, as mount tables name them, on which files are shared between machines."""


def refuse_network_file_system(path: Path) -> None:
    """Raises a StorageError where a path, which need not exist yet, lies on a network file system."""
    partitions = psutil.disk_partitions(all=True)
    kind = find_file_system(path.resolve(), [(entry.mountpoint, entry.fstype, entry.device) for entry in partitions])
    if kind is not None and is_network(kind):
        raise StorageError(
            f"{path}: lies on a network file system ({kind}), where SQLite's locks do not hold: name a folder on a"
            " local disk of this machine as storage.folder in the study file, or a PostgreSQL server with --storage or"
            " SWEEP_STORAGE"
        )


def find_file_system(path: Path, mounts: Iterable[tuple[str, str, str]]) -> str | None:
    """The kind of file system that a path lies on, or None where no mount holds it.

    Args:
        path: An absolute path without symbolic links.
        mounts: Folder, kind and device of every mount, in the order in which they were mounted.
    """
    innermost, depth = None, 0
    for folder, kind, device in mounts:
        parts = len(Path(folder).parts)
        if path.is_relative_to(folder) and parts >= depth:  # of two at one folder the later one hides the other
            innermost, depth = _name_kind(kind, device), parts
    return innermost


def is_network(kind: str) -> bool:
    """Whether a kind of file system is shared over a network."""
    return kind.lower().removeprefix("fuse.").removeprefix("osxfuse_") in NETWORK


def _name_kind(kind: str, device: str) -> str:
    """The kind; for a FUSE mount without a kind of its own the program that serves it, which is its device's name."""
    return device if kind in ("fuse", "fuseblk") and is_network(device) else kind
