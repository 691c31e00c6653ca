"""What is known of llama.cpp without opening it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phibench.backends.contract import LastFfn, LongRope
from phibench.backends.llama_cpp import engine, memory, rates
from phibench.core.nouns import Need, Runtime, Shape, Variant, Workload

if TYPE_CHECKING:
    from phibench.catalog.plans.base import Plan

NAME = "llama_cpp"
ALIASES = ("llama.cpp", "llama-cpp", "llamacpp")
FORMATS = ("gguf",)
KINDS = ("cpu", "cuda", "rocm", "vulkan", "metal", "xpu")
LONGROPE: LongRope = "by_context"
LAST_FFN: LastFfn = "logits"  # build_phi2 and build_phi3: get_rows by inp_out_ids before the last FFN
PACKAGE = engine.PACKAGE
PACKAGES = (PACKAGE,)
ENGINE = engine.ENGINE
LIBRARIES = ("llama_cpp/lib",)
EXTRA = "llama-cpp"
RECOMMENDABLE = True
TRAINS: tuple[str, ...] = ()
LEADS = True
RATES = rates.RATES
QUANTIZATION = "Q4_K_M"
VERIFIED = ("F16", "BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_0")
LEGAL: dict[str, tuple[str, ...] | range] = {
    "threads": range(1, 4097),
    "n_gpu_layers": range(1000),
    "n_cpu_moe": range(1000),
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
    "n_cpu_moe": "0",  # the first layers whose experts stay on the host
    "n_batch": "2048",
    "n_ubatch": "512",
    "flash_attn": "auto",
    "type_k": "f16",
    "type_v": "f16",
    "repack": "on",  # weights in layouts of the kernels (CPU_REPACK, AMX, KleidiAI), where this build has them
}
SAFE: tuple[dict[str, str], ...] = ({"repack": "off"}, {"repack": "off", "flash_attn": "off"})

installed, devices, abilities = engine.installed, engine.devices, engine.abilities
advice, build_note, gpu_build = engine.advice, engine.build_note, engine.gpu_build


def runs(variant: Variant) -> Runtime | None:
    return variant.runtime("llama_cpp")  # the catalog's name of the engine


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
