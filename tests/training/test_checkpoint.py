from __future__ import annotations

import json

import pytest

from sweep.errors import CheckpointError
from sweep.training.checkpoint import _CHUNK, MANIFEST, newest_complete, publish, remove, verify


def fill(folder, content=b"weights"):
    (folder / "1_Pooling").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(content)
    (folder / "1_Pooling" / "config.json").write_text("{}")
    (folder / "empty").touch()
    return folder


def published(folder, content=b"weights"):
    publish(fill(folder.with_name(folder.name + ".partial"), content), folder)
    return folder


def rewrite_manifest(folder, change):
    manifest = json.loads((folder / MANIFEST).read_text())
    change(manifest["files"])
    (folder / MANIFEST).write_text(json.dumps(manifest))


def flip_a_byte(folder):
    (folder / "model.safetensors").write_bytes(b"weighty")


def add_a_folder_in_place_of_a_file(folder):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").mkdir()


def name_a_file_outside(folder):
    (folder.parent / "outside").write_bytes(b"weights")
    rewrite_manifest(folder, lambda files: files.update({"../outside": files["model.safetensors"]}))


def name_a_file_outside_by_its_whole_path(folder):
    outside = folder.parent / "outside"
    outside.write_bytes(b"weights")
    rewrite_manifest(folder, lambda files: files.update({str(outside): files["model.safetensors"]}))


DAMAGE = {
    "no manifest": (lambda folder: (folder / MANIFEST).unlink(), "manifest.json: is missing, so this checkpoint does"),
    "an empty manifest": (lambda folder: (folder / MANIFEST).write_text(""), "is not a manifest; delete the folder"),
    "half a manifest": (lambda folder: (folder / MANIFEST).write_text('{"files": {'), "is not a manifest"),
    "a manifest that is a list": (lambda folder: (folder / MANIFEST).write_text("[1]"), "is not a manifest"),
    "a manifest without files": (lambda folder: (folder / MANIFEST).write_text("{}"), "is not a manifest"),
    "a manifest of a list of files": (
        lambda folder: (folder / MANIFEST).write_text('{"files": [1]}'),
        "not a manifest",
    ),
    "a manifest that is no text": (
        lambda folder: (folder / MANIFEST).write_bytes(b"\xff\xfe\x00"),
        "is not a manifest",
    ),
    "a truncated file": (
        lambda folder: (folder / "model.safetensors").write_bytes(b"weight"),
        "model.safetensors: is not what its manifest says",
    ),
    "a flipped byte": (flip_a_byte, "model.safetensors: is not what its manifest says"),
    "a missing file": (
        lambda folder: (folder / "empty").unlink(),
        "empty: is missing, so this checkpoint does not count",
    ),
    "a missing file further down": (
        lambda folder: (folder / "1_Pooling" / "config.json").unlink(),
        "config.json: is missi",
    ),
    "a folder in place of a file": (add_a_folder_in_place_of_a_file, "model.safetensors: cannot be read"),
    "a file outside of it": (name_a_file_outside, "names '../outside' outside of its folder"),
    "a whole path outside of it": (name_a_file_outside_by_its_whole_path, "outside of its folder"),
    "a name with a zero": (
        lambda folder: rewrite_manifest(folder, lambda files: files.update({"a\0b": files["empty"]})),
        "is not a manifest",
    ),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGE.values(), ids=DAMAGE.keys())
def test_a_folder_does_not_count_with(tmp_path, damage, message):
    earlier, later = published(tmp_path / "step 1"), published(tmp_path / "step 2")
    damage(later)
    with pytest.raises(CheckpointError, match=message):
        verify(later)
    assert newest_complete([earlier, later]) == earlier


def test_a_folder_that_is_not_there_does_not_count(tmp_path):
    with pytest.raises(CheckpointError, match="is missing"):
        verify(tmp_path / "nowhere")


def test_a_file_in_place_of_a_folder_does_not_count(tmp_path):
    (tmp_path / "step").touch()
    with pytest.raises(CheckpointError, match="cannot be read"):
        verify(tmp_path / "step")


def test_a_file_that_came_later_is_no_damage(tmp_path):
    folder = published(tmp_path / "step")
    (folder / "extra").write_text("unlisted")
    verify(folder)
    assert newest_complete([folder]) == folder


def test_the_last_whole_folder_is_the_newest(tmp_path):
    folders = [published(tmp_path / name) for name in ("a", "b", "c")]
    assert newest_complete(folders) == folders[2]
    assert newest_complete(iter(folders[:2])) == folders[1]


@pytest.mark.parametrize("count", [0, 2])
def test_where_no_folder_is_whole_there_is_no_newest(tmp_path, count):
    folders = [published(tmp_path / f"{number}") for number in range(count)]
    for folder in folders:
        flip_a_byte(folder)
    assert newest_complete(folders) is None


def test_publishing_moves_the_folder_to_its_name(tmp_path):
    folder = published(tmp_path / "a folder 'with' quotes")
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    files = json.loads((folder / MANIFEST).read_text())["files"]
    assert sorted(files) == ["1_Pooling/config.json", "empty", "model.safetensors"]
    assert files["model.safetensors"]["bytes"] == 7
    verify(folder)


def test_publishing_replaces_what_stood_there(tmp_path):
    folder = published(tmp_path / "step", b"old")
    (folder / "left over").touch()
    published(tmp_path / "step", b"new")
    assert (folder / "model.safetensors").read_bytes() == b"new"
    assert not (folder / "left over").exists()
    verify(folder)


def test_what_is_still_being_written_is_not_whole(tmp_path):
    assert newest_complete([fill(tmp_path / "step.partial")]) is None


def test_a_removed_folder_is_gone_and_removing_it_again_is_no_error(tmp_path):
    folder = published(tmp_path / "step")
    remove(folder)
    assert not folder.exists()
    remove(folder)


def test_sealing_and_verifying_give_a_sign_with_every_chunk_and_before_the_flush(tmp_path):
    signs = []
    content = b"w" * (5 * _CHUNK // 2)
    publish(fill(tmp_path / "step.partial", content), tmp_path / "step", sign=lambda **kind: signs.append(kind))
    flush = [{"long_call": True}]
    assert signs == [{}] * 4 + flush + [{}]  # three chunks and the small file, all files flushed, and it is over
    signs.clear()
    verify(tmp_path / "step", sign=lambda **kind: signs.append(kind))
    assert signs == [{}] * 4
