from __future__ import annotations

from pathlib import Path

import pytest

from sweep.storage.file_systems import find_file_system, is_network, refuse_network_file_system

MOUNTS = [
    ("/", "ext4", "/dev/sda1"),
    ("/home", "nfs4", "server:/home"),
    ("/home/me/local disk", "xfs", "/dev/sdb1"),
    ("/data", "xfs", "/dev/sdc1"),
    ("/data", "fuse.sshfs", "me@server:/data"),
    ("/bucket", "fuse", "gcsfuse"),
    ("/ntfs", "fuseblk", "/dev/sdd1"),
    ("/Volumes/share", "smbfs", "//me@server/share"),
]


@pytest.mark.parametrize(
    ("path", "kind", "network"),
    [
        ("/work/studies", "ext4", False),
        ("/home", "nfs4", True),
        ("/home/me/studies", "nfs4", True),
        ("/home/me/local disk/studies", "xfs", False),
        ("/homework/studies", "ext4", False),
        ("/data/studies", "fuse.sshfs", True),
        ("/bucket/studies", "gcsfuse", True),
        ("/ntfs/studies", "fuseblk", False),
        ("/Volumes/share/studies", "smbfs", True),
    ],
)
def test_a_path_lies_on_the_innermost_mount_and_of_two_at_one_place_on_the_later(
    path: str, kind: str, network: bool
) -> None:
    assert find_file_system(Path(path), MOUNTS) == kind
    assert is_network(kind) == network


def test_a_path_that_no_mount_holds_has_no_file_system() -> None:
    assert find_file_system(Path("/work"), [("/home", "ext4", "/dev/sda1")]) is None


def test_this_machines_temporary_folder_will_do(tmp_path: Path) -> None:
    refuse_network_file_system(tmp_path / "not there yet")
