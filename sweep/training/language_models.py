"""Language models: loaded from safetensors alone, and those of a package converted once."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import psutil
import torch
from safetensors import SafetensorError, safe_open
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from sweep.data.cache import cache_folder
from sweep.data.model_folder import LanguageModelFolder, list_weight_files
from sweep.errors import ModelError, reason_of
from sweep.messages import Sign, give_no_sign
from sweep.training.checkpoint import PARTIAL_SUFFIX

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_STORED = {"F32": 4, "F16": 2, "BF16": 2}


def load_language_model(
    source: LanguageModelFolder, *, device: str, precision: str, sign: Sign = give_no_sign
) -> tuple[Any, Any]:
    """A language model in evaluation mode, and its tokenizer, which pads.

    Raises:
        ModelError: If it cannot be loaded, or is larger than the memory.
    """
    sign(long_call=True)
    folder = source.path if source.path.is_dir() else _convert(source)
    _check_room(folder, device=device, precision=precision)
    kind: Any = AutoModelForCausalLM if source.kind == "causal" else AutoModelForSeq2SeqLM
    try:
        model = kind.from_pretrained(str(folder), dtype=_DTYPES[precision], use_safetensors=True, local_files_only=True)
        tokenizer: Any = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        raise ModelError(f"{folder}: cannot be loaded as a language model: {reason_of(error)}") from error
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token is None:
            raise ModelError(f"{folder}: its tokenizer has neither a padding token nor an end-of-text token")
        tokenizer.pad_token = tokenizer.eos_token
    sign()
    return model.to(device).eval(), tokenizer


def _check_room(folder: Path, *, device: str, precision: str) -> None:
    """Refuses a model whose weights alone do not fit the memory that is free."""
    needed = sum(file.stat().st_size for file in list_weight_files(folder)) * (2 if precision == "float32" else 1)
    if device.startswith("cuda"):
        free, _ = torch.cuda.mem_get_info()
    else:
        free = psutil.virtual_memory().available
    if needed > free and _count_bytes(folder, precision) > free:
        raise ModelError(
            f"{folder}: its weights take {_count_bytes(folder, precision) / 2**30:.1f} GiB in {precision}, and"
            f" {free / 2**30:.1f} GiB are free on {device}: name a smaller model"
        )


def _count_bytes(folder: Path, precision: str) -> int:
    """Bytes of a model's weights in a precision, by the headers of its files."""
    total = 0
    for file in list_weight_files(folder):
        with safe_open(str(file), framework="numpy") as weights:
            slices = (weights.get_slice(name) for name in weights.keys())  # noqa: SIM118 - it is no mapping
            total += sum(_count(each.get_shape()) for each in slices)
    return total * _DTYPES[precision].itemsize


def _count(shape: list[int]) -> int:
    numbers = 1
    for size in shape:
        numbers *= size
    return numbers


def _convert(source: LanguageModelFolder) -> Path:
    """The folder in the cache of a model that a package holds in GGUF, as safetensors; it is converted once."""
    folder = cache_folder() / "models" / f"{source.path.stem}-{source.identity[:16]}"
    if (folder / "config.json").is_file():
        return folder
    partial = folder.with_name(folder.name + PARTIAL_SUFFIX)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    path, name = str(source.path.parent), source.path.name
    try:
        read = AutoModelForCausalLM.from_pretrained(path, gguf_file=name, dtype=torch.bfloat16)
        tokenizer: Any = AutoTokenizer.from_pretrained(path, gguf_file=name)
    except ImportError as error:
        raise ModelError(
            f"{source.path}: is in GGUF, for which gguf is not installed; `make queries` does so"
        ) from error
    config: Any = read.config
    config.quantization_config = None  # the weights are no longer in GGUF
    kind: Any = AutoModelForCausalLM
    made = kind.from_config(config, dtype=torch.bfloat16)  # transformers saves none that it read from GGUF
    made.load_state_dict(read.state_dict())
    made.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    partial.rename(folder)
    return folder
