"""What is known of PyTorch and transformers without opening them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from phibench.backends import untold
from phibench.backends.contract import LastFfn, LongRope
from phibench.backends.torch import engine, rates
from phibench.catalog.plans.torch import FLOAT_BYTES, dtype_of
from phibench.core.nouns import Need, Runtime, Shape, Variant

if TYPE_CHECKING:
    from phibench.catalog.plans.base import Plan

NAME = "torch"
ALIASES: tuple[str, ...] = ()
FORMATS = ("torch",)
KINDS = ("cpu", "cuda", "rocm", "mps", "xpu")
LONGROPE: LongRope = "by_length"
LAST_FFN: LastFfn = "all"
PACKAGE = engine.PACKAGE
PACKAGES = (PACKAGE, "transformers")
ENGINE = engine.ENGINE
LIBRARIES = ("torch/lib",)
EXTRA = "torch"
RECOMMENDABLE = True
TRAINS = ("cuda", "rocm", "xpu")  # a processor would take days
LEADS = False
RATES = rates.RATES
QUANTIZATION = "bf16"
VERIFIED = ("fp32", "bf16", "fp16", "int8", "int4")
LEGAL: dict[str, tuple[str, ...] | range] = {
    "threads": range(1, 4097), "onednn": ("on", "off"), "onednn_decode": ("off", "on"),
}  # fmt: skip
DEFAULTS = {
    "threads": "",  # physical cores that the process may use
    "onednn": "on",  # off: of nothing
    "onednn_decode": "off",  # its product of a matrix with one vector reads memory at half speed (docs/torch.md)
}
SAFE: tuple[dict[str, str], ...] = ({"onednn": "off"},)
_RUNTIME_BYTES = 270 << 20  # Python, torch and transformers, imported: memory of no file
_LIBRARY_BYTES = 100 << 20  # pages of their libraries, of which a test uses 5
_HEAP_BYTES = 64 << 20  # freed memory that glibc keeps, at most: its M_TRIM_THRESHOLD where it adapts itself

installed, devices, abilities = engine.installed, engine.devices, engine.abilities
advice, build_note, gpu_build = untold.advice, untold.build_note, untold.gpu_build
planned = untold.planned


def runs(variant: Variant) -> Runtime | None:
    return variant.runtime("torch")  # the catalog's name of the engine


def kv_bytes_per_token(shape: Shape, quantization: str) -> int:
    """K and V of every layer, in the type of the activations; a sliding window frees nothing here."""
    return 2 * shape.layers * shape.kv_heads * shape.head_dim * FLOAT_BYTES[dtype_of(quantization)]


def need(
    plan: Plan, shape: Shape, context: int, options: dict[str, str],
    prompt: int | None = None, batch: int = 1, used: int | None = None,
) -> Need:  # fmt: skip
    """Host memory of the process on a cpu: most that it has while it runs, with all of the room written.

    Alive at once in a layer, for every token that is computed at once: gate and up, the activated gate and their
    product; the stream, queries, keys and values; what float32 norms leave, which glibc does not all give back. int8
    turns one matrix at a time into bf16. Compared with real processes in docs/torch.md.
    """
    del options
    kind = FLOAT_BYTES[dtype_of(plan.quantization)]
    matrix = max(math.prod(t.shape) for t in plan.tensors if ".layers." in t.name) if plan.quantization == "int8" else 0
    tokens = _at_once(shape, context, prompt, used)
    rows = tokens * batch
    states = rows * (4 * shape.ffn + 5 * shape.hidden) * kind + min(rows * 4 * shape.hidden * kind, _HEAP_BYTES)
    return Need(
        weights_bytes=plan.weights_bytes,
        kv_bytes=round(kv_bytes_per_token(shape, plan.quantization) * context * batch * plan.layers / plan.of_layers),
        compute_bytes=states + matrix * kind + batch * shape.vocab * (kind + 4),
        runtime_bytes=_RUNTIME_BYTES,
        reclaimable_bytes=_LIBRARY_BYTES,
        because=f"weights, KV cache of {context} tokens, activations of {tokens} at once",
    )


def _at_once(shape: Shape, context: int, prompt: int | None, used: int | None) -> int:
    """Tokens of a sequence that are computed as one prompt: of a test its depth or prompt, and at the switch of
    LongRoPE all that are there; so never more than it uses."""
    if used is not None:
        return used
    if prompt is None:
        return context
    again = recomputed_at(shape)
    return max(prompt, again) if again and context >= again else prompt


def recomputed_at(shape: Shape) -> int | None:
    """The first token beyond LongRoPE's original context, as transformers does it."""
    return shape.original_context + 1 if shape.longrope and shape.original_context else None
