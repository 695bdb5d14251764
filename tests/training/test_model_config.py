from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sweep.errors import ModelError
from sweep.training.model_config import read_model_config

POOLING = {"type": "sentence_transformers.sentence_transformer.modules.Pooling", "path": "1_Pooling"}
NORMALIZE = {"type": "sentence_transformers.models.Normalize", "path": "2_Normalize"}


def write(folder: Path, **files: Any) -> Path:
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(
    ("similarity", "modules", "scale"),
    [
        (None, [POOLING], 20.0),
        ("cosine", [POOLING], 20.0),
        ("dot", [POOLING], 1.0),
        ("dot", [POOLING, NORMALIZE], 20.0),
        ("euclidean", [POOLING, NORMALIZE], 1.0),
        ("manhattan", [POOLING], 1.0),
    ],
)
def test_the_usual_scale_follows_from_the_similarity(tmp_path, similarity, modules, scale):
    found = read_model_config(
        write(tmp_path, modules=modules, config_sentence_transformers={"similarity_fn_name": similarity})
    )
    assert found.similarity == (similarity or "cosine")
    assert found.scale == scale


def test_a_folder_of_transformers_alone_compares_cosines(tmp_path):
    found = read_model_config(write(tmp_path, config={"architectures": ["BertForMaskedLM"]}))
    assert (found.modules, found.similarity, found.scale) == ((), "cosine", 20.0)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"config_sentence_transformers": {"model_type": "CrossEncoder"}}, "holds a CrossEncoder, a reranker"),
        ({"config_sentence_transformers": {"model_type": "SparseEncoder"}}, "holds a SparseEncoder, a sparse encoder"),
        ({"config_sentence_transformers": {"model_type": "Novel"}}, "holds a Novel, of another kind"),
        (
            {"modules": [{"type": "sentence_transformers.sparse_encoder.models.SpladePooling"}]},
            "holds a SparseEncoder",
        ),
        (
            {"modules": [{"type": "sentence_transformers.multi_vector_encoder.modules.Mask"}]},
            "holds a MultiVectorEncoder, a late-interaction model",
        ),
        ({"config": {"architectures": ["BertForSequenceClassification"]}}, "whose head would be lost"),
        ({"config_sentence_transformers": {"similarity_fn_name": "maxsim"}}, "similarity_fn_name is 'maxsim'"),
        ({"modules": [{"type": "pylate.models.Dense.Dense"}]}, "its module pylate.models.Dense.Dense is code of its"),
        ({"modules": [1]}, "is not a list of modules"),
        ({"modules": {}}, "is not what Sentence Transformers writes"),
        ({"adapter_config": {}}, "holds an adapter"),
    ],
)
def test_what_is_no_embedding_model_is_refused_by_its_name(tmp_path, files, message):
    with pytest.raises(ModelError, match=message) as caught:
        read_model_config(write(tmp_path, **files))
    assert str(caught.value).startswith(str(tmp_path))
    assert len(str(caught.value).splitlines()) == 1


def test_an_adapter_in_the_folder_of_a_module_is_found(tmp_path):
    write(tmp_path, modules=[{**POOLING, "path": "0_Transformer"}])
    (tmp_path / "0_Transformer").mkdir()
    write(tmp_path / "0_Transformer", adapter_config={})
    with pytest.raises(ModelError, match="0_Transformer: holds an adapter"):
        read_model_config(tmp_path)


def test_a_file_that_is_no_json_is_named(tmp_path):
    (tmp_path / "modules.json").write_text("{")
    with pytest.raises(ModelError, match=r"modules.json: is not valid JSON"):
        read_model_config(tmp_path)
