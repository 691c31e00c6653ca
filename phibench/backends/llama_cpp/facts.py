"""What is known of llama.cpp without opening it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from phibench.backends.llama_cpp import memory, rates
from phibench.core.nouns import Need, Shape, Workload

if TYPE_CHECKING:
    from phibench.catalog.plans.base import Plan

NAME = "llama_cpp"
FORMATS = ("gguf",)
KINDS = ("cpu", "cuda", "rocm", "vulkan", "metal", "xpu")
MODALITIES = ("text",)
PACKAGE = "llama-cpp-python"
LIBRARIES = ("llama_cpp/lib",)
EXTRA = "llama-cpp"
RECOMMENDABLE = True
RATES = rates.RATES
QUANTIZATION = "Q4_K_M"
LEGAL: dict[str, tuple[str, ...] | range] = {
    "threads": range(1, 4097),
    "n_gpu_layers": range(1000),
    "n_batch": range(1, 1 << 20),
    "n_ubatch": range(1, 1 << 20),
    "flash_attn": ("auto", "on", "off"),
    "type_k": tuple(memory.KV_TYPES),
    "type_v": tuple(memory.KV_TYPES),
    "repack": ("on", "off"),
}
DEFAULTS = {
    "threads": "",  # physical cores that the process may use
    "n_gpu_layers": "",  # none on cpu, all elsewhere
    "n_batch": "2048",
    "n_ubatch": "512",
    "flash_attn": "auto",
    "type_k": "f16",
    "type_v": "f16",
    "repack": "on",  # weights in layouts of the kernels (CPU_REPACK, AMX, KleidiAI), where this build has them
}
SAFE: tuple[dict[str, str], ...] = ({"repack": "off"}, {"repack": "off", "flash_attn": "off"})
_LIBRARIES = {"cuda": "cuda:0", "hip": "rocm:0", "vulkan": "vulkan:0", "metal": "metal", "sycl": "xpu:0"}


def installed() -> str | None:
    try:
        return importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return None


def devices() -> tuple[str, ...]:
    spec = importlib.util.find_spec("llama_cpp")
    if spec is None or spec.origin is None:
        return ()
    found = {p.name for p in (Path(spec.origin).parent / "lib").glob("*ggml-*")}
    built = (text for key, text in _LIBRARIES.items() if any(f"ggml-{key}" in name for name in found))
    return ("cpu", *built)


def need(
    plan: Plan, shape: Shape, context: int, options: dict[str, str],
    prompt: int | None = None, batch: int = 1, used: int | None = None,
) -> Need:  # fmt: skip
    """See ``memory``: without ``used``, the whole context is filled."""
    del prompt  # it is taken in micro-batches, and logits are made for its last token alone
    return memory.need(plan, shape, context, {**DEFAULTS, **options}, batch, used or context)


def planned(plan: Plan, shape: Shape, workload: Workload, options: dict[str, str]) -> dict[str, int]:
    """llama.cpp's own figures, asked of a file without weights in a child process."""
    del shape
    from phibench.backends.llama_cpp import plan as asked

    return asked.planned(plan, workload, options)


def recomputed_at(shape: Shape) -> int | None:
    """Nowhere: the factors are those of the configured context."""
    del shape
    return None
