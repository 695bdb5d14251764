"""ModelConfig: what a model's own files say about its use; without torch, so that the coordinator can read it.

A folder is refused here where it holds something else than an embedding model, or one that cannot be used as its files
say. The files are those that Sentence Transformers writes, `config_sentence_transformers.json` and `modules.json`, and
that of transformers, `config.json`; each may be missing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweep.errors import ModelError

EMBEDDING_MODEL = "SentenceTransformer"
OTHER_KINDS = {
    "CrossEncoder": "a reranker, which scores pairs of texts",
    "SparseEncoder": "a sparse encoder, whose embeddings are weights of words",
    "MultiVectorEncoder": "a late-interaction model, which has an embedding for each token",
}
SIMILARITIES = ("cosine", "dot", "euclidean", "manhattan")
HEADS = ("ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering", "ForMultipleChoice")
OWN_MODULES = "sentence_transformers."
SCALES = {"cosine": 20.0}
"""Usual factor of a similarity in the loss; 1 for the others, which are not bounded by 1 (as the library advises)."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The files of a model's folder, as far as they say how it is used.

    Attributes:
        modules: Classes of its modules by name, in order; empty for a plain transformers folder.
        similarity: The function that compares its embeddings.
    """

    modules: tuple[str, ...]
    similarity: str

    @property
    def scale(self) -> float:
        """The usual factor of its similarity in the loss; products of embeddings of length 1 are cosines."""
        is_cosine = self.similarity == "dot" and self.modules[-1:] == ("Normalize",)
        return SCALES.get("cosine" if is_cosine else self.similarity, 1.0)


def read_model_config(folder: Path) -> ModelConfig:
    """The config of a model, or an error that names why it is no embedding model.

    Raises:
        ModelError: If a file is not what the libraries write, or the folder holds a model of another kind, a
            classifier, an adapter without its model, modules with code of their own, or an unknown similarity.
    """
    config = _read(folder / "config_sentence_transformers.json", dict)
    modules = _read(folder / "modules.json", list)
    types = [each["type"] for each in modules if isinstance(each, dict) and isinstance(each.get("type"), str)]
    if len(types) < len(modules):
        raise ModelError(f"{folder / 'modules.json'}: is not a list of modules, each with its type")
    _refuse_other_kinds(folder, config, types)
    _refuse_adapters(folder, modules)
    if not modules:
        _refuse_heads(folder)
    similarity = config.get("similarity_fn_name") or "cosine"
    if similarity not in SIMILARITIES:
        known = ", ".join(SIMILARITIES)
        raise ModelError(f"{folder}: its similarity_fn_name is {similarity!r}; an embedding model has one of {known}")
    return ModelConfig(modules=tuple(each.rpartition(".")[2] for each in types), similarity=similarity)


def _read(file: Path, kind: type) -> Any:
    """The content of a JSON file; that of an empty one where there is none."""
    try:
        content = json.loads(file.read_bytes())
    except FileNotFoundError:
        return kind()
    except OSError as error:
        raise ModelError(f"{file}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{file}: is not valid JSON") from error
    if not isinstance(content, kind):
        raise ModelError(f"{file}: is not what Sentence Transformers writes")
    return content


def _refuse_other_kinds(folder: Path, config: Mapping[str, Any], types: list[str]) -> None:
    kind = str(config.get("model_type") or EMBEDDING_MODEL)
    for name in OTHER_KINDS:  # of a version of the library that did not write the kind
        package = "".join("_" + letter.lower() if letter.isupper() else letter for letter in name).strip("_")
        if kind == EMBEDDING_MODEL and any(each.startswith(f"{OWN_MODULES}{package}.") for each in types):
            kind = name
    if kind != EMBEDDING_MODEL:
        what = OTHER_KINDS.get(kind, "of another kind")
        raise ModelError(
            f"{folder}: holds a {kind}, {what}, and no embedding model; name a {EMBEDDING_MODEL}, or a plain encoder"
        )
    if foreign := next((each for each in types if not each.startswith(OWN_MODULES)), None):
        raise ModelError(f"{folder}: its module {foreign} is code of its own, which is not run; leave such modules out")


def _refuse_adapters(folder: Path, modules: list[Mapping[str, Any]]) -> None:
    for place in [folder, *(folder / str(module.get("path", "")) for module in modules)]:
        if (place / "adapter_config.json").is_file():
            raise ModelError(
                f"{place}: holds an adapter (adapter_config.json), which is not loaded; merge it into its base model"
                " (peft: merge_and_unload), and save that"
            )


def _refuse_heads(folder: Path) -> None:
    """Refuses a plain transformers folder whose head would be dropped; heads of language models are meant to be."""
    architectures = _read(folder / "config.json", dict).get("architectures") or []
    for name in map(str, architectures):
        if name.endswith(HEADS):
            raise ModelError(
                f"{folder}: holds a {name}, as a CrossEncoder is, whose head would be lost; name an embedding model"
            )
