"""Devices as torch sees them: their list, their precision, and the rows that go through a model at once."""

from __future__ import annotations

import contextlib
import resource
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager

import torch
from sentence_transformers import SentenceTransformer

from sweep.errors import DeviceMemoryError
from sweep.messages import Device

CPU_MICRO_BATCH = 64
MEMORY_SHARE = 0.6
"""Share of a device's free memory that activations may take by the estimate; the rest is the estimate's error."""


def list_cuda_devices() -> tuple[str, list[Device]]:
    """torch's build, and the CUDA devices that it can use; starts CUDA, so only ever in a process of its own."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    properties = [torch.cuda.get_device_properties(index) for index in range(count)]
    return torch.__version__, [
        Device(name=device.name, memory_gib=device.total_memory / 2**30, uuid=_uuid(device)) for device in properties
    ]


def _uuid(properties: object) -> str | None:
    """A device's UUID as the driver writes it; torch leaves the beginning out."""
    uuid = str(getattr(properties, "uuid", "") or "")
    return uuid if not uuid or uuid.startswith(("GPU-", "MIG-")) else f"GPU-{uuid}"


def limit_threads(count: int | None) -> None:
    """Sets the number of CPU threads of this process; None leaves it to torch."""
    if count is not None:
        torch.set_num_threads(count)


@contextlib.contextmanager
def translate_oom(device: str, micro_batch: int) -> Iterator[None]:
    """Turns an out-of-memory error of a device, or on a CPU of the machine, into one that names the micro-batch.

    Raises:
        DeviceMemoryError: In place of torch's error.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise DeviceMemoryError(device, micro_batch=micro_batch) from error
    except RuntimeError as error:  # torch's allocator on a CPU has no error of its own
        if "DefaultCPUAllocator: can't allocate memory" not in str(error):
            raise
        raise DeviceMemoryError(device, micro_batch=micro_batch) from error


def peak_memory_gib(device_type: str) -> float:
    """The most memory that this process has held so far: of the CUDA device, or of the machine."""
    if device_type.startswith("cuda"):
        return torch.cuda.max_memory_reserved() / 2**30
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kibibytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def computes_bf16(device_type: str) -> bool:
    """Whether training on such a device runs in bfloat16: on CUDA where the card has it."""
    return device_type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def autocast(device_type: str) -> AbstractContextManager[object]:
    """The precision of a forward pass: bfloat16 where training uses it, else float32."""
    if computes_bf16(device_type):
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return contextlib.nullcontext()


def choose_micro_batch(
    model: SentenceTransformer, batch_size: int, *, columns: int, wanted: int | None = None, memory_share: float = 1.0
) -> int:
    """Rows that go through the model at once, at most ``batch_size``: as many as wanted, or a power of two.

    On CUDA it follows from the free memory and an estimate of the activations of one text of full length, 34 * s * h
    bytes a layer in 16 bits (Korthikanti et al., arXiv 2205.05198, eq. 2, without the attention matrices that fused
    attention never stores). Elsewhere it is 64, beyond which a CPU gains nothing. A row has ``columns`` texts;
    ``memory_share`` is the share of the device's memory that may be planned with, where trials share it. A model that
    takes a batch as one run of tokens (StaticEmbedding) cannot be given a part of it.
    """
    if not takes_parts(model):
        return batch_size
    if wanted is not None:
        return min(batch_size, wanted)
    if model.device.type != "cuda":
        return min(batch_size, CPU_MICRO_BATCH)
    free_bytes, all_bytes = torch.cuda.mem_get_info()
    free_bytes = min(free_bytes, int(all_bytes * memory_share))
    states = sum(parameter.numel() for parameter in model.parameters()) * 16  # weights, gradients, two moments, float32
    config = model.config
    layers = getattr(config, "num_hidden_layers", 12)
    hidden = getattr(config, "hidden_size", 768)
    text_bytes = 34 * int(model.max_seq_length or 512) * hidden * layers
    if not computes_bf16("cuda"):
        text_bytes *= 2
    return min(batch_size, fit_rows(free_bytes - states, columns * text_bytes))


def takes_parts(model: SentenceTransformer) -> bool:
    """Whether a batch can go through the model in parts: each of its features has a row for each text."""
    features = model.preprocess(["a b c d", "e f g h i"], task="document")
    tensors = [feature for feature in features.values() if isinstance(feature, torch.Tensor)]
    return all(len(tensor) == 2 for tensor in tensors)


def fit_rows(free_bytes: int, row_bytes: int) -> int:
    """Rows that fit into a device's free memory by the estimate of one row: a power of two, at least 1."""
    fitting = max(1, int(free_bytes * MEMORY_SHARE) // row_bytes)
    return 1 << (fitting.bit_length() - 1)
