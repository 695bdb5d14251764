"""Devices as torch sees them: which there are, what they compute in, and how much goes through a model at once."""

from __future__ import annotations

import contextlib
import resource
import sys
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from sentence_transformers import SentenceTransformer

CPU_MICRO_BATCH = 64
MEMORY_SHARE = 0.6
"""Share of a device's free memory that activations may take by the estimate; the rest is the estimate's error."""


@dataclass(frozen=True)
class CudaDevice:
    """A CUDA device that torch can use.

    Attributes:
        name: Its name, such as ``NVIDIA H200``.
        memory_gib: Its memory.
    """

    name: str
    memory_gib: float


def list_cuda_devices() -> tuple[str, list[CudaDevice]]:
    """torch's build, and the CUDA devices that it can use; starts CUDA, so only ever in a process of its own."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    properties = [torch.cuda.get_device_properties(index) for index in range(count)]
    return torch.__version__, [CudaDevice(found.name, found.total_memory / 2**30) for found in properties]


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


def choose_micro_batch(model: SentenceTransformer, batch_size: int) -> int:
    """Pairs that go through the model at once, a power of two, at most ``batch_size``.

    On CUDA it follows from the free memory and an estimate of the activations of one text of full length, 34 * s * h
    bytes a layer in 16 bits (Korthikanti et al., arXiv 2205.05198, eq. 2, without the attention matrices that fused
    attention never stores). Elsewhere it is 64, beyond which a CPU gains nothing.
    """
    if model.device.type != "cuda":
        return min(batch_size, CPU_MICRO_BATCH)
    free_bytes, _ = torch.cuda.mem_get_info()
    states = sum(parameter.numel() for parameter in model.parameters()) * 16  # weights, gradients, two moments, float32
    config = model.config
    layers = getattr(config, "num_hidden_layers", 12)
    hidden = getattr(config, "hidden_size", 768)
    text_bytes = 34 * (model.max_seq_length or 512) * hidden * layers
    if not computes_bf16("cuda"):
        text_bytes *= 2
    fitting = max(1, int((free_bytes - states) * MEMORY_SHARE) // (2 * text_bytes))  # 2 texts a pair
    return min(batch_size, 1 << (fitting.bit_length() - 1))
